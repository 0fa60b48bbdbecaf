"""Draws scenes: the cast's premultiplied pictures, sampled where their tracks say, supersampled, over backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from .backgrounds import draw_background
from .cast import PICTURE, Cast
from .motions import CLIP_SECONDS, Track
from .scene import Scene

FPS = 16
CLIP_FRAMES = int(CLIP_SECONDS * FPS)
SUPERSAMPLING = 2
Window = tuple[int, int, int, int]  # top, left, height, width in pixels


def render_clip(cast: Cast, scene: Scene, frames: int, height: int, width: int, fps: float = FPS) -> torch.Tensor:
    """The first frames of one scene: (T, H, W, 3) float32 in [0, 1]."""
    if min(frames, height, width) < 1:
        raise ValueError(f"render_clip: frames, height and width must be at least 1; got {frames}, {height}, {width}.")
    return render_scenes(cast, [scene], [np.arange(frames) / fps], height, width)[0].permute(1, 2, 3, 0)


def render_scenes(
    cast: Cast,
    scenes: Sequence[Scene],
    seconds: Sequence[np.ndarray],
    height: int,
    width: int,
    windows: Sequence[Window] | None = None,
) -> torch.Tensor:
    """Scenes at their times (T,) each: (B, 3, T, H, W) float32 in [0, 1]; `windows`: that part of each frame only.

    The scene's unit square is fitted to the frame's short side and centred; the background fills the rest.
    """
    windows = windows or [(0, 0, height, width)] * len(scenes)
    backgrounds = [
        draw_background(scene.background, scene.knobs, height, width, window)
        for scene, window in zip(scenes, windows, strict=True)
    ]
    still = torch.from_numpy(np.stack(backgrounds)).permute(0, 3, 1, 2)[:, :, None]  # (B, 3, 1, h, w)
    frames = still.repeat(1, 1, len(seconds[0]), 1, 1)
    pictures = cast.pictures(picture_size(height, width))
    for clip, scene, times, window in zip(frames, scenes, seconds, windows, strict=True):
        for actor in scene.actors:
            draw(clip, pictures[cast.index(actor.name)], actor.motion.track(times), window, height, width)
    return frames


def picture_size(height: int, width: int) -> int:
    """Side of the pictures that are sampled: about a supersampled object's own."""
    return min(PICTURE, 2 ** max(4, (min(height, width) - 1).bit_length()))


def draw(clip: torch.Tensor, picture: torch.Tensor, track: Track, window: Window, height: int, width: int) -> None:
    """Put a picture (4, P, P) over the clip (3, T, h, w), in place, where its track says.

    Only a box around it is sampled, which follows it from frame to frame and is of the same size in all of them.
    """
    top, left, rows, columns = window
    side = min(height, width)
    center_x = track.x * side + (width - side) / 2 - left  # in the window's pixels, as all that follows
    center_y = track.y * side + (height - side) / 2 - top
    reach = track.reach.max() * side
    first_row, box_rows = box_around(center_y, reach, rows)
    first_column, box_columns = box_around(center_x, reach, columns)
    away_x = samples(box_columns) + (first_column - center_x)[:, None]  # (T, box_columns * SUPERSAMPLING)
    away_y = samples(box_rows) + (first_row - center_y)[:, None]
    grid = turned_grid(away_x, away_y, track.angle, track.radius * side)
    layers = F.grid_sample(picture[None], grid.flatten(0, 1)[None], align_corners=False)
    layers = F.avg_pool2d(layers, SUPERSAMPLING)[0].unflatten(1, (-1, box_rows))  # (4, T, box_rows, box_columns)
    colors, transparency = layers[:3], 1 - layers[3]
    for time, (row, column) in enumerate(zip(first_row.tolist(), first_column.tolist(), strict=True)):
        box = clip[:, time, row : row + box_rows, column : column + box_columns]
        box.mul_(transparency[time]).add_(colors[:, time])


def box_around(center: np.ndarray, reach: float, length: int) -> tuple[np.ndarray, int]:
    """Along one axis of `length` pixels: first pixels (T,) and the size of boxes that hold center +- reach."""
    size = min(length, int(np.ceil(2 * reach)) + 4)  # rounding down takes one, the edge's interpolation less
    return np.clip(np.floor(center - size / 2).astype(int), 0, length - size), size


def samples(pixels: int) -> np.ndarray:
    """Places of the samples of so many pixels."""
    return (np.arange(pixels * SUPERSAMPLING) + 0.5) / SUPERSAMPLING


def turned_grid(away_x: np.ndarray, away_y: np.ndarray, angle: np.ndarray, radius: np.ndarray) -> torch.Tensor:
    """Distances from the centre (T, w) and (T, h) -> places in the picture, -1 to 1, as grid_sample takes them:
    (T, h, w, 2).
    """
    cos, sin = (np.cos(angle) / radius)[:, None], (np.sin(angle) / radius)[:, None]
    x_by_column, x_by_row, y_by_column, y_by_row = (
        torch.from_numpy(part.astype(np.float32)) for part in (cos * away_x, sin * away_y, -sin * away_x, cos * away_y)
    )
    return torch.stack([x_by_column[:, None] + x_by_row[..., None], y_by_column[:, None] + y_by_row[..., None]], dim=-1)
