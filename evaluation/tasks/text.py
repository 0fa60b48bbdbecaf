"""Task: text to video. Does a pipeline show what it is asked for? Seeded prompts, judged on the frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...lumiere_core.diffusion.options import SamplingOptions
from ...lumiere_core.sampling import plan_sampling
from ...world.cast import Cast
from ..judge.enlargement import Fidelity, compare_enlargement, make_small, summarize_fidelity
from ..judge.filming import film_scene
from ..judge.seams import MULTIDIFFUSION, Layout, compare_layouts, plan_layouts
from ..judge.temporal import adjacent_frame_mse
from ..prompts import Prompt, clip_seed, plan_prompts
from ..report.files import FORMAT, writable_folder
from ..report.text_report import write_text_report
from .task import Progress
from .text_counts import Measurement, count_clips, measure

if TYPE_CHECKING:
    from ...lumiere_core.pipeline import Clip, LumierePipeline

TEXT = "text"  # the task's name
BASE, SSR = "base", "super_resolution"
SHEET_CLIPS = 12
DEFAULT_PROMPTS = 256
# Changes from frame to frame are even in these, so that a jump stands out; a bounce has jumps of its own.
STEADY_MOTIONS = ("moving left", "moving right", "moving up", "moving down", "spinning", "growing", "shrinking")


def evaluate_text(
    pipeline: LumierePipeline,
    cast: Cast,
    prompts: int = DEFAULT_PROMPTS,
    seed: int = 0,
    output: str | Path | None = None,
    progress: Progress | None = None,
    *,
    super_resolution_prompts: int | None = None,
    seam_clips: int = 4,
    fidelity_clips: int = 8,
) -> dict:
    """Generate a clip per prompt with the checkpoints' own settings, judge it, and count.

    cast: the things that the networks were trained to draw.
    prompts: how many, a quarter of them held-out combinations (see `plan_prompts`). Clip i has the seed
        seed + 3 * i: `lumiere generate` makes the same one.
    output: a folder for evaluation.json, evaluation.png and contact_sheet.png; None writes nothing.
    super_resolution_prompts: how many of them, the first, are super-resolved too; None is all, given an SSR.
    seam_clips: how many of those are made again with other windows (see `seams`); 0 is none.
    fidelity_clips: how many ground-truth clips are averaged down and super-resolved (see `enlargement`); 0 is none.

    Returns what evaluation.json holds. stages: {"base": figures, "super_resolution": figures}, each of size, prompts,
    accuracy by split and trait, motion_by_word, confusion, wobble, flicker, periodicity; judge: the same, of
    ground-truth clips of the same scenes; seams: by layout, and fidelity: of super-resolution, or None. A share is a
    dict of correct, of, rate, low, high (95 %); None is no figure.
    Raises ValueError for a number that cannot be, and for a folder that cannot be written, before anything is made.
    """
    planned = plan_prompts(cast, prompts, seed)
    work = TextWork(pipeline, cast, planned, seed, super_resolution_prompts, seam_clips, fidelity_clips, progress)
    folder = writable_folder(output)
    started = time.monotonic()
    work.make_all()
    result = {"format": FORMAT} | work.counted() | {"seconds": round(time.monotonic() - started, 1)}
    if folder is not None:
        write_text_report(result, work.sheet, folder)
    return result


@dataclass
class TextWork:
    """One run of `evaluate_text`. After make_all, by stage: measured, each clip in turn, and sizes, (height, width).

    curves: by layout of windows, the steady clips' adjacent-frame differences.
    """

    pipeline: LumierePipeline
    cast: Cast
    prompts: list[Prompt]
    seed: int
    super_resolution_prompts: int | None
    seam_clips: int
    fidelity_clips: int
    progress: Progress | None
    measured: dict[str, list[Measurement]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    curves: dict[str, list[np.ndarray]] = field(default_factory=dict)
    fidelities: list[Fidelity] = field(default_factory=list)
    sheet: list[tuple[str, list[np.ndarray]]] = field(default_factory=list)

    def __post_init__(self):
        self.enlarged = self._enlarged()
        self.layouts = self._layouts() if self.enlarged and self.seam_clips else {}
        self.steady = steady_prompts(self.prompts[: self.enlarged], self.seam_clips) if self.layouts else []
        self.compared = min(self.fidelity_clips, self.enlarged)
        seam_clips = len(self.steady) * max(len(self.layouts) - 1, 0)
        self.done, self.clips = 0, len(self.prompts) + seam_clips + self.compared

    def make_all(self) -> None:
        """Make and measure every prompt's clip, one at a time: frames are kept of the contact sheet's only."""
        self._report(0)
        for i, prompt in enumerate(self.prompts):
            enlarged = i < self.enlarged
            clip = self.pipeline.generate(prompt.text, seed=self._seed(i), super_resolution=enlarged)
            videos = {BASE: clip.low_res.numpy()} | ({SSR: clip.frames.numpy()} if enlarged else {})
            for stage, frames in videos.items():
                self.sizes[stage] = frames.shape[1:3]
                self.measured.setdefault(stage, []).append(measure(frames, self.cast))
            if i < SHEET_CLIPS:
                self.sheet.append(self._sheet_row(prompt, videos))
            self._report(1)
            if i in self.steady:
                self._compare_windows(i, clip)
            if i < self.compared:
                self._compare_with_truth(i)

    def _compare_windows(self, index: int, clip: Clip) -> None:
        """Super-resolve one base clip with every other layout of windows."""
        self.curves.setdefault(MULTIDIFFUSION, []).append(self.measured[SSR][index].frame_mse)
        for name, layout in self.layouts.items():
            if name == MULTIDIFFUSION:
                continue
            windows = SamplingOptions(window=layout.window, overlap=layout.overlap)
            text, seed = self.prompts[index].text, self._seed(index)
            frames = self.pipeline.upscale(clip.low_res, text, seed=seed, ssr=windows)
            self.curves.setdefault(name, []).append(adjacent_frame_mse(frames.numpy()))
            self._report(1)

    def _compare_with_truth(self, index: int) -> None:
        """Super-resolve a prompt's own scene, made small."""
        prompt = self.prompts[index]
        truth = self._film(prompt, self.sizes[SSR])
        small = make_small(truth, self.pipeline.ssr.info.scale)
        made = self.pipeline.upscale(torch.from_numpy(small), prompt.text, seed=self._seed(index))
        self.fidelities.append(compare_enlargement(made.numpy(), small, truth))
        self._report(1)

    def _film(self, prompt: Prompt, size: tuple[int, int]) -> np.ndarray:
        return film_scene(self.cast, prompt.scene, self.pipeline.base.info.frames, *size)

    def counted(self) -> dict:
        """What was asked, and what all clips come to."""
        info = self.pipeline.base.info
        return {
            "prompts": len(self.prompts),
            "seed": self.seed,
            "cast": self.cast.name,
            "frames": info.frames,
            "fps": info.fps,
            "settings": self._settings(),
            "stages": self._figures(self.measured),
            "judge": self._figures(self._ground_truth()),
            "seams": compare_layouts(self.layouts, self.curves) if self.steady else None,
            "fidelity": summarize_fidelity(self.fidelities),
            "clips": self._records(),
        }

    def _ground_truth(self) -> dict[str, list[Measurement]]:
        """What the judge says of the prompts' own scenes at each stage's size: its score bounds every other."""
        return {
            stage: [
                measure(self._film(prompt, self.sizes[stage]), self.cast) for prompt in self.prompts[: len(measured)]
            ]
            for stage, measured in self.measured.items()
        }

    def _figures(self, measured: dict[str, list[Measurement]]) -> dict[str, dict]:
        return {
            stage: {"size": list(self.sizes[stage])} | count_clips(self.prompts[: len(clips)], clips)
            for stage, clips in measured.items()
        }

    def _settings(self) -> dict[str, dict]:
        """What each network was sampled with."""
        models = {BASE: self.pipeline.base} | ({SSR: self.pipeline.ssr} if self.enlarged else {})
        return {stage: model.info.sampling.said() for stage, model in models.items()}

    def _records(self) -> list[dict]:
        """Each clip's prompt, what was asked, and what each stage's clip shows."""
        return [
            {
                "prompt": prompt.text,
                "split": prompt.split,
                "seed": self._seed(i),
                "asked": prompt.words(),
                "shown": {
                    stage: clips[i].words | {"best_nouns": list(clips[i].best)}
                    for stage, clips in self.measured.items()
                    if i < len(clips)
                },
            }
            for i, prompt in enumerate(self.prompts)
        ]

    def _enlarged(self) -> int:
        """How many prompts, the first, are super-resolved."""
        wanted, prompts = self.super_resolution_prompts, len(self.prompts)
        if wanted is None:
            return prompts if self.pipeline.ssr is not None else 0
        if not 0 <= wanted <= prompts:
            raise ValueError(f"evaluate: super_resolution_prompts must be 0 to {prompts}, the prompts; got {wanted}.")
        if wanted and self.pipeline.ssr is None:
            raise ValueError(
                f"evaluate: super_resolution_prompts is {wanted}, but the pipeline has no SSR; load one, or give 0."
            )
        return wanted

    def _seed(self, index: int) -> int:
        return clip_seed(self.seed, index)

    def _layouts(self) -> dict[str, Layout]:
        """The window layouts to compare with the one that the SSR's checkpoint asks for."""
        info, base = self.pipeline.ssr.info, self.pipeline.base.info
        size = base.size * info.scale
        return plan_layouts(base.frames, plan_sampling(info, base.frames, (size, size)).windows)

    def _report(self, clips: int) -> None:
        self.done += clips
        if self.progress is not None:
            self.progress(self.done, self.clips)

    def _sheet_row(self, prompt: Prompt, videos: dict[str, np.ndarray]) -> tuple[str, list[np.ndarray]]:
        """The prompt and what the base clip shows, above the first, middle and last frame of every stage."""
        words = self.measured[BASE][-1].words
        shown = f"{words['noun']} {words['motion']} on {words['background']}"
        frames = [video[t].copy() for video in videos.values() for t in (0, len(video) // 2, -1)]
        return f"{prompt.text}\njudged: {shown}", frames


def steady_prompts(prompts: Sequence[Prompt], count: int) -> list[int]:
    """Indices of the first `count` prompts whose motion is even."""
    return [i for i, prompt in enumerate(prompts) if prompt.words()["motion"] in STEADY_MOTIONS][:count]
