"""Plain backgrounds are removed and nothing else, and what is left lies over any other; files and the node keep it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from lumiere_video.lumiere_core.video.files import check_output, read_video, write_video
from lumiere_video.lumiere_core.video.transparency import find_backdrop, key_out, reached_from_border
from lumiere_video.nodes.transparency import RemovePlainBackground
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.motions import Motion
from lumiere_video.world.render import render_clip
from lumiere_video.world.scene import Actor, Scene

CAST = drawn_shapes()
BLACK = torch.zeros(3)


def clip(name="red star", background="white", size=64, frames=3, noise=0.0):
    scene = Scene((Actor(name, Motion("spinning", 0.5, 0.5, 0.3, cycles=2)),), background)
    clean = render_clip(CAST, scene, frames, size, size)
    return (clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def coverage(name="red star", size=64, frames=3):
    """The object's true alpha: what a black and a white background show of themselves."""
    black, white = clip(name, "black", size, frames), clip(name, "white", size, frames)
    return 1 - (white - black).mean(-1) / 0.947


def over(rgba, color):
    return rgba[..., 3:] * rgba[..., :3] + (1 - rgba[..., 3:]) * color


@pytest.mark.parametrize("background", ["white", "black", "green", "pink"])
def test_over_the_same_colour_the_result_is_the_clip_again(background):
    frames = clip(background=background, noise=0.01)
    rgba = key_out(frames)
    assert rgba.shape == (3, 64, 64, 4) and 0 <= rgba.min() and rgba.max() <= 1
    difference = (over(rgba, find_backdrop(frames).color) - frames).abs()
    assert difference.max() < 0.09 and difference.mean() < 0.012  # the noise, and up to the tolerance


@pytest.mark.parametrize("background", ["white", "black", "gray"])
def test_edges_are_as_transparent_as_they_are_and_have_no_rim_of_the_background(background):
    rgba, true = key_out(clip(background=background)), coverage()
    assert (rgba[..., 3] - true).abs().max() < 0.25 and (rgba[..., 3] - true).abs().mean() < 0.01
    other = "purple"
    difference = over(rgba, clip(background=other)[0, 0, 0]) - clip(background=other)
    assert difference.abs().max() < 0.25 and difference.abs().mean() < 0.006


def test_what_an_object_encloses_stays():
    frames = torch.ones(1, 32, 32, 3)
    frames[0, 8:24, 8:24] = 0.2
    frames[0, 12:16, 12:16] = 1.0  # an eye
    frames[0, 9, 17:22] = 1.0  # a light behind one pixel of outline
    alpha = key_out(frames)[0, ..., 3]
    assert (alpha[8:24, 8:24] == 1).all() and alpha.sum() == 16 * 16


def test_the_border_is_followed_around_corners_and_not_through_diagonals():
    spiral = torch.tensor(
        [[0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool
    )
    assert torch.equal(reached_from_border(spiral), spiral)
    enclosed = torch.zeros(5, 5, dtype=torch.bool)
    enclosed[2, 2] = True
    assert not reached_from_border(enclosed).any()
    enclosed[1, 1] = enclosed[0, 0] = True
    assert reached_from_border(enclosed).nonzero().tolist() == [[0, 0]]


def test_the_colour_is_the_borders_whatever_crosses_it():
    frames = torch.full((4, 20, 20, 3), 0.55) + 0.02 * torch.randn(
        4, 20, 20, 3, generator=torch.Generator().manual_seed(0)
    )
    frames[1, :, :9] = BLACK
    color, share = find_backdrop(frames)
    assert torch.allclose(color, torch.full((3,), 0.55), atol=0.01) and 0.8 < share < 0.95
    assert key_out(frames)[1, :, :8, 3].min() == 1


@pytest.mark.parametrize("background", ["meadow", "pink to blue gradient", "sunset"])
def test_other_backgrounds_are_refused(background):
    with pytest.raises(
        ValueError, match="background must be plain, .* at least 70% of the border; got [0-9]+% near RGB"
    ):
        key_out(clip(background=background))


def test_a_wider_tolerance_removes_what_is_nearer_to_the_background():
    frames = torch.ones(1, 16, 16, 3)
    frames[0, 4:12, 4:12] = 0.9  # 0.17 away
    assert key_out(frames, 0.1)[..., 3].sum() == 64 and key_out(frames, 0.2)[..., 3].sum() == 0
    for tolerance in (-0.1, 2.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance must be 0 to 1.7, a distance of colours; got"):
            key_out(frames, tolerance)


# Files


def test_webp_and_png_keep_transparency(tmp_path):
    rgba = key_out(clip(frames=4))
    write_video(tmp_path / "clip.webp", rgba, 16.0, lossless=True, exact=True)
    write_video(f"{tmp_path}/clip/", rgba, 16.0)
    with Image.open(tmp_path / "clip.webp") as file:
        pages = [np.asarray(page.convert("RGBA")) for page in ImageSequence.Iterator(file)]
    files = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "clip").iterdir())]
    expected = (rgba * 255).round().byte().numpy()
    assert np.array_equal(np.stack(files), expected)
    shown = expected[..., 3:] > 0  # a webp does not keep what nobody sees
    assert np.array_equal(np.stack(pages) * shown, expected * shown)
    assert read_video(tmp_path / "clip.webp")[0].shape == (4, 64, 64, 3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_files_without_transparency_are_refused(tmp_path, name):
    check_output(tmp_path / name)
    with pytest.raises(
        ValueError, match="a transparent video's name must end in .webp, or in a slash for a folder of PNGs"
    ):
        write_video(tmp_path / name, torch.zeros(1, 4, 4, 4), 16.0)
    assert not list(tmp_path.iterdir())


# The node


def test_the_node_gives_rgba_and_the_mask_of_load_image():
    image, mask = RemovePlainBackground.execute(images=clip(), tolerance=0.08).args
    assert torch.equal(image, key_out(clip())) and torch.equal(mask, 1 - image[..., 3])
    assert mask[0, 0, 0] == 1 and mask[0, 32, 32] == 0
    with pytest.raises(ValueError, match="Remove Plain Background: background must be plain"):
        RemovePlainBackground.execute(images=clip(background="room"), tolerance=0.08)
