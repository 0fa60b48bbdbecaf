"""Noise schedules: how much noise each training timestep carries."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..runtime.records import Choice, Range, Record


def _squaredcos_betas(timesteps: int) -> np.ndarray:
    """Cosine schedule of Nichol & Dhariwal (2021), eq. 17, each beta capped at 0.999."""
    t = np.arange(timesteps + 1, dtype=np.float64) / timesteps
    alpha_bar = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def _linear_betas(timesteps: int) -> np.ndarray:
    """Linear schedule of DDPM, Ho et al. (2020)."""
    return np.linspace(1e-4, 0.02, timesteps)


def _scaled_linear_betas(timesteps: int) -> np.ndarray:
    """Linear in sqrt(beta), as latent diffusion uses it (Rombach et al., 2022)."""
    return np.linspace(0.00085**0.5, 0.012**0.5, timesteps) ** 2


BETAS = {
    "squaredcos_cap_v2": _squaredcos_betas,
    "linear": _linear_betas,
    "scaled_linear": _scaled_linear_betas,
}


@dataclass(frozen=True)
class NoiseSchedule(Record):
    """A variance-preserving schedule of `timesteps` noise levels, seen in k-diffusion's sigma space.

    sigma = sqrt((1 - abar) / abar), so that x = x0 + sigma * noise. The three fields are the whole schedule:
    `dataclasses.asdict` gives JSON and `NoiseSchedule(**json)` gives the schedule back.

    name: squaredcos_cap_v2 (the default, DeepFloyd IF's), linear or scaled_linear; betas as diffusers makes them.
    timesteps: number of training timesteps, 2 to 10,000.
    shift: multiplies every sigma, moving log-SNR by -2 log(shift) (Hoogeboom et al. 2023, "simple diffusion",
        sec. 3.1). Larger frames need a shift above 1; 1.0 leaves the schedule alone.

    Raises ValueError for an unknown name, and for timesteps or a shift (0.001 to 1000) out of range.
    """

    name: Annotated[str, Choice(tuple(BETAS))] = "squaredcos_cap_v2"
    timesteps: Annotated[int, Range(2, 10_000)] = 1000
    shift: Annotated[float, Range(1e-3, 1e3)] = 1.0

    @cached_property
    def alphas_cumprod(self) -> np.ndarray:
        """abar of every timestep, float64 (timesteps,), descending in (0, 1); 1 / (1 + sigma^2), shift included."""
        abar = np.cumprod(1 - BETAS[self.name](self.timesteps))
        return abar / (abar + self.shift**2 * (1 - abar))

    @cached_property
    def sigmas(self) -> Tensor:
        """Sigma of every timestep, float32 (timesteps,) on the CPU, ascending. Shared: do not write to it."""
        abar = self.alphas_cumprod
        with torch.inference_mode(False):  # a table first asked for while sampling must serve a training step too
            return torch.from_numpy(np.sqrt((1 - abar) / abar).astype(np.float32))

    @cached_property
    def log_sigmas(self) -> Tensor:
        """log(sigma) of every timestep, float32 (timesteps,) on the CPU, ascending. Shared: do not write to it."""
        with torch.inference_mode(False):
            return self.sigmas.log()

    def sigma_to_timestep(self, sigma: Tensor) -> Tensor:
        """The timestep nearest to each sigma in log sigma (ComfyUI's discrete rounding).

        sigma: any shape, 0 and above, any device -> int64 of the same shape and device, in [0, timesteps - 1].
        """
        log_sigma = sigma.to(torch.float32).log()
        distances = (log_sigma.unsqueeze(-1) - self.log_sigmas.to(sigma.device)).abs()
        return distances.argmin(dim=-1)

    def timestep_to_sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at each timestep, a fractional one interpolated linearly in log sigma.

        timestep: any shape and device, clamped to [0, timesteps - 1] -> float32, same shape and device.
        """
        t = timestep.to(torch.float32).clamp(0, self.timesteps - 1)
        log_sigmas = self.log_sigmas.to(timestep.device)
        below, above, fraction = log_sigmas[t.floor().long()], log_sigmas[t.ceil().long()], t.frac()
        return ((1 - fraction) * below + fraction * above).exp()
