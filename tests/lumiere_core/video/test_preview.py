"""Clips to look at while they are made."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from lumiere_video.lumiere_core.video.diagnostics import frame_grid
from lumiere_video.lumiere_core.video.preview import animated_png, excerpt


def clip(frames=7, height=6, width=4):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("black", [0.0, -1.0])
def test_small_clips_come_whole(black):
    frames = clip()
    pixels, fps = excerpt(frames * (1 - black) + black, 16.0, 8, 7, black)
    assert fps == 16 and np.abs(pixels / 255 - frames.numpy()).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("frames, count, kept", [(80, 40, 40), (81, 40, 27), (5, 40, 5)])
def test_long_clips_lose_frames_and_keep_their_time(frames, count, kept):
    pixels, fps = excerpt(clip(frames), 16.0, 8, count)
    assert len(pixels) == kept
    assert kept / fps == pytest.approx(frames / 16, rel=0.02)


def test_large_clips_are_averaged():
    frames = torch.zeros(1, 8, 4, 3)
    frames[:, 1::2] = 1.0
    pixels, _ = excerpt(frames, 16.0, 4, 1)
    assert pixels.shape == (1, 4, 2, 3) and set(pixels.flatten()) == {128}


def test_values_out_of_range_are_clamped():
    assert excerpt(torch.tensor([-3.0, 3.0]).repeat(3, 1).T.reshape(2, 1, 1, 3), 16.0, 4, 2)[0].reshape(
        2, 3
    ).tolist() == [
        [0, 0, 0],
        [255, 255, 255],
    ]


def test_the_png_holds_all_frames_at_their_rate():
    pixels, fps = excerpt(clip(), 16.0, 8, 7)
    image = Image.open(io.BytesIO(animated_png(pixels, fps)))
    assert image.format == "PNG" and image.info["loop"] == 0 and image.info["duration"] == round(1000 / 16)
    played = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])
    assert np.array_equal(played, pixels)


def test_frames_that_are_apart_already_stay_as_they_are():
    """VideoHelperSuite previews a clip frame by frame, through what lays out the frames of a whole one."""
    video = torch.rand(1, 3, 12, 6, 4)
    assert frame_grid(video).shape[2] == 1
    frames = video[0].movedim(1, 0)
    assert torch.equal(frame_grid(frames), frames)
