"""Super-resolution: by temporal MultiDiffusion, or as conditioning for core's samplers."""

from __future__ import annotations

import torch

from ..lumiere_core.checkpoints.format import CheckpointInfo
from ..lumiere_core.conditioning.given import Condition
from ..lumiere_core.diffusion.options import SamplingOptions
from ..lumiere_core.runtime.memory import require_frames_memory
from ..lumiere_core.runtime.notices import warn
from ..lumiere_core.sampling import SamplingPlan, plan_sampling, super_resolve
from ..lumiere_core.video.tensors import frames_to_video, video_to_frames
from . import host, inputs
from .checks import (
    GIVEN,
    check_conditioning,
    chosen,
    frames_of_images,
    known_pixels,
    named,
    one_text,
    sampling_options,
    with_values,
)
from .host import io
from .loaders import SSR_KINDS
from .masks import change_mask
from .running import running

NAME = "Temporal MultiDiffusion SSR"


class SSRConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereSSRConditioning",
            display_name="SSR Conditioning (Lumiere)",
            category=f"{inputs.CATEGORY}/conditioning",
            description="Attaches a small video to the conditioning, so that core's KSampler and Context Windows can "
            "run an SSR. TemporalMultiDiffusionSSR does all of it in one node.",
            search_aliases=["lumiere", "upscale conditioning", "super resolution", "ksampler upscale"],
            inputs=[
                inputs.positive(),
                inputs.negative(),
                io.Image.Input("images", tooltip="The frames to make larger, in order."),
                io.Int.Input(
                    "scale",
                    default=4,
                    min=1,
                    max=16,
                    tooltip="How many times larger; must be what the SSR was trained for (4 for the bundled one).",
                ),
                _noise_level(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the small video attached."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt with the small video attached."
                ),
                io.Latent.Output(display_name="latent", tooltip="An empty clip of the large size, to sample on."),
            ],
        )

    @classmethod
    @running("SSR Conditioning")
    def execute(cls, positive, negative, images, scale, noise_level) -> io.NodeOutput:
        low_res = frames_to_video(frames_of_images(images))
        values = {"lumiere_low_res": low_res, "lumiere_scale": scale, "lumiere_noise_level": chosen(noise_level, -1)}
        _, _, frames, height, width = low_res.shape
        require_frames_memory("A clip", frames, height * scale, width * scale)
        latent = {"samples": torch.zeros(1, 3, frames, height * scale, width * scale)}
        return io.NodeOutput(*(with_values(conditioning, values) for conditioning in (positive, negative)), latent)


