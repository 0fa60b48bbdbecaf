"""Window layouts to compare are planned around the one that clips are made with."""

from lumiere_video.evaluation.judge.seams import describe_layout, plan_layouts
from lumiere_video.lumiere_core.diffusion import plan_windows


def test_boundaries_are_where_the_covering_windows_change():
    assert describe_layout(12, plan_windows(12, 4, 0)) == (4, 0, [4, 8])
    assert describe_layout(10, plan_windows(10, 4, 1)) == (4, 1, [3, 4, 6, 7])
    assert plan_layouts(80, plan_windows(80, 15, 2))["no_overlap"].window == 16
    assert plan_layouts(16, plan_windows(16, 16, 2)) == {} == plan_layouts(79, plan_windows(79, 15, 2))
