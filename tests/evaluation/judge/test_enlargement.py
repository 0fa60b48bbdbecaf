"""Enlargements are compared in decibels, and shifts are measured to a fraction of a pixel."""

import numpy as np
import pytest
import torch

from lumiere_video.evaluation.judge.enlargement import compare_enlargement, largest_shift, make_small, psnr, shifts
from lumiere_video.evaluation.judge.filming import film_scene
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.scene import make_scene

CAST = drawn_shapes()


def textured(size=96):
    scene = make_scene("red star", "orbiting", "room", np.random.default_rng(3))
    return film_scene(CAST, scene, 16, size, size)


def test_psnr_is_in_decibels():
    clip = textured(32)
    assert psnr(clip, clip) == pytest.approx(100)
    assert psnr(clip, clip + 0.1) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("pixels", [1, 2])
def test_shifts_are_measured_to_a_fraction_of_a_pixel(pixels):
    clip = textured(192)
    moved = np.roll(clip, (pixels, -pixels), axis=(1, 2))
    found = shifts(moved[:, 4:-4, 4:-4], clip[:, 4:-4, 4:-4])
    assert found[0, 0] == pytest.approx((-pixels, pixels), abs=0.35)
    halved = make_small(moved, 2)
    assert largest_shift(halved, make_small(clip, 2)) > 0.4 * pixels
    assert largest_shift(clip, clip) == 0.0


def test_shifts_at_the_edges_alone_are_found():
    """What a wrong alignment of corners does: 1.5 pixels outwards at either end, none in the middle."""
    clip = torch.from_numpy(textured(192)).permute(0, 3, 1, 2)
    small = torch.nn.functional.avg_pool2d(clip, 4)
    right, wrong = (
        torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=aligned)
        .permute(0, 2, 3, 1)
        .numpy()
        for aligned in (False, True)
    )
    truth = clip.permute(0, 2, 3, 1).numpy()
    assert largest_shift(right, truth) < 0.3 < 0.6 < largest_shift(wrong, truth)


def test_lanczos_is_what_an_enlargement_is_compared_with():
    truth = textured(96)
    small = make_small(truth, 4)
    found = compare_enlargement(truth, small, truth)
    assert small.shape == (16, 24, 24, 3) and found.psnr == pytest.approx(100) and found.shift == 0.0
    assert 15 < found.lanczos < 40
    np.testing.assert_allclose(small[:, 0, 0], truth[:, :4, :4].mean((1, 2)), atol=1e-5)
