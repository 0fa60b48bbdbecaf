"""The judge reads ground-truth clips correctly, also noisy and blurred, and does not see what is not there."""

import numpy as np
import pytest

from lumiere_video.lumiere_core.evaluation import (
    adjacent_frame_mse,
    boundary_to_interior_ratio,
    judge_clip,
    periodicity,
    static_background_flicker,
    wilson_interval,
)
from lumiere_video.lumiere_core.toy_world import (
    MOTIONS,
    SHAPES,
    is_legal,
    make_scene,
    object_track,
    render_clip,
    render_frames,
    sample_scene,
)

TRAITS = ("shape", "color", "motion", "background")


def truth(scene):
    o = scene.objects[0]
    return {"shape": o.shape, "color": o.color, "motion": o.motion, "background": scene.background}


def mistakes(count, size, spoil=lambda clip, rng: clip):
    rng = np.random.default_rng(21)
    found = []
    for _ in range(count):
        scene = sample_scene(rng, "all", two_objects_probability=0.0)
        judged = judge_clip(spoil(render_clip(scene, 80, size, size), rng))
        found += [(t, word, getattr(judged, t)) for t, word in truth(scene).items() if getattr(judged, t) != word]
    return found


def blur(clip, sigma=0.7):
    offsets = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    for axis in (1, 2):
        padded = np.pad(clip, [(3, 3) if a == axis else (0, 0) for a in range(4)], mode="edge")
        size = clip.shape[axis]
        shifted = [padded.take(range(3 + o, 3 + o + size), axis) for o in offsets]
        clip = sum(k * s for k, s in zip(kernel / kernel.sum(), shifted, strict=True))
    return clip


def degrade(clip, rng):
    return np.clip(blur(clip) + rng.normal(0.0, 0.03, clip.shape), 0.0, 1.0)


@pytest.mark.parametrize(("count", "size"), [(60, 32), (16, 128)])
def test_judges_ground_truth_clips(count, size):
    assert mistakes(count, size) == []


def test_judges_noisy_blurred_clips():
    assert len(mistakes(40, 32, degrade)) <= 1


@pytest.mark.parametrize("motion", MOTIONS)
def test_judges_every_shape_in_every_motion(motion):
    rng = np.random.default_rng(5)
    for shape in SHAPES:
        if is_legal(shape, motion):
            judged = judge_clip(render_clip(make_scene(shape, "purple", motion, "navy", rng), 80, 32, 32))
            assert (judged.shape, judged.motion, judged.objects) == (shape, motion, 1)


def test_changing_one_trait_changes_that_judgement_only():
    words = {"shape": "star", "color": "blue", "motion": "growing", "background": "navy"}
    changes = {"shape": "triangle", "color": "purple", "motion": "shrinking", "background": "black"}
    for trait, other in changes.items():
        scene = make_scene(**(words | {trait: other}), rng=np.random.default_rng(2))
        judged = judge_clip(render_clip(scene, 80, 32, 32))
        assert {t for t in TRAITS if getattr(judged, t) != words[t]} == {trait}


def test_time_reversed_and_mirrored_clips_are_judged_by_what_they_show():
    rng = np.random.default_rng(3)
    right = render_clip(make_scene("circle", "red", "moving right", "gray", rng), 80, 32, 32)
    assert judge_clip(right[::-1]).motion == judge_clip(right[:, :, ::-1]).motion == "moving left"
    assert judge_clip(right.swapaxes(1, 2)).motion == "moving down"
    growing = render_clip(make_scene("star", "white", "growing", "brown", rng), 80, 32, 32)
    assert judge_clip(growing[::-1]).motion == "shrinking"
    assert judge_clip(growing[40:41].repeat(80, 0)).motion == "staying still"


def test_a_shuffled_clip_is_not_taken_for_its_motion():
    rng = np.random.default_rng(6)
    clip = render_clip(make_scene("square", "yellow", "moving up", "navy", rng), 80, 32, 32)
    assert judge_clip(rng.permutation(clip)).motion != "moving up"


