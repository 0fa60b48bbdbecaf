"""Measures of time see what they are of, and nothing else."""

import numpy as np
import pytest

from lumiere_video.evaluation.judge.filming import film_scene
from lumiere_video.evaluation.judge.judgement import judge_clip
from lumiere_video.evaluation.judge.temporal import (
    adjacent_frame_mse,
    boundary_to_interior_ratio,
    periodicity,
    size_jump,
)
from lumiere_video.world.scene import make_scene


def scene_of(noun, motion, background, seed=0, pace=None):
    return make_scene(noun, motion, background, np.random.default_rng(seed), pace)


def test_size_jumps_are_seen_beside_given_frames_only():
    areas = np.array([4.0, 9.0, 9.0, 9.0, np.nan, 9.0])
    assert size_jump(areas, [0]) == pytest.approx(0.5)
    assert size_jump(areas, [2]) == 0.0
    assert size_jump(areas, [-1]) == size_jump(areas, [3]) == 1.0  # the neighbour is unseen
    assert size_jump(areas, [0, 1]) == 0.0  # both are given
    assert size_jump(areas[:1], [0]) == 0.0


def test_size_jump_of_a_clip(cast):
    near = film_scene(cast, scene_of("blue square", "growing", "sea", 1), 80, 48, 48)
    assert size_jump(judge_clip(near, cast).areas, [0, -1]) < 0.05
    assert size_jump(judge_clip(near[[0, *range(40, 80)]], cast).areas, [0]) > 0.2


def test_periodicity_finds_the_period_of_what_comes_back(cast):
    for motion in ("bouncing", "orbiting", "swinging", "jumping"):
        scene = scene_of("red square", motion, "black", 12, "normal")
        found = periodicity(judge_clip(film_scene(cast, scene, 80, 48, 48), cast).centroids)
        period = 80 / scene.actors[0].motion.cycles
        assert found.strength > 0.85 and found.period_frames == pytest.approx(period, abs=1.0)
    for motion in ("moving left", "staying still"):
        clip = film_scene(cast, scene_of("red square", motion, "black"), 80, 48, 48)
        assert periodicity(judge_clip(clip, cast).centroids).strength == 0.0


def test_background_flicker_ignores_the_object_and_sees_the_rest(cast):
    clip = film_scene(cast, scene_of("red star", "orbiting", "gray", 13), 80, 48, 48)
    assert judge_clip(clip, cast).flicker == 0.0
    noisy = clip + np.random.default_rng(13).normal(0.0, 0.02, clip.shape)
    assert judge_clip(noisy, cast).flicker == pytest.approx(0.02 * 2 / np.sqrt(np.pi), rel=0.05)
    flashing = clip + 0.02 * (np.arange(80) % 2)[:, None, None, None]
    assert judge_clip(flashing, cast).flicker == pytest.approx(0.02, rel=0.05)


def test_window_seams_show_in_the_boundary_ratio(cast):
    clip = film_scene(cast, scene_of("green circle", "moving down", "blue", 14), 80, 48, 48)
    mse = adjacent_frame_mse(clip)
    assert mse.shape == (79,)
    assert boundary_to_interior_ratio(mse, [16, 48]) == pytest.approx(1.0, abs=0.2)
    seamed = np.concatenate([clip[:40], np.clip(clip[40:] + 0.1, 0.0, 1.0)])
    assert boundary_to_interior_ratio(adjacent_frame_mse(seamed), [40]) > 3.0
    with pytest.raises(ValueError, match="boundaries must lie in 1 to 79; got 80"):
        boundary_to_interior_ratio(mse, [80])
