"""Which noise levels a sampler visits, in the arithmetic of ComfyUI, so that every host takes the same steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from .schedule import NoiseSchedule

MOST_SIGMAS = 100_000  # of which a run takes the last ones


def least_denoise(steps: int) -> float:
    """Of how little a run of so many steps can still be a part."""
    return steps / MOST_SIGMAS


def sampling_sigmas(schedule: NoiseSchedule, spacing: str, steps: int, denoise: float = 1.0) -> Tensor:
    """The sigmas of a run, float32 (steps + 1,) on the CPU, descending and ending in 0.

    spacing: normal, simple, sgm_uniform, karras, leading or kl_optimal.
    steps: number of sampler steps, at least 1.
    denoise: up to 1; below 1 the run starts part of the way, keeping the last `steps` of int(steps / denoise) steps
        (SDEdit's strength, as KSampler counts it). At least `least_denoise(steps)`.

    "normal" on a schedule whose smallest sigma is within 1e-5 of zero ends on that sigma itself, as in core.
    Raises ValueError for an unknown spacing, steps below 1, or denoise out of range.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"sampling_sigmas: spacing must be one of {', '.join(SPACINGS)}; got {spacing!r}.")
    if steps < 1:
        raise ValueError(f"sampling_sigmas: steps must be at least 1; got {steps}.")
    if not least_denoise(steps) <= denoise <= 1:
        raise ValueError(
            f"sampling_sigmas: denoise must be {least_denoise(steps):g} to 1 with {steps} steps; got {denoise}."
        )
    return SPACINGS[spacing](schedule, _whole_steps(steps, denoise))[-(steps + 1) :]


def is_whole_run(steps: int, denoise: float) -> bool:
    """Whether a run of so many steps begins where its spacing does: from pure noise."""
    return _whole_steps(steps, denoise) == steps


def _whole_steps(steps: int, denoise: float) -> int:
    """Of the run of which the last `steps` are taken."""
    return steps if denoise > 0.9999 else int(steps / denoise)


def _normal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced timesteps from the last to the first, both visited."""
    if schedule.sigmas[0] <= 1e-5:  # already clean: that sigma takes the place of the final zero
        return schedule.timestep_to_sigma(torch.linspace(schedule.timesteps - 1, 0, steps + 1))
    return _append_zero(schedule.timestep_to_sigma(torch.linspace(schedule.timesteps - 1, 0, steps)))


def _sgm_uniform(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced timesteps, the first timestep left out."""
    return _append_zero(schedule.timestep_to_sigma(torch.linspace(schedule.timesteps - 1, 0, steps + 1)[:-1]))


def _simple(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Every (timesteps / steps)-th entry of the table, counted from the noisy end."""
    stride = schedule.timesteps / steps
    indices = [-(1 + int(i * stride)) for i in range(steps)]
    return _append_zero(schedule.sigmas[indices])


def _leading(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Every (timesteps // steps)-th timestep from 0 on, as diffusers' "leading" and DeepFloyd IF have them."""
    stride = schedule.timesteps // steps or schedule.timesteps / steps  # more steps than timesteps repeat some
    return _append_zero(schedule.sigmas[[int(i * stride) for i in range(steps - 1, -1, -1)]])


def _karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> Tensor:
    """Evenly spaced in sigma^(1 / rho) between the largest and the smallest sigma (Karras et al. 2022, eq. 5)."""
    largest, smallest = (float(schedule.sigmas[i]) ** (1 / rho) for i in (-1, 0))
    return _append_zero((largest + torch.linspace(0, 1, steps) * (smallest - largest)) ** rho)


def _append_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _kl_optimal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced in arctan(sigma) (Sabour et al. 2024, "Align your steps", sec. 3.2), as ComfyUI has it.

    Half of the steps lie below sigma 1, whatever the schedule's shift: where details are drawn.
    """
    first, last = schedule.sigmas[[-1, 0]].arctan()
    steps_left = torch.arange(steps) / max(steps - 1, 1)
    return _append_zero((steps_left * last + (1 - steps_left) * first).tan())


SPACINGS: dict[str, Callable[[NoiseSchedule, int], Tensor]] = {
    "normal": _normal,
    "simple": _simple,
    "sgm_uniform": _sgm_uniform,
    "karras": _karras,
    "leading": _leading,
    "kl_optimal": _kl_optimal,
}
