"""What many clips come to, in types that JSON knows: shares and means with 95 % intervals, and spreads."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The score interval (low, high) of a success rate, 95 % at z = 1.96 (Wilson 1927, doi:10.2307/2276774)."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"wilson_interval: successes must be 0 to n and n at least 1; got {successes} of {n}.")
    rate = successes / n
    center = rate + z * z / (2 * n)
    half_width = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max((center - half_width) / scale, 0.0), min((center + half_width) / scale, 1.0)


def share(successes: int, count: int) -> dict:
    """A share of successes and its 95 % interval; None where there is nothing to count."""
    low, high = wilson_interval(successes, count) if count else (None, None)
    return {
        "correct": successes,
        "of": count,
        "rate": successes / count if count else None,
        "low": low,
        "high": high,
    }


def share_or_mean(values: Sequence[bool | float | None]) -> dict:
    """Whether something was so: a share with Wilson's interval; numbers: their mean, and 1.96 standard errors.

    None, for what could not be measured, is not counted.
    """
    if isinstance(values[0], bool):
        return share(sum(values), len(values))
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return {"mean": known[0] if known else None, "of": len(known), "low": None, "high": None}
    mean, half_width = float(np.mean(known)), 1.96 * float(np.std(known, ddof=1)) / len(known) ** 0.5
    return {"mean": mean, "of": len(known), "low": mean - half_width, "high": mean + half_width}


def spread(values: Sequence[float]) -> dict:
    """Mean and 95th percentile over the clips in which something could be measured; NaN is not counted."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return {"clips": 0, "mean": None, "percentile_95": None}
    return {
        "clips": len(known),
        "mean": float(known.mean()),
        "percentile_95": float(np.quantile(known, 0.95)),
    }
