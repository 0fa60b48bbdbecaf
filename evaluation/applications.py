"""`lumiere evaluate --task`: how well the paper's applications work, on seeded scenes, judged on the frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..lumiere_core.style import load_style, stylize
from ..world.cast import Cast, drawn_shapes
from .application_report import sheet_row, summarize_runs, write_application
from .findings import watch
from .planning import STRENGTHS, Film, Material, Run, shoot, style_file
from .run import FORMAT, Progress, writable_folder
from .scores import words_of
from .tasks import TASKS, Task

if TYPE_CHECKING:
    from ..lumiere_core.pipeline import LumierePipeline

TEXT = "text"  # the task of `run.evaluate`
DEFAULT_RUNS = 128
SHEET_RUNS = 8


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
    """Make the base clips of one of TASKS with the checkpoint's own settings, judge them, and count.

    cast: the things that the network was trained to draw. runs: how many clips at least; those of prompt i have the
    seed seed + 3 * i. output: a folder for <task>.json and <task>.png, a sheet of the first runs, and
    strengths_plot.png; None writes nothing. progress(done, clips).

    Returns what <task>.json holds. figures: by variant, each finding as a share (correct, of, rate, low, high) or a
    mean (mean, of, low, high), with 95 % intervals; judge: the same of perfect clips, not for styles; targets: what is
    to be reached; trend: of styles over alpha, and of a sweep over strengths, else None; clips: each run's findings.
    Raises ValueError for what cannot be, and for a folder that cannot be written, before anything is made.
    """
    planned = plan_task(cast, name, runs, seed)
    folder = writable_folder(output)
    info, started = pipeline.base.info, time.monotonic()
    work = Work(TASKS[name], cast, Film(info.frames, info.size, info.size), planned)
    work.make_all(pipeline, progress)
    findings = work.task.relate(planned, work.findings)
    result = {
        "format": FORMAT,
        "task": name,
        "runs": len(planned),
        "prompts": len({run.index for run in planned}),
        "seed": seed,
        "cast": cast.name,
        **work.film._asdict(),
        "fps": info.fps,
        "settings": info.sampling.said(),
        "targets": dict(work.task.targets),
        "figures": summarize_runs(planned, findings),
        "judge": work.ground_truth(),
        "trend": TRENDS[name](planned, findings) if name in TRENDS else None,
        "clips": work.records(findings),
        "seconds": round(time.monotonic() - started, 1),
    }
    if folder is not None:
        write_application(result, [row for _, row in sorted(work.sheet, key=lambda entry: entry[0])], folder)
    return result


@dataclass
class Work:
    """The runs of a task and, after make_all, what was found in each, in turn. sheet: (prompt's index, row)."""

    task: Task
    cast: Cast
    film: Film
    runs: list[Run]
    findings: list[dict] = field(default_factory=list)
    shown: list[dict[str, str]] = field(default_factory=list)
    sheet: list[tuple[int, tuple]] = field(default_factory=list)

    def make_all(self, pipeline: LumierePipeline, progress: Progress | None) -> None:
        """Make and judge the clips, one at a time; a style is applied once for all runs in a row that have it."""
        report = progress or (lambda done, clips: None)
        report(0, len(self.runs))
        for style, group in groupby(self.runs, key=lambda run: run.style):
            styled = pipeline if style is None else restyle(pipeline, *style)
            for run in group:
                self._make(styled, run)
                report(len(self.findings), len(self.runs))

    def _make(self, pipeline: LumierePipeline, run: Run) -> None:
        material = self._give(run)
        clip = pipeline.generate(run.asked.text, seed=run.seed, super_resolution=False, **material.options)
        made = watch(clip.low_res.numpy(), self.cast)
        self.findings.append(self.task.judge(run, material, made))
        self.shown.append(words_of(made.judged))
        if run.index < self._sheet_prompts():
            self.sheet.append((run.index, sheet_row(run, material, made.frames, self.shown[-1], self.findings[-1])))

    def _give(self, run: Run) -> Material:
        film = run.film(self.film)
        return self.task.give(run, film, shoot(self.cast, run.source, film))

    def _sheet_prompts(self) -> int:
        """How many prompts, the first, are on the sheet, each in all its variants; two at least, for both styles."""
        variants = sum(run.index == 0 for run in self.runs)
        return max(SHEET_RUNS // variants, 2)

    def ground_truth(self) -> dict:
        """What is found in clips that are as they should be: this bounds every other figure. Of styles none are known.

        Runs that differ in strength alone should look the same, so the first of each prompt is enough; clips of another
        length or shape do not, and are variants of their own.
        """
        plain = [run for run in self.runs if run.style is None]
        first = {(run.index, run.frames, run.shape): run for run in reversed(plain)}
        runs = sorted(first.values(), key=self.runs.index)
        named = [run if run.is_reshaped else run._replace(variant="all") for run in runs]
        return summarize_runs(named, [self._judge_perfect(run) for run in runs])

    def _judge_perfect(self, run: Run) -> dict:
        made = watch(shoot(self.cast, run.asked.scene, run.film(self.film)), self.cast)
        return self.task.judge(run, self._give(run), made)

    def records(self, findings: Iterable[dict]) -> list[dict]:
        """Each run's prompt, what was asked, and what its clip shows."""
        return [
            {
                "prompt": run.asked.text,
                "split": run.asked.split,
                "seed": run.seed,
                "variant": run.variant,
                "asked": run.asked.words(),
                "shown": shown,
                "found": found,
            }
            for run, shown, found in zip(self.runs, self.shown, findings, strict=True)
        ]


def restyle(pipeline: LumierePipeline, name: str, alpha: float) -> LumierePipeline:
    """The pipeline with a bundled style's weights blended into its base network, as much as alpha says."""
    network = stylize(pipeline.base.network, load_style(style_file(name)), alpha)
    return type(pipeline)(replace(pipeline.base, network=network), None, pipeline.device, pipeline.dtype)


def style_trend(runs: Sequence[Run], findings: Sequence[dict]) -> dict:
    """By style, and for all: per alpha the mean style distance and the share of right motions.

    rises: whether the distance rises from each alpha to the next. motion_change: of the share, from alpha 0 to 0.5.
    """
    pairs = [(*run.style, found) for run, found in zip(runs, findings, strict=True)]
    alphas = sorted({alpha for _, alpha, _ in pairs})
    groups = {style: {style} for style, _, _ in pairs} | {"all": {style for style, _, _ in pairs}}
    trend = {}
    for name, styles in groups.items():
        chosen = [[found for style, a, found in pairs if a == alpha and style in styles] for alpha in alphas]
        distances, motions = means(chosen, "style_distance"), means(chosen, "motion")
        trend[name] = {
            "alpha": alphas,
            "style_distance": distances,
            "motion": motions,
            "rises": bool((np.diff(distances) > 0).all()),
            "motion_change": motions[alphas.index(0.5)] - motions[alphas.index(0.0)],
        }
    return trend


def strength_trend(runs: Sequence[Run], findings: Sequence[dict]) -> dict:
    """By strength the mean of each finding; best: the strength at which path and noun are both right most often."""
    chosen = [[found for run, found in zip(runs, findings, strict=True) if run.strength == s] for s in STRENGTHS]
    trend = {name: means(chosen, name) for name in findings[0]}
    return {"strength": list(STRENGTHS), **trend, "best": STRENGTHS[int(np.argmax(trend["path_and_noun"]))]}


def means(groups: Sequence[Sequence[dict]], name: str) -> list[float]:
    return [float(np.mean([found[name] for found in group])) for group in groups]


TRENDS: dict[str, Callable[[Sequence[Run], Sequence[dict]], dict]] = {
    "style": style_trend,
    "strengths": strength_trend,
}
