"""One network, one clip: a plan that is checked before anything is computed, and the denoisers that carry it out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .checkpoints.format import CheckpointInfo
from .conditioning.given import CONDITION_CHANNELS, Condition, condition_channels, hears_condition, join_condition
from .conditioning.low_res import condition_in_place
from .diffusion import (
    KNOBS,
    SAMPLERS,
    UNSAID,
    Callback,
    Denoiser,
    SamplingOptions,
    Share,
    Window,
    augmentation_noise,
    classifier_free_guidance,
    composite,
    denoiser,
    dynamic_threshold,
    finite_callback,
    initial_noise,
    is_whole_run,
    keep_known,
    least_denoise,
    multidiffusion,
    noised_start,
    plan_boxes,
    plan_windows,
    sampler_noise,
    sampling_sigmas,
)
from .networks import STUNet
from .runtime.memory import is_out_of_memory, network_bytes
from .runtime.notices import warn
from .runtime.out_of_memory import halve_on_out_of_memory

TEXT_ONLY = (
    "this network was not trained on conditions (it has 3 input channels): known pixels are kept, but the rest of the "
    "video is generated without regard to them."
)


SPARE = 1.5  # times the estimate of what an evaluation takes should be free; ComfyUI's own factor
# What no checkpoint need say.
PLAINEST = {"fuse": "flat", "loop": False, "noise_level": 0, "tile_overlap": 0}


@dataclass(frozen=True, kw_only=True)
class SamplingPlan(SamplingOptions):
    """How a clip of (frames, height, width) will be sampled, with no option left open but those that mean "none"; made,
    and checked, by `plan_sampling`.

    denoise: 1 is from pure noise, less keeps of a start (SDEdit).
    """

    frames: int
    height: int
    width: int
    denoise: float

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return 1, 3, self.frames, self.height, self.width

    @property
    def windows(self) -> list[Window]:
        if self.tile is None:
            return plan_windows(self.frames, self.window, self.overlap, self.loop)
        return plan_boxes(
            (self.frames, self.height, self.width),
            (self.window, self.tile, self.tile),
            (self.overlap, self.tile_overlap, self.tile_overlap),
            self.loop,
        )

    @property
    def window_size(self) -> tuple[int, int, int]:
        """(T, H, W) of what the network sees at once."""
        tile = self.tile or max(self.height, self.width)
        return min(self.window, self.frames), min(tile, self.height), min(tile, self.width)

    @property
    def evaluations(self) -> int:
        """How many windows the network will see in all: steps, with and without the prompt, times windows."""
        return self.evaluations_of(None)

    def evaluations_of(self, share: Share | None) -> int:
        """How many of them one of several processes evaluates."""
        calls = 2 * self.steps - 1 if self.sampler == "heun" else self.steps
        pieces = (1 if self.guidance == 1 else 2) * len(self.windows)
        return calls * (pieces if share is None else len(share.part(pieces)))


def plan_sampling(
    info: CheckpointInfo,
    frames: int,
    size: tuple[int, int],
    options: SamplingOptions = UNSAID,
    denoise: float = 1.0,
) -> SamplingPlan:
    """Fill in the checkpoint's defaults where nothing is said; raise ValueError for what cannot be.

    size: (height, width) of what the network makes. A network that names no window works on clips of the length it was
    trained on, and a longer clip is made of those (MultiDiffusion).
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 pixel in height and width; got {size[0]} x {size[1]}.")
    if not 0 <= denoise <= 1:
        raise ValueError(f"denoise must be 0, all of the given clip, to 1, nothing of it; got {denoise}.")
    defaults = info.sampling.over(SamplingOptions(window=info.frames, **PLAINEST))
    resolved = options.over(defaults)
    if options.overlap is None:
        resolved = dataclasses.replace(resolved, overlap=_default_overlap(info, resolved.window))
    _check_options(resolved, info)
    if 0 < denoise < least_denoise(resolved.steps):
        raise ValueError(
            f"denoise must be 0, all of the given clip, or at least {least_denoise(resolved.steps):g} with "
            f"{resolved.steps} steps; got {denoise}."
        )
    return SamplingPlan(**dataclasses.asdict(resolved), frames=frames, height=size[0], width=size[1], denoise=denoise)


