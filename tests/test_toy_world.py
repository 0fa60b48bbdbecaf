"""The toy world renders what its scenes and captions say, at any resolution, and keeps held-out combinations out."""

from itertools import combinations

import numpy as np
import pytest

from lumiere_video.lumiere_core.toy_world import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOR_RGB,
    COLORS,
    HELD_OUT_COMBINATIONS,
    LABEL_CLASSES,
    MOTIONS,
    SHAPES,
    TRAINING_COMBINATIONS,
    MovingObject,
    Scene,
    canonical_caption,
    caption,
    is_held_out,
    is_legal,
    make_scene,
    object_track,
    render_clip,
    render_frames,
    render_still,
    sample_scene,
    still_caption,
)
from lumiere_video.lumiere_core.toy_world.captions import LONGEST_CAPTION, MOTION_PHRASES

CLIP_TIMES = np.arange(80) / 16


def scenes(count, **options):
    rng = np.random.default_rng(7)
    return [sample_scene(rng, **options) for _ in range(count)]


def words(labels):
    return {name: LABEL_CLASSES[name][index] for name, index in labels._asdict().items()}


def test_a_tenth_is_held_out_and_every_pair_is_still_trained_on():
    total = len(TRAINING_COMBINATIONS) + len(HELD_OUT_COMBINATIONS)
    assert total == 4 * 7 * 10 - 7
    assert 0.08 < len(HELD_OUT_COMBINATIONS) / total < 0.12
    for i, j in combinations(range(3), 2):
        everywhere = {(c[i], c[j]) for c in TRAINING_COMBINATIONS + HELD_OUT_COMBINATIONS}
        assert {(c[i], c[j]) for c in TRAINING_COMBINATIONS} == everywhere


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_splits_never_mix_even_in_second_objects(split):
    for scene in scenes(1500, split=split, two_objects_probability=0.5):
        for o in scene.objects:
            assert is_legal(o.shape, o.motion)
            assert is_held_out(o.shape, o.color, o.motion) == (split == "held_out")


def test_sampling_is_seeded_and_two_objects_differ_in_color():
    assert scenes(20) == scenes(20)
    pairs = scenes(100, two_objects_probability=1.0)
    assert all(len(s.objects) == 2 and s.objects[0].color != s.objects[1].color for s in pairs)
    assert 0.05 < np.mean([len(s.objects) == 2 for s in scenes(1000)]) < 0.15


def test_objects_stay_nearly_inside_the_frame():
    for scene in scenes(400, split="all", two_objects_probability=0.2):
        for o in scene.objects:
            track = object_track(o, CLIP_TIMES)
            for center in (track.x, track.y):
                assert center.min() > 0.09 and center.max() < 0.91


@pytest.mark.parametrize(("height", "width"), [(32, 32), (128, 128), (24, 40), (40, 24)])
def test_a_circle_is_drawn_where_and_as_large_as_its_scene_says(height, width):
    circle = MovingObject("circle", "white", "staying still", radius=0.2, x=0.4, y=0.6)
    frame = render_frames(Scene((circle,), "black"), np.zeros(1), height, width)[0, :, :, 0]
    low, high = BACKGROUND_RGB["black"][0], COLOR_RGB["white"][0]
    coverage = (frame - low) / (high - low)
    side = min(height, width)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    assert coverage.sum() / side**2 == pytest.approx(np.pi * 0.2**2, rel=0.02)
    assert (coverage.sum(0) @ columns / coverage.sum() - (width - side) / 2) / side == pytest.approx(0.4, abs=0.005)
    assert (coverage.sum(1) @ rows / coverage.sum() - (height - side) / 2) / side == pytest.approx(0.6, abs=0.005)
    assert np.any((coverage > 0.2) & (coverage < 0.8))  # anti-aliased


def test_the_small_frame_is_the_large_one_averaged_down():
    for scene in scenes(20):
        large = render_frames(scene, CLIP_TIMES[::20], 128, 128).reshape(4, 32, 4, 32, 4, 3).mean((2, 4))
        small = render_frames(scene, CLIP_TIMES[::20], 32, 32)
        assert np.abs(large - small).mean() < 0.006
        assert np.abs(large - small).max() < 0.35  # star tips


def test_a_clip_is_its_frames_and_a_still_is_one_frame():
    scene = scenes(1)[0]
    clip = render_clip(scene, 80, 32, 32)
    assert clip.shape == (80, 32, 32, 3) and clip.dtype == np.float32
    assert clip.min() >= 0.0 and clip.max() <= 1.0
    np.testing.assert_array_equal(clip[[3, 50]], render_frames(scene, np.array([3, 50]) / 16, 32, 32))
    assert render_still(scene, 16, 24, np.random.default_rng(0)).shape == (16, 24, 3)


