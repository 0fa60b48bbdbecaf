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

from ..bundled import bundled_weights
from ..conditioning import Given
from ..pipeline import DEFAULT_STRENGTH
from ..toy_world import (
    CLIP_SECONDS,
    COLORS,
    FPS,
    SHAPES,
    Scene,
    canonical_caption,
    is_held_out,
    is_legal,
    object_track,
    render_clip,
)
from ..toy_world.scene import LINEAR_DIRECTIONS, REACH, pick
from .prompts import Prompt, plan_prompts
from .run import SEED_STRIDE

STYLES = ("toy-line-drawing", "toy-watercolor")
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PADDING = 0.1  # of a hole, around all that the object sweeps
MOST_HOLE = 0.9  # of the frame's area


class Film(NamedTuple):
    """How long and large the clips are; side is height and width in pixels."""

    frames: int
    side: int
    fps: float


TOY_FILM = Film(frames=int(CLIP_SECONDS * FPS), side=32, fps=FPS)


class Run(NamedTuple):
    """One clip to make. index: of its prompt; runs that differ in variant alone share it, and the noise.

    source: the scene of which something is given. asked: the prompt, and a scene that fulfils it. variant: the group
    in which it is counted. style: the name and alpha of a style.
    """

    index: int
    seed: int
    source: Scene
    asked: Prompt
    variant: str = "all"
    style: tuple[str, float] | None = None
    strength: float | None = None


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
    return prompt.words()["motion"] in (*LINEAR_DIRECTIONS, "bouncing", "orbiting")


def leaves_surroundings(prompt: Prompt) -> bool:
    """Whether a hole for its object, in the shape that reaches farthest, leaves enough of the clip to be given."""
    (moving,) = prompt.scene.objects
    farthest = Scene((replace(moving, shape=max(REACH, key=REACH.get)),), prompt.scene.background)
    return bool(swept_box(TOY_FILM, farthest).mean() <= MOST_HOLE)


def moves_within(prompt: Prompt) -> bool:
    """Whether its object moves, and leaves surroundings that do not."""
    return prompt.words()["motion"] != "staying still" and leaves_surroundings(prompt)


def plan_same(count: int, seed: int, accepts: Callable[[Prompt], bool] = any_prompt) -> list[Run]:
    """Runs that ask for what is given."""
    prompts = prompts_of(count, seed, accepts)
    return [Run(i, seed + SEED_STRIDE * i, prompt.scene, prompt) for i, prompt in enumerate(prompts)]


def plan_changed(count: int, seed: int, accepts: Callable[[Prompt], bool] = leaves_surroundings) -> list[Run]:
    """Runs that ask for another shape and colour, moving as the given one."""
    runs = plan_same(count, seed, accepts)
    return [run._replace(asked=changed(run.asked, np.random.default_rng([seed, run.index]))) for run in runs]


def plan_strength(count: int, seed: int, strength: float = DEFAULT_STRENGTH) -> list[Run]:
    """Videos of objects that travel, to be made into others."""
    runs = plan_changed(count, seed, travels)
    return [run._replace(variant=f"strength {strength:g}", strength=strength) for run in runs]


def plan_strengths(count: int, seed: int) -> list[Run]:
    """At least `count` runs: the same videos at each of STRENGTHS."""
    share = ceil(count / len(STRENGTHS))
    return [run for strength in STRENGTHS for run in plan_strength(share, seed, strength)]


def plan_styles(count: int, seed: int) -> list[Run]:
    """At least `count` runs: each prompt in one style, the styles in turn, at each of ALPHAS.

    Raises ValueError where a style's file is not bundled.
    """
    for name in STYLES:
        style_file(name)
    runs = plan_same(ceil(count / len(ALPHAS)), seed)
    return [
        run._replace(variant=f"{name}, alpha {alpha:g}", style=(name, alpha))
        for i, name in enumerate(STYLES)
        for alpha in ALPHAS
        for run in runs[i :: len(STYLES)]
    ]


def style_file(name: str) -> Path:
    """The path of a bundled style. Raises ValueError where the installation lacks it."""
    return bundled_weights(f"{name}.safetensors")


