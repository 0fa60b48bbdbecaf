"""Looks: what is drawn stays where it is, the hand changes, and folders are functions of the seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.looks import (
    CANVAS,
    INK,
    LOOKS,
    PAPER,
    TINT,
    canvas_side,
    draw_layers,
    draw_still,
    outline,
    smooth_noise,
    write_stills,
)
from lumiere_video.world.motions import Motion
from lumiere_video.world.render import render_scenes
from lumiere_video.world.scene import Actor, Scene, SceneSampler

STYLED = ("line_drawing", "watercolor")
CAST = drawn_shapes()
DISC = Scene((Actor("green circle", Motion("staying still", 0.5, 0.5, 0.25)),), "gray")
GREEN = np.array((0.10, 0.80, 0.20))


def sampled(seed, two_objects=0.5):
    return SceneSampler(CAST, two_objects=two_objects)(np.random.default_rng(seed))


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_pictures(look):
    for seed, size in enumerate((1, 32, 48)):
        image = draw_still(CAST, sampled(seed, 1.0), 1.0, size, look)
        assert image.shape == (size, size, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1


def test_plain_is_what_the_networks_learned():
    scene = sampled(3)
    expected = render_scenes(CAST, [scene], [np.array([2.0])], 32, 32)[0, :, 0].permute(1, 2, 0)
    assert np.array_equal(draw_still(CAST, scene, 2.0, 32), expected)


@pytest.mark.parametrize("look", STYLED)
def test_a_look_changes_the_hand_and_not_the_layout(look):
    """What a look draws differs from the background where the plain picture does, and hardly elsewhere."""
    plain, styled = draw_still(CAST, DISC, 0.0, 64), draw_still(CAST, DISC, 0.0, 64, look)
    assert np.abs(styled - plain).mean() > 0.03
    inside = np.abs(plain - plain[0, 0]).sum(-1) > 0.2
    away = np.linalg.norm(styled - np.median(styled[:8].reshape(-1, 3), axis=0), axis=-1)
    assert away[inside].mean() > 4 * away[~inside].mean()


@pytest.mark.parametrize("look", STYLED)
def test_hues_stay(look):
    red, green, blue = draw_still(CAST, DISC, 0.0, 64, look)[28:36, 28:36].mean((0, 1))
    assert green > red + 0.05 and green > blue + 0.05
    corner = draw_still(CAST, Scene((), "pink"), 0.0, 64, look)[:8, :8].mean((0, 1))
    assert corner[0] > corner[2] > corner[1]  # as pink has it


def test_small_pictures_are_large_ones_seen_from_afar():
    assert [canvas_side(size) for size in (1, 64, 100, CANVAS, 300)] == [256, 256, 300, 256, 300]
    for look in STYLED:
        large, small = draw_still(CAST, DISC, 0.0, 256, look), draw_still(CAST, DISC, 0.0, 64, look)
        assert np.allclose(large.reshape(64, 4, 64, 4, 3).mean((1, 3)), small, atol=1e-5)


def test_a_line_drawing_is_an_outline_around_a_faint_tint():
    image = draw_still(CAST, DISC, 0.0, 256, "line_drawing")
    assert np.allclose(image[128, 128], np.array(PAPER) + TINT * (GREEN - np.array(PAPER)), atol=0.01)
    dark = np.flatnonzero(np.abs(image[128] - np.array(INK)).sum(-1) < 0.3)
    edge = 128 - 64 * (1 - 2 * 0.03)  # the picture's margin
    left = dark[dark < 128]
    assert 1 <= len(left) <= 8 and abs(left[0] - edge) < 4 and len(dark) == 2 * len(left)


def test_lines_are_drawn_between_colors_within_an_object():
    """Two squares side by side, as one object of two colours, have a line where they meet."""
    shapes = CAST.members[CAST.index("red square")], CAST.members[CAST.index("yellow square")]
    picture = np.concatenate([shapes[0].picture[:, :128], shapes[1].picture[:, 128:]], axis=1)
    member = type(shapes[0])("flag", (), picture)
    cast = type(CAST)("flags", (member,))
    scene = Scene((Actor("flag", Motion("staying still", 0.5, 0.5, 0.4)),), "white")
    row = draw_still(cast, scene, 0.0, 256, "line_drawing")[128].sum(-1)
    assert row[120:136].min() < 1.0 < 1.5 < min(row[100], row[150])


def test_a_watercolor_has_a_rim_of_pigment_and_uneven_paint():
    image, plain = draw_still(CAST, DISC, 0.0, 256, "watercolor"), draw_still(CAST, DISC, 0.0, 256)
    middle = image[108:148, 108:148]
    assert middle.sum(-1).std() > 0.03 > plain[108:148, 108:148].sum(-1).std()
    darkest_of_the_edge = image[128, 64:80].sum(-1).min()
    assert darkest_of_the_edge < 0.75 * middle.sum(-1).mean()


def test_black_is_never_quite_black_in_watercolor():
    assert draw_still(CAST, Scene((), "black"), 0.0, 64, "watercolor").min() > 0.05


def test_the_paper_is_the_same_in_every_picture():
    noise = smooth_noise(64, 8)
    assert noise.shape == (1, 64, 64) and -1 <= noise.min() < -0.5 and 0.5 < noise.max() <= 1
    assert noise.diff(dim=-1).abs().max() < 0.4
    logs = [np.log(draw_still(CAST, Scene((), name), 0.0, 256, "watercolor") / PAPER) for name in ("gray", "purple")]
    first, second = (log / log.mean((0, 1)) for log in logs)
    assert np.abs(first - second).max() < 0.02 < first.std()


def test_layers_are_what_lies_over_the_background():
    scene = sampled(1, 1.0)
    background, layers = draw_layers(CAST, scene, 1.5, 64)
    for rgb, alpha in layers:
        background = background + alpha * (rgb - background)
        assert outline(alpha, 0.02)[alpha == 0].sum() == 0
    expected = render_scenes(CAST, [scene], [np.array([1.5])], 64, 64)[0, :, 0]
    assert torch.allclose(background, expected, atol=1e-4)


def test_folders_are_functions_of_the_seed_and_alike_in_every_look(tmp_path):
    reported = []
    for name, look, seed in (("a", "plain", 1), ("b", "plain", 1), ("c", "watercolor", 1), ("d", "plain", 2)):
        write_stills(tmp_path / name, CAST, look, 3, 24, seed, lambda: reported.append(1))
    files = {name: sorted(path.name for path in (tmp_path / name).iterdir()) for name in "abcd"}
    assert files["a"] == ["00000.png", "00000.txt", "00001.png", "00001.txt", "00002.png", "00002.txt"]
    assert len(reported) == 12

    def content(folder, suffix):
        return [path.read_bytes() for path in sorted((tmp_path / folder).glob(f"*{suffix}"))]

    assert content("a", ".png") == content("b", ".png") != content("c", ".png")
    assert content("a", ".txt") == content("c", ".txt") != content("d", ".txt")
    assert Image.open(tmp_path / "a" / "00000.png").size == (24, 24)
    shapes = {name.split()[1] for name in CAST.names}
    assert all(any(shape in text.decode() for shape in shapes) for text in content("a", ".txt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"look": "oil"}, "look must be one of plain, line_drawing, watercolor; got 'oil'"),
        ({"count": 0}, "count must be at least 1; got 0"),
        ({"size": 0}, "size must be at least 1 pixel; got 0"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
    ],
)
def test_bad_input_leaves_no_folder(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write_stills(tmp_path / "new", CAST, **{"look": "plain", "count": 1, "size": 8, "seed": 0, **changes})
    assert not (tmp_path / "new").exists()