def _check_options(options: SamplingOptions, info: CheckpointInfo) -> None:
    timesteps = info.schedule.timesteps
    if not 1 <= options.steps <= timesteps:
        raise ValueError(f"steps must be 1 to {timesteps}, the schedule's timesteps; got {options.steps}.")
    if not math.isfinite(options.guidance):
        raise ValueError(f"guidance must be a finite number, 1 for none; got {options.guidance}.")
    for name, knob in KNOBS.items():
        value = getattr(options, name)
        if knob.choices and value not in knob.choices:
            raise ValueError(f"{name} must be one of {', '.join(knob.choices)}; got {value!r}.")
    if not 0 <= options.noise_level < timesteps:
        raise ValueError(f"noise_level must be 0 to {timesteps - 1}, a timestep; got {options.noise_level}.")
    # These raise where the two do not fit; absurdly many frames are not to be planned yet.
    plan_windows(1, options.window, options.overlap)
    if options.tile is not None:
        plan_boxes((1, 1, 1), (1, options.tile, options.tile), (0, options.tile_overlap, options.tile_overlap))


def warn_of_untrained(info: CheckpointInfo, seen: tuple[int, int, int]) -> None:
    """Warn where a network was trained on other clips than what it is to see at once, (T, H, W)."""
    (frames, *size), problems = seen, []
    least, most = info.trained_frames or (frames, frames)
    if not least <= frames <= most:
        problems.append(f"{frames} frames at once, and was trained on {_span(least, most)}")
    least, most = info.trained_sides or (min(size), max(size))
    if min(size) < least or max(size) > most:
        problems.append(f"frames of {size[1]} x {size[0]} pixels, and was trained on sides of {_span(least, most)}")
    if problems:
        warn(f"the network sees {'; '.join(problems)}: expect faults, or choose what it knows.")


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


@torch.no_grad()
def sample(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    cond: Mapping[str, Any],
    uncond: Mapping[str, Any],
    seed: int,
    *,
    start: torch.Tensor | None = None,
    known: Condition | None = None,
    windowed: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
    is_out_of_memory: Callable[[Exception], bool] | None = None,
    evaluated: Callable[[int, int], None] | None = None,
    callback: Callback | None = None,
    share: Share | None = None,
) -> torch.Tensor:
    """Sample a clip: float32 (1, 3, T, H, W) in [-1, 1].

    network: as `denoiser` wants it. cond, uncond: its conditioning with and without the prompt; those named in
    `windowed` belong to pixels and are cropped to each window. start: the clip that `plan.denoise` keeps something of;
    None is mid-grey. known: pixels that come out as they are given. dtype: what the network computes in, for the
    message of a run that breaks. batch: windows evaluated at once; with `is_out_of_memory` it is halved where that
    takes more memory than there is. evaluated: called with (windows evaluated, plan.evaluations), from 0 on; to
    cancel, raise from it. callback: a sampler's, called once a step. share: of several processes that make this clip,
    all called alike, this one's; `evaluated` counts its own windows.
    """
    start = torch.zeros(1).expand(plan.shape) if start is None else start
    sampled = start
    if plan.denoise > 0:
        learned = plan.sampler == "ddpm" and info.variance == "learned_range"
        network = network if learned else _video_alone(network)
        model = denoiser(network, info.schedule, info.prediction)
        if is_out_of_memory is not None:
            model = halve_on_out_of_memory(model, is_out_of_memory)
        if evaluated is not None:
            model = _counted(model, plan.evaluations_of(share), evaluated)
        shared = {"share": share, "channels": 6 if learned else 3}
        fused = multidiffusion(model, plan.windows, plan.fuse, windowed=windowed, batch=batch, **shared)
        guided = classifier_free_guidance(fused, cond, uncond, plan.guidance, batched=share is not None)
        bounded = dynamic_threshold(guided, **info.thresholding) if info.thresholding else guided
        held = bounded if known is None else keep_known(bounded, *known, initial_noise(plan.shape, seed))

        sigmas = sampling_sigmas(info.schedule, plan.scheduler, plan.steps, plan.denoise)
        report = finite_callback(callback, dtype)
        sampled = SAMPLERS[plan.sampler](
            held,
            _noisy(start, plan, seed, sigmas[0]),  # nobody else holds it
            sigmas,
            report,
            sampler_noise(plan.shape, seed),
        )
    sampled = sampled.clamp(-1, 1)
    return sampled if known is None else composite(sampled, *known)


def _noisy(start: torch.Tensor, plan: SamplingPlan, seed: int, sigma: torch.Tensor) -> torch.Tensor:
    return noised_start(start, initial_noise(plan.shape, seed), sigma, is_whole_run(plan.steps, plan.denoise))


def sample_base(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    text: torch.Tensor,
    negative: torch.Tensor,
    seed: int,
    *,
    condition: Condition | None = None,
    negative_condition: Condition | None = None,
    **options,
) -> torch.Tensor:
    """Sample a base network's clip, (1, 3, T, H, W) in [-1, 1].

    text, negative: (1, L, D) with and without the prompt, cut to the tokens that the network hears; each comes with
    what is known of the clip, or None.
    options: of `sample`; `known` is what holds the known pixels to what they are.
    """
    cond = {"text": text[:, : info.text_tokens], **known_channels(info, plan.shape, condition)}
    uncond = {"text": negative[:, : info.text_tokens], **known_channels(info, plan.shape, negative_condition)}
    windowed = [name for name in cond if name != "text"]
    return sample(network, info, plan, cond, uncond, seed, windowed=windowed, **options)


