"""Text to video is counted right: a pipeline that films the world itself scores 1, one that lies scores little."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lumiere_video.evaluation.judge.filming import film_scene
from lumiere_video.evaluation.report.record import text_record
from lumiere_video.evaluation.report.text_report import text_table
from lumiere_video.evaluation.tasks.text import evaluate_text
from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo
from lumiere_video.lumiere_core.diffusion.options import UNSAID, SamplingOptions
from lumiere_video.lumiere_core.pipeline import Clip, LumierePipeline
from lumiere_video.world.backgrounds import BACKGROUNDS
from lumiere_video.world.captions import background_phrases
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.motions import MOTIONS
from lumiere_video.world.scene import make_scene

TRAITS = ("noun", "noun_top5", "motion", "background")
SIDE = 32
CAST = drawn_shapes()
SSR_SAMPLING = SamplingOptions(window=16, overlap=4).over(CheckpointInfo.sampling)


def scene_of(prompt, seed):
    """A caption's scene, in a random place: the evaluation never sees it."""
    noun = next(name for name in CAST.names if f" {name} " in prompt)
    motion = next(motion for motion in MOTIONS if f" {motion} " in prompt)
    background = next(b for b in BACKGROUNDS if prompt.endswith(background_phrases(b)[0]))
    pace = {"slowly": "slow", "quickly": "quick"}.get(prompt.split(f" {motion} ")[0].split()[-1], "normal")
    return make_scene(noun, motion, background, np.random.default_rng(seed), pace)


