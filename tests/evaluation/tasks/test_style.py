"""Styles are compared with the same clips without."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lumiere_video.evaluation.judge.judgement import judge_clip
from lumiere_video.evaluation.tasks import style
from lumiere_video.evaluation.tasks.loop import describe, evaluate_task
from lumiere_video.evaluation.tasks.style import ALPHAS, STYLES, patch_statistics
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.lumiere_core.checkpoints import bundled
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.looks import draw_still
from lumiere_video.world.scene import make_scene

CAST = drawn_shapes()
SIZE = ClipSize(40, 32, 32)


def test_patch_statistics_hear_texture_not_place():
    frames = film_in_8_bits(CAST, make_scene("red circle", "moving up", "gray", np.random.default_rng(1)), SIZE)[:8]
    moved = np.roll(frames, 3, axis=2)
    striped = frames.copy()
    striped[:, ::2] *= 0.8
    own, shift, texture = (patch_statistics(clip) for clip in (frames, moved, striped))
    assert own.shape == (27, 27) and np.abs(texture - own).mean() > 5 * np.abs(shift - own).mean()


@pytest.mark.slow
@pytest.mark.parametrize(("look", "motion"), [("line_drawing", "spinning"), ("watercolor", "moving right")])
def test_motion_of_drawings_is_read(look, motion):
    scene = make_scene("yellow square", motion, "purple", np.random.default_rng(2), "normal")
    frames = np.stack([draw_still(CAST, scene, t * 5 / 10, 48, look) for t in range(10)])
    assert judge_clip(frames, CAST).motion == motion


class Stylist:
    """Blends in a style that darkens every other line, the more the larger alpha is; then spoils it."""

    def __init__(self, Studio, spoil=lambda frames, run_and_alpha: frames):
        self.Studio, self.spoil, self.styles = Studio, spoil, []

    def restyle(self, pipeline, name, alpha):
        self.styles.append((name, alpha))
        styled = self.Studio("style", 18, 1, lambda frames, run: self.spoil(self.draw(frames, alpha), (run, alpha)))
        styled.runs = pipeline.runs
        return styled

    @staticmethod
    def draw(frames, alpha):
        frames[:, ::2] *= 1 - 0.3 * alpha
        return frames


@pytest.fixture
def bundled_styles(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    for name in STYLES:
        (tmp_path / f"{name}.safetensors").touch()


@pytest.fixture
def evaluate_styles(monkeypatch, bundled_styles, Studio):
    def evaluate(stylist, output=None):
        monkeypatch.setattr(style, "restyle", stylist.restyle)
        return evaluate_task(Studio("style", 18, 1), CAST, "style", 18, 1, output)

    return evaluate


def test_styles_are_compared_with_alpha_zero(Studio, evaluate_styles, tmp_path):
    stylist = Stylist(Studio)
    result = evaluate_styles(stylist, tmp_path / "out")
    assert stylist.styles == [(name, alpha) for name in STYLES for alpha in ALPHAS]
    assert result["runs"] == 20 and result["prompts"] == 4  # the least that are 18 or more
    assert list(result["figures"]) == [f"{name}, alpha {alpha:g}" for name in STYLES for alpha in ALPHAS]
    assert result["judge"] == {}
    for found in result["trend"].values():
        assert found["rises"] and found["style_distance"][0] == 0.0 and found["motion_change"] == 0.0
        assert found["motion"] == [1.0] * 5
    assert result["figures"][f"{STYLES[1]}, alpha 0.5"]["motion"]["of"] == 2
    assert result["trend"].keys() == {*STYLES, "all"}
    table = describe(result)
    sentence = "the style distance rises with alpha throughout; motion at alpha 0.5 differs by +0.0"
    assert f"{STYLES[1]}: {sentence}" in table
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["style.json", "style.png"]


def test_styles_without_effect_or_motion_are_found_out(Studio, evaluate_styles):
    """At alpha 0.5 there is no style, and all runs backwards."""

    def rewind(frames, run_and_alpha):
        run, alpha = run_and_alpha
        return film_in_8_bits(CAST, run.asked.scene, SIZE)[::-1] if alpha == 0.5 else frames

    result = evaluate_styles(Stylist(Studio, rewind))
    assert not result["trend"]["all"]["rises"] and result["trend"]["all"]["motion_change"] < -0.2
    assert "does not rise" in describe(result)


def test_styles_leave_the_pipeline_as_it_was(tiny, tmp_path, monkeypatch):
    pipeline = LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")
    before = pipeline.base.network.state_dict()["conv_in.weight"].clone()
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    save_file({"conv_in.weight": (before + 1).contiguous()}, tmp_path / f"{STYLES[0]}.safetensors")
    with pytest.warns(UserWarning, match="covers 1 of"):
        styled = style.restyle(pipeline, STYLES[0], 0.5)
    torch.testing.assert_close(styled.base.network.state_dict()["conv_in.weight"], before + 0.5)
    assert torch.equal(pipeline.base.network.state_dict()["conv_in.weight"], before)
    assert styled.base.encoder is pipeline.base.encoder and styled.ssr is None
