"""Clips on a plain background made transparent, to put over other pictures and videos. Our choice: unpublished."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

TOLERANCE = 0.08
LARGEST_DISTANCE = 3**0.5  # between black and white
PLAIN_SHARE, PLAIN_DISTANCE = 0.7, 0.12  # of the border's pixels, so many must be so near to the background's colour
COARSE_LEVELS = 15  # of a channel, to find the commonest colour among noisy ones
EDGE_PARTS = 80  # an object's soft edge is at most this part of the short side wide
LEAST_EDGE = 2  # pixels


class Backdrop(NamedTuple):
    """A background's colour (3,), and the share of the border's pixels that are near it."""

    color: torch.Tensor
    share: float


def key_out(frames: torch.Tensor, tolerance: float = TOLERANCE) -> torch.Tensor:
    """Remove a plain background: (T, H, W, 3) in [0, 1] -> (T, H, W, 4), straight alpha.

    tolerance: up to which distance, 0 to 1.7, from the background's colour pixels belong to it. Only what the border
    leads to is removed: a white eye on white stays. At an object's edge pixels are transparent, and have lost the
    background's part of their colour; over that background the result is the clip again, up to the tolerance.
    Raises ValueError where the border has no plain colour.
    """
    if not 0 <= tolerance <= LARGEST_DISTANCE:
        raise ValueError(f"tolerance must be 0 to {LARGEST_DISTANCE:.1f}, a distance of colours; got {tolerance:g}.")
    color = plain_color(frames)
    return torch.stack([_key_frame(frame, color, tolerance) for frame in frames])


def plain_color(frames: torch.Tensor) -> torch.Tensor:
    """The background's colour (3,). Raises ValueError where it is not plain."""
    color, share = find_backdrop(frames)
    if share < PLAIN_SHARE:
        raise ValueError(
            f"background must be plain, one colour along at least {PLAIN_SHARE:.0%} of the border; got {share:.0%} "
            f"near RGB {tuple(round(255 * x) for x in color.tolist())}. Ask for one in the prompt, such as "
            '"on a white background".'
        )
    return color


def find_backdrop(frames: torch.Tensor) -> Backdrop:
    """The colour that the border has most, over all frames: the mean of what is near its commonest one."""
    border = torch.cat([frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]], dim=1).flatten(0, 1)
    coarse, counts = (border * COARSE_LEVELS).round().unique(dim=0, return_counts=True)
    color = coarse[counts.argmax()] / COARSE_LEVELS
    for _ in range(2):  # the second time around the mean, for the coarse colour is beside it
        near = (border - color).norm(dim=-1) < PLAIN_DISTANCE
        color = border[near].mean(0)
    return Backdrop(color, near.float().mean().item())


def reached_from_border(passable: torch.Tensor) -> torch.Tensor:
    """Of the pixels (H, W) that are True, those that a way of such pixels, across or down, leads to from outside."""
    passable = F.pad(passable, [1] * 4, value=True)
    reached = F.pad(torch.zeros_like(passable[1:-1, 1:-1]), [1] * 4, value=True)
    count = None
    while count != (count := int(reached.sum())):
        reached = flood_rows(flood_rows(reached, passable).T, passable.T).T
    return reached[1:-1, 1:-1]


def flood_rows(reached: torch.Tensor, passable: torch.Tensor) -> torch.Tensor:
    """`reached` spread along its rows, both ways, as far as pixels are passable. (H, W), boolean."""
    runs = (~passable).cumsum(-1)  # passable pixels side by side have one number, and only they
    left = torch.where(reached, runs, -1).cummax(-1).values
    right = torch.where(reached, runs, passable.numel()).flip(-1).cummin(-1).values.flip(-1)
    return passable & ((left == runs) | (right == runs))


def _key_frame(frame: torch.Tensor, color: torch.Tensor, tolerance: float) -> torch.Tensor:
    """(H, W, 3) -> (H, W, 4)."""
    edge = max(LEAST_EDGE, round(min(frame.shape[:2]) / EDGE_PARTS))
    away = (frame - color).norm(dim=-1)
    opaque = opacity(frame, color, tolerance, 2 * edge + 1)
    alpha = (~reached_from_border(away <= tolerance)).to(frame)
    for _ in range(edge):  # from outside inward; what an opaque line shuts off stays opaque
        alpha = torch.maximum(opaque, least_neighbour(alpha))
    own = color + (frame - color) / alpha[..., None].clamp(min=1e-3)
    return torch.cat([torch.where(alpha[..., None] > 0, own.clamp(0, 1), color), alpha[..., None]], dim=-1)


def opacity(frame: torch.Tensor, color: torch.Tensor, tolerance: float, reach: int) -> torch.Tensor:
    """How opaque each pixel is if it lies at an object's edge: (H, W) in [0, 1].

    It is as far from the background's colour, compared with what is farthest within `reach` pixels, as the object
    shows in it; and so far at least that some colour, mixed with the background, gives the pixel's.
    """
    away = (frame - color).norm(dim=-1)
    farthest = F.max_pool2d(away[None], 2 * reach + 1, stride=1, padding=reach)[0]
    compared = (away - tolerance) / (farthest - tolerance).clamp(min=1e-6)
    room = torch.where(frame > color, 1 - color, color).clamp(min=1e-6)
    needed = ((frame - color).abs() / room).amax(-1)
    return torch.maximum(compared, needed).clamp(0, 1) * (away > tolerance)


def least_neighbour(image: torch.Tensor) -> torch.Tensor:
    """The least of each pixel and its four neighbours: (H, W)."""
    across = F.max_pool2d(-image[None], (1, 3), 1, (0, 1))
    down = F.max_pool2d(-image[None], (3, 1), 1, (1, 0))
    return -torch.maximum(across, down)[0]
