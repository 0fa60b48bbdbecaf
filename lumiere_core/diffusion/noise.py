"""Where randomness comes from: three streams per seed, drawn on the CPU in float32 over the whole clip.

Nothing here knows of windows, tiles, batch sizes, devices or dtypes, so none of them can change a result's noise.

The first two streams are ComfyUI's own, so that a graph gives the same clip by its samplers and by ours: torch's CPU
generator takes the low 32 bits of a seed, and a stochastic sampler draws from seed + 1. Hence seed and seed + 2**32 are
one, and seed's second stream is the first of seed + 1: with euler_ancestral and ddpm, clips of neighbouring seeds
resemble each other a little (measured on the bundled base, 8 steps: a correlation of 0.12 over 159 pairs, of -0.02
two seeds apart). Steps of 3 between seeds keep all streams apart. Other streams would change every saved seed's clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSampler = Callable[[Tensor, Tensor], Tensor]

_BLOCK = 16  # numbers that torch's CPU generator turns into normal ones at once
_PIECE = 2**16  # numbers that are drawn ahead at most; whole blocks
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


def read_initial_noise(shape: Sequence[int], seed: int) -> NoiseReader:
    """`initial_noise`, a few frames at a time."""
    return NoiseReader(shape, _generator(seed, 0))


def read_sampler_noise(shape: Sequence[int], seed: int, draws: int) -> Callable[[int], NoiseSampler]:
    """`sampler_noise` that is asked so many times, a few frames at a time: of the next so many, a noise sampler.

    It has to be asked for each of its draws before that of later frames is.
    """
    generator = _generator(seed, 1)
    readers = [NoiseReader(shape, generator) for _ in range(draws)]

    def of_next(frames: int) -> NoiseSampler:
        ahead = iter(readers)
        return lambda sigma, sigma_next: next(ahead).read(frames)

    return of_next


def read_augmentation_noise(shape: Sequence[int], seed: int) -> NoiseReader:
    """`augmentation_noise`, a few frames at a time."""
    return NoiseReader(shape, _generator(seed, 2))


class NoiseReader:
    """One draw of noise over a clip of `shape` (B, C, T, H, W), read front to back.

    Bit for bit what torch draws at once, without a tensor as large as the clip.

    generator: where the draw begins; it is left where the draw ends. A channel's frames follow each other in the draw,
    so that each channel is read from a place of its own.
    """

    def __init__(self, shape: Sequence[int], generator: torch.Generator):
        batch, channels, frames, height, width = shape
        count, channel = math.prod(shape), frames * height * width
        self.shape, self.begin = (batch, channels, height, width), 0
        self.channels: list[_Draw] = []
        self.whole = torch.randn(tuple(shape), generator=generator) if channel < 2 * _BLOCK else None
        if self.whole is not None:
            return
        drawn = 0
        for begin in range(0, count, channel):
            _skip(generator, begin // _BLOCK * _BLOCK - drawn)
            drawn = begin // _BLOCK * _BLOCK
            self.channels.append(_Draw(generator.get_state(), count, begin))
        _skip(generator, count + (_BLOCK if count % _BLOCK else 0) - drawn)

    def read(self, frames: int) -> Tensor:
        """The next frames: (B, C, frames, H, W)."""
        begin, self.begin = self.begin, self.begin + frames
        if self.whole is not None:
            return self.whole[:, :, begin : self.begin].clone()
        batch, channels, height, width = self.shape
        noise = torch.empty(batch * channels, frames * height * width)
        for channel, target in zip(self.channels, noise, strict=True):
            channel.read(target)
        return noise.view(batch, channels, frames, height, width)


class _Draw:
    """The numbers of `torch.randn(count)` from `begin` on, in order.

    torch draws whole blocks; of a count that is none it draws the last block's length anew, at the end. So pieces of
    whole blocks are what the whole is, if the last piece is longer than a block.
    """

    def __init__(self, state: Tensor, count: int, begin: int):
        """state: the generator's where the block of `begin` is drawn."""
        self.generator = torch.Generator("cpu")
        self.generator.set_state(state)
        self.left = count - begin // _BLOCK * _BLOCK
        self.ahead = self._draw()[begin % _BLOCK :]

    def read(self, target: Tensor) -> None:
        """Fill the target (N,) with the next N."""
        filled = 0
        while filled < len(target):
            if not len(self.ahead):
                self.ahead = self._draw()
            piece = self.ahead[: len(target) - filled]
            target[filled : filled + len(piece)] = piece
            filled, self.ahead = filled + len(piece), self.ahead[len(piece) :]

    def _draw(self) -> Tensor:
        count = self.left if self.left <= 2 * _PIECE else _PIECE
        self.left -= count
        return torch.randn(count, generator=self.generator)


def _skip(generator: torch.Generator, count: int) -> None:
    """Leave out so many numbers of a generator, whatever they would have become."""
    left_out = torch.empty(min(count, _PIECE))
    for begin in range(0, count, _PIECE):
        left_out[: count - begin].uniform_(generator=generator)
