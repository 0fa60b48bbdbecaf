"""A character of the user's own: cut-outs of it, in the world's motions and on its backgrounds."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..lumiere_core.checkpoints.format import load_info
from ..lumiere_core.conditioning.vocabulary import known_words
from ..lumiere_core.training.image_folder import picture_files
from ..lumiere_core.training.recipe import Recipe
from ..lumiere_core.training.style import lora_recipe
from .cast import LONGEST_NAME, Cast, Member, read_cutout
from .scene import Scene, SceneSampler

# Our choices (unpublished). What a character is called decides from the first denoising step on, so no timesteps come
# more often; of its scenes a part is the world's own, where that is at hand, so that its objects are not forgotten.
TIMESTEP_BIAS = 1.0
WORLD_SHARE = 0.25


def character_recipe(
    images: str | Path,
    name: str,
    output: str | Path,
    checkpoint: str | Path,
    text_encoder: str | Path | None = None,
    *,
    rank: int = 8,
    steps: int = 300,
    batch: int = 16,
    learning_rate: float = 4e-3,
    world: Cast | None = None,
    seed: int = 0,
) -> Recipe:
    """The recipe of one character, as `style_recipe` has it of a style. images: a folder of cut-outs of it. name: what
    prompts will call it. world: the checkpoint's own cast, mixed in where it is given, so that the things that the
    checkpoint draws are not forgotten. Warns of a name that the checkpoint draws already.
    """
    name = " ".join(name.split())
    character_cast(images, name)
    record = load_info(checkpoint).training.get("cast", {})
    if known_words(name, record.get("words", []), record.get("phrases", [])):
        warnings.warn(
            f"The checkpoint knows the words of {name!r} already, and will draw the character wherever a prompt has "
            "them. A name of your own, such as 'zorp', leaves them what they are.",
            stacklevel=2,
        )
    stage = {"character": name, "timestep_bias": TIMESTEP_BIAS, "world_share": WORLD_SHARE if world else 0.0}
    knobs = {"rank": rank, "steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    recipe = lora_recipe(images, output, checkpoint, text_encoder, stage, **knobs)
    return dataclasses.replace(recipe, cast=world.name) if world else recipe


class CharacterScenes:
    """Random scenes of a character in all motions; `share` of them are of the world's own, `world`."""

    def __init__(
        self,
        character: Cast,
        world: Callable[[np.random.Generator], Scene],
        motions: Mapping[str, float],
        share: float,
    ):
        self.character, self.world, self.share = SceneSampler(character, "all", 0.0, motions), world, share

    def __call__(self, rng: np.random.Generator) -> Scene:
        return self.world(rng) if rng.random() < self.share else self.character(rng)


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
