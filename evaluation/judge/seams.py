"""Do windows show? One base clip is super-resolved with several window layouts, and their joints are looked at.

Lumiere's Fig. 14 shows cascades' jumps where non-overlapping windows meet; the figure here is how much more a clip
changes from frame to frame at those places than elsewhere.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...lumiere_core.diffusion.multidiffusion import Window, plan_windows
from .temporal import boundary_to_interior_ratio

MULTIDIFFUSION = "multidiffusion"  # the layout that clips are made with anyway


class Layout(NamedTuple):
    """A way to split a clip into windows of `window` frames; neighbours share `overlap` frames or more.

    boundaries: the frames from which on other windows cover the clip than before.
    """

    window: int
    overlap: int
    boundaries: list[int]


def plan_layouts(frames: int, windows: Sequence[Window]) -> dict[str, Layout]:
    """The layouts to compare, by name, given the one that clips are made with; none if that has a single window.

    Without overlap all windows must still have one length, so that length is the divisor of `frames` nearest to the
    given windows'; without such a divisor there is nothing to compare either. One window has no boundaries: it is
    measured at those without overlap, and so says what a seamless clip scores there.
    """
    given = describe_layout(frames, windows)
    lengths = [length for length in range(2, frames) if frames % length == 0]
    if not given.boundaries or not lengths:
        return {}
    length = min(lengths, key=lambda divisor: abs(divisor - given.window))
    without = describe_layout(frames, plan_windows(frames, length, 0))
    return {MULTIDIFFUSION: given, "no_overlap": without, "one_window": Layout(frames, 0, without.boundaries)}


def describe_layout(frames: int, windows: Sequence[Window]) -> Layout:
    """What windows over a clip of `frames` amount to."""
    spans = [window.frames for window in windows]
    shared = [stop - start for (_, stop), (start, _) in pairwise(spans)]
    boundaries = sorted({edge for span in spans for edge in span} - {0, frames})
    return Layout(spans[0][1] - spans[0][0], min(shared, default=0), boundaries)


def compare_layouts(layouts: dict[str, Layout], curves: dict[str, Sequence[np.ndarray]]) -> dict[str, dict]:
    """Each layout's boundary-to-interior ratio, the mean over its clips; 1 is seamless.

    curves: by layout, `adjacent_frame_mse` of the same clips. mse in the result is their mean; its entry i compares
    frames i and i + 1. A clip that is static outside the boundaries has no ratio and is not counted.
    """
    result = {}
    for name, layout in layouts.items():
        ratios = [boundary_to_interior_ratio(curve, layout.boundaries) for curve in curves[name]]
        known = [ratio for ratio in ratios if np.isfinite(ratio)]
        result[name] = layout._asdict() | {
            "clips": len(known),
            "boundary_to_interior": float(np.mean(known)) if known else None,
            "mse": np.mean(curves[name], axis=0).tolist(),
        }
    return result
