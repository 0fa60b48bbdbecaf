"""The evaluation counts right: a pipeline that films the toy world itself scores 1, one that lies scores little."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lumiere_video.lumiere_core.checkpoint import CheckpointInfo
from lumiere_video.lumiere_core.diffusion import plan_windows
from lumiere_video.lumiere_core.evaluation.prompts import SPLITS, plan_prompts
from lumiere_video.lumiere_core.evaluation.report import markdown_table, training_record
from lumiere_video.lumiere_core.evaluation.run import evaluate
from lumiere_video.lumiere_core.evaluation.seams import describe_layout, plan_layouts
from lumiere_video.lumiere_core.evaluation.stills import evaluate_stills
from lumiere_video.lumiere_core.pipeline import Clip, LumierePipeline
from lumiere_video.lumiere_core.toy_world import BACKGROUNDS, COLORS, MOTIONS, SHAPES, make_scene, render_clip

TRAITS = ("shape", "color", "background", "motion")


def scene_of(prompt, seed):
    """A caption's scene, in a random place: the evaluation never sees it."""
    shape, color, motion, background = (
        next(word for word in words if f" {word} " in f" {prompt} ") for words in (SHAPES, COLORS, MOTIONS, BACKGROUNDS)
    )
    return make_scene(shape, color, motion, background, np.random.default_rng(seed))