class TemporalMultiDiffusionSSR(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereTemporalMultiDiffusionSSR",
            display_name="Temporal MultiDiffusion SSR (Lumiere)",
            category=f"{inputs.CATEGORY}/sampling",
            description="Makes a video larger. The SSR runs over overlapping windows of frames that are fused at every "
            "denoising step, so that no seam shows, and a long clip never has to fit the accelerator at once. Wired to "
            "BuildConditioningMask, it keeps what is given at full size, too.",
            search_aliases=["lumiere", "video upscale", "super resolution", "multidiffusion", "upscaler"],
            inputs=[
                io.Model.Input("model", tooltip="An SSR from LoadSSR. Weight patches on it (LoRA, merges) count."),
                inputs.positive(),
                inputs.negative(),
                io.Image.Input("images", lazy=True, tooltip="The frames to make larger, in order."),
                *inputs.sampling(steps=8, cfg=1.0),
                *inputs.windows("the SSR"),
                _noise_level(),
                inputs.knob("tile", 0, "0 is none.", advanced=True),
                inputs.knob("tile_overlap", default=16, advanced=True),
                io.Image.Input(
                    "original",
                    optional=True,
                    tooltip="A full-size video whose pixels are kept where the mask is 0. Needs the mask. Then what "
                    "BuildConditioningMask says does not count.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 where pixels are made, 0 where the original's are kept: one mask, or one a frame. Needs "
                    "the original.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The large frames, in order.")],
        )

    @classmethod
    def check_lazy_status(cls, images=None, **given) -> list[str]:
        """What can be wrong is found before the small clip is sampled, which takes its time."""
        if images is None:
            with named(NAME):
                _check(**given)
        return ["images"] if images is None else []

    @classmethod
    @running(NAME)
    def execute(
        cls, model, positive, negative, images, seed, steps, cfg, sampler, scheduler, window, overlap, fuse, loop,
        noise_level, tile, tile_overlap, original=None, mask=None,
    ) -> io.NodeOutput:  # fmt: skip
        info = _checked_info(model, positive, negative)
        low_res = frames_to_video(frames_of_images(images))
        frames, height, width = low_res.shape[2:]
        options = _options(
            noise_level, tile, tile_overlap=tile_overlap, steps=steps, cfg=cfg, sampler=sampler, scheduler=scheduler,
            window=window, overlap=overlap, fuse=fuse, loop=loop,
        )  # fmt: skip
        plan = plan_sampling(info, frames, (height * info.scale, width * info.scale), options)
        text, without = one_text(positive, "positive"), one_text(negative, "negative")
        known = _given(positive, plan) if original is None and mask is None else _known(original, mask, plan)
        with host.placed(model, plan, NAME) as place, host.progress(NAME, plan, info.fps) as report:
            video = super_resolve(
                info=info,
                plan=plan,
                low_res=low_res,
                text=text,
                negative=without,
                seed=seed,
                known=known,
                **place,
                **report,
            )
        frames = video_to_frames(video)
        return io.NodeOutput(frames, **host.shown_clip(frames, info.fps))


def _noise_level():
    return inputs.knob("noise_level", -1, "-1 is the checkpoint's own.", advanced=True)


def _options(noise_level: int, tile: int, **widgets) -> SamplingOptions:
    return sampling_options(noise_level=chosen(noise_level, -1), tile=chosen(tile, 0), **widgets)


def _checked_info(model, positive: list, negative: list) -> CheckpointInfo:
    info = host.model_info(model, SSR_KINDS)
    for conditioning in (positive, negative):
        check_conditioning(conditioning, info)
    return info


def _check(model, positive, negative, seed, original=None, mask=None, **widgets) -> None:
    """Raise ValueError for what is wrong whatever the images are."""
    info = _checked_info(model, positive, negative)
    plan_sampling(info, 1, (info.scale, info.scale), _options(**widgets))
    if original is None and mask is None:
        return
    _require_both(original, mask)
    condition = known_pixels(positive) if len(positive) == 1 else None
    if condition is not None and condition.clip.shape[2] != len(original):
        raise ValueError(
            f"original must have the frames of the clip that positive says is given, {condition.clip.shape[2]}; got "
            f"{len(original)}. Give both Build Conditioning Mask nodes the same frames."
        )


def _require_both(original, mask) -> None:
    if original is None or mask is None:
        raise ValueError("original and mask go together; connect both or neither.")


def _given(positive: list, plan: SamplingPlan) -> Condition | None:
    """What BuildConditioningMask says is given, fitted to the result; None where the pictures are too small for it."""
    ((_, extra),) = positive
    if (given := extra.get(GIVEN)) is None:
        return None
    frames, height = extra["concat_latent_image"].shape[2:4]
    if frames != plan.frames:
        warn(
            f"positive says what is given of {frames} frames, and images has {plan.frames}: nothing of it is kept. "
            "Wire the clip that was sampled with it, or a prompt alone."
        )
        return None
    return given.at_full_size(plan.frames, (plan.height, plan.width), max(1, plan.height // height))


def _known(original, mask, plan: SamplingPlan) -> Condition:
    """The full-size original and its change mask, both checked against the plan's size."""
    _require_both(original, mask)
    known = frames_to_video(frames_of_images(original, "original"))
    if known.shape[2:] != plan.shape[2:]:
        raise ValueError(
            f"original must have the result's frames, height and width, {tuple(plan.shape[2:])}; got "
            f"{tuple(known.shape[2:])}."
        )
    return Condition(known, change_mask(mask, plan.shape[2:]))
