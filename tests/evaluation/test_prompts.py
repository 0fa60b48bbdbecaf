"""Prompts are seeded, balanced, and of both splits."""

from collections import Counter

from lumiere_video.evaluation.prompts import SPLITS, clip_seed, plan_prompts
from lumiere_video.world.backgrounds import BACKGROUNDS
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.motions import MOTIONS, PACES
from lumiere_video.world.scene import combinations

CAST = drawn_shapes()


def test_seeds_of_clips_are_apart_and_stay_in_range():
    assert [clip_seed(5, index) for index in range(3)] == [5, 8, 11]
    assert clip_seed(2**64 - 1, 1) == 2


def test_prompts_are_balanced_and_kept_apart():
    prompts = plan_prompts(CAST, 256, seed=0)
    assert Counter(p.split for p in prompts) == {"trained": 192, "held_out": 64}
    assert prompts[0].text != plan_prompts(CAST, 256, seed=1)[0].text
    assert [p.text for p in prompts] == [p.text for p in plan_prompts(CAST, 256, seed=0)]
    held_out = set(combinations(CAST, "held_out"))
    for split in SPLITS:
        words = [p.words() for p in prompts if p.split == split]
        assert all(((w["noun"], w["motion"]) in held_out) == (split == "held_out") for w in words)
        for trait, known in (("noun", CAST.names), ("motion", MOTIONS), ("background", BACKGROUNDS)):
            counts = Counter(w[trait] for w in words)
            assert counts.keys() <= set(known) and (split == "held_out" or counts.keys() == set(known))
            assert max(counts.values()) <= min(counts.values()) * 1.5 + 3, (split, trait, counts)
    assert {p.scene.actors[0].pace for p in prompts} == set(PACES)