class Camera:
    """Stands in for a pipeline: films what `understand(prompt)` says, 80 frames of 32x32 and `scale` times that.

    Windows that do not overlap differ in light.
    """

    def __init__(self, scale=2, understand=lambda prompt: prompt):
        self.understand, self.scale, self.calls, self.layouts = understand, scale, [], []
        self.base = SimpleNamespace(info=CheckpointInfo("base", {}, frames=80, size=SIDE))
        ssr = CheckpointInfo(
            "ssr",
            {},
            frames=16,
            size=SIDE * scale,
            scale=scale,
            sampling=SSR_SAMPLING,
        )
        self.ssr = SimpleNamespace(info=ssr) if scale > 1 else None

    def generate(self, prompt, *, seed, super_resolution):
        self.calls.append((prompt, seed, super_resolution))
        small = self.film(prompt, seed, SIDE)
        return Clip(self.upscale(small, prompt, seed=seed) if super_resolution else small, small, 16.0)

    def upscale(self, low_res, prompt, *, seed, ssr=UNSAID):
        window = ssr.window or 80
        self.layouts.append((prompt, seed, window, ssr.overlap))
        if torch.equal(low_res, self.film(prompt, seed, SIDE)):
            video = self.film(prompt, seed, SIDE * self.scale)
        else:  # a clip that is not its own: each pixel as a square
            video = low_res.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)
        light = 0.1 * (torch.arange(80) // window % 2)
        return (video + light[:, None, None, None]).clamp(0, 1)

    def film(self, prompt, seed, size):
        return torch.from_numpy(film_scene(CAST, scene_of(self.understand(prompt), seed), 80, size, size))


def misunderstand(prompt):
    """A red square for every other thing, and left for every other motion."""
    (actor,) = scene_of(prompt, 0).actors
    return prompt.replace(actor.name, "red square").replace(actor.moves, "moving left")


@pytest.fixture(scope="module")
def faithful(tmp_path_factory):
    folder, steps, camera = tmp_path_factory.mktemp("faithful"), [], Camera()
    result = evaluate_text(
        camera, CAST, 20, 1, folder, lambda done, clips: steps.append((done, clips)), seam_clips=2, fidelity_clips=2
    )
    return SimpleNamespace(result=result, folder=folder, steps=steps, camera=camera)


@pytest.mark.slow
def test_ground_truth_scores_one(faithful):
    for stage in ("base", "super_resolution"):
        for figures in (faithful.result["stages"][stage], faithful.result["judge"][stage]):
            for split, count in (("trained", 15), ("held_out", 5)):
                rates = figures["accuracy"][split]
                assert list(rates) == [*TRAITS, "all"]
                assert all(rate["correct"] == rate["of"] == count and rate["rate"] == 1.0 for rate in rates.values())
                assert all(0.5 < rate["low"] < rate["high"] == 1.0 for rate in rates.values())
    assert [faithful.result["stages"][s]["size"] for s in ("base", "super_resolution")] == [[32, 32], [64, 64]]


@pytest.mark.slow
def test_ground_truth_is_periodic_and_does_not_flicker(faithful):
    base = faithful.result["stages"]["base"]
    assert base["flicker"]["clips"] == 20 and base["flicker"]["mean"] < 1e-6
    for share in base["periodicity"].values():
        assert share["correct"] == share["of"] >= 1
        assert 16 <= share["median_period_frames"] <= 40


@pytest.mark.slow
def test_confusion_and_words_count_every_clip(faithful):
    base = faithful.result["stages"]["base"]
    table = base["confusion"]["motion"]
    assert table["asked"] == list(MOTIONS) and table["shown"] == [*MOTIONS, "none"]
    counts = np.array(table["counts"])
    assert counts.sum() == 20 and np.trace(counts) == 20
    by_word = base["motion_by_word"]
    assert list(by_word) == list(MOTIONS) and sum(share["of"] for share in by_word.values()) == 20
    assert all(share["rate"] == 1.0 for share in by_word.values())


@pytest.mark.slow
def test_wobble_is_beside_ground_truths(faithful):
    own, true = (faithful.result[side]["base"]["wobble"] for side in ("stages", "judge"))
    assert own["clips"] == true["clips"] == 20 and own["mean"] == pytest.approx(true["mean"], abs=0.01)
    assert 0 < true["mean"] < 0.06


@pytest.mark.slow
def test_super_resolution_is_compared_with_ground_truth(faithful):
    fidelity = faithful.result["fidelity"]
    assert fidelity["clips"] == 2 and fidelity["largest_shift"] < 0.3
    assert 15 < fidelity["psnr"] < fidelity["lanczos_psnr"] < 50  # squares are worse than Lanczos


@pytest.mark.slow
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


@pytest.mark.slow
def test_same_base_clip_is_enlarged_with_other_windows(faithful):
    others = [layout for layout in faithful.camera.layouts if layout[3] is not None]
    assert [layout[2:] for layout in others] == [(16, 0), (80, 0), (16, 0), (80, 0)]
    assert {layout[:2] for layout in others} <= {call[:2] for call in faithful.camera.calls}
    assert faithful.steps == [(i, 26) for i in range(27)]


@pytest.mark.slow
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
    for shown in first["shown"].values():
        assert shown.pop("best_nouns")[0] == first["asked"]["noun"] and shown == first["asked"]
    assert [clip["seed"] for clip in result["clips"]] == [1 + 3 * i for i in range(20)]


@pytest.mark.slow
def test_table_and_record_carry_the_figures(faithful):
    lines = text_table(faithful.result).splitlines()
    assert lines[0] == "| accuracy, % (95 % interval) | noun | noun_top5 | motion | background | all |"
    assert lines[2].startswith("| base 32x32, trained (15) | 100.0 (79.6-100.0) |")
    assert lines[5].startswith("| super-resolved 64x64, held out (5) |")
    assert lines[6].startswith("| judge on ground truth 32x32 (20) | 100.0 (83.9-100.0) |")
    assert len({line.count("|") for line in lines[:8]}) == 1
    assert f"| motion by word, % | {' | '.join(MOTIONS)} |" in lines
    assert any(line.startswith("| wobble of the outline, % (ground truth's) |") for line in lines)
    assert "| super-resolution of ground truth (2) | PSNR, dB | Lanczos, dB | largest shift, px |" in lines
    record = json.loads(json.dumps(text_record(faithful.result)))
    assert record["stages"]["base"]["accuracy"]["trained"]["noun"] == [1.0, 0.7961, 1.0]
    assert record["fidelity"]["clips"] == 2 and record["stages"]["base"]["motion_by_word"]["falling"] == 1.0
    assert record["stages"]["base"]["wobble"] == pytest.approx(record["judge"]["base"]["wobble"], abs=0.01)
    assert record["boundary_to_interior"]["no_overlap"] > 3.0
    assert len(json.dumps(record)) < 5000


def test_wrong_nouns_and_motions_lower_the_score_of_those_alone(tmp_path):
    result = evaluate_text(Camera(scale=1, understand=misunderstand), CAST, 16, 2, tmp_path)
    rates = result["stages"]["base"]["accuracy"]["trained"]
    assert rates["background"]["rate"] == 1.0 and rates["all"]["rate"] < 0.2
    assert rates["noun"]["rate"] < 0.3 and rates["motion"]["rate"] < 0.3
    assert rates["noun"]["rate"] <= rates["noun_top5"]["rate"] < 0.6
    assert rates["noun"]["high"] < 0.7
    assert result["judge"]["base"]["accuracy"]["trained"]["all"]["rate"] == 1.0
    counts = np.array(result["stages"]["base"]["confusion"]["motion"]["counts"])
    assert counts[:, list(MOTIONS).index("moving left")].sum() == 16
    assert all(share["correct"] == 0 for share in result["stages"]["base"]["periodicity"].values())


def test_base_alone_and_a_single_prompt():
    result = evaluate_text(Camera(scale=1), CAST, prompts=1)
    assert list(result["stages"]) == ["base"] and result["seams"] is None and result["fidelity"] is None
    assert result["stages"]["base"]["accuracy"]["held_out"]["noun"] == {
        "correct": 0,
        "of": 0,
        "rate": None,
        "low": None,
        "high": None,
    }
    assert "held out (0) | - |" in text_table(result)
    json.dumps(text_record(result), allow_nan=False)


@pytest.mark.filterwarnings("ignore:The prompt has")
def test_runs_a_real_pipeline(tiny, tmp_path):
    pipeline = LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")
    result = evaluate_text(pipeline, CAST, prompts=6, output=tmp_path, seam_clips=1, fidelity_clips=1)
    assert [result["stages"][stage]["size"] for stage in ("base", "super_resolution")] == [[8, 8], [32, 32]]
    assert {name: (s["window"], s["overlap"]) for name, s in result["seams"].items()} == {
        "multidiffusion": (6, 3),
        "no_overlap": (6, 0),
        "one_window": (12, 0),
    }
    assert json.loads((tmp_path / "evaluation.json").read_text())["clips"] == result["clips"]
    assert result["fidelity"]["clips"] == 1 and result["cast"] == "shapes"


def test_super_resolves_only_as_many_as_asked():
    camera = Camera()
    result = evaluate_text(camera, CAST, prompts=4, super_resolution_prompts=1, seam_clips=0, fidelity_clips=0)
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
    camera = Camera(scale)
    with pytest.raises(ValueError, match=message):
        evaluate_text(camera, CAST, **options)
    assert camera.calls == []
