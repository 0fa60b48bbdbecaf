"""The applications' evaluation counts right: a pipeline that fulfils every request scores 1, one that lies scores 0."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lumiere_video.commands import main as cli
from lumiere_video.evaluation import applications
from lumiere_video.evaluation.application_report import (
    application_record,
    application_table,
    record_application,
)
from lumiere_video.evaluation.applications import check_tasks, evaluate_task, plan_task
from lumiere_video.evaluation.findings import passage, patch_statistics, path_correlation
from lumiere_video.evaluation.judge import judge_clip
from lumiere_video.evaluation.planning import (
    ALPHAS,
    LENGTHS,
    SHAPES,
    STRENGTHS,
    STYLES,
    Film,
    give_still,
    give_surroundings,
    plan_changed,
    shoot,
)
from lumiere_video.lumiere_core.checkpoints import bundled
from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, load_info
from lumiere_video.lumiere_core.pipeline import DEFAULT_STRENGTH, Clip, LumierePipeline
from lumiere_video.lumiere_core.training.release import record_evaluation
from lumiere_video.world.cast import Cast, drawn_shapes
from lumiere_video.world.looks import draw_still
from lumiere_video.world.scene import make_scene

CAST = drawn_shapes()
FILM = Film(40, 32, 32)
ONE_VARIANT = ("first_frame", "keyframes", "inpaint", "region", "video_to_video")
RUNS = 4
MISTAKES = ("setback", "leap", "size_jump")  # the less the better


class Studio:
    """Stands in for a pipeline: films the scene that the task's run, known by its seed, asks for, then spoils it.

    spoil(frames, run) -> frames, float32 (40, 32, 32, 3) in [0, 1].
    """

    def __init__(self, task, runs, seed, spoil=lambda frames, run: frames):
        self.base = SimpleNamespace(info=CheckpointInfo("base", {}, frames=40, size=32))
        self.runs = {run.seed: run for run in plan_task(CAST, task, runs, seed)}
        self.spoil, self.calls = spoil, []

    def generate(self, prompt, *, seed, super_resolution, **options):
        run = self.runs[seed]
        assert prompt == run.asked.text and super_resolution is False
        self.calls.append((seed, options))
        frames = self.spoil(shoot(CAST, run.asked.scene, run.film(FILM)), run)
        # There and back as float32, as a pipeline's frames have been.
        frames = torch.from_numpy(np.ascontiguousarray(frames, np.float32)).mul(2).sub(1).add(1).div(2)
        return Clip(frames, frames, 16.0)


def evaluated(task, spoil, runs=RUNS, seed=4):
    """The rates and means of a spoilt task of one variant."""
    result = evaluate_task(Studio(task, runs, seed, spoil), CAST, task, runs, seed)
    (figures,) = result["figures"].values()
    return {n: figure.get("rate", figure.get("mean")) for n, figure in figures.items() if n not in MISTAKES}


def vanish(frames, run):
    """Halfway the object is gone."""
    frames[20:] = shoot(CAST, replace(run.asked.scene, actors=()), FILM)[20:]
    return frames


def another_noun(frames, run):
    """Another colour and shape than asked for, and than given."""
    (actor,) = run.asked.scene.actors
    shape = "square" if "star" in actor.name else "star"
    color = next(c for c in ("purple", "green", "blue") if c not in actor.name and c not in run.source.actors[0].name)
    other = replace(actor, name=f"{color} {shape}")
    return shoot(CAST, replace(run.asked.scene, actors=(other,)), FILM)


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
def test_what_is_asked_for_scores_one(task, tmp_path):
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
    record = json.loads(json.dumps(application_record(result), allow_nan=False))
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
        ("inpaint", lambda frames, run: shoot(CAST, run.source, FILM), {"object"}),
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
def test_what_is_spoilt_scores_nothing(task, spoil, lost):
    rates = evaluated(task, spoil)
    assert {name for name, value in rates.items() if value == 0.0} == lost
    kept = {name: value for name, value in rates.items() if name not in lost}
    assert all(value == pytest.approx(1.0, abs=0.03) for value in kept.values()), kept


def test_reversed_path_does_not_correlate():
    rates = evaluated("video_to_video", lambda frames, run: np.flip(frames, (1, 2)))  # turned upside down
    assert rates["path_correlation"] < -0.9 and rates["follows_path"] == rates["path_and_noun"] == 0.0


def test_size_jumps_beside_what_is_given_are_measured():
    def grow(frames, run):
        frames[1:] = np.stack([cv2.resize(frame, None, fx=1.5, fy=1.5)[8:40, 8:40] for frame in frames[1:]])
        return frames

    for task in ("first_frame", "keyframes"):
        jumps = [
            evaluate_task(Studio(task, 2, 3, spoil), CAST, task, 2, 3)["figures"]["all"]["size_jump"]["mean"]
            for spoil in (lambda frames, run: frames, grow)
        ]
        assert jumps[0] < 0.08 and jumps[1] > 0.3


def test_plans_are_seeded_and_ask_for_what_can_be_seen():
    runs = plan_changed(CAST, 40, 1)
    assert runs == plan_changed(CAST, 40, 1) != plan_changed(CAST, 40, 2)
    for run in runs:
        (given,), (asked,) = run.source.actors, run.asked.scene.actors
        assert given.name != asked.name and given.motion == asked.motion
        assert run.source.background == run.asked.scene.background and f" {asked.name} " in run.asked.text
        assert asked.moves != "spinning" or "circle" not in asked.name
    assert {run.asked.split for run in runs} == {"trained", "held_out"}
    motions = {run.asked.words()["motion"] for run in plan_task(CAST, "keyframes", 40, 1)}
    assert motions == {"moving left", "moving right", "moving up", "moving down", "growing", "shrinking"}
    assert {run.strength for run in plan_task(CAST, "video_to_video", 4, 1)} == {DEFAULT_STRENGTH}
    with pytest.raises(ValueError, match="another noun than 'red star'"):
        plan_changed(Cast("alone", tuple(m for m in CAST.members if m.name == "red star")), 1, 0)


def test_holes_hold_the_object_and_leave_some_of_the_clip():
    for run in plan_changed(CAST, 20, 2):
        empty = shoot(CAST, replace(run.source, actors=()), FILM)
        material = give_surroundings(run, FILM, shoot(CAST, run.source, FILM))
        assert 0.09 < material.known.mean() < 0.8
        assert torch.equal(material.options["given"].mask[0] == 1, torch.from_numpy(~material.known[0]))
        np.testing.assert_array_equal(material.frames[material.known], empty[material.known])
    run = plan_task(CAST, "region", 1, 2)[0]
    material = give_still(run, FILM, shoot(CAST, run.source, FILM))
    assert material.known[0].all() and not material.known[1:].all() and len(material.options["given"].images) == 1


def test_holes_in_wide_frames_are_where_the_object_is():
    film = Film(16, 48, 80)
    run = plan_changed(CAST, 1, 2)[0]
    material = give_surroundings(run, film, shoot(CAST, run.source, film))
    empty = shoot(CAST, replace(run.source, actors=()), film)
    np.testing.assert_array_equal(material.frames[material.known], empty[material.known])
    assert material.known.shape == (16, 48, 80)


def test_detours_are_not_monotone():
    scene = make_scene("green square", "moving left", "black", np.random.default_rng(0), "normal")
    clip = shoot(CAST, scene, Film(80, 48, 48))
    detour = [*range(60), *range(60, 20, -1), *np.linspace(20, 79, 20).astype(int)]
    cut = [*range(10), *range(50, 80)]

    def way(frames, motion="moving left"):
        return passage(judge_clip(frames, CAST), motion)

    assert max(way(clip)) < 0.04
    assert way(clip[detour])[0] == pytest.approx(0.5, abs=0.05)
    assert way(clip[cut]) == pytest.approx((0, 0.5), abs=0.05)
    assert way(clip, "moving right") == (1, 1)
    noisy = np.clip(clip + np.random.default_rng(0).normal(0, 0.03, clip.shape), 0, 1).astype(np.float32)
    assert max(way(noisy)) < 0.1


def test_path_correlation_takes_both_axes_together():
    path = np.stack([np.linspace(0, 1, 20), np.full(20, 0.5)], axis=1)
    jitter = np.random.default_rng(0).normal(0, 0.01, path.shape)
    assert path_correlation(path, 0.5 * path + 0.2 + jitter) > 0.9
    assert path_correlation(path, path[:, ::-1]) == pytest.approx(0.0, abs=1e-9)
    unseen = np.where(np.arange(20)[:, None] < 12, np.nan, path)
    assert path_correlation(path, unseen) == path_correlation(path, np.full((20, 2), 0.5)) == 0.0


def test_patch_statistics_hear_texture_not_place():
    frames = shoot(CAST, make_scene("red circle", "moving up", "gray", np.random.default_rng(1)), FILM)[:8]
    moved = np.roll(frames, 3, axis=2)
    striped = frames.copy()
    striped[:, ::2] *= 0.8
    own, shift, texture = (patch_statistics(clip) for clip in (frames, moved, striped))
    assert own.shape == (27, 27) and np.abs(texture - own).mean() > 5 * np.abs(shift - own).mean()


@pytest.mark.parametrize(("look", "motion"), [("line_drawing", "spinning"), ("watercolor", "moving right")])
def test_motion_of_drawings_is_read(look, motion):
    scene = make_scene("yellow square", motion, "purple", np.random.default_rng(2), "normal")
    frames = np.stack([draw_still(CAST, scene, t * 5 / 10, 48, look) for t in range(10)])
    assert judge_clip(frames, CAST).motion == motion


class Stylist(Studio):
    """A studio whose style darkens every other line, the more the larger alpha is."""

    def restyle(self, pipeline, name, alpha):
        self.styles = [*getattr(self, "styles", []), (name, alpha)]
        styled = Studio("first_frame", 1, 0, lambda frames, run: self.spoil(self.draw(frames, alpha), (run, alpha)))
        styled.runs = self.runs
        return styled

    @staticmethod
    def draw(frames, alpha):
        frames[:, ::2] *= 1 - 0.3 * alpha
        return frames


def evaluate_styles(monkeypatch, tmp_path, spoil=lambda frames, run: frames, output=None):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    for name in STYLES:
        (tmp_path / f"{name}.safetensors").touch()
    stylist = Stylist("style", 18, 1, spoil)
    monkeypatch.setattr(applications, "restyle", stylist.restyle)
    return stylist, evaluate_task(stylist, CAST, "style", 18, 1, output)


def test_styles_are_compared_with_alpha_zero(monkeypatch, tmp_path):
    stylist, result = evaluate_styles(monkeypatch, tmp_path, output=tmp_path / "out")
    assert stylist.styles == [(name, alpha) for name in STYLES for alpha in ALPHAS]
    assert result["runs"] == 20 and result["prompts"] == 4  # the least that are 18 or more
    assert list(result["figures"]) == [f"{name}, alpha {alpha:g}" for name in STYLES for alpha in ALPHAS]
    assert result["judge"] == {}
    for found in result["trend"].values():
        assert found["rises"] and found["style_distance"][0] == 0.0 and found["motion_change"] == 0.0
        assert found["motion"] == [1.0] * 5
    assert result["figures"]["stickers-watercolor, alpha 0.5"]["motion"]["of"] == 2
    assert result["trend"].keys() == {*STYLES, "all"}
    table = application_table(result)
    sentence = "the style distance rises with alpha throughout; motion at alpha 0.5 differs by +0.0"
    assert f"stickers-watercolor: {sentence}" in table
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["style.json", "style.png"]


def test_styles_without_effect_or_motion_are_found_out(monkeypatch, tmp_path):
    """At alpha 0.5 there is no style, and all runs backwards."""

    def rewind(frames, run_and_alpha):
        run, alpha = run_and_alpha
        return shoot(CAST, run.asked.scene, FILM)[::-1] if alpha == 0.5 else frames

    _, result = evaluate_styles(monkeypatch, tmp_path, rewind)
    assert not result["trend"]["all"]["rises"] and result["trend"]["all"]["motion_change"] < -0.2
    assert "does not rise" in application_table(result)


def test_strengths_are_swept(tmp_path):
    def spoil(frames, run):
        return frames

    class Sweep(Studio):
        """Below 0.7 the noun stays the given one; from 0.9 on nothing moves."""

        def generate(self, prompt, *, seed, super_resolution, start):
            self.spoil = (lambda f, run: shoot(CAST, run.source, FILM)) if start.strength < 0.7 else spoil
            self.spoil = still if start.strength >= 0.9 else self.spoil
            return super().generate(prompt, seed=seed, super_resolution=super_resolution)

    result = evaluate_task(Sweep("strengths", 11, 5), CAST, "strengths", 11, 5, tmp_path)
    assert result["runs"] == 12 and list(result["figures"]) == [f"strength {s:g}" for s in STRENGTHS]
    trend = result["trend"]
    assert trend["noun"] == [0, 0, 1, 1, 1, 1] and trend["follows_path"] == [1, 1, 1, 1, 0, 0]
    assert trend["path_and_noun"] == [0, 0, 1, 1, 0, 0] and trend["best"] == 0.7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["strengths.json", "strengths.png", "strengths_plot.png"]
    assert "most often at strength 0.7" in application_table(result)


def test_clips_of_all_lengths_and_shapes_are_asked_for():
    studio, made = Studio("shapes", 9, 1), []
    studio.base.info = replace(studio.base.info, frames=16, size=64)
    studio.generate = lambda prompt, *, seed, super_resolution, frames, size: (
        made.append((frames, size)) or shot(studio.runs[seed].asked.scene, Film(frames, *size))
    )

    def shot(scene, film):
        frames = torch.from_numpy(shoot(CAST, scene, film))
        return Clip(frames, frames, 16.0)

    result = evaluate_task(studio, CAST, "shapes", 9, 1)
    assert list(result["figures"]) == [*(f"{frames} frames" for frames in LENGTHS), *SHAPES]
    assert made == [
        *((frames, (64, 64)) for frames in LENGTHS),
        *((16, size) for size in ((80, 48), (72, 56), (56, 72), (48, 80))),
    ]
    for variant, figures in result["figures"].items():
        assert result["judge"][variant]["noun"] == figures["noun"] and figures["noun"]["of"] == 1
        assert figures["noun"]["rate"] == figures["background"]["rate"] == 1.0
        assert figures["wobble"]["mean"] < 0.1
    assert all(result["figures"][variant]["all"]["rate"] == 1.0 for variant in ("120 frames", "160 frames", *SHAPES))
    assert "| judge on ground truth, 9:16 (1) |" in application_table(result)


def test_table_shows_intervals_and_targets():
    lines = application_table(evaluate_task(Studio("first_frame", 4, 0), CAST, "first_frame", 4, 0)).splitlines()
    assert lines[0] == "| first frame, % or mean (95 % interval) | exact | persists | motion | size jump |"
    assert lines[2].startswith("| all (4) | 100.0 (51.0-100.0) |")
    assert lines[3].startswith("| judge on ground truth (4) | 100.0")
    assert lines[4] == "| target | 100 | 90 | 85 |  |"
    table = application_table(evaluate_task(Studio("video_to_video", 4, 0), CAST, "video_to_video", 4, 0))
    assert f"| strength {DEFAULT_STRENGTH:g} (4) | " in table and "| target | 0.8 |" in table


@pytest.mark.parametrize(
    ("task", "runs", "output", "message"),
    [
        ("first_frame", 0, None, "runs must be at least 1; got 0"),
        ("strengths", -1, None, "runs must be at least 1; got -1"),
        ("dance", 1, None, "task must be one of first_frame, .*; got 'dance'"),
        ("inpaint", 1, __file__, "a folder that can be written"),
    ],
)
def test_refuses_before_anything_is_made(task, runs, output, message):
    studio = Studio("first_frame", 1, 0)
    with pytest.raises(ValueError, match=message) as refused:
        evaluate_task(studio, CAST, task, runs, output=output)
    assert studio.calls == [] and "\n" not in str(refused.value)


def test_lists_of_tasks_are_checked_first(monkeypatch, tmp_path):
    check_tasks(["text", "first_frame"], None)
    with pytest.raises(ValueError, match="task must be one of text, first_frame.*got ''"):
        check_tasks(["text", ""])
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match="stickers-line-drawing.safetensors are not in"):
        check_tasks(["first_frame", "style"])


def test_figures_are_recorded_beside_earlier_ones(tiny, tmp_path):
    file = tmp_path / "base.safetensors"
    file.write_bytes(tiny.base.read_bytes())
    for task in ("first_frame", "region"):
        record_application(file, evaluate_task(Studio(task, 2, 0), CAST, task, 2, 0))
    record_evaluation(file, {"prompts": 7})
    record_application(file, evaluate_task(Studio("region", 3, 0), CAST, "region", 3, 0))
    training = load_info(file).training
    assert training["recipe"] == "test" and training["evaluation"] == {"prompts": 7}
    assert {task: record["runs"] for task, record in training["applications"].items()} == {
        "first_frame": 2,
        "region": 3,
    }
    assert training["applications"]["first_frame"]["figures"]["all"]["exact"][0] == 1.0


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


def test_styles_leave_the_pipeline_as_it_was(tiny, tmp_path, monkeypatch):
    pipeline = LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")
    before = pipeline.base.network.state_dict()["conv_in.weight"].clone()
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    save_file({"conv_in.weight": (before + 1).contiguous()}, tmp_path / f"{STYLES[0]}.safetensors")
    with pytest.warns(UserWarning, match="covers 1 of"):
        styled = applications.restyle(pipeline, STYLES[0], 0.5)
    torch.testing.assert_close(styled.base.network.state_dict()["conv_in.weight"], before + 0.5)
    assert torch.equal(pipeline.base.network.state_dict()["conv_in.weight"], before)
    assert styled.base.encoder is pipeline.base.encoder and styled.ssr is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("--task dance", "task must be one of text, first_frame"), ("--task region --runs 0", "runs must be at least 1")],
)
def test_command_refuses_in_one_line(arguments, message, tmp_path, capsys):
    assert cli.main(["evaluate", *arguments.split(), "--output", f"{tmp_path}/out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not list(tmp_path.iterdir())
