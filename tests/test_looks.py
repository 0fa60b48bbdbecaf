"""Looks: what is drawn stays recognisable, the hand changes, and folders are functions of the seed."""

import numpy as np
import pytest
from PIL import Image

from lumiere_video.lumiere_core.evaluation.judge import judge_clip
from lumiere_video.lumiere_core.toy_world import BACKGROUND_RGB, COLOR_RGB, FPS, MovingObject, Scene, sample_scene
from lumiere_video.lumiere_core.toy_world.looks import GRAIN, LOOKS, PAPER, draw_still, grain, write_stills
from lumiere_video.lumiere_core.toy_world.render import render_frames

STYLED = ("line_drawing", "watercolor")
CIRCLE = Scene((MovingObject("circle", "green", "staying still", 0.25, 0.5, 0.5),), "gray")


def drawn(scene, look, times):
    return np.stack([draw_still(scene, time, 32, look) for time in times])


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_pictures(look):
    rng = np.random.default_rng(0)
    for size in (1, 32, 48):
        image = draw_still(sample_scene(rng, two_objects_probability=1.0), 1.0, size, look)
        assert image.shape == (size, size, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1


def test_plain_is_what_the_networks_learned():
    scene = sample_scene(np.random.default_rng(3))
    assert np.array_equal(draw_still(scene, 2.0, 32), render_frames(scene, np.array([2.0]), 32, 32)[0])


@pytest.mark.parametrize("look", STYLED)
def test_half_a_look_still_shows_all_that_a_clip_shows(look):
    """Every scene's shape, colour, background and motion, by the judge; and the whole look's place and motion."""
    rng, times = np.random.default_rng(11), np.arange(80) / FPS
    for _ in range(12):
        scene = sample_scene(rng, two_objects_probability=0)
        (moving,) = scene.objects
        half = (drawn(scene, look, times) + drawn(scene, "plain", times)) / 2
        seen = judge_clip(half)
        assert (seen.shape, seen.color, seen.background) == (moving.shape, moving.color, scene.background)
        assert seen.motion == moving.motion


@pytest.mark.parametrize("look", STYLED)
def test_a_look_changes_the_hand_and_not_the_layout(look):
    """What a look draws differs from the background where the plain picture does, and hardly elsewhere."""
    plain, styled = draw_still(CIRCLE, 0.0, 32), draw_still(CIRCLE, 0.0, 32, look)
    assert np.abs(styled - plain).mean() > 0.03
    inside = np.abs(plain - np.array(BACKGROUND_RGB["gray"])).sum(-1) > 0.2
    away = np.linalg.norm(styled - np.median(styled[:3].reshape(-1, 3), axis=0), axis=-1)
    assert away[inside].mean() > 5 * away[~inside].mean()


def test_a_line_drawing_is_an_outline_around_a_faint_tint():
    image, green, gray = draw_still(CIRCLE, 0.0, 32, "line_drawing"), COLOR_RGB["green"], BACKGROUND_RGB["gray"]
    row = image[16]  # through the centre: background, stroke, tint, stroke, background
    assert np.allclose(row[0], np.array(gray) * 0.8)
    assert np.allclose(row[16], row[0] + 0.3 * (np.array(green) - row[0]), atol=1e-6)
    stroke = [x for x in range(16) if np.allclose(row[x], green, atol=0.05)]
    assert 1 <= len(stroke) <= 2 and 7 <= stroke[0] <= 9  # the circle's left edge is at pixel 8


def test_a_watercolor_is_paler_with_a_darker_rim_and_soft_edges():
    image, plain = draw_still(CIRCLE, 0.0, 64, "watercolor"), draw_still(CIRCLE, 0.0, 64)
    assert np.linalg.norm(image[32, 32] - PAPER) < 0.7 * np.linalg.norm(plain[32, 32] - PAPER)
    brightness = image[32].sum(-1)
    assert brightness[18:21].min() < 0.75 * brightness[32]  # just inside the edge at pixel 16
    steps = np.abs(np.diff(image[32, :32], axis=0)).max()
    assert steps < 0.5 * np.abs(np.diff(plain[32, :32], axis=0)).max()


def test_the_grain_stays_where_it_is_in_the_frame():
    still = grain(32)
    assert still.shape == (32, 32) and -1 <= still.min() < -0.3 and 0.3 < still.max() <= 1
    assert np.abs(np.diff(still, axis=0)).max() < 0.6
    others = [draw_still(Scene((), name), 0.0, 32, "watercolor") for name in ("gray", "navy")]
    for image in others:
        base = image / (1 + GRAIN * still)[..., None]
        assert np.ptp(base.reshape(-1, 3), axis=0).max() < 1e-5


def test_folders_are_functions_of_the_seed_and_alike_in_every_look(tmp_path):
    reported = []
    for name, look, seed in (("a", "plain", 1), ("b", "plain", 1), ("c", "watercolor", 1), ("d", "plain", 2)):
        write_stills(tmp_path / name, look, 3, 24, seed, lambda: reported.append(1))
    files = {name: sorted(path.name for path in (tmp_path / name).iterdir()) for name in "abcd"}
    assert files["a"] == ["00000.png", "00000.txt", "00001.png", "00001.txt", "00002.png", "00002.txt"]
    assert len(reported) == 12

    def content(folder, suffix):
        return [path.read_bytes() for path in sorted((tmp_path / folder).glob(f"*{suffix}"))]

    assert content("a", ".png") == content("b", ".png") != content("c", ".png")
    assert content("a", ".txt") == content("c", ".txt") != content("d", ".txt")
    assert Image.open(tmp_path / "a" / "00000.png").size == (24, 24)
    assert all(set(text.decode().split()) & set(COLOR_RGB) for text in content("a", ".txt"))


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
        write_stills(tmp_path / "new", **{"look": "plain", "count": 1, "size": 8, "seed": 0, **changes})
    assert not (tmp_path / "new").exists()