class ToyCamera:
    """Stands in for a pipeline: films what `understand(prompt)` says, 80 frames of 32x32 and `scale` times that.

    Windows that do not overlap differ in light.
    """

    def __init__(self, scale=2, understand=lambda prompt: prompt):
        self.understand, self.scale, self.calls, self.layouts = understand, scale, [], []
        self.base = SimpleNamespace(info=CheckpointInfo("base", {}, frames=80, size=32))
        ssr = CheckpointInfo("ssr", {}, frames=16, size=32 * scale, scale=scale, window=16, overlap=4)
        self.ssr = SimpleNamespace(info=ssr) if scale > 1 else None

    def generate(self, prompt, *, seed, super_resolution):
        self.calls.append((prompt, seed, super_resolution))
        small = self.film(prompt, seed, 32)
        return Clip(self.upscale(small, prompt, seed=seed) if super_resolution else small, small, 16.0)

    def upscale(self, low_res, prompt, *, seed, window=80, overlap=None):
        self.layouts.append((prompt, seed, window, overlap))
        assert torch.equal(low_res, self.film(prompt, seed, 32))
        light = 0.1 * (torch.arange(80) // window % 2)
        return (self.film(prompt, seed, 32 * self.scale) + light[:, None, None, None]).clamp(0, 1)

    def film(self, prompt, seed, size):
        return torch.from_numpy(render_clip(scene_of(self.understand(prompt), seed), 80, size, size))


def misunderstand(prompt):
    """Red for every other colour, and left for every other motion."""
    scene = scene_of(prompt, 0)
    color, motion = scene.objects[0].color, scene.objects[0].motion
    return prompt.replace(color, "red").replace(motion, "moving left")


@pytest.fixture(scope="module")
def faithful(tmp_path_factory):
    folder, steps, camera = tmp_path_factory.mktemp("faithful"), [], ToyCamera()
    result = evaluate(camera, 40, 1, folder, lambda done, clips: steps.append((done, clips)), seam_clips=2)
    return SimpleNamespace(result=result, folder=folder, steps=steps, camera=camera)


def test_ground_truth_scores_one(faithful):
    for stage in ("base", "super_resolution"):
        for figures in (faithful.result["stages"][stage], faithful.result["judge"][stage]):
            for split, count in (("trained", 30), ("held_out", 10)):
                rates = figures["accuracy"][split]
                assert list(rates) == [*TRAITS, "all"]
                assert all(rate["correct"] == rate["of"] == count and rate["rate"] == 1.0 for rate in rates.values())
                assert all(0.6 < rate["low"] < rate["high"] == 1.0 for rate in rates.values())
    assert [faithful.result["stages"][s]["size"] for s in ("base", "super_resolution")] == [[32, 32], [64, 64]]


def test_ground_truth_is_periodic_and_does_not_flicker(faithful):
    base = faithful.result["stages"]["base"]
    assert base["flicker"]["clips"] > 30 and base["flicker"]["mean"] < 1e-6
    for share in base["periodicity"].values():
        assert share["correct"] == share["of"] >= 2
        assert 16 <= share["median_period_frames"] <= 64


def test_confusion_counts_every_clip(faithful):
    for trait, words in (("motion", MOTIONS), ("shape", SHAPES)):
        table = faithful.result["stages"]["base"]["confusion"][trait]
        assert table["asked"] == list(words) and table["shown"] == [*words, "none"]
        counts = np.array(table["counts"])
        assert counts.sum() == 40 and np.trace(counts) == 40


def test_joints_of_windows_without_overlap_are_found(faithful):
    seams = faithful.result["seams"]
    assert {name: (s["window"], s["overlap"]) for name, s in seams.items()} == {
        "multidiffusion": (16, 5),  # even windows share one frame more than the checkpoint asks for
        "no_overlap": (16, 0),
        "one_window": (80, 0),
    }
    assert seams["no_overlap"]["boundaries"] == seams["one_window"]["boundaries"] == [16, 32, 48, 64]
    assert seams["no_overlap"]["boundary_to_interior"] > 3.0
    for name in ("multidiffusion", "one_window"):
        assert seams[name]["boundary_to_interior"] == pytest.approx(1.0, abs=0.3)
    assert all(len(seam["mse"]) == 79 and seam["clips"] == 2 for seam in seams.values())


def test_same_base_clip_is_enlarged_with_other_windows(faithful):
    others = [layout for layout in faithful.camera.layouts if layout[3] is not None]
    assert [layout[2:] for layout in others] == [(16, 0), (80, 0), (16, 0), (80, 0)]
    assert {layout[:2] for layout in others} <= {call[:2] for call in faithful.camera.calls}
    assert faithful.steps == [(i, 44) for i in range(45)]


def test_writes_json_plot_and_contact_sheet(faithful):
    assert sorted(path.name for path in faithful.folder.iterdir()) == [
        "contact_sheet.png",
        "evaluation.json",
        "evaluation.png",
    ]
    result = json.loads((faithful.folder / "evaluation.json").read_text())
    assert result == json.loads(json.dumps(faithful.result))
    assert {"format", "prompts", "seed", "settings", "stages", "judge", "seams", "clips"} <= result.keys()
    assert result["settings"]["super_resolution"]["overlap"] == 4
    first = result["clips"][0]
    assert first["shown"]["base"] == first["asked"] == first["shown"]["super_resolution"]
    assert [clip["seed"] for clip in result["clips"]] == [1 + 3 * i for i in range(40)]


def test_table_and_record_carry_the_figures(faithful):
    lines = markdown_table(faithful.result).splitlines()
    assert lines[0] == "| accuracy, % (95 % interval) | shape | color | background | motion | all |"
    assert lines[2].startswith("| base 32x32, trained (30) | 100.0 (88.6-100.0) |")
    assert lines[5].startswith("| super-resolved 64x64, held out (10) |")
    assert lines[6].startswith("| judge on ground truth 32x32 (40) | 100.0 (91.2-100.0) |")
    assert len({line.count("|") for line in lines[:8]}) == 1
    record = json.loads(json.dumps(training_record(faithful.result)))
    assert record["stages"]["base"]["accuracy"]["trained"]["shape"] == [1.0, 0.8865, 1.0]
    assert record["boundary_to_interior"]["no_overlap"] > 3.0
    assert len(json.dumps(record)) < 4000


def test_wrong_colors_and_motions_lower_the_score_of_those_alone(tmp_path):
    result = evaluate(ToyCamera(scale=1, understand=misunderstand), 20, 2, tmp_path)
    rates = result["stages"]["base"]["accuracy"]["trained"]
    assert rates["shape"]["rate"] == rates["background"]["rate"] == 1.0
    assert rates["color"]["rate"] < 0.4 and rates["motion"]["rate"] < 0.4
    assert rates["color"]["high"] < 0.7
    assert result["judge"]["base"]["accuracy"]["trained"]["all"]["rate"] == 1.0
    counts = np.array(result["stages"]["base"]["confusion"]["motion"]["counts"])
    assert counts[:, MOTIONS.index("moving left")].sum() == 20
    assert all(share["correct"] == 0 for share in result["stages"]["base"]["periodicity"].values())


def test_base_alone_and_a_single_prompt():
    result = evaluate(ToyCamera(scale=1), prompts=1)
    assert list(result["stages"]) == ["base"] and result["seams"] is None
    assert result["stages"]["base"]["accuracy"]["held_out"]["shape"] == {
        "correct": 0,
        "of": 0,
        "rate": None,
        "low": None,
        "high": None,
    }
    assert "held out (0) | - |" in markdown_table(result)
    json.dumps(training_record(result), allow_nan=False)


@pytest.mark.filterwarnings("ignore:The prompt has")
def test_runs_a_real_pipeline(tiny, tmp_path):
    pipeline = LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")
    result = evaluate(pipeline, prompts=6, output=tmp_path, seam_clips=1)
    assert [result["stages"][stage]["size"] for stage in ("base", "super_resolution")] == [[8, 8], [32, 32]]
    assert {name: (s["window"], s["overlap"]) for name, s in result["seams"].items()} == {
        "multidiffusion": (6, 3),
        "no_overlap": (6, 0),
        "one_window": (12, 0),
    }
    assert json.loads((tmp_path / "evaluation.json").read_text())["clips"] == result["clips"]


def test_super_resolves_only_as_many_as_asked():
    camera = ToyCamera()
    result = evaluate(camera, prompts=4, super_resolution_prompts=1, seam_clips=0)
    assert [call[2] for call in camera.calls] == [True, False, False, False]
    assert [result["stages"][stage]["prompts"] for stage in ("base", "super_resolution")] == [4, 1]


@pytest.mark.parametrize(
    ("scale", "options", "message"),
    [
        (2, {"prompts": 0}, "at least 1; got 0"),
        (2, {"prompts": 4, "super_resolution_prompts": 5}, "0 to 4, the prompts; got 5"),
        (1, {"prompts": 4, "super_resolution_prompts": 2}, "has no SSR"),
        (1, {"prompts": 1, "output": __file__}, "a folder that can be written"),
    ],
)
def test_refuses_before_anything_is_made(scale, options, message):
    camera = ToyCamera(scale)
    with pytest.raises(ValueError, match=message):
        evaluate(camera, **options)
    assert camera.calls == []


def test_prompts_are_balanced_and_kept_apart():
    prompts = plan_prompts(256, seed=0)
    assert Counter(p.split for p in prompts) == {"trained": 192, "held_out": 64}
    assert prompts[0].text != plan_prompts(256, seed=1)[0].text
    assert [p.text for p in prompts] == [p.text for p in plan_prompts(256, seed=0)]
    for split, combinations in SPLITS.items():
        words = [p.words() for p in prompts if p.split == split]
        assert all((w["shape"], w["color"], w["motion"]) in combinations for w in words)
        for trait, known in (("shape", SHAPES), ("color", COLORS), ("motion", MOTIONS), ("background", BACKGROUNDS)):
            counts = Counter(w[trait] for w in words)
            assert counts.keys() == set(known)
            assert max(counts.values()) <= min(counts.values()) * 1.5 + 2, (split, trait, counts)


def test_boundaries_are_where_the_covering_windows_change():
    assert describe_layout(12, plan_windows(12, 4, 0)) == (4, 0, [4, 8])
    assert describe_layout(10, plan_windows(10, 4, 1)) == (4, 1, [3, 4, 6, 7])
    assert plan_layouts(80, plan_windows(80, 15, 2))["no_overlap"].window == 16
    assert plan_layouts(16, plan_windows(16, 16, 2)) == {} == plan_layouts(79, plan_windows(79, 15, 2))


def test_stills_are_judged_in_one_batch():
    batches = []

    def generate_batch(prompts):
        batches.append(len(prompts))
        scenes = [scene_of(prompt, seed) for seed, prompt in enumerate(prompts)]
        return np.stack([render_clip(scene, 1, 32, 32)[0] for scene in scenes])

    scores = evaluate_stills(generate_batch, 24, seed=0)
    assert batches == [24] and scores == {"shape": 1.0, "color": 1.0, "background": 1.0, "all": 1.0}
