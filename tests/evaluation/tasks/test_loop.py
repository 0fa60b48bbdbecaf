"""Tasks are counted right: a pipeline that fulfils every request scores 1, one that lies scores 0."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lumiere_video.commands import main as cli
from lumiere_video.evaluation.report.record import task_record
from lumiere_video.evaluation.tasks import TASKS
from lumiere_video.evaluation.tasks.loop import check_tasks, evaluate_task
from lumiere_video.evaluation.tasks.style import STYLES
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.lumiere_core.checkpoints import bundled
from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()
SIZE = ClipSize(40, 32, 32)
ONE_VARIANT = ("first_frame", "keyframes", "inpaint", "region", "video_to_video")
RUNS = 2
MISTAKES = ("setback", "leap", "size_jump")  # the less the better


@pytest.fixture
def evaluated(Studio):
    """The rates and means of a spoilt task of one variant."""

    def evaluate(task, spoil, runs=RUNS, seed=4):
        result = evaluate_task(Studio(task, runs, seed, spoil), CAST, task, runs, seed)
        (figures,) = result["figures"].values()
        return {n: figure.get("rate", figure.get("mean")) for n, figure in figures.items() if n not in MISTAKES}

    return evaluate


def vanish(frames, run):
    """Halfway the object is gone."""
    frames[20:] = film_in_8_bits(CAST, replace(run.asked.scene, actors=()), SIZE)[20:]
    return frames


def another_noun(frames, run):
    """Another colour and shape than asked for, and than given."""
    (actor,) = run.asked.scene.actors
    shape = "square" if "star" in actor.name else "star"
    color = next(c for c in ("purple", "green", "blue") if c not in actor.name and c not in run.source.actors[0].name)
    other = replace(actor, name=f"{color} {shape}")
    return film_in_8_bits(CAST, replace(run.asked.scene, actors=(other,)), SIZE)


def one_level_off(frames, run):
    frames[0] += 1 / 255
    return frames


def one_float_off(frames, run):
    frames += np.linspace(0, 1e-5, 40, dtype=np.float32)[:, None, None, None]
    return frames


def outside_altered(frames, run):
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):  # a hole holds some, never all
        frames[(5, *corner)] = 1 - frames[(5, *corner)]
    return frames


def still(frames, run):
    return np.repeat(frames[:1], len(frames), axis=0)


@pytest.mark.parametrize("task", ONE_VARIANT)
def test_what_is_asked_for_scores_one(Studio, task, tmp_path):
    steps, studio = [], Studio(task, RUNS, 3)
    result = evaluate_task(studio, CAST, task, RUNS, 3, tmp_path, lambda done, clips: steps.append((done, clips)))
    assert steps == [(i, RUNS) for i in range(RUNS + 1)]
    assert [seed for seed, _ in studio.calls] == [3 + 3 * i for i in range(RUNS)]
    ((_, figures),) = result["figures"].items()
    assert result["targets"].keys() <= figures.keys()
    for name, figure in figures.items():
        assert figure["of"] == RUNS and result["judge"]["all"][name] == pytest.approx(figure, abs=1e-6)
        assert figure["mean"] < 0.05 if name in MISTAKES else figure.get("rate", 1.0) == 1.0
    assert figures.get("path_correlation", {"mean": 1})["mean"] > 0.97
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{task}.json", f"{task}.png"]
    assert json.loads((tmp_path / f"{task}.json").read_text()) == json.loads(json.dumps(result))
    record = json.loads(json.dumps(task_record(result), allow_nan=False))
    assert record["runs"] == RUNS and len(json.dumps(record)) < 1500


@pytest.mark.parametrize(
    ("task", "spoil", "lost"),
    [
        ("first_frame", one_level_off, {"exact"}),
        ("first_frame", vanish, {"persists", "motion"}),
        ("first_frame", another_noun, {"exact", "persists"}),
        ("keyframes", one_level_off, {"exact"}),
        ("keyframes", lambda frames, run: frames[::-1], {"exact", "forward", "monotone", "motion"}),
        ("keyframes", vanish, {"exact", "forward", "monotone", "object", "motion"}),
        ("keyframes", lambda frames, run: frames[[0] * 20 + [-1] * 20], {"monotone"}),  # a cut
        ("inpaint", outside_altered, {"exact"}),
        ("inpaint", one_float_off, {"exact"}),
        ("inpaint", vanish, {"object", "motion"}),
        ("inpaint", another_noun, {"object"}),
        ("inpaint", lambda frames, run: film_in_8_bits(CAST, run.source, SIZE), {"object"}),
        ("region", outside_altered, {"exact", "still_outside"}),
        ("region", still, {"moves_inside", "motion"}),
        ("video_to_video", another_noun, {"noun", "noun_top5", "path_and_noun"}),
        (
            "video_to_video",
            still,
            {"path_correlation", "follows_path", "path_and_noun"},
        ),
        ("video_to_video", vanish, {"path_correlation", "follows_path", "path_and_noun", "noun", "noun_top5"}),
    ],
)
def test_what_is_spoilt_scores_nothing(evaluated, task, spoil, lost):
    rates = evaluated(task, spoil)
    assert {name for name, value in rates.items() if value == 0.0} == lost
    kept = {name: value for name, value in rates.items() if name not in lost}
    assert all(value == pytest.approx(1.0, abs=0.03) for value in kept.values()), kept


def test_reversed_path_does_not_correlate(evaluated):
    rates = evaluated("video_to_video", lambda frames, run: np.flip(frames, (1, 2)))  # turned upside down
    assert rates["path_correlation"] < -0.9 and rates["follows_path"] == rates["path_and_noun"] == 0.0


def test_size_jumps_beside_what_is_given_are_measured(Studio):
    def grow(frames, run):
        frames[1:] = np.stack([cv2.resize(frame, None, fx=1.5, fy=1.5)[8:40, 8:40] for frame in frames[1:]])
        return frames

    for task in ("first_frame", "keyframes"):
        jumps = [
            evaluate_task(Studio(task, 2, 3, spoil), CAST, task, 2, 3)["figures"]["all"]["size_jump"]["mean"]
            for spoil in (lambda frames, run: frames, grow)
        ]
        assert jumps[0] < 0.08 and jumps[1] > 0.3


@pytest.mark.parametrize(
    ("task", "runs", "output", "message"),
    [
        ("first_frame", 0, None, "runs must be at least 1; got 0"),
        ("strengths", -1, None, "runs must be at least 1; got -1"),
        ("dance", 1, None, "task must be one of first_frame, .*; got 'dance'"),
        ("inpaint", 1, __file__, "a folder that can be written"),
    ],
)
def test_refuses_before_anything_is_made(Studio, task, runs, output, message):
    studio = Studio("first_frame", 1, 0)
    with pytest.raises(ValueError, match=message) as refused:
        evaluate_task(studio, CAST, task, runs, output=output)
    assert studio.calls == [] and "\n" not in str(refused.value)


def test_lists_of_tasks_are_checked_first(monkeypatch, tmp_path):
    check_tasks(["text", *TASKS], None)  # what they need, the bundled styles for one, is here
    with pytest.raises(ValueError, match="task must be one of text, first_frame.*got ''"):
        check_tasks(["text", ""])
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match=f"{STYLES[0]}.safetensors are not in"):
        check_tasks(["first_frame", "style"])


@pytest.mark.filterwarnings("ignore")
def test_command_runs_every_task_on_a_real_pipeline(tiny, tmp_path, monkeypatch, capsys):
    checkpoint, weights = tmp_path / "base.safetensors", tmp_path / "weights"
    checkpoint.write_bytes(tiny.base.read_bytes())
    (tmp_path / "text.safetensors").write_bytes(tiny.text.read_bytes())
    weights.mkdir()
    for name in STYLES:
        save_file({"conv_in.weight": load_file(tiny.base)["conv_in.weight"] * 1.5}, weights / f"{name}.safetensors")
    monkeypatch.setattr(bundled, "WEIGHTS", weights)
    tasks = (*ONE_VARIANT, "style", "shapes")
    arguments = f"--runs 1 --output {tmp_path}/out --checkpoint {checkpoint} --record --device cpu --dtype float32"
    assert cli.main(["evaluate", "--task", ",".join(tasks), *arguments.split()]) == 0
    assert sorted(load_info(checkpoint).training["applications"]) == sorted(tasks)
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(tasks)
    printed = capsys.readouterr().out
    assert all(f"| {task.replace('_', ' ')}, % or mean" in printed for task in tasks)
    result = json.loads((tmp_path / "out" / "inpaint.json").read_text())
    assert result["height"] == result["width"] == 8 and result["figures"]["all"]["exact"]["rate"] == 1.0
    distances = json.loads((tmp_path / "out" / "style.json").read_text())["trend"]["all"]["style_distance"]
    assert distances[0] == 0.0 < min(distances[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("--task dance", "task must be one of text, first_frame"), ("--task region --runs 0", "runs must be at least 1")],
)
def test_command_refuses_in_one_line(arguments, message, tmp_path, capsys):
    assert cli.main(["evaluate", *arguments.split(), "--output", f"{tmp_path}/out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not list(tmp_path.iterdir())
