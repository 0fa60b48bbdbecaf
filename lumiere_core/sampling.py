"""One network, one clip: the denoisers that carry out a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .checkpoints.format import CheckpointInfo
from .conditioning.given import CONDITION_CHANNELS, Condition, condition_channels, hears_condition, join_condition
from .conditioning.low_res import LowRes, read_low_res
from .diffusion import (
    SAMPLERS,
    Callback,
    Denoiser,
    Frames,
    Share,
    SlabFusion,
    classifier_free_guidance,
    composite,
    denoiser,
    dynamic_threshold,
    finite_callback,
    frames_of,
    initial_noise,
    is_local_threshold,
    is_whole_run,
    keep_known,
    multidiffusion,
    noised_start,
    plan_slabs,
    read_augmentation_noise,
    read_initial_noise,
    read_sampler_noise,
    sampler_noise,
    sampling_sigmas,
    stream,
)
from .diffusion.samplers import report
from .diffusion.streaming import Asked, Slab
from .networks import STUNet
from .planning import SamplingPlan, plan_sampling, warn_of_untrained
from .runtime.memory import is_out_of_memory, network_bytes
from .runtime.notices import warn
from .runtime.out_of_memory import halve_on_out_of_memory

__all__ = [
    "SamplingPlan",
    "known_channels",
    "network_call",
    "plan_sampling",
    "run_on",
    "sample",
    "sample_base",
    "sample_frames",
    "super_resolve",
    "super_resolve_frames",
    "warn_of_untrained",
]

TEXT_ONLY = (
    "this network was not trained on conditions (it has 3 input channels): known pixels are kept, but the rest of the "
    "video is generated without regard to them."
)


SPARE = 1.5  # times the estimate of what an evaluation takes should be free; ComfyUI's own factor


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a plan is carried out.

    cond, uncond: the network's conditioning with and without the prompt; those named in `windowed` belong to pixels and
    are cropped to each window. start: the clip that `plan.denoise` keeps something of; None is mid-grey. known: pixels
    that come out as they are given. dtype: what the network computes in, for the message of a run that breaks. batch:
    windows evaluated at once; with `is_out_of_memory` it is halved where that takes more memory than there is.
    evaluated: called with (windows evaluated, plan.evaluations), from 0 on; to cancel, raise from it. callback: a
    sampler's, called once a step, and of a clip that is made front to back once a step for each stretch of it; those
    frames are the dict's "frames", (start, stop). share: of several processes that make this clip, all called alike,
    this one's; `evaluated` counts its own windows.
    """

    info: CheckpointInfo
    plan: SamplingPlan
    cond: Mapping[str, Any]
    uncond: Mapping[str, Any]
    seed: int
    start: torch.Tensor | None = None
    known: Condition | None = None
    windowed: Sequence[str] = ()
    dtype: torch.dtype = torch.float32
    batch: int = 1
    is_out_of_memory: Callable[[Exception], bool] | None = None
    evaluated: Callable[[int, int], None] | None = None
    callback: Callback | None = None
    share: Share | None = None

    @property
    def has_learned_variance(self) -> bool:
        """Only ddpm's steps know what to do with one."""
        return self.plan.sampler == "ddpm" and self.info.variance == "learned_range"

    @property
    def sigmas(self) -> torch.Tensor:
        plan = self.plan
        return sampling_sigmas(self.info.schedule, plan.scheduler, plan.steps, plan.denoise)

    def model(self, network: Callable[..., torch.Tensor]) -> Denoiser:
        """The network on a batch of windows."""
        network = network if self.has_learned_variance else _video_alone(network)
        model = denoiser(network, self.info.schedule, self.info.prediction)
        if self.is_out_of_memory is not None:
            model = halve_on_out_of_memory(model, self.is_out_of_memory)
        if self.evaluated is not None:
            model = _counted(model, self.plan.evaluations_of(self.share), self.evaluated)
        return model

    def guided(self, fused: Denoiser, pixels: Callable[[Any], Any], noise: Callable[[], torch.Tensor]):
        """What is done to fused predictions, of the frames that `pixels` takes out of what belongs to pixels.

        noise: the initial noise of these frames, made where it is needed.
        """
        belong = {
            id(each[name]): each[name] for each in (self.cond, self.uncond) for name in self.windowed if name in each
        }
        taken = {key: pixels(value) for key, value in belong.items()}  # once, of what both prompts share
        cond, uncond = (
            {name: taken.get(id(value), value) for name, value in conditioning.items()}
            for conditioning in (self.cond, self.uncond)
        )
        guided = classifier_free_guidance(fused, cond, uncond, self.plan.guidance, batched=self.share is not None)
        bounded = dynamic_threshold(guided, **self.info.thresholding) if self.info.thresholding else guided
        if self.known is None:
            return bounded
        clip, change_mask = map(pixels, self.known)
        return keep_known(bounded, clip, change_mask, noise())

    def noised(self, start: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noised_start(start, noise, sigma, is_whole_run(self.plan.steps, self.plan.denoise))


def sample(network: Callable[..., torch.Tensor], *run, **options) -> torch.Tensor:
    """Sample a clip: float32 (1, 3, T, H, W) in [-1, 1]; arguments as `sample_frames` takes them."""
    pieces = list(sample_frames(network, *run, **options))
    return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]


