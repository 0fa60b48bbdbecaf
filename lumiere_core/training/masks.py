"""Masks that the conditional model learns from: one task per clip, out of those that users will ask for.

A change mask is 1 where pixels are to be generated and 0 where they are given (the inverse of the paper's M). Which
tasks there are, and how often each comes, is our choice: unpublished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .source import Place

TASKS = ("text", "first_frame", "first_last", "keyframes", "extend", "box", "track", "region", "outpaint")


Shape = tuple[int, int, int]  # frames, height, width
Size = Sequence[int]  # height, width


class Box(NamedTuple):
    """A rectangle in fractions of the frame's short side, from the centred square's corner as in scenes; the ends are
    numbers or arrays with one entry per frame.
    """

    left: np.ndarray | float
    top: np.ndarray | float
    right: np.ndarray | float
    bottom: np.ndarray | float


def draw_change_mask(
    tasks: Mapping[str, float], places: Sequence[Place], shape: Shape, rng: np.random.Generator
) -> np.ndarray:
    """The mask of a task drawn with the given weights: (T, H, W) float32. places: of the clip's things, if known."""
    weights = np.array(list(tasks.values()), np.float64)
    task = list(tasks)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return change_mask(task, places, shape, rng)


def change_mask(task: str, places: Sequence[Place], shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """The mask of one task: (T, H, W) float32. Where nobody knows what is where, boxes are anywhere."""
    mask = np.zeros(shape, np.float32)
    count, *size = shape
    if task in ("text", "first_frame", "first_last", "keyframes", "extend"):
        mask[:] = 1
        mask[given_frames(task, count, rng)] = 0
    elif task == "box":
        near = len(places) > 0 and rng.random() < 0.6
        mask[:] = paint_box(swept_box([_one(places, rng)], rng) if near else random_box(rng), size)
    elif task == "track":
        boxes = object_boxes(_one(places, rng), rng) if places else standing_box(random_box(rng), count)
        for frame, *edges in zip(mask, *boxes, strict=True):
            frame[:] = paint_box(Box(*edges), size)
    elif task == "region":
        moving = [place for place in places if place.moves]
        mask[1:] = paint_box(swept_box(moving, rng) if moving else random_box(rng), size)
    elif task == "outpaint":
        mask[:] = 1 - paint_box(random_box(rng), size)
    else:
        raise ValueError(f"change_mask: task must be one of {', '.join(TASKS)}; got {task!r}.")
    return mask


def _one(places: Sequence[Place], rng: np.random.Generator) -> Place:
    return places[int(rng.integers(len(places)))]


def given_frames(task: str, count: int, rng: np.random.Generator) -> list[int]:
    """Indices of the frames that a task gives whole."""
    if task == "first_frame":
        return [0]
    if task == "first_last":
        return [0, count - 1]
    if task == "keyframes":
        return rng.choice(count, size=min(int(rng.integers(2, 6)), count), replace=False).tolist()
    if task == "extend":
        return list(range(max(1, int(count * rng.uniform(0.05, 0.6)))))
    return []


def random_box(rng: np.random.Generator) -> Box:
    """A box of 0.3 to 0.8 of the short side each way, anywhere inside the centred square."""
    (left, right), (top, bottom) = (random_span(rng), random_span(rng))
    return Box(left, top, right, bottom)


def standing_box(box: Box, count: int) -> Box:
    """The same box in each of so many frames."""
    return Box(*(np.full(count, edge) for edge in box))


def random_span(rng: np.random.Generator) -> tuple[float, float]:
    length = rng.uniform(0.3, 0.8)
    start = rng.uniform(0, 1 - length)
    return start, start + length


def object_boxes(place: Place, rng: np.random.Generator) -> Box:
    """A box around the object in each frame, with a random margin that tells little of its size."""
    reach = place.reach * rng.uniform(1.0, 1.3) + rng.uniform(0.02, 0.1)
    return Box(place.x - reach, place.y - reach, place.x + reach, place.y + reach)


def swept_box(places: Sequence[Place], rng: np.random.Generator) -> Box:
    """One box that holds the objects in all frames."""
    boxes = [object_boxes(place, rng) for place in places]
    return Box(
        min(box.left.min() for box in boxes),
        min(box.top.min() for box in boxes),
        max(box.right.max() for box in boxes),
        max(box.bottom.max() for box in boxes),
    )


def paint_box(box: Box, size: Size) -> np.ndarray:
    """(height, width) float32: 1 on the pixels whose centres lie in the box."""
    side = min(size)
    y, x = ((np.arange(length, dtype=np.float32) + 0.5 - (length - side) / 2) / side for length in size)
    columns = (x >= box.left) & (x <= box.right)
    rows = (y >= box.top) & (y <= box.bottom)
    return (rows[:, None] & columns).astype(np.float32)
