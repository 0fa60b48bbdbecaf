"""Super-resolution conditioning as in Imagen and DeepFloyd IF: upsample the low-res clip, add noise, say how much."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange

from ..diffusion.denoiser import add_noise
from ..diffusion.schedule import NoiseSchedule

AT_ONCE = 16  # frames
# A small clip, (B, 3, T, h, w) in [-1, 1], or what reads the next so many frames of it.
LowRes = torch.Tensor | Callable[[int], torch.Tensor]


def upsample(video: torch.Tensor, scale: int, align_corners: bool) -> torch.Tensor:
    """(B, C, T, h, w) -> (B, C, T, h*scale, w*scale), bilinear.

    align_corners: True as IF's stage II does it, where corner pixels stay in the corners; False for clips whose pixels
    are the means of the larger one's, which then stay where they were.
    """
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    frames = F.interpolate(frames, scale_factor=float(scale), mode="bilinear", align_corners=align_corners)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=video.shape[0])


def condition_low_res(
    low_res: torch.Tensor,
    noise: torch.Tensor,
    noise_level: torch.Tensor,
    schedule: NoiseSchedule,
    scale: int,
    align_corners: bool,
) -> torch.Tensor:
    """What the SSR is given beside the noisy clip: (B, 3, T, h, w) in [-1, 1] -> (B, 3, T, h*scale, w*scale).

    noise: like the output, unit normal. noise_level: (B,) integer timesteps of `schedule`, the augmentation level that
    the network is told too.
    """
    sigma = schedule.sigmas.to(low_res.device)[noise_level]
    return add_noise(upsample(low_res, scale, align_corners), noise, sigma)


def condition_in_place(low_res: torch.Tensor, noise: torch.Tensor, *options) -> torch.Tensor:
    """`condition_low_res` written over its noise, a few frames at a time: of a long clip one is large enough."""
    for small, large in zip(low_res.split(AT_ONCE, dim=2), noise.split(AT_ONCE, dim=2), strict=True):
        large.copy_(condition_low_res(small, large, *options))
    return noise


def read_low_res(low_res: LowRes, read_noise: Callable[[int], torch.Tensor], *options) -> Callable[[int], torch.Tensor]:
    """What reads the next so many frames of `condition_low_res`. read_noise: reads those of its noise."""
    read = _reader(low_res) if isinstance(low_res, torch.Tensor) else low_res
    return lambda frames: condition_in_place(read(frames), read_noise(frames), *options)


def _reader(video: torch.Tensor) -> Callable[[int], torch.Tensor]:
    begin = 0

    def read(frames: int) -> torch.Tensor:
        nonlocal begin
        begin += frames
        return video[:, :, begin - frames : begin]

    return read
