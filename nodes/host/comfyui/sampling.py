"""How clips are sampled inside ComfyUI: the base through core's guider, the SSR over the placed network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.context_windows as context_windows
import comfy.model_management as management
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch

from ....lumiere_core.diffusion import (
    SAMPLERS,
    composite,
    finite_callback,
    initial_noise,
    is_whole_run,
    sampler_noise,
    sampling_sigmas,
    window_weights,
)
from ....lumiere_core.runtime.memory import network_bytes, require_frames_memory
from ....lumiere_core.runtime.notices import warn
from ....lumiere_core.sampling import SPARE, SamplingPlan, run_on
from .preview import Previews

CLIP_COPIES = 3  # start, noise and result: what a run cannot do without in main memory
# Patches that act inside core's samplers, and so not where the bare network runs.
SAMPLER_PATCHES = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_calc_cond_batch_function",
    "model_function_wrapper",
    "denoise_mask_function",
    "context_handler",
)


class Progress:
    """A node's bar, its preview, and the place where a cancelled run ends."""

    def __init__(self, total: int, fps: float):
        self.bar = comfy.utils.ProgressBar(total)
        self.previews = Previews(fps)

    def evaluated(self, done: int, total: int) -> None:
        management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)

    def step(self, step: dict) -> None:
        """A sampler callback: show the clip as it would look if sampling ended here."""
        if preview := self.previews.of(step["denoised"]):
            self.bar.update_absolute(self.bar.current, preview=preview)


@contextmanager
def progress(title: str, plan: SamplingPlan, fps: float) -> Iterator[dict]:
    """The running node's bar; core titles it itself."""
    shown = Progress(plan.evaluations, fps)
    yield {"evaluated": shown.evaluated, "callback": shown.step}


def sample_video(
    model, plan: SamplingPlan, positive, negative, seed: int, start: torch.Tensor | None, mask, keep_known: bool
) -> torch.Tensor:
    """A clip (1, 3, T, H, W) through core's guider, so that everything patched onto the MODEL counts."""
    require_frames_memory("A clip", *plan.shape[2:], copies=CLIP_COPIES)
    start = torch.zeros(plan.shape) if start is None else start
    mask = mask if keep_known else None
    total = plan.steps * len(plan.windows)
    shown = Progress(total, model.model.info.fps)
    guider = comfy.samplers.CFGGuider(_windowed(model, plan, shown))
    guider.set_conds(positive, negative)
    guider.set_cfg(plan.guidance)

    def callback(index, x0, x, steps):
        shown.step({"denoised": x0})
        shown.evaluated((index + 1) * len(plan.windows), total)

    sampler = _Sampler(_core_sampler(plan, seed, _compute_dtype(model)), is_whole_run(plan.steps, plan.denoise))
    noise = initial_noise(plan.shape, seed)
    video = guider.sample(noise, start, sampler, _sigmas(model, plan), denoise_mask=mask, callback=callback, seed=seed)
    video = video.to("cpu", torch.float32).clamp(-1, 1)
    if mask is None:
        return video
    return composite(video, start, comfy.sampler_helpers.prepare_mask(mask, plan.shape, "cpu"))


@contextmanager
def placed(model, plan: SamplingPlan, node: str) -> Iterator[dict]:
    """The network on its device with its weight patches applied, for as long as the context lasts."""
    require_frames_memory("A clip", *plan.shape[2:], copies=CLIP_COPIES)
    _warn_of_sampler_patches(model)
    device, dtype = model.load_device, _compute_dtype(model)
    network = model.model.diffusion_model
    needed = SPARE * network_bytes(network.config, *plan.window_size, dtype)
    with management.cuda_device_context(device):
        management.load_models_gpu([model], memory_required=needed)
        model.pre_run()
        try:  # the network is a patched one from here on
            yield run_on(network, plan, device, dtype, model.get_free_memory(device), management.is_oom)
        finally:
            model.cleanup()


