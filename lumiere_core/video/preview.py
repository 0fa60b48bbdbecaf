"""Clips made small enough to be looked at while they are made."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def excerpt(frames: torch.Tensor, fps: float, side: int, count: int, black: float = 0.0) -> tuple[np.ndarray, float]:
    """Frames (T, H, W, 3) from `black` to 1, on any device -> pixels (t, h, w, 3) uint8 and their rate: t <= count.

    The time is the same. side: the longer side of the result where the clip is larger, by averages over areas; smaller
    clips stay.
    """
    stride = math.ceil(len(frames) / count)
    planes = frames[::stride].permute(0, 3, 1, 2).float()
    largest = max(planes.shape[-2:])
    if largest > side:
        size = [max(1, round(length * side / largest)) for length in planes.shape[-2:]]
        planes = F.interpolate(planes, size=size, mode="area")
    pixels = planes.sub(black).mul(255 / (1 - black)).clamp(0, 255).round().to("cpu", torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy(), fps / stride


def animated_png(pixels: np.ndarray, fps: float) -> bytes:
    """(T, H, W, 3) uint8 -> a PNG of which browsers play all frames, again and again, and others show the first."""
    first, *others = (Image.fromarray(frame) for frame in pixels)
    stream = io.BytesIO()
    first.save(stream, "PNG", save_all=True, append_images=others, duration=round(1000 / fps), loop=0, compress_level=1)
    return stream.getvalue()
