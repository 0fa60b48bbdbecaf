"""The clips of the applications' tasks: of which scene something is given, what is given of it, and what is asked.

The scenes are those of the seeded prompts, a quarter of them combinations that training never shows. All measures are
our choice: unpublished. Lengths are fractions of the frame's side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..lumiere_core.checkpoints.bundled import bundled_weights
from ..lumiere_core.conditioning.given import Given
from ..lumiere_core.pipeline import DEFAULT_STRENGTH, Start
from ..world.captions import Captioner
from ..world.cast import Cast
from ..world.motions import TURNING
from ..world.scene import Scene, is_held_out, pick
from .filming import clip_times, film_scene
from .prompts import Prompt, plan_prompts
from .run import SEED_STRIDE

STYLES = ("stickers-line-drawing", "stickers-watercolor")
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
LENGTHS = (8, 16, 40, 120, 160)  # frames, none of them the usual number
# Height and width in units of the checkpoint's size, of about equal area.
SHAPES = {"9:16": (1.3125, 0.75), "3:4": (1.125, 0.875), "4:3": (0.875, 1.125), "16:9": (0.75, 1.3125)}
SQUARE = (1.0, 1.0)
SIDE_STEP = 8  # pixels, of which all sides are multiples
PADDING = 0.1  # of a hole, around all that the object sweeps
MOST_HOLE = 0.9  # of the frame's area
ENDS = (0, -1)  # frames that are given as keyframes
LINEAR_DIRECTIONS = {"moving left": (-1, 0), "moving right": (1, 0), "moving up": (0, -1), "moving down": (0, 1)}
ROVING = (*LINEAR_DIRECTIONS, "bouncing", "jumping", "orbiting", "swinging", "falling")  # whose path is long enough


class Film(NamedTuple):
    """How long and large the clips are, in pixels; a clip of any length shows its motion once."""

    frames: int
    height: int
    width: int


class Run(NamedTuple):
    """One clip to make. index: of its prompt; runs that differ in variant alone share it, and the noise.

    source: the scene of which something is given. asked: the prompt, and a scene that fulfils it. variant: the group
    in which it is counted. style: the name and alpha of a style. frames, shape: as LENGTHS and SHAPES have them, of
    clips that are not as the checkpoint has them.
    """

    index: int
    seed: int
    source: Scene
    asked: Prompt
    variant: str = "all"
    style: tuple[str, float] | None = None
    strength: float | None = None
    frames: int | None = None
    shape: tuple[float, float] = SQUARE

    @property
    def is_reshaped(self) -> bool:
        return self.frames is not None or self.shape != SQUARE

    def film(self, usual: Film) -> Film:
        """What its clip is to be, where `usual` is what the checkpoint has."""
        sides = usual.height, usual.width
        if self.shape != SQUARE:
            sides = (
                SIDE_STEP * max(1, round(share * side / SIDE_STEP))
                for share, side in zip(self.shape, sides, strict=True)
            )
        return Film(self.frames or usual.frames, *sides)


class Material(NamedTuple):
    """What is given to `generate` as options, and the same to look at: frames (T, H, W, 3) in [0, 1].

    known: (T, H, W) bool, which of their pixels must come out; None where none must.
    """

    options: Mapping
    frames: np.ndarray | None = None
    known: np.ndarray | None = None


def any_prompt(prompt: Prompt) -> bool:
    return True


def passes(prompt: Prompt) -> bool:
    """Whether its motion leads from one state to another by way of those between."""
    return prompt.words()["motion"] in (*LINEAR_DIRECTIONS, "growing", "shrinking")


def travels(prompt: Prompt) -> bool:
    """Whether its object has a path."""
    return prompt.words()["motion"] in ROVING


def leaves_surroundings(prompt: Prompt) -> bool:
    """Whether a hole for its object leaves enough of the clip to be given."""
    return bool(swept_box(Film(80, 64, 64), prompt.scene).mean() <= MOST_HOLE)


def moves_within(prompt: Prompt) -> bool:
    """Whether its object moves, and leaves surroundings that do not."""
    return prompt.words()["motion"] != "staying still" and leaves_surroundings(prompt)


def plan_same(cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool] = any_prompt) -> list[Run]:
    """Runs that ask for what is given."""
    prompts = prompts_of(cast, count, seed, accepts)
    return [Run(i, seed + SEED_STRIDE * i, prompt.scene, prompt) for i, prompt in enumerate(prompts)]


def plan_changed(
    cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool] = leaves_surroundings
) -> list[Run]:
    """Runs that ask for another noun, moving as the given one."""
    runs = plan_same(cast, count, seed, accepts)
    return [run._replace(asked=changed(cast, run.asked, np.random.default_rng([seed, run.index]))) for run in runs]


def plan_strength(cast: Cast, count: int, seed: int, strength: float = DEFAULT_STRENGTH) -> list[Run]:
    """Videos of objects that travel, to be made into others."""
    runs = plan_changed(cast, count, seed, travels)
    return [run._replace(variant=f"strength {strength:g}", strength=strength) for run in runs]


def plan_strengths(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: the same videos at each of STRENGTHS."""
    share = ceil(count / len(STRENGTHS))
    return [run for strength in STRENGTHS for run in plan_strength(cast, share, seed, strength)]