def _compute_dtype(model) -> torch.dtype:
    """What the network will compute in, a patch of it (ModelComputeDtype) included."""
    return model.get_model_object("manual_cast_dtype") or model.model_dtype()


def _sigmas(model, plan: SamplingPlan) -> torch.Tensor:
    """Core's, so that a patched noise schedule counts; of a spacing that core lacks, the checkpoint's own."""
    if plan.scheduler not in comfy.samplers.SCHEDULER_NAMES and plan.denoise > 0:
        return sampling_sigmas(model.model.info.schedule, plan.scheduler, plan.steps, plan.denoise).to(
            model.load_device
        )
    return comfy.samplers.KSampler(
        model,
        steps=plan.steps,
        device=model.load_device,
        sampler=plan.sampler,
        scheduler=plan.scheduler,
        denoise=plan.denoise,
        model_options=model.model_options,
    ).sigmas


class _Sampler(comfy.samplers.KSAMPLER):
    """Core's sampler object; a whole run starts from pure noise even if its spacing begins below the last timestep."""

    def __init__(self, function, whole: bool):
        super().__init__(function)
        self.whole = whole

    def max_denoise(self, model_wrap, sigmas) -> bool:
        return self.whole


def _core_sampler(plan: SamplingPlan, seed: int, dtype: torch.dtype):
    """One of our samplers with k-diffusion's signature, as core calls it."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def denoise(x, sigma):
            return model(x, sigma.expand(x.shape[0]), **(extra_args or {}))

        report = finite_callback(callback, dtype)
        return SAMPLERS[plan.sampler](denoise, x, sigmas, report, sampler_noise(plan.shape, seed))

    return sample


class _Windows(context_windows.IndexListContextHandler):
    def should_use_context(self, *_) -> bool:
        """Always: core would leave out a clip of one window, which a closed loop covers with two."""
        return True


def _windowed(model, plan: SamplingPlan, shown: Progress):
    """The MODEL with our windows in core's context handler, where the clip is longer than one; a clone, or as it is.

    A handler that the user put there stays.
    """
    windows = plan.windows
    if len(windows) == 1 or "context_handler" in model.model_options:
        return model
    indices = [[frame % plan.frames for frame in range(*window.frames)] for window in windows]
    handler = _Windows(
        context_schedule=context_windows.ContextSchedule("lumiere", lambda frames, handler, options: indices),
        fuse_method=context_windows.ContextFuseMethod(
            plan.fuse, lambda length, **_: window_weights((length, 1, 1), plan.fuse).flatten().tolist()
        ),
        context_length=min(plan.window, plan.frames),
        context_overlap=plan.overlap,
        closed_loop=plan.loop,
        dim=2,
        causal_window_fix=False,
    )
    total = plan.steps * len(windows)
    comfy.patcher_extension.add_callback(
        context_windows.IndexListCallbacks.COMBINE_CONTEXT_WINDOW_RESULTS,
        lambda *_: shown.evaluated(min(shown.bar.current + 1, total), total),
        handler.callbacks,
    )
    windowed = model.clone()
    windowed.model_options["context_handler"] = handler
    context_windows.create_prepare_sampling_wrapper(windowed)
    return windowed


def _warn_of_sampler_patches(model) -> None:
    options = model.model_options
    found = [name for name in SAMPLER_PATCHES if options.get(name)]
    thresholds = 1 if model.model.info.thresholding else 0
    if len(options.get("sampler_post_cfg_function", ())) > thresholds:
        found.append("sampler_post_cfg_function")
    found += [name for name in ("patches", "patches_replace") if options.get("transformer_options", {}).get(name)]
    found += [f"wrapper {kind}" for kind, keyed in model.wrappers.items() if any(keyed.values())]
    found += sorted({"model_sampling", "latent_format"} & model.object_patches.keys())
    found += ["MultiGPU CFG Split"] if model.get_additional_models_with_key("multigpu") else []
    if found:
        warn(
            f"patches that act inside core's samplers have no effect here: {', '.join(found)}. Use SSR Conditioning "
            "with KSampler to have them."
        )