def prompts_of(count: int, seed: int, accepts: Callable[[Prompt], bool]) -> list[Prompt]:
    """`count` acceptable prompts, out of as many more as that takes."""
    planned = count
    while True:
        chosen = [prompt for prompt in plan_prompts(planned, seed) if accepts(prompt)]
        if len(chosen) >= count:
            return chosen[:count]
        planned *= 2


def changed(prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """A prompt for another shape in another colour; size, place, motion and background stay."""
    (moving,) = prompt.scene.objects
    shape = pick(rng, [shape for shape in SHAPES if shape != moving.shape and is_legal(shape, moving.motion)])
    color = pick(rng, [color for color in COLORS if color != moving.color])
    scene = Scene((replace(moving, shape=shape, color=color),), prompt.scene.background)
    split = "held_out" if is_held_out(shape, color, moving.motion) else "trained"
    return Prompt(canonical_caption(scene).text, scene, split)


def shoot(scene: Scene, film: Film) -> np.ndarray:
    """The scene as a file would hold it: (T, H, W, 3) float32 in [0, 1], in steps of 1 / 255."""
    frames = render_clip(scene, film.frames, film.side, film.side, film.fps)
    return np.rint(frames * 255).astype(np.float32) / 255


def give_nothing(run: Run, film: Film) -> Material:
    return Material({})


def give_first_frame(run: Run, film: Film) -> Material:
    frames, known = shoot(run.source, film), known_frames(film, [0])
    return Material({"given": Given("first_frame", torch.from_numpy(frames[:1]))}, frames, known)


def give_ends(run: Run, film: Film) -> Material:
    """The first and the last frame as keyframes."""
    frames, ends = shoot(run.source, film), (0, -1)
    given = Given("keyframes", torch.from_numpy(frames[list(ends)]), indices=ends)
    return Material({"given": given}, frames, known_frames(film, ends))


def give_surroundings(run: Run, film: Film) -> Material:
    """The clip but for a hole where the object passes, and would pass in the shape that is asked for."""
    frames, hole = shoot(run.source, film), swept_box(film, run.source, run.asked.scene)
    given = Given("inpaint", torch.from_numpy(frames), mask=torch.from_numpy(hole).float()[None])
    return Material({"given": given}, frames, np.broadcast_to(~hole, (film.frames, *hole.shape)))


def give_still(run: Run, film: Film) -> Material:
    """The first frame as a still image, of which what the object will sweep is to move."""
    still, region = shoot(run.source, film)[:1], swept_box(film, run.source)
    given = Given("region", torch.from_numpy(still), mask=torch.from_numpy(region).float()[None])
    known = np.repeat(~region[None], film.frames, axis=0)
    known[0] = True
    return Material({"given": given}, np.repeat(still, film.frames, axis=0), known)


def give_video(run: Run, film: Film) -> Material:
    frames = shoot(run.source, film)
    return Material({"video": torch.from_numpy(frames), "strength": run.strength}, frames)


def known_frames(film: Film, indices: Sequence[int]) -> np.ndarray:
    """(T, H, W) bool: True in these frames."""
    known = np.zeros((film.frames, film.side, film.side), bool)
    known[list(indices)] = True
    return known


def swept_box(film: Film, *scenes: Scene) -> np.ndarray:
    """(H, W) bool: the one box, PADDING wider on all sides, that holds the scenes' objects in all frames."""
    times = np.arange(film.frames) / film.fps
    low, high = np.full(2, np.inf), np.full(2, -np.inf)  # x, y
    for moving in (moving for scene in scenes for moving in scene.objects):
        track = object_track(moving, times)
        centers, reach = np.stack([track.x, track.y], axis=1), (track.radius * REACH[moving.shape])[:, None]
        low = np.minimum(low, (centers - reach).min(0) - PADDING)
        high = np.maximum(high, (centers + reach).max(0) + PADDING)
    pixels = (np.arange(film.side) + 0.5) / film.side
    columns, rows = ((pixels >= start) & (pixels <= end) for start, end in zip(low, high, strict=True))
    return rows[:, None] & columns
