"""Which member of a cast an object is: crops of the clip against the cast's pictures, at all angles.

Both are cut to their bounding boxes, so place and size need no search; pictures are laid on the clip's own background,
so that it does not matter which parts of the object stand out from it. Our choice throughout: unpublished.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ...world.cast import Cast, turn
from .outline import Observation, bounding_box

NAMED_FRAMES = 12  # spread over the clip
CROP = 20  # pixels, the side of crops and templates
FILL = 0.88  # of the crop, by the longer side of the bounding box
TURNED_SIDE = 64  # pixels of the pictures that are turned
TURN_STEPS = 24  # of a whole turn
FINALISTS = 16  # members that are compared with shifted and rescaled crops too
SHIFTS = (-0.09, 0.0, 0.09)  # of the bounding box's half side
SCALES = (0.88, 1.0, 1.14)
LEAST_LIKENESS = 0.05  # below which an object has no name; 1 at best, 0 for a picture that explains nothing


class Naming(NamedTuple):
    """names: of the whole cast, the most similar first; likeness: of the first, 1 at best."""

    names: tuple[str, ...]
    likeness: float


class Templates(NamedTuple):
    """A cast at TURN_STEPS angles, N = members * TURN_STEPS rows, flattened crops; `likenesses` multiplies by them.

    color: (N, CROP² * 3) premultiplied; alpha: (N, CROP²); color_alpha: their product; alpha_squared; energy: (N,).
    """

    color: np.ndarray
    alpha: np.ndarray
    color_alpha: np.ndarray
    alpha_squared: np.ndarray
    energy: np.ndarray


def name_object(frames: np.ndarray, background: np.ndarray, observed: Observation, cast: Cast) -> Naming:
    """Rank a cast by likeness to the object of frames (T, h, w, 3), on a background (h, w, 3)."""
    seen = np.flatnonzero(observed.seen)
    times = seen[np.unique(np.linspace(0, len(seen) - 1, NAMED_FRAMES).round().astype(int))]
    templates = cast_templates(cast)
    likeness = likenesses(*crop_all(frames, background, observed, times), templates)
    likeness = likeness.reshape(len(times), len(cast), TURN_STEPS)
    roughly = np.argsort(-likeness.max(2).mean(0))
    finalists = roughly[:FINALISTS]
    pairs = zip(times, likeness, strict=True)
    each = [refine(frames, background, observed, t, finalists, rough, templates) for t, rough in pairs]
    refined = np.mean(each, axis=0)
    order = np.argsort(-refined)
    names = [cast.names[i] for i in (*finalists[order], *roughly[FINALISTS:])]
    return Naming(tuple(names), float(refined[order[0]]))


def refine(frames, background, observed, time: int, finalists, likeness, templates: Templates) -> np.ndarray:
    """The finalists' likeness in one frame, at their best angle there and its neighbours, shift and scale: (K,)."""
    best = likeness[finalists].argmax(1)
    near = (best[:, None] + np.array([-1, 0, 1])) % TURN_STEPS
    rows = (finalists[:, None] * TURN_STEPS + near).ravel()
    some = Templates(*(values[rows] for values in templates))
    moved = [((x, y), scale) for x in SHIFTS for y in SHIFTS for scale in SCALES]
    crops = [crop_all(frames, background, observed, [time], *variant) for variant in moved]
    found = likenesses(*(np.concatenate(parts) for parts in zip(*crops, strict=True)), some)
    return found.reshape(len(crops), len(finalists), len(near[0])).max((0, 2))


def crop_all(frames, background, observed: Observation, times, shift=(0.0, 0.0), scale: float = 1.0):
    """Crops of frames and background about the object's box: 2 x (len(times), CROP² * 3)."""
    crops, behind = [], []
    for t in times:
        x, y, half = observed.boxes[t]
        middle, reach = (x + shift[0] * half, y + shift[1] * half), half * scale / FILL
        crops.append(crop(frames[t], *middle, reach))
        behind.append(crop(background, *middle, reach))
    return np.stack(crops).reshape(len(crops), -1), np.stack(behind).reshape(len(behind), -1)


def crop(picture: np.ndarray, x: float, y: float, reach: float) -> np.ndarray:
    """The square of half side `reach` about (x, y), resampled to CROP x CROP; the picture's edge goes on outside."""
    step = 2 * reach / CROP
    matrix = np.array([[step, 0, x - reach + step / 2 - 0.5], [0, step, y - reach + step / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def likenesses(crops: np.ndarray, behind: np.ndarray, templates: Templates) -> np.ndarray:
    """How well each template laid on the background explains each crop: 1 - residual energy / object's energy.

    crops, behind: (F, CROP² * 3). The squares of crop - (color + (1 - alpha) * behind) are summed by matrix products.
    """
    shown = crops - behind
    shown_behind = (shown * behind).reshape(len(crops), -1, 3).sum(2)
    behind_squared = (behind**2).reshape(len(crops), -1, 3).sum(2)
    fitted = shown @ templates.color.T - shown_behind @ templates.alpha.T
    model = templates.energy - 2 * behind @ templates.color_alpha.T + behind_squared @ templates.alpha_squared.T
    energy = np.maximum((shown**2).sum(1, keepdims=True), 1e-3)
    return (2 * fitted - model) / np.maximum(energy, model)


@lru_cache(maxsize=4)
def cast_templates(cast: Cast) -> Templates:
    """All members at all angles, each cut to its bounding box there."""
    roomy = F.pad(cast.pictures(TURNED_SIDE), [TURNED_SIDE // 4] * 4)  # corners stay inside when turned
    turned = torch.stack([turn(roomy, 360 / TURN_STEPS * k) for k in range(TURN_STEPS)], 1).flatten(0, 1)
    crops = np.stack([cut_out(picture) for picture in turned.permute(0, 2, 3, 1).numpy()])  # (N, CROP, CROP, 4)
    color, alpha = crops[..., :3], crops[..., 3:]
    flat = [values.reshape(len(crops), -1) for values in (color, alpha, color * alpha, alpha**2)]
    return Templates(*flat, (flat[0] ** 2).sum(1))


def cut_out(picture: np.ndarray) -> np.ndarray:
    """A premultiplied picture (h, w, 4) cut to its bounding box: (CROP, CROP, 4)."""
    x, y, half = bounding_box(picture[..., 3])
    return crop(picture, x, y, half / FILL)
