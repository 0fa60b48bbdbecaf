"""A rehearsal: a few steps of every phase of a recipe, so that a rented accelerator's hour goes into training alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .image_folder import ImageFolder
from .preflight import check_stages
from .recipe import Recipe, Stage
from .run import StageRun
from .source import ClipSource

STEPS = 3  # of each phase; the first, which compiles and warms up, is not counted


class PhaseTime(NamedTuple):
    """How long a step of a phase takes, in seconds, and how much of that its batch."""

    stage: str
    number: int
    steps: int
    seconds: float
    batch_seconds: float

    @property
    def hours(self) -> float:
        return self.steps * self.seconds / 3600


def rehearse(
    recipe: Recipe,
    sources: Callable[[Stage], ClipSource] = ImageFolder,
    *,
    most_clips: int | None = None,
    device: str | None = None,
    precision: str = "auto",
    compile: bool = False,
) -> Iterator[PhaseTime]:
    """Run STEPS steps of each phase of each stage in a temporary folder, in order; yields a PhaseTime each.

    most_clips: at most so many in a batch, to rehearse on a smaller machine; None is as in the recipe, without which
    the times say nothing of the training. Other options as of `train`; batches are made in this process. Whatever
    would stop the training later (a field that a network refuses, too little memory, a file that cannot be read)
    stops this at once, as the same error.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = check_stages(recipe, recipe.stages, Path(folder), sources)
        for stage in recipe.stages:
            if most_clips is not None:
                stage = replace(stage, phases=tuple(replace(p, batch=min(p.batch, most_clips)) for p in stage.phases))
            run = StageRun(recipe, stage, Path(folder), found[stage.name], device, precision, compile, workers=0)
            first = 0
            for number, phase in enumerate(stage.phases, start=1):
                yield PhaseTime(stage.name, number, phase.steps, *_time_steps(run, first))
                first += phase.steps
            run.export(run.files.weights)  # the next stage reads it


def _time_steps(run: StageRun, first: int) -> tuple[float, float]:
    """Mean seconds of the steps after `first`, in all and of their batches alone."""
    dataset, clock = run.batches(), []
    for step in range(first, first + STEPS):
        start = time.perf_counter()
        batch = dataset[step]
        made = time.perf_counter()
        run.step = step
        run.train_step(batch)
        clock.append((time.perf_counter() - start, made - start))
    counted = clock[1:]
    return tuple(sum(times) / len(counted) for times in zip(*counted, strict=True))
