"""One network, one clip: a plan that is checked before anything is computed, and the denoisers that carry it out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .checkpoint import CheckpointInfo
from .diffusion import (
    SAMPLERS,
    SPACINGS,
    WEIGHTS,
    Window,
    classifier_free_guidance,
    denoiser,
    dynamic_threshold,
    finite_callback,
    initial_noise,
    multidiffusion,
    noised_start,
    plan_windows,
    sampler_noise,
    sampling_sigmas,
)
from .networks import STUNet


@dataclass(frozen=True)
class SamplingPlan:
    """How a clip of (frames, height, width) will be sampled; made, and checked, by `plan_sampling`."""

    frames: int
    height: int
    width: int
    steps: int
    guidance: float
    sampler: str
    scheduler: str
    window: int
    overlap: int
    fuse: str

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return 1, 3, self.frames, self.height, self.width

    @property
    def windows(self) -> list[Window]:
        return plan_windows(self.frames, self.window, self.overlap)


def plan_sampling(
    info: CheckpointInfo,
    frames: int,
    size: tuple[int, int],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    scheduler: str | None = None,
    window: int | None = None,
    overlap: int | None = None,
    fuse: str = "flat",
) -> SamplingPlan:
    """Fill in the checkpoint's defaults where nothing is given; raise ValueError for what cannot be.

    size: (height, width) of what the network makes. window, overlap: in frames; a network that names no window works
    on clips of the length it was trained on, and a longer clip is made of those (MultiDiffusion).
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 pixel in height and width; got {size[0]} x {size[1]}.")
    steps, guidance, sampler, scheduler = (
        default if given is None else given
        for given, default in (
            (steps, info.steps),
            (guidance, info.guidance),
            (sampler, info.sampler),
            (scheduler, info.scheduler),
        )
    )
    if not 1 <= steps <= info.schedule.timesteps:
        raise ValueError(f"steps must be 1 to {info.schedule.timesteps}, the schedule's timesteps; got {steps}.")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, 1 for none; got {guidance}.")
    for name, value, known in (
        ("sampler", sampler, SAMPLERS),
        ("scheduler", scheduler, SPACINGS),
        ("fuse", fuse, WEIGHTS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
    window = (info.window or info.frames) if window is None else window
    overlap = _default_overlap(info, window) if overlap is None else overlap
    plan_windows(1, window, overlap)  # raises where the two do not fit; absurdly many frames are not to be planned yet
    return SamplingPlan(frames, *size, steps, guidance, sampler, scheduler, window, overlap, fuse)


def sample(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    cond: Mapping[str, Any],
    uncond: Mapping[str, Any],
    seed: int,
    *,
    windowed: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Sample a clip from noise: float32 (1, 3, T, H, W) in [-1, 1].

    network: as `denoiser` wants it. cond, uncond: its conditioning with and without the prompt; those named in
    `windowed` belong to pixels and are cropped to each window. dtype: what the network computes in, for the message
    of a run that breaks. progress: called with (steps done, steps), from (0, steps) on.
    """
    model = denoiser(network, info.schedule, info.prediction)
    fused = multidiffusion(model, plan.windows, plan.fuse, windowed=windowed)
    guided = classifier_free_guidance(fused, cond, uncond, plan.guidance)
    bounded = dynamic_threshold(guided, **info.thresholding) if info.thresholding else guided

    sigmas = sampling_sigmas(info.schedule, plan.scheduler, plan.steps)
    noise = initial_noise(plan.shape, seed)
    start = noised_start(torch.zeros_like(noise), noise, sigmas[0], from_pure_noise=True)
    report = progress or (lambda done, steps: None)
    report(0, plan.steps)
    callback = finite_callback(lambda step: report(step["i"] + 1, plan.steps), dtype)
    video = SAMPLERS[plan.sampler](bounded, start, sigmas, callback, sampler_noise(plan.shape, seed))
    return video.clamp(-1, 1)


def placed(stunet: STUNet, device: torch.device, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """The network as `denoiser` calls it: the clip stays in RAM as float32, what is evaluated goes to the network.

    low_res: the SSR's conditioning, (B, 3, T, H, W), joined to x by channels. A learned variance (output channels from
    3 on, DeepFloyd IF) is dropped.
    """

    def network(x, timestep, text, low_res=None, noise_level=None):
        if low_res is not None:
            x = torch.cat([x, low_res], dim=1)  # (B, 6, T, H, W)
        output = stunet(x.to(device, dtype), timestep.to(device), text, noise_level)
        return output[:, :3].to("cpu", torch.float32)

    return network


def _default_overlap(info: CheckpointInfo, window: int) -> int:
    overlap = window // 4 if info.overlap is None else info.overlap
    return max(min(overlap, window - 1), 0)
