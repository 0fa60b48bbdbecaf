"""`lumiere evaluate --task`: plan a task's runs, make and judge each clip, count, and write what was found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...world.cast import Cast, drawn_shapes
from ..judge.traits import words_of
from ..report.files import FORMAT, writable_folder
from ..report.task_report import task_table, write_task_report
from ..statistics import share_or_mean
from . import TASKS
from .task import ClipSize, Material, Progress, Run, Task, film_in_8_bits, judge_once
from .text import TEXT

if TYPE_CHECKING:
    from ...lumiere_core.pipeline import LumierePipeline

DEFAULT_RUNS = 128
SHEET_RUNS = 8
SHEET_FRAMES = 5
UNKNOWN = 0.5  # grey, as the network is given it


def check_tasks(names: Sequence[str], runs: int | None = None, seed: int = 0) -> None:
    """Raise ValueError for a task that there is not, and for one that cannot be planned, before any is begun.

    The drawn shapes stand in for the cast, which is not known yet.
    """
    shapes = drawn_shapes()
    for name in names:
        if name not in (TEXT, *TASKS):
            raise ValueError(f"evaluate: task must be one of {', '.join((TEXT, *TASKS))}; got {name!r}.")
        if name != TEXT:
            plan_task(shapes, name, DEFAULT_RUNS if runs is None else runs, seed)


def plan_task(cast: Cast, name: str, runs: int, seed: int) -> list[Run]:
    """A task's runs, as many as asked for or, where each prompt comes several times, a few more. Raises ValueError."""
    if name not in TASKS:
        raise ValueError(f"evaluate_task: task must be one of {', '.join(TASKS)}; got {name!r}.")
    if runs < 1:
        raise ValueError(f"evaluate: runs must be at least 1; got {runs}.")
    return TASKS[name].plan(cast, runs, seed)


