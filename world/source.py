"""The world as what a training learns from: random scenes of a cast, filmed and captioned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np

from ..lumiere_core.training.image_folder import ImageFolder
from ..lumiere_core.training.recipe import Recipe, Stage
from ..lumiere_core.training.source import Clips, ClipSource, Crop, LabelledCaption, Place, Request
from .captions import Captioner, label_classes, words_beside_nouns
from .cast import Cast, drawn_shapes
from .characters import CharacterScenes, character_cast
from .motions import CLIP_SECONDS, MOTIONS
from .render import FPS, Window, render_scenes
from .scene import Scene, SceneSampler, pick

STILL_CAPTIONS = 0.25  # of those that a text encoder learns from
JITTER = 0.15  # of a crop's side, between its middle and the object's


def world_sources(recipe: Recipe, cast: Cast | None = None) -> Callable[[Stage], ClipSource]:
    """What each stage of a recipe learns from: the world, a character in it, or the pictures of a style.

    cast: of the world; None is the drawn shapes, which only serve a recipe that asks for them. Raises ValueError for
    another, and for a stage that weighs a motion that there is not.
    """
    cast = cast or _builtin_cast(recipe)
    _check_motions(recipe)

    def source(stage: Stage) -> ClipSource:
        if stage.character is not None:
            return CharacterSource(stage, cast)
        if stage.images is not None:
            return ImageFolder(stage)
        return WorldSource(cast, SceneSampler(cast, "train", stage.two_objects, stage.motions))

    return source


def _builtin_cast(recipe: Recipe) -> Cast:
    cast = drawn_shapes()
    if recipe.cast != cast.name:
        raise ValueError(
            f"recipe {recipe.name}: it shows {recipe.cast}; give the folder of their pictures (--cast DIR)."
        )
    return cast


def _check_motions(recipe: Recipe) -> None:
    for stage in recipe.stages:
        for name in stage.motions:
            if name not in MOTIONS:
                known = ", ".join(MOTIONS)
                raise ValueError(
                    f"recipe: stage {stage.name!r}, motions has the unknown name {name!r}; known are {known}."
                )


class WorldSource:
    """Random scenes of a cast; sample: draws one."""

    fps = float(FPS)

    def __init__(self, cast: Cast, sample: Callable[[np.random.Generator], Scene]):
        self.cast, self.sample, self.captioner = cast, sample, Captioner(cast)
        self.label_classes = label_classes(cast)

    def captions(self, count: int, rng: np.random.Generator) -> list[LabelledCaption]:
        found = []
        for scene in (self.sample(rng) for _ in range(count)):
            write = self.captioner.still if rng.random() < STILL_CAPTIONS else self.captioner.moving
            found.append(LabelledCaption(*write(scene, rng)))
        return found

    def clips(self, request: Request, rng: np.random.Generator) -> Clips:
        scenes = [self.sample(rng) for _ in range(request.clips)]
        write = self.captioner.moving if request.moving else self.captioner.still
        captions = [write(scene, rng).text for scene in scenes]
        seconds = [clip_seconds(request, rng) for _ in scenes]
        size = request.height, request.width
        windows = None
        if request.crop is not None:
            pairs = zip(scenes, seconds, strict=True)
            windows = [draw_window(request.crop, size, scene, times, rng) for scene, times in pairs][request.own]
        scenes, seconds, captions = (drawn[request.own] for drawn in (scenes, seconds, captions))
        video = render_scenes(self.cast, scenes, seconds, *size, windows).mul_(2).sub_(1)
        places = [places_of(scene, times) for scene, times in zip(scenes, seconds, strict=True)]
        return Clips(captions, video, places)

    def record(self) -> dict:
        return {"cast": describe_cast(self.cast)}

    def digest(self) -> str:
        found = hashlib.sha256()
        for member in self.cast.members:
            found.update(json.dumps([member.words, member.spoken]).encode())
            found.update(member.picture.tobytes())
        return found.hexdigest()


class CharacterSource(WorldSource):
    """A user's cut-outs in the world's scenes, among the world's own. Raises ValueError as `character_cast` does."""

    def __init__(self, stage: Stage, world: Cast):
        character = character_cast(stage.images, stage.character)
        together = Cast(character.name, (*character.members, *world.members))
        ordinary = SceneSampler(world, "train", stage.two_objects, stage.motions)
        super().__init__(together, CharacterScenes(character, ordinary, stage.motions, stage.world_share))

    def record(self) -> dict:
        return {"character": self.cast.name}


def describe_cast(cast: Cast) -> dict:
    """What a checkpoint says of its world: each object's words, and all others that captions have."""
    return {"name": cast.name, "words": [list(m.words) for m in cast.members], "phrases": words_beside_nouns()}


def places_of(scene: Scene, seconds: np.ndarray) -> list[Place]:
    """Where a scene's objects are at times (T,)."""
    tracks = [(actor, actor.motion.track(seconds)) for actor in scene.actors]
    return [Place(track.x, track.y, track.reach, actor.moves != "staying still") for actor, track in tracks]


def clip_seconds(request: Request, rng: np.random.Generator) -> np.ndarray:
    """Times in seconds of a clip's frames: the whole motion once, an excerpt of it, or, for stills, any moment."""
    if request.frames == 1:
        return np.array([rng.uniform(0, CLIP_SECONDS)])
    whole = request.excerpt_of or request.frames
    start = int(rng.integers(whole - request.frames + 1))
    return (start + np.arange(request.frames)) * CLIP_SECONDS / whole


def draw_window(crop: Crop, size: tuple[int, int], scene: Scene, seconds: np.ndarray, rng) -> Window:
    """A window of a frame: where an object is or, now and then, anywhere; as large as the frame allows.

    What things look like is learned from as many pixels of them, and as few others, as can be.
    """
    track = pick(rng, scene.actors).motion.track(seconds[rng.integers(len(seconds))])
    near = rng.random() >= crop.anywhere
    corner, lengths = [], [min(crop.side, side) for side in size]
    for side, length, place in zip(size, lengths, (track.y, track.x), strict=True):
        middle = (side - min(size)) / 2 + float(place) * min(size) + crop.side * rng.uniform(-JITTER, JITTER)
        middle = middle if near else rng.uniform(length / 2, side - length / 2)
        corner.append(
            crop.grid * int(np.clip(round((middle - length / 2) / crop.grid), 0, (side - length) // crop.grid))
        )
    return *corner, *lengths
