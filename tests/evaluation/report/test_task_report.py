"""A task's table and record carry its figures."""

from lumiere_video.evaluation.report.record import record_task
from lumiere_video.evaluation.tasks.loop import describe, evaluate_task
from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.lumiere_core.pipeline import DEFAULT_STRENGTH
from lumiere_video.lumiere_core.training.release import record_evaluation
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()


def test_table_shows_intervals_and_targets(Studio):
    lines = describe(evaluate_task(Studio("first_frame", 4, 0), CAST, "first_frame", 4, 0)).splitlines()
    assert lines[0] == "| first frame, % or mean (95 % interval) | exact | persists | motion | size jump |"
    assert lines[2].startswith("| all (4) | 100.0 (51.0-100.0) |")
    assert lines[3].startswith("| judge on ground truth (4) | 100.0")
    assert lines[4] == "| target | 100 | 90 | 85 |  |"
    table = describe(evaluate_task(Studio("video_to_video", 4, 0), CAST, "video_to_video", 4, 0))
    assert f"| strength {DEFAULT_STRENGTH:g} (4) | " in table and "| target | 0.8 |" in table


def test_figures_are_recorded_beside_earlier_ones(Studio, tiny, tmp_path):
    file = tmp_path / "base.safetensors"
    file.write_bytes(tiny.base.read_bytes())
    for task in ("first_frame", "region"):
        record_task(file, evaluate_task(Studio(task, 1, 0), CAST, task, 1, 0))
    record_evaluation(file, {"prompts": 7})
    record_task(file, evaluate_task(Studio("region", 2, 0), CAST, "region", 2, 0))
    training = load_info(file).training
    assert training["recipe"] == "test" and training["evaluation"] == {"prompts": 7}
    assert {task: record["runs"] for task, record in training["applications"].items()} == {
        "first_frame": 1,
        "region": 2,
    }
    assert training["applications"]["first_frame"]["figures"]["all"]["exact"][0] == 1.0