def known_channels(
    info: CheckpointInfo, shape: tuple[int, ...], condition: Condition | None
) -> dict[str, torch.Tensor]:
    """The conditioning "condition" of a conditional network, zeros where nothing is known; none for another network.

    Raises ValueError where the condition is of another size than the clip, shape (1, 3, T, H, W).
    """
    if condition is not None and condition.clip.shape[2:] != shape[2:]:
        raise ValueError(
            f"the conditioning's known pixels are of a clip of (frames, height, width) "
            f"{tuple(condition.clip.shape[2:])}; the sampler's is {tuple(shape[2:])}. Wire Build Conditioning Mask's "
            "latent into the sampler, or give both the same frames, width and height."
        )
    if not hears_condition(info.config["in_channels"]):
        if condition is not None:
            warn(TEXT_ONLY)
        return {}
    if condition is None:
        return {"condition": torch.zeros(1, CONDITION_CHANNELS, *shape[2:])}
    return {"condition": condition_channels(*condition)}


def super_resolve(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    low_res: torch.Tensor,
    text: torch.Tensor,
    negative: torch.Tensor,
    seed: int,
    **options,
) -> torch.Tensor:
    """Sample the large clip of a small one: (1, 3, T, h, w) in [-1, 1] -> (1, 3, T, h * scale, w * scale).

    text, negative: (1, L, D) with and without the prompt, cut as in `sample_base`. options: of `sample`.
    """
    level = torch.tensor([plan.noise_level])
    noise = augmentation_noise(plan.shape, seed)
    large = condition_in_place(low_res, noise, level, info.schedule, info.scale, info.align_corners)
    shared = {"low_res": large, "noise_level": level}
    cond, uncond = ({"text": each[:, : info.text_tokens], **shared} for each in (text, negative))
    return sample(network, info, plan, cond, uncond, seed, windowed=["low_res"], **options)


def run_on(
    network: STUNet,
    plan: SamplingPlan,
    device: torch.device,
    dtype: torch.dtype,
    free: int | None,
    is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
) -> dict[str, Any]:
    """The keywords of `sample` that say how a network runs on the device where it lies.

    free: bytes that are left there, None where nobody knows. An accelerator takes as many windows at once as should
    fit, and fewer where they do not; a CPU gains nothing from it.
    """
    needed = SPARE * network_bytes(network.config, *plan.window_size, dtype)
    fit = 1 if device.type == "cpu" or free is None else int(free // needed)
    return {
        "network": network_call(network, device, dtype),
        "dtype": dtype,
        "batch": max(1, min(fit, len(plan.windows))),
        "is_out_of_memory": is_out_of_memory,
    }


def network_call(stunet: STUNet, device: torch.device, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """The network as `denoiser` calls it: the clip stays in RAM as float32, what is evaluated goes to the network.

    Joined to x by channels: low_res, the SSR's conditioning, (B, 3, T, H, W), or condition, C and M of a conditional
    base, (B, 4, T, H, W); without one that knows nothing. A learned variance (DeepFloyd IF) is output channels 3 to 5.
    """
    conditional = hears_condition(stunet.config.in_channels)

    def network(x, timestep, text, condition=None, low_res=None, noise_level=None):
        if low_res is not None:
            x = torch.cat([x, low_res], dim=1)  # (B, 6, T, H, W)
        elif conditional:
            x = join_condition(x, condition)
        noise_level = None if noise_level is None else noise_level.to(device)
        output = stunet(x.to(device, dtype), timestep.to(device), text.to(device), noise_level=noise_level)
        return output.to("cpu", torch.float32)

    return network


def _video_alone(network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Without a learned variance, of which only ddpm's steps know what to do."""
    return lambda *inputs, **conditioning: network(*inputs, **conditioning)[:, :3]


def _counted(denoise: Denoiser, total: int, evaluated: Callable[[int, int], None]) -> Denoiser:
    """Count the windows that pass through: `evaluated(done, total)`, from 0 on."""
    done = 0
    evaluated(done, total)

    def counted(x, sigma, **conditioning):
        nonlocal done
        x0 = denoise(x, sigma, **conditioning)
        done += x.shape[0]
        evaluated(done, total)
        return x0

    return counted


def _default_overlap(info: CheckpointInfo, window: int) -> int:
    overlap = window // 4 if info.sampling.overlap is None else info.sampling.overlap
    return max(min(overlap, window - 1), 0)
