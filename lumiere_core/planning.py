"""How one network will sample one clip: a plan, checked before anything is computed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from .checkpoints.format import CheckpointInfo
from .diffusion import (
    KNOBS,
    STOCHASTIC,
    UNSAID,
    SamplingOptions,
    Share,
    Window,
    least_denoise,
    plan_boxes,
    plan_windows,
)
from .runtime.notices import warn

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
    def calls(self) -> int:
        """How many x0 of the clip the sampler asks for."""
        return 2 * self.steps - 1 if self.sampler == "heun" else self.steps

    @property
    def draws(self) -> int:
        """How often the sampler asks for noise: at each step but the last."""
        return self.steps - 1 if self.sampler in STOCHASTIC else 0

    @property
    def evaluations(self) -> int:
        """How many windows the network will see in all: steps, with and without the prompt, times windows."""
        return self.evaluations_of(None)

    def evaluations_of(self, share: Share | None) -> int:
        """How many of them one of several processes evaluates."""
        pieces = (1 if self.guidance == 1 else 2) * len(self.windows)
        return self.calls * (pieces if share is None else len(share.part(pieces)))


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


def _default_overlap(info: CheckpointInfo, window: int) -> int:
    overlap = window // 4 if info.sampling.overlap is None else info.sampling.overlap
    return max(min(overlap, window - 1), 0)
