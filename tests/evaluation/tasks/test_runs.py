"""Runs are seeded, and ask for what can be seen."""

import pytest

from lumiere_video.evaluation.tasks.loop import plan_task
from lumiere_video.evaluation.tasks.runs import plan_changed
from lumiere_video.lumiere_core.pipeline import DEFAULT_STRENGTH
from lumiere_video.world.cast import Cast, drawn_shapes

CAST = drawn_shapes()


def test_plans_are_seeded_and_ask_for_what_can_be_seen():
    runs = plan_task(CAST, "inpaint", 40, 1)
    assert runs == plan_task(CAST, "inpaint", 40, 1) != plan_task(CAST, "inpaint", 40, 2)
    for run in runs:
        (given,), (asked,) = run.source.actors, run.asked.scene.actors
        assert given.name != asked.name and given.motion == asked.motion
        assert run.source.background == run.asked.scene.background and f" {asked.name} " in run.asked.text
        assert asked.moves != "spinning" or "circle" not in asked.name
    assert {run.asked.split for run in runs} == {"trained", "held_out"}
    motions = {run.asked.words()["motion"] for run in plan_task(CAST, "keyframes", 40, 1)}
    assert motions == {"moving left", "moving right", "moving up", "moving down", "growing", "shrinking"}
    assert {run.setting for run in plan_task(CAST, "video_to_video", 4, 1)} == {DEFAULT_STRENGTH}
    with pytest.raises(ValueError, match="another noun than 'red star'"):
        plan_changed(Cast("alone", tuple(m for m in CAST.members if m.name == "red star")), 1, 0)