def plan_styles(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: each prompt in one style, the styles in turn, at each of ALPHAS.

    Raises ValueError where a style's file is not bundled.
    """
    for name in STYLES:
        style_file(name)
    runs = plan_same(cast, ceil(count / len(ALPHAS)), seed)
    return [
        run._replace(variant=f"{name}, alpha {alpha:g}", style=(name, alpha))
        for i, name in enumerate(STYLES)
        for alpha in ALPHAS
        for run in runs[i :: len(STYLES)]
    ]


def plan_shapes(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: the same prompts at each of LENGTHS in square frames, and in each of SHAPES."""
    runs = plan_same(cast, ceil(count / (len(LENGTHS) + len(SHAPES))), seed)
    lengths = [run._replace(variant=f"{frames} frames", frames=frames) for frames in LENGTHS for run in runs]
    return lengths + [run._replace(variant=name, shape=shape) for name, shape in SHAPES.items() for run in runs]


def style_file(name: str) -> Path:
    """The path of a bundled style. Raises ValueError where the installation lacks it."""
    return bundled_weights(f"{name}.safetensors")


def prompts_of(cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool]) -> list[Prompt]:
    """`count` acceptable prompts, out of as many more as that takes."""
    planned = count
    while True:
        chosen = [prompt for prompt in plan_prompts(cast, planned, seed) if accepts(prompt)]
        if len(chosen) >= count:
            return chosen[:count]
        planned *= 2


def changed(cast: Cast, prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """A prompt for another noun; size, place, motion and background stay, and the split where that can be.

    Raises ValueError for a cast without another noun.
    """
    (actor,) = prompt.scene.actors
    nouns = [
        member.name
        for member in cast.members
        if member.name != actor.name and (actor.moves not in TURNING or member.shows_turns)
    ]
    if not nouns:
        raise ValueError(f"cast {cast.name!r}: to ask for another noun than {actor.name!r} there must be another.")
    alike = [noun for noun in nouns if split_of(cast, noun, actor.moves) == prompt.split]
    noun = pick(rng, alike or nouns)
    scene = replace(prompt.scene, actors=(replace(actor, name=noun),))
    return Prompt(Captioner(cast).canonical(scene).text, scene, split_of(cast, noun, actor.moves))


def split_of(cast: Cast, noun: str, motion: str) -> str:
    return "held_out" if is_held_out(cast, noun, motion) else "trained"


def shoot(cast: Cast, scene: Scene, film: Film) -> np.ndarray:
    """The scene as a file would hold it: (T, H, W, 3) float32 in [0, 1], in steps of 1 / 255."""
    return np.rint(film_scene(cast, scene, *film) * 255).astype(np.float32) / 255


def give_nothing(run: Run, film: Film, frames: np.ndarray) -> Material:
    return Material({})


def give_film(run: Run, film: Film, frames: np.ndarray) -> Material:
    """Nothing but how long and large the clip is to be."""
    return Material({"frames": film.frames, "size": (film.height, film.width)})


def give_first_frame(run: Run, film: Film, frames: np.ndarray) -> Material:
    given = Given("first_frame", torch.from_numpy(frames[:1]))
    return Material({"given": given}, frames, known_frames(film, [0]))


def give_ends(run: Run, film: Film, frames: np.ndarray) -> Material:
    """The first and the last frame as keyframes."""
    given = Given("keyframes", torch.from_numpy(frames[list(ENDS)]), indices=ENDS)
    return Material({"given": given}, frames, known_frames(film, ENDS))


def give_surroundings(run: Run, film: Film, frames: np.ndarray) -> Material:
    """The clip but for a hole where the object passes."""
    hole = swept_box(film, run.source)
    given = Given("inpaint", torch.from_numpy(frames), mask=torch.from_numpy(hole).float()[None])
    return Material({"given": given}, frames, np.broadcast_to(~hole, (film.frames, *hole.shape)))


def give_still(run: Run, film: Film, frames: np.ndarray) -> Material:
    """The first frame as a still image, of which what the object will sweep is to move."""
    still, region = frames[:1], swept_box(film, run.source)
    given = Given("region", torch.from_numpy(still), mask=torch.from_numpy(region).float()[None])
    known = np.repeat(~region[None], film.frames, axis=0)
    known[0] = True
    return Material({"given": given}, np.repeat(still, film.frames, axis=0), known)


def give_video(run: Run, film: Film, frames: np.ndarray) -> Material:
    return Material({"start": Start(torch.from_numpy(frames), run.strength)}, frames)


def known_frames(film: Film, indices: Sequence[int]) -> np.ndarray:
    """(T, H, W) bool: True in these frames."""
    known = np.zeros(film, bool)
    known[list(indices)] = True
    return known


def swept_box(film: Film, scene: Scene) -> np.ndarray:
    """(H, W) bool: the one box, PADDING wider on all sides, that holds the scene's objects in all frames."""
    side = min(film.height, film.width)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)  # x, y
    for actor in scene.actors:
        track = actor.motion.track(clip_times(film.frames))
        centers, reach = np.stack([track.x, track.y], axis=1), track.reach[:, None]
        low = np.minimum(low, (centers - reach).min(0) - PADDING)
        high = np.maximum(high, (centers + reach).max(0) + PADDING)
    x, y = ((np.arange(length) + 0.5 - (length - side) / 2) / side for length in (film.width, film.height))
    columns, rows = ((at >= start) & (at <= end) for at, start, end in zip((x, y), low, high, strict=True))
    return rows[:, None] & columns