def evaluate_task(
    pipeline: LumierePipeline,
    cast: Cast,
    name: str,
    runs: int = DEFAULT_RUNS,
    seed: int = 0,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> dict:
    """Make the clips of one of TASKS with the checkpoint's own settings, judge them, and count.

    cast: the things that the network was trained to draw. runs: how many clips at least; those of prompt i have the
    seed seed + 3 * i. output: a folder for <task>.json and <task>.png, a sheet of the first runs, and
    strengths_plot.png; None writes nothing. progress(done, clips).

    Returns what <task>.json holds. figures: by variant, each thing found as a share (correct, of, rate, low, high) or a
    mean (mean, of, low, high), with 95 % intervals; judge: the same of perfect clips, not for styles; targets: what is
    to be reached; trend: of styles over alpha, and of a sweep over strengths, else None; clips: what is found in each.
    Raises ValueError for what cannot be, and for a folder that cannot be written, before anything is made.
    """
    planned = plan_task(cast, name, runs, seed)
    folder = writable_folder(output)
    info, started = pipeline.base.info, time.monotonic()
    work = Work(TASKS[name], cast, ClipSize(info.frames, info.size, info.size), planned)
    work.make_all(pipeline, progress)
    result = {
        "format": FORMAT,
        "task": name,
        "runs": len(planned),
        "prompts": len({run.index for run in planned}),
        "seed": seed,
        "cast": cast.name,
        **work.size._asdict(),
        "fps": info.fps,
        "settings": info.sampling.said(),
        **work.counted(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if folder is not None:
        write_task_report(result, work.sheet_rows(), folder, work.task.plot)
    return result


def describe(result: dict) -> str:
    """What `evaluate_task` returns as markdown: its table, and in sentences what its runs show together."""
    trend = result["trend"]
    return "\n\n".join([task_table(result), *(TASKS[result["task"]].sentences(trend) if trend else ())])


@dataclass
class Work:
    """The runs of a task, in clips of a size where nothing else is said.

    After make_all, in turn: found, in each clip; shown, its words; sheet, (prompt's index, row) of the first prompts.
    """

    task: Task
    cast: Cast
    size: ClipSize
    runs: list[Run]
    found: list[dict] = field(default_factory=list)
    shown: list[dict[str, str]] = field(default_factory=list)
    sheet: list[tuple[int, tuple]] = field(default_factory=list)

    def make_all(self, pipeline: LumierePipeline, progress: Progress | None) -> None:
        """Make and judge the clips, one at a time; a variant's pipeline is prepared once for all its runs in a row."""
        report = progress or (lambda done, clips: None)
        report(0, len(self.runs))
        for _, variant in groupby(self.runs, key=lambda run: run.variant):
            runs = list(variant)
            prepared = self.task.prepare(pipeline, runs[0])
            for run in runs:
                self._make(prepared, run)
                report(len(self.found), len(self.runs))

    def _make(self, pipeline: LumierePipeline, run: Run) -> None:
        material = self._give(run)
        clip = pipeline.generate(run.asked.text, seed=run.seed, super_resolution=False, **material.options)
        made = judge_once(clip.low_res.numpy(), self.cast)
        self.found.append(self.task.judge(run, material, made))
        self.shown.append(words_of(made.judged))
        if run.index < self._sheet_prompts():
            self.sheet.append((run.index, sheet_row(run, material, made.frames, self.shown[-1], self.found[-1])))

    def _give(self, run: Run) -> Material:
        size = self.task.size(run, self.size)
        return self.task.give(run, size, film_in_8_bits(self.cast, run.source, size))

    def _sheet_prompts(self) -> int:
        """How many prompts, the first, are on the sheet, each in all its variants; two at least, for both styles."""
        variants = sum(run.index == 0 for run in self.runs)
        return max(SHEET_RUNS // variants, 2)

    def sheet_rows(self) -> list[tuple[str, list[np.ndarray]]]:
        """The rows of the sheet, a prompt's variants one below the other."""
        return [row for _, row in sorted(self.sheet, key=lambda entry: entry[0])]

    def counted(self) -> dict:
        """The targets, and what all clips come to."""
        found = self.task.relate(self.runs, self.found)
        return {
            "targets": dict(self.task.targets),
            "figures": count_by_variant(self.runs, found),
            "judge": self._ground_truth(),
            "trend": self.task.trend(self.runs, found) if self.task.trend else None,
            "clips": self._records(found),
        }

    def _ground_truth(self) -> dict:
        """What is found in clips that are as they should be: this bounds every other figure.

        Where runs should look the same, the first is enough.
        """
        known = [run for run in self.runs if run.truth is not None]
        first = {(run.index, run.truth): run for run in reversed(known)}
        runs = sorted(first.values(), key=self.runs.index)
        return count_by_variant([run._replace(variant=run.truth) for run in runs], list(map(self._judge_perfect, runs)))

    def _judge_perfect(self, run: Run) -> dict:
        size = self.task.size(run, self.size)
        made = judge_once(film_in_8_bits(self.cast, run.asked.scene, size), self.cast)
        return self.task.judge(run, self._give(run), made)

    def _records(self, found: Iterable[dict]) -> list[dict]:
        """Each run's prompt, what was asked, and what its clip shows."""
        return [
            {
                "prompt": run.asked.text,
                "split": run.asked.split,
                "seed": run.seed,
                "variant": run.variant,
                "asked": run.asked.words(),
                "shown": shown,
                "found": in_clip,
            }
            for run, shown, in_clip in zip(self.runs, self.shown, found, strict=True)
        ]


def count_by_variant(runs: Sequence[Run], found: Sequence[dict]) -> dict[str, dict]:
    """By variant, each thing found in its clips as a share or a mean."""
    clips: dict[str, list[dict]] = {}
    for run, in_clip in zip(runs, found, strict=True):
        clips.setdefault(run.variant, []).append(in_clip)
    return {
        variant: {name: share_or_mean([in_clip[name] for in_clip in of_variant]) for name in of_variant[0]}
        for variant, of_variant in clips.items()
    }


def sheet_row(
    run: Run, material: Material, frames: np.ndarray, shown: dict[str, str], found: dict
) -> tuple[str, list[np.ndarray]]:
    """What is given, grey where nothing is, and beside it what was made."""
    times = np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)
    strip = [frames[t].copy() for t in times]
    if material.frames is not None:
        given = material.frames
        if material.known is not None:
            given = np.where(material.known[..., None], given, UNKNOWN)
        gap = np.ones((frames.shape[1], 4, 3), np.float32)
        strip = [*(given[t].copy() for t in times), gap, *strip]
    judged = f"judged: {shown['noun']} {shown['motion']} on {shown['background']}"
    asked = run.asked.text if run.variant == "all" else f"{run.variant}: {run.asked.text}"
    missed = [name.replace("_", " ") for name, value in found.items() if value is False]
    return f"{asked}\n{judged}{'; not ' if missed else ''}{', '.join(missed)}", strip
