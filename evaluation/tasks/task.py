"""What every measured task is made of: its runs, what it gives to the pipeline, and the clips that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...world.cast import Cast
from ...world.scene import Scene
from ..judge.filming import film_scene
from ..judge.judgement import Judgement, Sight, judge_sight, see_clip
from ..judge.traits import correct_traits, words_of
from ..prompts import Prompt

if TYPE_CHECKING:
    from ...lumiere_core.pipeline import LumierePipeline

Progress = Callable[[int, int], None]  # clips done, clips in all; from (0, clips) on


class ClipSize(NamedTuple):
    """How long and large a clip is, in pixels; a clip of any length shows its motion once."""

    frames: int
    height: int
    width: int


class Run(NamedTuple):
    """One clip to make. index: of its prompt; runs that differ in variant alone share it, and the noise.

    source: the scene of which something is given. asked: the prompt, and a scene that fulfils it. variant: the group
    in which it is counted. truth: that in which a perfect clip is counted; the perfect clips of a prompt and a truth
    look the same, and None says that none is known. setting: what a task varies from run to run, its own matter.
    """

    index: int
    seed: int
    source: Scene
    asked: Prompt
    variant: str = "all"
    truth: str | None = "all"
    setting: Any = None


class Material(NamedTuple):
    """What is given to `generate` as options, and the same to look at: frames (T, H, W, 3) in [0, 1].

    known: (T, H, W) bool, which of their pixels must come out; None where none must.
    """

    options: Mapping
    frames: np.ndarray | None = None
    known: np.ndarray | None = None


class JudgedClip(NamedTuple):
    """A clip that was made, (T, H, W, 3) in [0, 1], and what the judge sees in it."""

    frames: np.ndarray
    cast: Cast
    sight: Sight
    judged: Judgement

    def shows(self, run: Run) -> dict[str, bool]:
        """Whether it shows what was asked for, by trait and in all words."""
        return correct_traits(run.asked.words(), words_of(self.judged), self.judged.ranking)


def judge_once(frames: np.ndarray, cast: Cast) -> JudgedClip:
    """Judge a clip once, for all that is to be found in it."""
    sight = see_clip(frames)
    return JudgedClip(frames, cast, sight, judge_sight(sight, cast))


def film_in_8_bits(cast: Cast, scene: Scene, size: ClipSize) -> np.ndarray:
    """The scene as a file would hold it: (T, H, W, 3) float32 in [0, 1], in steps of 1 / 255."""
    return np.rint(film_scene(cast, scene, *size) * 255).astype(np.float32) / 255


def give_nothing(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    return Material({})


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to do with a pipeline, and how well it is done; what has a default is not all tasks' matter."""

    name: str
    # (cast, count, seed): the runs, in the order in which they are made, those of a variant in a row.
    plan: Callable[[Cast, int, int], list[Run]]
    # (run, size, frames): a run's material; frames are its source's, see `film_in_8_bits`.
    give: Callable[[Run, ClipSize, np.ndarray], Material] = give_nothing
    # (run, material, made): what is found in the clip, by name: bool, a number, or None for what cannot be measured, or
    # an array that `relate` alone reads.
    judge: Callable[[Run, Material, JudgedClip], dict]
    # The share of runs, or the mean, to be reached.
    targets: Mapping[str, float]
    # (run, usual): what its clip is to be, where `usual` is what the checkpoint has.
    size: Callable[[Run, ClipSize], ClipSize] = lambda run, usual: usual
    # (pipeline, run): the pipeline that makes the clips of the run's variant.
    prepare: Callable[[LumierePipeline, Run], LumierePipeline] = lambda pipeline, run: pipeline
    # (runs, found): what is found in each clip, with what takes several runs.
    relate: Callable[[Sequence[Run], Sequence[dict]], list[dict]] = lambda runs, found: list(found)
    # (runs, found): how the figures follow the setting.
    trend: Callable[[Sequence[Run], Sequence[dict]], dict] | None = None
    # (trend): the same in sentences.
    sentences: Callable[[dict], list[str]] = lambda trend: []
    # (result): a picture of it, as a PIL image.
    plot: Callable[[dict], Any] | None = None


def mean_of(found: Sequence[dict], name: str) -> float:
    """The mean of one thing that was found in several clips."""
    return float(np.mean([each[name] for each in found]))
