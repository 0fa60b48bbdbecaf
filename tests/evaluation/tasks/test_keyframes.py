"""The way between keyframes is measured."""

import numpy as np
import pytest

from lumiere_video.evaluation.judge.judgement import judge_clip
from lumiere_video.evaluation.tasks.keyframes import passage
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.scene import make_scene

CAST = drawn_shapes()


def test_detours_are_not_monotone():
    scene = make_scene("green square", "moving left", "black", np.random.default_rng(0), "normal")
    clip = film_in_8_bits(CAST, scene, ClipSize(80, 48, 48))
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
