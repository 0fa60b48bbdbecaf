"""A user's own videos with their captions, as what a training learns from."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..checkpoints.format import CheckpointInfo, load_info
from ..runtime.outputs import clear_write_errors
from ..video.excerpts import Outline, outline_video, read_excerpt
from .folder_lock import is_first
from .footage_list import Listed, list_videos
from .image_folder import ImageFolder
from .recipe import Stage
from .source import ANY, SHAPES, Clips, ClipSource, Request, Variety

READERS = 8  # files that are looked at at once
HELD_OUT = 10  # every so many-th video, where a stage validates
TRIES = 20  # videos that are drawn for one clip, before it is said that they cannot be read
REPORT = "skipped.jsonl"


class Video(NamedTuple):
    listed: Listed
    outline: Outline

    @property
    def shape(self) -> tuple[float, float]:
        """The one of SHAPES that loses least of it."""
        ratio = self.outline.height / self.outline.width
        return min(SHAPES, key=lambda shape: abs(math.log(shape[0] / shape[1] / ratio)))


class Report:
    """The videos that are not used, `skipped.jsonl`: an object a line, with file and why. folder: None is nowhere."""

    def __init__(self, folder: Path | None):
        self.file = folder and folder / REPORT
        self.lines: list[str] = []

    def begin(self) -> None:
        """Nothing is skipped yet."""
        if self.file is not None:
            with clear_write_errors(self.file):
                self.file.unlink(missing_ok=True)

    def add(self, name: str, why: str, write: bool = True) -> None:
        """Once each. Lines are written whole, so that several processes may add theirs."""
        line = json.dumps({"file": name, "why": why}, ensure_ascii=False) + "\n"
        if line in self.lines:
            return
        self.lines.append(line)
        if not write or self.file is None or (self.file.is_file() and line in self.file.read_text(encoding="utf-8")):
            return
        with clear_write_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line)


def footage_sources(videos: str | Path, folder: Path | None) -> Callable[[Stage], ClipSource]:
    """What each stage of a recipe learns from: these videos (see `list_videos`), or the pictures of a style.

    folder: of the run, where `skipped.jsonl` is written; None writes none.
    """
    listed = list_videos(videos)
    report = Report(folder)
    outlines: list[Outline | ValueError] = []

    def source(stage: Stage) -> ClipSource:
        if stage.images is not None:
            return ImageFolder(stage)
        if not outlines:
            if is_first():
                report.begin()
            outlines.extend(outline_all(listed))
        return Footage(stage, listed, outlines, report, str(videos))

    return source


def outline_all(listed: Sequence[Listed]) -> list[Outline | ValueError]:
    """Of each video what there is of it, or why it cannot be used."""

    def outline(video: Listed) -> Outline | ValueError:
        try:
            if not video.caption:
                raise ValueError(f"{video.file}: it has no caption.")
            if not video.file.is_file():
                raise ValueError(f"{video.file}: no such file.")
            return outline_video(video.file)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(outline, listed))


class Footage:
    """Videos, of which each clip is a random excerpt in its own time: the whole frame or, of another shape, its middle.

    Whatever cannot be used goes into the report. One that turns out to be damaged when it is drawn gives way to
    another. Raises ValueError where no video can be used, and for a stage of kind text.
    """

    def __init__(self, stage: Stage, listed: Sequence[Listed], outlines, report: Report, where: str):
        if stage.kind == "text":
            raise ValueError(
                f"training: stage {stage.name!r} trains a text encoder, which videos cannot; name one in "
                "'text_encoder', and leave the stage out."
            )
        self.fps, self.report, self.where = fps_of(stage), report, where
        needed = max(phase.frames for phase in stage.phases)
        self.videos = list(self._usable(listed, outlines, needed))
        if not self.videos:
            why = json.loads(report.lines[0])["why"]
            raise ValueError(f"{where}: none of its {len(listed)} videos can be used. The first: {why}")
        self.kept = self._hold_out() if stage.validate_every else []
        longest = max(video.outline.count_at(self.fps) for video in self.videos)
        lengths = [length for length in ANY.lengths if length <= longest] or [needed]
        self.variety = Variety(lengths, [video.shape for video in self.videos])

    def _usable(self, listed: Sequence[Listed], outlines, needed: int):
        for video, outline in zip(listed, outlines, strict=True):
            if isinstance(outline, ValueError):
                self.report.add(video.name, str(outline), is_first())
            elif (count := outline.count_at(self.fps)) < needed:
                why = f"it is too short: at {self.fps:g} frames a second it has {count} of the {needed} frames needed."
                self.report.add(video.name, f"{video.file}: {why}", is_first())
            else:
                yield Video(video, outline)

    def _hold_out(self) -> list[Video]:
        """Every tenth video, no longer trained on."""
        kept = self.videos[::HELD_OUT]
        self.videos = [video for number, video in enumerate(self.videos) if number % HELD_OUT]
        if not self.videos:
            raise ValueError(f"{self.where}: to validate, at least 2 usable videos are needed; got {len(kept)}.")
        return kept

    def held_out(self) -> Footage:
        other = copy.copy(self)
        other.videos, other.kept = self.kept, []
        return other

    def clips(self, request: Request, rng: np.random.Generator) -> Clips:
        seeds = rng.integers(2**62, size=request.clips)[request.own]
        drawn = [self._clip(request, np.random.default_rng(seed)) for seed in seeds]
        video = torch.from_numpy(np.stack([pixels for _, pixels in drawn])).permute(0, 4, 1, 2, 3)
        return Clips([caption for caption, _ in drawn], video.float() / 127.5 - 1)

    def _clip(self, request: Request, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """Caption and (T, h, w, 3) uint8 of a video that is long enough; of the frame's shape, if there are some."""
        fitting = self._fitting(request)
        for _ in range(TRIES):
            video = fitting[int(rng.integers(len(fitting)))]
            spare = video.outline.count_at(self.fps) - request.frames
            start = rng.uniform(0, spare / self.fps)
            size = request.height, request.width
            try:
                pixels = read_excerpt(video.listed.file, start, request.frames, self.fps, size)
            except ValueError as error:
                self.report.add(video.listed.name, str(error))
                continue
            return video.listed.caption, pixels if request.crop is None else _cropped(pixels, request.crop, rng)
        raise ValueError(f"{self.where}: {TRIES} videos in a row could not be read; see {REPORT}.")

    def _fitting(self, request: Request) -> list[Video]:
        long = [video for video in self.videos if video.outline.count_at(self.fps) >= request.frames]
        ratio = math.log(request.height / request.width)
        wanted = min(SHAPES, key=lambda shape: abs(math.log(shape[0] / shape[1]) - ratio))
        square = request.height == request.width  # what is not varied is so, of all videos
        return [video for video in long if not square and video.shape == wanted] or long

    def all_captions(self) -> list[str]:
        return list(dict.fromkeys(video.listed.caption for video in (*self.videos, *self.kept)))

    def record(self) -> dict:
        return {"videos": len(self.videos)}

    def digest(self) -> str:
        """Of names, sizes and captions; videos are too large to be read for that."""
        found = [[v.listed.name, v.listed.file.stat().st_size, v.listed.caption] for v in self.videos]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def fps_of(stage: Stage) -> float:
    """What a stage says, or the file that it starts from."""
    if stage.fps is not None:
        return float(stage.fps)
    starts = stage.starts_from_file and Path(str(stage.start)).is_file()
    return load_info(Path(str(stage.start))).fps if starts else CheckpointInfo.fps


def _cropped(pixels: np.ndarray, crop, rng: np.random.Generator) -> np.ndarray:
    """A part of the frame, anywhere on the crop's grid."""
    corner, lengths = [], [min(crop.side, side) for side in pixels.shape[1:3]]
    for side, length in zip(pixels.shape[1:3], lengths, strict=True):
        corner.append(crop.grid * int(rng.integers((side - length) // crop.grid + 1)))
    (top, left), (height, width) = corner, lengths
    return pixels[:, top : top + height, left : left + width]
