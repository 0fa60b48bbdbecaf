"""Training batches of one character: the user's cut-outs, in the world's motions and on its backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..world.cast import LONGEST_NAME, Cast, Member, read_cutout
from ..world.scene import Scene, SceneSampler
from .data import WorldBatches
from .recipe import Stage
from .stills import picture_files


class CharacterScenes:
    """Random scenes of a character in all motions; `share` of them are the world's own, with the world's objects."""

    def __init__(self, character: Cast, world: Cast, stage: Stage):
        self.character = SceneSampler(character, "all", 0.0, stage.motions)
        self.world = SceneSampler(world, "train", stage.two_objects, stage.motions)
        self.share = stage.world_share

    def __call__(self, rng: np.random.Generator) -> Scene:
        return self.world(rng) if rng.random() < self.share else self.character(rng)


def character_batches(stage: Stage, tokenize, seed: int, world: Cast) -> WorldBatches:
    """What a style stage with a character learns from. Raises ValueError as `character_cast` does."""
    character = character_cast(stage.images, stage.character)
    together = Cast(character.name, (*character.members, *world.members))
    return WorldBatches(stage, tokenize, seed, together, CharacterScenes(character, world, stage))


def character_cast(folder: str | Path, name: str) -> Cast:
    """A folder of cut-outs of one character, which captions call by one name.

    Raises ValueError for a bad name, a folder without pictures, and as `read_cutout` does.
    """
    check_character(name)
    files = picture_files(folder)
    members = [Member(f"{name} #{number}", (), read_cutout(file), name) for number, file in enumerate(files)]
    return Cast(name, tuple(members))


def check_character(name: str) -> None:
    """Raise ValueError for a name that captions cannot say."""
    if name != " ".join(name.split()) or not 0 < len(name.encode()) <= LONGEST_NAME:
        raise ValueError(
            f"character: what prompts will call it must have 1 to {LONGEST_NAME} letters, on one line; got {name!r}."
        )