@torch.no_grad()
def sample_frames(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    cond: Mapping[str, Any],
    uncond: Mapping[str, Any],
    seed: int,
    **options,
) -> Iterator[torch.Tensor]:
    """Sample a clip and give its frames as they are finished: float32 (1, 3, t, H, W) in [-1, 1], in order.

    network: as `denoiser` wants it. options: see `Run`. A clip of several windows is made front to back, in memory that
    does not grow with its length (see `diffusion.streaming`), and is bit for bit what it would be as a whole. It comes
    as a whole where it closes a loop, where its thresholds look at all frames, or where processes share it.
    """
    run = Run(info=info, plan=plan, cond=cond, uncond=uncond, seed=seed, **options)
    if plan.denoise == 0:
        video = torch.zeros(plan.shape) if run.start is None else run.start
        yield _finished(video, run.known)
    elif comes_front_to_back(info, plan, run.share):
        yield from _sample_front_to_back(run.model(network), run)
    else:
        yield _finished(_sample_whole(run.model(network), run), run.known)


def comes_front_to_back(info: CheckpointInfo, plan: SamplingPlan, share: Share | None) -> bool:
    """Whether a clip is made a stretch after the other."""
    is_local = not info.thresholding or is_local_threshold(**info.thresholding)
    return share is None and is_local and len(plan_slabs(plan.windows, plan.frames)) > 1


def _sample_whole(model: Denoiser, run: Run) -> torch.Tensor:
    plan, seed, sigmas = run.plan, run.seed, run.sigmas
    shared = {"share": run.share, "channels": 6 if run.has_learned_variance else 3}
    fused = multidiffusion(model, plan.windows, plan.fuse, windowed=run.windowed, batch=run.batch, **shared)
    start = torch.zeros(1).expand(plan.shape) if run.start is None else run.start
    denoise = run.guided(
        fused, lambda pixels: frames_of(pixels, 0, plan.frames), lambda: initial_noise(plan.shape, seed)
    )
    return SAMPLERS[plan.sampler](
        denoise,
        run.noised(start, initial_noise(plan.shape, seed), sigmas[0]),  # nobody else holds it
        sigmas,
        finite_callback(run.callback, run.dtype),
        sampler_noise(plan.shape, seed),
    )


def _sample_front_to_back(model: Denoiser, run: Run) -> Iterator[torch.Tensor]:
    plan, sigmas = run.plan, run.sigmas
    noise = Frames(read_initial_noise(plan.shape, run.seed).read)
    slabs = plan_slabs(plan.windows, plan.frames, run.batch)
    fusions = [SlabFusion(model, plan.fuse, run.windowed, run.batch) for _ in range(plan.calls)]
    tell = finite_callback(run.callback, run.dtype)
    remembered = [noise, *{id(value): value for value in run.cond.values() if isinstance(value, Frames)}.values()]

    def begin(frames: int) -> torch.Tensor:
        first = noise.stop
        start = torch.zeros(1) if run.start is None else frames_of(run.start, first, first + frames)
        return run.noised(start, noise.between(first, first + frames), sigmas[0])

    def denoise(evaluation: int, slab: Slab, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        def pixels(value):
            return frames_of(value, slab.start, slab.stop)

        return run.guided(fusions[evaluation].of(slab), pixels, lambda: pixels(noise))(x, sigma)

    def told(slab: Slab, asked: Asked, x0: torch.Tensor) -> None:
        if asked.step is not None:
            tell({**report(asked.step, asked.x, asked.sigma, x0), "frames": (slab.start, slab.done)})

    noise_of_next = read_sampler_noise(plan.shape, run.seed, plan.draws)
    for slab, video in stream(SAMPLERS[plan.sampler], slabs, plan.calls, begin, sigmas, noise_of_next, denoise, told):
        known = run.known and Condition(*(frames_of(value, slab.start, slab.done) for value in run.known))
        for frames in remembered:
            frames.forget(slab.done)
        yield _finished(video, known)


def _finished(video: torch.Tensor, known: Condition | None) -> torch.Tensor:
    video = video.clamp(-1, 1)
    return video if known is None else composite(video, *known)


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


def super_resolve(*run, **options) -> torch.Tensor:
    """`super_resolve_frames`, joined: (1, 3, T, h * scale, w * scale) in [-1, 1]."""
    pieces = list(super_resolve_frames(*run, **options))
    return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]


def super_resolve_frames(
    network: Callable[..., torch.Tensor],
    info: CheckpointInfo,
    plan: SamplingPlan,
    low_res: LowRes,
    text: torch.Tensor,
    negative: torch.Tensor,
    seed: int,
    **options,
) -> Iterator[torch.Tensor]:
    """Sample the large clip of a small one, (1, 3, T, h, w) in [-1, 1], and give its frames as they are finished:
    (1, 3, t, h * scale, w * scale), in order.

    low_res: the small clip, or what reads the next so many frames of it. text, negative: (1, L, D) with and without the
    prompt, cut as in `sample_base`. options: see `Run`.
    """
    level = torch.tensor([plan.noise_level])
    noise = read_augmentation_noise(plan.shape, seed)
    read = read_low_res(low_res, noise.read, level, info.schedule, info.scale, info.align_corners)
    shared = {"low_res": Frames(read), "noise_level": level}
    cond, uncond = ({"text": each[:, : info.text_tokens], **shared} for each in (text, negative))
    return sample_frames(network, info, plan, cond, uncond, seed, windowed=["low_res"], **options)


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
