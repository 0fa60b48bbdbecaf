"""Paths are compared, and the best strength is found."""

import numpy as np
import pytest

from lumiere_video.evaluation.tasks.loop import describe, evaluate_task
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.evaluation.tasks.video_to_video import STRENGTHS, path_correlation
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()
SIZE = ClipSize(40, 32, 32)


def test_path_correlation_takes_both_axes_together():
    path = np.stack([np.linspace(0, 1, 20), np.full(20, 0.5)], axis=1)
    jitter = np.random.default_rng(0).normal(0, 0.01, path.shape)
    assert path_correlation(path, 0.5 * path + 0.2 + jitter) > 0.9
    assert path_correlation(path, path[:, ::-1]) == pytest.approx(0.0, abs=1e-9)
    unseen = np.where(np.arange(20)[:, None] < 12, np.nan, path)
    assert path_correlation(path, unseen) == path_correlation(path, np.full((20, 2), 0.5)) == 0.0


def still(frames, run):
    return np.repeat(frames[:1], len(frames), axis=0)


def test_strengths_are_swept(Studio, tmp_path):
    def spoil(frames, run):
        return frames

    class Sweep(Studio):
        """Below 0.7 the noun stays the given one; from 0.9 on nothing moves."""

        def generate(self, prompt, *, seed, super_resolution, start):
            self.spoil = (lambda f, run: film_in_8_bits(CAST, run.source, SIZE)) if start.strength < 0.7 else spoil
            self.spoil = still if start.strength >= 0.9 else self.spoil
            return super().generate(prompt, seed=seed, super_resolution=super_resolution)

    result = evaluate_task(Sweep("strengths", 11, 5), CAST, "strengths", 11, 5, tmp_path)
    assert result["runs"] == 12 and list(result["figures"]) == [f"strength {s:g}" for s in STRENGTHS]
    trend = result["trend"]
    assert trend["noun"] == [0, 0, 1, 1, 1, 1] and trend["follows_path"] == [1, 1, 1, 1, 0, 0]
    assert trend["path_and_noun"] == [0, 0, 1, 1, 0, 0] and trend["best"] == 0.7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["strengths.json", "strengths.png", "strengths_plot.png"]
    assert "most often at strength 0.7" in describe(result)
