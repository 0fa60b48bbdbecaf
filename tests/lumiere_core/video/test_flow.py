"""Optical flow of clips whose motion is known: a smooth picture that is shifted, and one that flickers."""

import numpy as np
import pytest
from PIL import Image

from lumiere_video.lumiere_core.video.flow import dense_flow, flow_picture, flow_warping_errors, warp


def texture(size, seed=0):
    """A smooth random picture (size, size, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def moving(size, x, y, frames=4):
    """A window of `size` that moves over a larger texture, so that the picture moves by (x, y) pixels a frame."""
    whole, middle = texture(2 * size), size // 2
    starts = [(middle - y * t, middle - x * t) for t in range(frames)]
    return np.stack([whole[top : top + size, left : left + size] for top, left in starts])


@pytest.mark.parametrize(("x", "y"), [(2, 0), (-1, 3), (0, -2)])
@pytest.mark.parametrize("size", [32, 96])
def test_flow_is_how_far_the_picture_moved(size, x, y):
    first, second = moving(size, x, y, frames=2)
    inner = dense_flow(first, second)[size // 4 : -size // 4, size // 4 : -size // 4]
    assert np.abs(np.median(inner, axis=(0, 1)) - (x, y)).max() < 0.3


def test_motion_is_explained_and_flicker_is_not():
    steady, light = moving(64, 2, 1), np.array([1.0, 0.7, 1.0, 0.7])
    flicker = (steady[:1] * light[:, None, None, None]).astype(np.uint8)
    changes = [np.square(np.diff(clip / 255, axis=0)).mean() for clip in (steady, flicker)]
    explained, unexplained = flow_warping_errors(steady).mean(), flow_warping_errors(flicker).mean()
    assert explained < 0.05 * changes[0] and unexplained > 0.3 * changes[1]
    assert flow_warping_errors(np.stack([texture(32)] * 3)) == pytest.approx([0, 0])


def test_warping_takes_from_where_the_flow_points():
    image = np.arange(12, dtype=np.float32).reshape(3, 4, 1).repeat(3, 2)
    flow = np.zeros((3, 4, 2), np.float32)
    flow[..., 0] = 1
    np.testing.assert_array_equal(warp(image, flow)[:, :3], image[:, 1:])


def test_hue_is_direction_and_what_stands_still_is_white():
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, 1:] = [(2, 0), (0, -2), (-1, 0)]  # right, up, slowly left
    white, red, green_yellow, pale_cyan = flow_picture(flow, fastest=2.0)[0].astype(int)
    assert white.tolist() == [255, 255, 255] and red.tolist() == [255, 0, 0]
    assert green_yellow[1] == 255 and green_yellow[2] == 0 and pale_cyan[0] == pytest.approx(128, abs=2)
