"""What a training learns from: a source of captioned clips, be it a world, a folder of images or something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

SHAPES = ((1.0, 1.0), (0.75, 1.3125), (1.3125, 0.75), (0.875, 1.125), (1.125, 0.875))


class Crop(NamedTuple):
    """A square part of the frame, of `side` pixels at most: where something is to be seen, or, in a share `anywhere`
    of the clips, at random. Its corner lies on a grid of so many pixels.
    """

    side: int
    grid: int = 1
    anywhere: float = 0.0


class Request(NamedTuple):
    """What a step asks for. clips: how many. frames: of each; `excerpt_of`: where given, they are a run of frames out
    of a clip of that many, else the whole clip. height, width: of a whole frame. moving: captions may speak of motion.
    own: which of the clips are to be made, in a training of several processes; all are drawn, so that each process
    draws the same.
    """

    clips: int
    frames: int
    height: int
    width: int
    excerpt_of: int | None = None
    crop: Crop | None = None
    moving: bool = True
    own: slice = slice(None)

    @property
    def made(self) -> int:
        """How many clips are to be made."""
        return len(range(self.clips)[self.own])


class Place(NamedTuple):
    """Where something is: centre and half side (T,) in fractions of the frame's short side, from the corner of the
    centred square. moves: whether it does anything.
    """

    x: np.ndarray
    y: np.ndarray
    reach: np.ndarray
    moves: bool


class Clips(NamedTuple):
    """captions: one a clip. video: (B, 3, T, h, w) in [-1, 1]. places: of each clip's things, where a source knows."""

    captions: Sequence[str]
    video: torch.Tensor
    places: Sequence[Sequence[Place]] = ()


class Variety(NamedTuple):
    """What varied steps draw from, evenly.

    shapes: sides of about equal area, (height, width) in units of the stage's size.
    """

    lengths: Sequence[int] = (8, 16, 24, 40, 56, 80, 120, 160)
    shapes: Sequence[tuple[float, float]] = SHAPES


ANY = Variety()  # users ask for any length and shape


class LabelledCaption(NamedTuple):
    """A text, and what it says as indices into the source's `label_classes`, in their order."""

    text: str
    labels: tuple[int, ...]


class ClipSource(Protocol):
    """fps: of its clips. All randomness comes from the generator that is given, so that a run resumes exactly."""

    fps: float

    def clips(self, request: Request, rng: np.random.Generator) -> Clips: ...

    def record(self) -> dict:
        """What a checkpoint's training record says of it."""
        ...

    def digest(self) -> str:
        """Changes with its pictures and words, so that a training does not go on with others."""
        ...


class CaptionSource(ClipSource, Protocol):
    """A source that a text encoder can be trained on: its captions come with what they say."""

    label_classes: Mapping[str, tuple[str, ...]]

    def captions(self, count: int, rng: np.random.Generator) -> list[LabelledCaption]: ...


@runtime_checkable
class RecordedSource(ClipSource, Protocol):
    """A source of clips that there are already: only so long, of some shapes, and with captions that can be listed."""

    variety: Variety

    def held_out(self) -> RecordedSource:
        """What is not trained on, for a stage that validates."""
        ...

    def all_captions(self) -> Sequence[str]:
        """Each once."""
        ...


def variety_of(source: ClipSource) -> Variety:
    """What varied steps draw from: clips that are made for the request can have any length and shape."""
    return source.variety if isinstance(source, RecordedSource) else ANY
