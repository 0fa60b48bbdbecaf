"""The judge reads ground-truth clips correctly, also spoilt ones, and does not see what is not there."""

import cv2
import numpy as np
import pytest

from lumiere_video.evaluation.judge.filming import film_scene
from lumiere_video.evaluation.judge.judgement import judge_clip
from lumiere_video.world.backgrounds import BACKGROUNDS
from lumiere_video.world.motions import CLIP_SECONDS, MOTIONS, PACES, has_pace
from lumiere_video.world.scene import SceneSampler, make_scene

TRAITS = ("noun", "motion", "background")


def words(scene):
    (actor,) = scene.actors
    return {"noun": actor.name, "motion": actor.moves, "background": scene.background}


def shown(judged):
    return {trait: getattr(judged, trait) for trait in TRAITS}


def scene_of(noun, motion, background, seed=0, pace=None):
    return make_scene(noun, motion, background, np.random.default_rng(seed), pace)


def mistakes(cast, count, size, spoil=lambda clip, rng: clip, frames=80):
    rng, sample, found = np.random.default_rng(21), SceneSampler(cast, "all", two_objects=0.0), []
    for _ in range(count):
        scene = sample(rng)
        judged = shown(judge_clip(spoil(film_scene(cast, scene, frames, size, size), rng), cast))
        found += [(trait, word, judged[trait]) for trait, word in words(scene).items() if judged[trait] != word]
    return found


def degrade(clip, rng):
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in clip])
    return np.clip(blurred + rng.normal(0.0, 0.02, clip.shape), 0.0, 1.0).astype(np.float32)


