"""Where randomness comes from: three streams per seed, drawn on the CPU in float32 over the whole clip.

Nothing here knows of windows, tiles, batch sizes, devices or dtypes, so none of them can change a result's noise.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSampler = Callable[[Tensor, Tensor], Tensor]

_SEEDS = 2**64  # seeds are unsigned 64-bit; seed + 1 wraps around instead of overflowing


def _generator(seed: int, offset: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed((seed + offset) % _SEEDS)


def initial_noise(shape: Sequence[int], seed: int) -> Tensor:
    """The run's starting noise: standard normal, float32 on the CPU, of `shape` (B, C, T, H, W)."""
    return torch.randn(tuple(shape), generator=_generator(seed, 0), dtype=torch.float32, device="cpu")


def sampler_noise(shape: Sequence[int], seed: int) -> NoiseSampler:
    """The noise that a stochastic sampler adds: `noise_sampler(sigma, sigma_next)` -> float32 (B, C, T, H, W).

    Each call draws afresh from the stream seed + 1; sigmas are accepted for k-diffusion's signature only.
    """
    generator = _generator(seed, 1)

    def noise_sampler(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")

    return noise_sampler


def augmentation_noise(shape: Sequence[int], seed: int) -> Tensor:
    """The noise mixed into the SSR's low-resolution input, from the stream seed + 2: float32 (B, C, T, H, W)."""
    return torch.randn(tuple(shape), generator=_generator(seed, 2), dtype=torch.float32, device="cpu")
