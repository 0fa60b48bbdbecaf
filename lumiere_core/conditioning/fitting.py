"""Images and masks of any size, fitted to the size of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..runtime.memory import require_frames_memory
from ..video.tensors import frames_to_video, video_to_frames

FITS = ("crop", "pad", "stretch")
ROUNDING = 1e-5  # by which a sum of weights may fall short of 1
FITTED_AT_ONCE = 16  # frames: a large video is not copied as a whole before it becomes small
ASPECT_TOLERANCE = 0.02  # relative difference of width / height up to which a mask was drawn for the images


def fit_video(frames: torch.Tensor, size: tuple[int, int], fit: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (N, H, W, 3) in [0, 1] -> video (1, 3, N, h, w) in [-1, 1], and what padding added, (1, 1, 1, h, w).

    size: (h, w). fit: crop fills the size and cuts off what is over; pad shows all, and adds mid-grey, 1 in the second
    result; stretch changes the aspect ratio. Frames of that size come out bit for bit.
    """
    parts = frames.split(FITTED_AT_ONCE)
    fitted = torch.cat([_fit(frames_to_video(part)[0], size, fit, 0.0) for part in parts], dim=1)  # (3, N, h, w)
    padding = _fit(torch.zeros(1, 1, *frames.shape[1:3]), size, fit, 1.0)
    return fitted[None], padding[None]


def shrink_to_cover(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Frames (N, H, W, C) as small as `fit_video` needs them for a clip of size (h, w), their shape kept.

    No side becomes shorter than the clip's; smaller ones stay as they are.
    """
    sides = frames.shape[1:3]
    ratio = max(wanted / side for wanted, side in zip(size, sides, strict=True))
    if ratio >= 1:
        return frames
    planes = _resize(frames.movedim(-1, 0), tuple(max(1, round(side * ratio)) for side in sides))
    return planes.movedim(0, -1).clamp(0, 1)


def join_images(batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Batches of images, (N, H, W, 3) each, as one; those of another size than the first are cropped to it."""
    size = tuple(batches[0].shape[1:3])
    return torch.cat([video_to_frames(fit_video(images, size, "crop")[0]) for images in batches])


def fit_mask(mask: torch.Tensor, images: tuple[int, int], size: tuple[int, int], fit: str) -> torch.Tensor:
    """A mask (N, h, w) or (h, w) in [0, 1] drawn over images of size (H, W), fitted as those are: (N, *size).

    It may be as large as the images or the result, or of the images' aspect ratio; a constant mask fits anything.
    """
    mask = mask.reshape(-1, *mask.shape[-2:]).to("cpu", torch.float32).clamp(0, 1)
    if not mask.numel() or not torch.isfinite(mask).all():
        raise ValueError("mask must hold finite numbers, 0 to 1; got NaN, or no pixels.")
    given = tuple(mask.shape[-2:])
    if given == size != images:
        return mask
    if given != images:
        constant = bool((mask == mask.flatten()[0]).all())
        if not constant and not _same_aspect(given, images):
            raise ValueError(
                f"mask must be as large as the images ({images[1]} x {images[0]}) or the result ({size[1]} x "
                f"{size[0]}), or of the images' shape; got {given[1]} x {given[0]}. Resize or crop one of them."
            )
        mask = _resize(mask[None], images)[0]
    fitted = _fit(mask[None], size, fit, 1.0)[0]
    return torch.where(fitted > 1 - ROUNDING, 1.0, fitted)


def grow_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Widen a mask (N, H, W) by so many pixels in all directions; a negative number narrows it."""
    if pixels < 0:
        return 1 - grow_mask(1 - mask, -pixels)
    pixels = min(pixels, max(mask.shape[-2:]))  # more reaches no farther
    # Across and then down: the same as over a square, in a time that grows with its side and not with its area.
    across = F.max_pool2d(mask[:, None], (1, 2 * pixels + 1), stride=1, padding=(0, pixels))
    return F.max_pool2d(across, (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))[:, 0]


def feather_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Let a mask (N, H, W) fade to 0 over about so many pixels outside of it; inside it stays as it is."""
    if not pixels:
        return mask
    radius = min((pixels + 1) // 2, max(mask.shape[-2:]))
    blurred = _sum_around(grow_mask(mask, radius), radius) / _sum_around(torch.ones_like(mask[:1]), radius)
    # Sums round: only what has nothing of the mask near it is exactly 0, and what lies within it exactly 1.
    blurred = torch.where(grow_mask(mask, 2 * radius) == 0, 0.0, blurred)
    return torch.maximum(blurred.clamp(0, 1), mask)


def _sum_around(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """The sum of a square around each pixel, of what lies in the mask (N, H, W)."""
    across = F.avg_pool2d(mask[:, None], (1, 2 * radius + 1), 1, (0, radius), divisor_override=1)
    return F.avg_pool2d(across, (2 * radius + 1, 1), 1, (radius, 0), divisor_override=1)[:, 0]


def _fit(planes: torch.Tensor, size: tuple[int, int], fit: str, border: float) -> torch.Tensor:
    """(C, N, H, W) -> (C, N, *size); `border` is what padding is filled with."""
    height, width = planes.shape[-2:]
    if fit == "stretch" or height * size[1] == width * size[0]:
        return _resize(planes, size)
    ratios = size[0] / height, size[1] / width
    ratio = max(ratios) if fit == "crop" else min(ratios)
    planes = _resize(planes, tuple(max(1, round(side * ratio)) for side in (height, width)))
    for axis, side in ((-2, size[0]), (-1, size[1])):
        excess = planes.shape[axis] - side
        if excess > 0:
            planes = planes.narrow(axis, excess // 2, side)
    missing = [side - given for side, given in zip(size, planes.shape[-2:], strict=True)]
    top, left = missing[0] // 2, missing[1] // 2
    return F.pad(planes, (left, missing[1] - left, top, missing[0] - top), value=border)


def _resize(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    require_frames_memory("A resized copy", planes.shape[1], *size)
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True, align_corners=False)


def _same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    a, b = first[1] / first[0], second[1] / second[0]
    return abs(a - b) <= ASPECT_TOLERANCE * max(a, b)
