"""Where randomness comes from: three streams per seed, drawn on the CPU in float32 over the whole clip.

Nothing here knows of windows, tiles, batch sizes, devices or dtypes, so none of them can change a result's noise.

The first two streams are ComfyUI's own, so that a graph gives the same clip by its samplers and by ours: torch's CPU
generator takes the low 32 bits of a seed, and a stochastic sampler draws from seed + 1. Hence seed and seed + 2**32 are
one, and seed's second stream is the first of seed + 1: with euler_ancestral and ddpm, clips of neighbouring seeds
resemble each other a little (measured on the bundled base, 8 steps: a correlation of 0.12 over 159 pairs, of -0.02
two seeds apart). Steps of 3 between seeds keep all streams apart. Other streams would change every saved seed's clip.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSampler = Callable[[Tensor, Tensor], Tensor]

LARGEST_SEED = 2**64 - 1
SEEDS_THAT_DIFFER = 2**32


def check_seed(seed: int) -> None:
    """Raise ValueError unless it is a whole number from 0 to LARGEST_SEED, as ComfyUI's widgets take it."""
    if not hasattr(seed, "__index__") or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED}; got {seed!r}.")


def _generator(seed: int, offset: int) -> torch.Generator:
    """seed + offset wraps around instead of overflowing."""
    check_seed(seed)
    return torch.Generator("cpu").manual_seed((int(seed) + offset) % (LARGEST_SEED + 1))


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
