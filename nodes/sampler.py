"""The base network's sampler: text, and optionally a video to start from, to a clip."""

from __future__ import annotations

import torch

from ..lumiere_core.diffusion.options import LONGEST_CLIP
from ..lumiere_core.runtime.notices import warn
from ..lumiere_core.sampling import plan_sampling, warn_of_untrained
from ..lumiere_core.video.tensors import video_to_frames
from . import host, inputs
from .checks import check_conditioning, sampling_options, video_of_latent
from .host import io
from .loaders import BASE_KINDS
from .running import running

NAME = "STUNet Sampler"


class STUNetSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereSTUNetSampler",
            display_name="STUNet Sampler (Lumiere)",
            category=f"{inputs.CATEGORY}/sampling",
            description="Makes all frames of a clip at once with a space-time U-Net. Whatever is patched onto the "
            "model (LoRA, guidance, thresholding) counts, as in core's KSampler. Wire the fps output to CreateVideo.",
            search_aliases=["lumiere", "ksampler", "text to video", "video sampler", "generate video"],
            inputs=[
                io.Model.Input("model", tooltip="A STUNet from LoadSTUNet, patched or not."),
                inputs.positive(),
                inputs.negative(),
                *inputs.sampling(steps=25, cfg=3.0),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="With a latent connected: how much of it is made anew (SDEdit). 1 keeps nothing of it, "
                    "lower values keep its layout and motion.",
                ),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=LONGEST_CLIP,
                    tooltip="Number of frames; any number works. 0 is the latent's, or what the checkpoint was trained "
                    "on; the node says where it was trained on other lengths or shapes.",
                ),
                inputs.side("width", "Width in pixels. 0 is the latent's, or what the checkpoint was trained on."),
                inputs.side("height", "Height in pixels. 0 is the latent's, or what the checkpoint was trained on."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="A clip to start from (FramesToLatent). Its noise mask, if any, says what may change.",
                ),
                io.Boolean.Input(
                    "keep_known",
                    default=True,
                    advanced=True,
                    tooltip="Pixels outside the latent's noise mask come out exactly as they went in. Off, the mask is "
                    "ignored.",
                ),
                *inputs.windows("the network"),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames, in order."),
                io.Latent.Output(display_name="latent", tooltip="The same clip in -1..1, for core's samplers."),
                io.Float.Output(display_name="fps", tooltip="Frames per second that the network was trained at."),
            ],
        )

    @classmethod
    @running(NAME)
    def execute(
        cls, model, positive, negative, seed, steps, cfg, sampler, scheduler, denoise, frames, width, height,
        keep_known, window, overlap, fuse, loop, latent=None,
    ) -> io.NodeOutput:  # fmt: skip
        info = host.model_info(model, BASE_KINDS)
        for conditioning in (positive, negative):
            check_conditioning(conditioning, info)
        start = None if latent is None else video_of_latent(latent)
        if start is None and denoise < 1:
            warn(f"denoise is {denoise:g} and no latent is connected: the clip starts from mid-grey. Set denoise to 1.")
        plan = plan_sampling(
            info,
            *_size(info, start, frames, width, height),
            sampling_options(
                cfg, window, overlap, steps=steps, sampler=sampler, scheduler=scheduler, fuse=fuse, loop=loop
            ),
            denoise,
        )
        warn_of_untrained(info, plan.window_size)
        mask = None if latent is None else latent.get("noise_mask")
        video = host.sample_video(model, plan, positive, negative, seed, start, mask, keep_known)
        frames = video_to_frames(video)
        return io.NodeOutput(frames, {"samples": video}, info.fps, **host.shown_clip(frames, info.fps))


def _size(info, start: torch.Tensor | None, frames: int, width: int, height: int) -> tuple[int, tuple[int, int]]:
    """The clip's frames and (height, width): the latent's, else the widgets', else the checkpoint's."""
    if start is None:
        return frames or info.frames, (height or info.size, width or info.size)
    own = dict(zip(("frames", "height", "width"), start.shape[2:], strict=True))
    for name, widget in (("frames", frames), ("height", height), ("width", width)):
        if widget not in (0, own[name]):
            raise ValueError(
                f"{name} is {widget}, but the connected latent has {own[name]}. Set {name} to 0 or {own[name]}, or "
                "disconnect the latent."
            )
    return own["frames"], (own["height"], own["width"])