def deform(clip, rng, pixels):
    """Bend every frame another way, smoothly in space: the outline wobbles, nothing moves as a whole."""
    height, width = clip.shape[1:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bent = []
    for frame in clip:
        away = cv2.resize(rng.normal(0, pixels, (6, 6, 2)), (width, height), interpolation=cv2.INTER_CUBIC)
        away_x, away_y = away.astype(np.float32).transpose(2, 0, 1)
        bent.append(cv2.remap(frame, x + away_x, y + away_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.stack(bent)


@pytest.mark.parametrize(
    ("count", "size"),
    [(14, 32), pytest.param(20, 64, marks=pytest.mark.slow), pytest.param(3, 256, marks=pytest.mark.slow)],
)
def test_judges_ground_truth_clips(cast, count, size):
    assert mistakes(cast, count, size) == []


@pytest.mark.slow
def test_judges_noisy_blurred_clips(cast):
    assert len(mistakes(cast, 14, 64, degrade)) <= 1


@pytest.mark.slow
def test_judges_bent_clips(cast):
    assert len(mistakes(cast, 10, 64, lambda clip, rng: deform(clip, rng, 0.5))) <= 1


@pytest.mark.parametrize("frames", [24, pytest.param(160, marks=pytest.mark.slow)])
def test_a_clip_of_any_length_shows_its_motion_once(cast, frames):
    assert mistakes(cast, 8, 48, frames=frames) == []


@pytest.mark.parametrize(
    "motion", [m if i % 3 == 0 else pytest.param(m, marks=pytest.mark.slow) for i, m in enumerate(MOTIONS)]
)
def test_judges_every_motion_at_every_pace(cast, motion):
    for seed, pace in enumerate(PACES if has_pace(motion) else ("normal",)):
        scene = scene_of("blue star", motion, ("meadow", "white", "room")[seed], seed, pace)
        assert judge_clip(film_scene(cast, scene, 80, 48, 48), cast).motion == motion, pace


@pytest.mark.parametrize("motion", ["staying still", pytest.param("moving left", marks=pytest.mark.slow)])
def test_judges_every_background_also_behind_an_object_that_stays(cast, motion):
    for seed, background in enumerate(BACKGROUNDS):
        scene = scene_of("red triangle", motion, background, seed)
        judged = judge_clip(film_scene(cast, scene, 8, 48, 48), cast)
        assert shown(judged) == words(scene)


def test_changing_one_trait_changes_that_judgement_only(cast):
    asked = {"noun": "blue star", "motion": "growing", "background": "beach"}
    changes = {"noun": "purple square", "motion": "shrinking", "background": "sunset"}
    for trait, other in changes.items():
        scene = scene_of(**(asked | {trait: other}), seed=2)
        judged = shown(judge_clip(film_scene(cast, scene, 80, 48, 48), cast))
        assert {t for t in TRAITS if judged[t] != asked[t]} == {trait}


def test_time_reversed_and_mirrored_clips_are_judged_by_what_they_show(cast):
    right = film_scene(cast, scene_of("red circle", "moving right", "gray"), 80, 48, 48)
    assert judge_clip(right[::-1], cast).motion == judge_clip(right[:, :, ::-1], cast).motion == "moving left"
    assert judge_clip(right.swapaxes(1, 2), cast).motion == "moving down"
    growing = film_scene(cast, scene_of("green star", "growing", "black"), 80, 48, 48)
    assert judge_clip(growing[::-1], cast).motion == "shrinking"
    assert judge_clip(growing[40:41].repeat(80, 0), cast).motion == "staying still"


def test_a_shuffled_clip_is_not_taken_for_its_motion(cast):
    clip = film_scene(cast, scene_of("yellow square", "moving up", "purple"), 80, 48, 48)
    assert judge_clip(np.random.default_rng(6).permutation(clip), cast).motion != "moving up"


def test_ranks_the_whole_cast_and_look_alikes_first(cast):
    clip = film_scene(cast, scene_of("red star", "moving left", "sea"), 24, 64, 64)
    judged = judge_clip(clip, cast)
    assert sorted(judged.ranking) == sorted(cast.names)
    assert {"red star", "orange star"} <= set(judged.ranking[:6]) and judged.likeness > 0.8
    assert judge_clip(degrade(clip, np.random.default_rng(0)), cast).likeness < judged.likeness


def test_measures_where_the_object_is(cast):
    for size in (32, 128):
        scene = scene_of("green square", "orbiting", "snow", 8)
        judged = judge_clip(film_scene(cast, scene, 80, size, size), cast)
        track = scene.actors[0].motion.track(np.arange(80) * CLIP_SECONDS / 80)
        np.testing.assert_allclose(judged.centroids, np.stack([track.x, track.y], 1), atol=0.015)
        np.testing.assert_allclose(judged.areas, (2 * 0.94 * track.radius) ** 2, rtol=0.12)


def test_reads_bytes_and_frames_of_other_shapes(cast):
    scene = scene_of("orange triangle", "jumping", "night sky", 9)
    for size in ((36, 64), (64, 36)):
        as_bytes = (film_scene(cast, scene, 80, *size) * 255).round().astype(np.uint8)
        assert shown(judge_clip(as_bytes, cast)) == words(scene)


def test_names_single_stills_and_their_backgrounds(cast):
    rng, sample = np.random.default_rng(4), SceneSampler(cast, "all", two_objects=0.0)
    scenes = [sample(rng) for _ in range(24)]
    stills = [judge_clip(film_scene(cast, scene, 1, 48, 48), cast) for scene in scenes]
    assert [still.ranking[0] for still in stills] == [still.noun for still in stills]
    assert [(still.noun, still.background) for still in stills] == [
        (scene.actors[0].name, scene.background) for scene in scenes
    ]
    assert judge_clip(np.full((1, 48, 48, 3), 0.98), cast).ranking == ()


def test_says_none_without_an_object(cast):
    rng = np.random.default_rng(10)
    judged = judge_clip(np.clip(rng.normal(0.56, 0.03, (40, 32, 32, 3)), 0.0, 1.0), cast)
    assert shown(judged) == {"noun": "none", "motion": "none", "background": "gray"}
    assert judged.ranking == () and np.isnan(judged.wobble) and np.isnan(judged.centroids).all()
    red = np.clip(rng.normal((0.9, 0.0, 0.0), 0.02, (40, 32, 32, 3)), 0.0, 1.0)
    assert shown(judge_clip(red, cast)) == dict.fromkeys(TRAITS, "none")


def test_what_is_like_nothing_of_the_cast_has_no_name(cast):
    clip = np.full((24, 48, 48, 3), 0.56, np.float32)
    clip[:, 12:36, 12:36] = (np.arange(24) // 4 % 2)[:, None]  # stripes, black and white
    judged = judge_clip(clip, cast)
    assert (judged.noun, judged.motion, len(judged.ranking)) == ("none", "staying still", len(cast))


def test_rejects_what_is_not_a_clip(cast):
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\).*got shape \(32, 32, 3\)"):
        judge_clip(np.zeros((32, 32, 3)), cast)


@pytest.mark.parametrize("motion", ["moving right", "growing", "spinning", "swinging"])
def test_wobble_is_of_the_outline_and_not_of_its_motion(cast, motion):
    clip = film_scene(cast, scene_of("purple star", motion, "yellow", 1), 40, 64, 64)
    rigid = judge_clip(clip, cast).wobble
    little, much = (judge_clip(deform(clip, np.random.default_rng(0), by), cast).wobble for by in (0.7, 1.4))
    assert rigid < 0.05
    assert rigid + 0.02 < little < much - 0.02
