"""Masks as sockets carry them, fitted to a clip."""

from __future__ import annotations

import torch


def change_mask(mask: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """MASK (1 or T, H, W) or (H, W), 1 where pixels are to be changed -> (1, 1, 1 or T, H, W).

    Or a LATENT's noise mask, which core keeps as (1 or T, 1, H, W) or (1, 1, 1 or T, H, W). size: (T, H, W) of the
    clip. Raises ValueError where the mask does not fit it.
    """
    frames, height, width = size
    if mask.ndim == 2 or (mask.ndim > 3 and mask.numel() // max(mask.shape[-1] * mask.shape[-2], 1) in (1, frames)):
        mask = mask.reshape(-1, *mask.shape[-2:])
    if mask.ndim != 3 or mask.shape[0] not in (1, frames) or tuple(mask.shape[1:]) != (height, width):
        raise ValueError(
            f"mask must be (1 or {frames}, {height}, {width}), one for the clip or one a frame; "
            f"got {tuple(mask.shape)}."
        )
    return mask.to(torch.float32).clamp(0, 1)[None, None]
