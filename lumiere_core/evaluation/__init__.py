"""Measuring generated clips: a classical-vision judge of what they show, and temporal quality metrics."""

from .judge import Judgement, judge_clip
from .metrics import (
    Periodicity,
    adjacent_frame_mse,
    boundary_to_interior_ratio,
    periodicity,
    static_background_flicker,
    wilson_interval,
)

__all__ = [
    "Judgement",
    "Periodicity",
    "adjacent_frame_mse",
    "boundary_to_interior_ratio",
    "judge_clip",
    "periodicity",
    "static_background_flicker",
    "wilson_interval",
]
