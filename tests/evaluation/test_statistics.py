"""Intervals are the published ones."""

import pytest

from lumiere_video.evaluation.statistics import wilson_interval


def test_wilson_interval_matches_published_values():
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe 1998, table I
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson_interval(3, 2)