def test_measures_where_the_object_is_and_how_it_turns():
    rng = np.random.default_rng(8)
    for size in (32, 128):
        scene = make_scene("triangle", "green", "spinning", "black", rng)
        judged = judge_clip(render_clip(scene, 80, size, size))
        track = object_track(scene.objects[0], np.arange(80) / 16)
        np.testing.assert_allclose(judged.centroids, np.stack([track.x, track.y], 1), atol=0.01)
        np.testing.assert_allclose(np.exp(3j * judged.angles), np.exp(3j * track.rotation), atol=0.15)
        np.testing.assert_allclose(judged.areas, 1.87 * track.radius**2, rtol=0.05)


def test_reads_bytes_single_frames_and_wide_frames():
    rng = np.random.default_rng(9)
    scene = make_scene("star", "orange", "orbiting", "brown", rng)
    as_bytes = (render_clip(scene, 80, 36, 64) * 255).round().astype(np.uint8)
    judged = judge_clip(as_bytes)
    assert [getattr(judged, t) for t in TRAITS] == ["star", "orange", "orbiting", "brown"]
    still = judge_clip(render_frames(scene, np.array([2.0]), 32, 32))
    assert (still.shape, still.color, still.background) == ("star", "orange", "brown")


def test_says_none_without_a_single_object():
    rng = np.random.default_rng(10)
    empty = np.clip(rng.normal(0.4, 0.03, (40, 32, 32, 3)), 0.0, 1.0)
    judged = judge_clip(empty)
    assert (judged.objects, judged.shape, judged.color, judged.motion) == (0, "none", "none", "none")
    assert judged.background == "gray"
    assert judge_clip(rng.random((40, 32, 32, 3))).shape == "none"
    pairs = [sample_scene(rng, "all", two_objects_probability=1.0) for _ in range(20)]
    assert sum(judge_clip(render_clip(s, 80, 32, 32)).objects == 2 for s in pairs) >= 19


def test_rejects_what_is_not_a_clip():
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\).*got shape \(32, 32, 3\)"):
        judge_clip(np.zeros((32, 32, 3)))


def test_periodicity_finds_the_period_of_bounces_and_orbits_only():
    rng = np.random.default_rng(12)
    for motion, half_turns in (("bouncing", 1), ("orbiting", 2)):
        scene = make_scene("square", "red", motion, "black", rng)
        found = periodicity(judge_clip(render_clip(scene, 80, 32, 32)).centroids)
        period = half_turns * np.pi / abs(scene.objects[0].angular_velocity) * 16
        assert found.strength > 0.95 and found.period_frames == pytest.approx(period, abs=1.0)
    for motion in ("moving left", "staying still"):
        clip = render_clip(make_scene("square", "red", motion, "black", rng), 80, 32, 32)
        assert periodicity(judge_clip(clip).centroids).strength == 0.0


def test_background_flicker_ignores_the_object_and_sees_the_rest():
    rng = np.random.default_rng(13)
    clip = render_clip(make_scene("star", "white", "orbiting", "gray", rng), 80, 32, 32)
    assert static_background_flicker(clip) == 0.0
    noisy = clip + rng.normal(0.0, 0.02, clip.shape)
    assert static_background_flicker(noisy) == pytest.approx(0.02 * 2 / np.sqrt(np.pi), rel=0.05)
    flashing = clip + 0.02 * (np.arange(80) % 2)[:, None, None, None]
    assert static_background_flicker(flashing) == pytest.approx(0.02, rel=0.05)


def test_window_seams_show_in_the_boundary_ratio():
    scene = make_scene("circle", "green", "moving down", "navy", np.random.default_rng(14))
    clip = render_clip(scene, 80, 32, 32)
    mse = adjacent_frame_mse(clip)
    assert mse.shape == (79,)
    assert boundary_to_interior_ratio(mse, [16, 48]) == pytest.approx(1.0, abs=0.2)
    seamed = np.concatenate([clip[:40], np.clip(clip[40:] + 0.1, 0.0, 1.0)])
    assert boundary_to_interior_ratio(adjacent_frame_mse(seamed), [40]) > 3.0
    with pytest.raises(ValueError, match="boundaries must lie in 1 to 79; got 80"):
        boundary_to_interior_ratio(mse, [80])


def test_wilson_interval_matches_published_values():
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe 1998, table I
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson_interval(3, 2)