@pytest.mark.parametrize("motion", MOTIONS)
def test_each_motion_moves_as_it_is_called(motion):
    rng = np.random.default_rng(11)
    for shape in ("square", "star"):
        o = make_scene(shape, "red", motion, "gray", rng).objects[0]
        track = object_track(o, CLIP_TIMES)
        moved = np.array([track.x[-1] - track.x[0], track.y[-1] - track.y[0]])
        expected = {"moving left": (-1, 0), "moving right": (1, 0), "moving up": (0, -1), "moving down": (0, 1)}
        if motion in expected:
            assert moved @ expected[motion] > 0.29 and abs(moved).min() < 1e-6
        wanders = motion in expected or motion in ("bouncing", "orbiting")
        assert (max(np.ptp(track.x), np.ptp(track.y)) > 0.25) == wanders
        assert (np.ptp(track.x) > 0.25 and np.ptp(track.y) > 0.25) == (motion == "orbiting")
        factor = track.radius[-1] / track.radius[0]
        assert (factor > 1.9) == (motion == "growing") and (factor < 0.53) == (motion == "shrinking")
        assert (np.ptp(track.rotation) > 5.0) == (motion == "spinning")


def test_captions_are_short_ascii_and_state_what_their_labels_say():
    rng = np.random.default_rng(3)
    for scene in scenes(500, split="all", two_objects_probability=0.3):
        for result in (caption(scene, rng), still_caption(scene, rng), canonical_caption(scene)):
            stated = words(result.labels)
            assert result.text.isascii() and len(result.text) <= LONGEST_CAPTION
            assert "  " not in result.text and result.text == result.text.strip()
            assert ("background" in result.text) == (stated["background"] != "unstated")
            assert stated["shape"] in result.text and stated["color"] in result.text
            assert (" and " in result.text.replace("up and down", "")) == (stated["second_shape"] != "none")
            moving = any(phrase in result.text for kind in MOTION_PHRASES[scene.objects[0].motion] for phrase in kind)
            assert moving == (stated["motion"] != "unstated")


def test_caption_labels_match_the_scene():
    rng = np.random.default_rng(4)
    for scene in scenes(300, two_objects_probability=0.3):
        first = scene.objects[0]
        stated = words(caption(scene, rng, background_probability=1.0).labels)
        assert (stated["shape"], stated["color"], stated["motion"]) == (first.shape, first.color, first.motion)
        assert stated["background"] == scene.background
        second = tuple(stated[f"second_{name}"] for name in ("shape", "color", "motion"))
        others = [(o.shape, o.color, o.motion) for o in scene.objects[1:]]
        assert [second] == (others or [("none", "none", "none")])


def test_caption_rates():
    rng = np.random.default_rng(5)
    captions = [caption(s, rng) for s in scenes(1000)]
    assert 0.65 < np.mean(["background" in c.text for c in captions]) < 0.75
    assert all(words(c.labels)["motion"] != "unstated" for c in captions)
    stills = [still_caption(s, rng) for s in scenes(1000)]
    assert 0.45 < np.mean([words(c.labels)["motion"] == "unstated" for c in stills]) < 0.55


def test_no_phrase_means_two_motions():
    said = [(phrase, motion) for motion, kinds in MOTION_PHRASES.items() for kind in kinds for phrase in kind]
    meanings = {}
    for phrase, motion in said:
        assert meanings.setdefault(phrase, motion) == motion
    assert set(MOTION_PHRASES) == set(MOTIONS)
    assert all(phrases.participles[0] == motion for motion, phrases in MOTION_PHRASES.items())


def test_canonical_captions():
    rng = np.random.default_rng(0)
    scene = make_scene("star", "orange", "moving right", "navy", rng)
    assert canonical_caption(scene).text == "an orange star moving right on a navy background"
    every = [
        canonical_caption(make_scene(s, c, m, b, rng)).text
        for s in SHAPES for c in COLORS for m in MOTIONS if is_legal(s, m) for b in BACKGROUNDS
    ]  # fmt: skip
    assert len(set(every)) == len(every)


def test_errors_say_what_was_expected_and_what_came():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="color must be one of red, .*; got 'pink'"):
        make_scene("circle", "pink", "bouncing", "gray", rng)
    with pytest.raises(ValueError, match="circle cannot be seen spinning"):
        make_scene("circle", "red", "spinning", "gray", rng)
    with pytest.raises(ValueError, match="split must be one of train, held_out, all; got 'test'"):
        sample_scene(rng, "test")
    with pytest.raises(ValueError, match="frames must be at least 1; got 0"):
        render_clip(scenes(1)[0], 0, 32, 32)
