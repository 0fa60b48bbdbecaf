"""Whether a clip shows what was asked for, trait by trait: words against words."""

from __future__ import annotations

from collections.abc import Sequence

from .judgement import Judgement

WORDS = ("noun", "motion", "background")
TRAITS = ("noun", "noun_top5", "motion", "background")
ALL = "all"  # every word of a clip at once
BEST = 5  # nouns of a ranking among which the right one is


def words_of(judged: Judgement) -> dict[str, str]:
    return {trait: getattr(judged, trait) for trait in WORDS}


def correct_traits(asked: dict[str, str], shown: dict[str, str], best: Sequence[str]) -> dict[str, bool]:
    """Whether a clip shows what is asked for, by TRAITS and in ALL words."""
    right = {trait: asked[trait] == shown[trait] for trait in WORDS}
    right |= {"noun_top5": asked["noun"] in best[:BEST]}
    return {trait: right[trait] for trait in TRAITS} | {ALL: asked == shown}
