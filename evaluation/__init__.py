"""Measuring generated clips: a classical-vision judge of what they show, and temporal quality metrics."""

from .judge import Judgement, judge_clip
from .metrics import (
    Periodicity,
    adjacent_frame_mse,
    boundary_to_interior_ratio,
    periodicity,
    size_jump,
    static_background_flicker,
    wilson_interval,
)
from .stills import evaluate_stills, judge_stills

__all__ = [
    "Judgement",
    "Periodicity",
    "adjacent_frame_mse",
    "boundary_to_interior_ratio",
    "evaluate_stills",
    "judge_clip",
    "judge_stills",
    "periodicity",
    "size_jump",
    "static_background_flicker",
    "wilson_interval",
]
