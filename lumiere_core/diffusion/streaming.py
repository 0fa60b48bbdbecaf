"""A long clip that is sampled from its front to its end, so that only a stretch of it is ever in memory.

A window sees only its own frames. So what a step makes of the clip's first frames is known once the windows that cover
them have been through the step before, whatever the rest of the clip will be. The steps follow each other along the
clip as ploughs do, each a window behind the one before; what the last one leaves is finished. The result is that of
`multidiffusion` with the same sampler, bit for bit, since all that either does besides looks at single pixels.
Our choice: unpublished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .multidiffusion import Window, add_predictions, groups, predict, zeros_like_video
from .noise import NoiseSampler
from .samplers import Sampler, Step, Steps


class Slab(NamedTuple):
    """Neighbouring windows that are evaluated together, over the frames start to stop of the clip.

    windows: counted from `start`. done: up to that frame no later slab covers anything.
    """

    start: int
    stop: int
    done: int
    windows: list[Window]


def plan_slabs(windows: Sequence[Window], frames: int, batch: int = 1) -> list[Slab]:
    """Slabs of `batch` windows, or of those that share their frames where these are more.

    One slab where a clip cannot be made front to back: one of a single window, or a closed loop.
    """
    whole = [Slab(0, frames, frames, list(windows))]
    if any(window.frames[1] > frames for window in windows):
        return whole
    spans = [list(same) for _, same in groupby(windows, key=lambda window: window.frames)]
    at_once = max(1, batch // len(spans[0]))
    joined = [spans[i : i + at_once] for i in range(0, len(spans), at_once)]
    starts = [spans[0][0].frames[0] for spans in joined] + [frames]
    return [_slab(spans, *ends) for spans, ends in zip(joined, pairwise(starts), strict=True)]


def _slab(spans: list[list[Window]], start: int, done: int) -> Slab:
    windows = [
        window._replace(frames=(window.frames[0] - start, window.frames[1] - start))
        for same in spans
        for window in same
    ]
    return Slab(start, start + windows[-1].frames[1], done, windows)


class Frames:
    """Frames of a clip that are made once, front to back, and kept for as long as somebody needs them.

    read: makes the next so many, (B, C, n, H, W).
    """

    def __init__(self, read: Callable[[int], Tensor]):
        self.read, self.start, self.stop = read, 0, 0
        self.kept: deque[Tensor] = deque()

    def between(self, start: int, stop: int) -> Tensor:
        """(B, C, stop - start, H, W). Raises IndexError for frames that were let go of."""
        if start < self.start:
            raise IndexError(f"frames from {start} on were asked for; those before {self.start} are gone")
        if stop > self.stop:
            self.kept.append(self.read(stop - self.stop))
            self.stop = stop
        pieces, begin = [], self.start
        for piece in self.kept:
            end = begin + piece.shape[2]
            if begin < stop and end > start:
                pieces.append(piece[:, :, max(0, start - begin) : stop - begin])
            begin = end
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]

    def forget(self, before: int) -> None:
        """Let go of frames, as far as they were read in one piece."""
        while self.kept and self.start + self.kept[0].shape[2] <= before:
            self.start += self.kept.popleft().shape[2]


# What belongs to pixels, (B or 1, C, T, H, W), an axis of size 1 standing for all; or what is made as it is needed.
Pixels = Tensor | Frames


def frames_of(pixels: Pixels | None, start: int, stop: int) -> Tensor | None:
    """What belongs to the pixels of these frames."""
    if isinstance(pixels, Frames):
        return pixels.between(start, stop)
    if pixels is None or pixels.shape[2] == 1 or (start, stop) == (0, pixels.shape[2]):
        return pixels
    return pixels[:, :, start:stop]


class SlabFusion:
    """`multidiffusion` of one evaluation of a clip, slab by slab, for as many calls of it as there are in the slab.

    Guidance calls twice, with and without the prompt, always in the same order: so what windows so far have said of the
    frames that the next slab covers, too, waits in a queue.
    """

    def __init__(self, denoise: Denoiser, weights: str, windowed: Sequence[str], batch: int):
        self.denoise, self.weights, self.windowed, self.batch = denoise, weights, windowed, batch
        self.waiting: deque[tuple[Tensor, Tensor]] = deque()

    def of(self, slab: Slab) -> Denoiser:
        """Maps x (B, C, stop - start, H, W) to x0, which is right up to the frame `done`."""

        def fused(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
            weighted_sum: Tensor | None = None
            weight_sum = zeros_like_video(x, 1)
            if slab.start > 0:
                weighted_sum, weight_sum = self._begun(x)
            for group in groups(slab.windows, self.batch):
                crops = predict(self.denoise, group, self.windowed, x, sigma, conditioning)
                weighted_sum = zeros_like_video(x, crops[0].shape[1]) if weighted_sum is None else weighted_sum
                add_predictions(weighted_sum, weight_sum, group, crops, self.weights)
            assert weighted_sum is not None  # as every slab has a window
            done = slab.done - slab.start
            self.waiting.append((weighted_sum[:, :, done:].clone(), weight_sum[:, :, done:].clone()))
            return weighted_sum.div_(weight_sum)

        return fused

    def _begun(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The sums over x's frames, of which the slab before has begun the first."""
        begun_sum, begun_weight = self.waiting.popleft()
        return _continued(begun_sum, x), _continued(begun_weight, x)


def _continued(begun: Tensor, x: Tensor) -> Tensor:
    total = zeros_like_video(x, begun.shape[1])
    total[:, :, : begun.shape[2]] = begun
    return total


class Asked(NamedTuple):
    """An x0 that a stretch of frames waits for."""

    x: Tensor
    sigma: Tensor
    step: Step | None


def _ask(x: Tensor, sigma: Tensor, step: Step | None = None) -> Steps:
    return (yield Asked(x, sigma, step))


@dataclass
class Stretch:
    """The frames that a slab is the last to cover, on their way through the sampler. finished: when they are out."""

    run: Steps
    asked: Asked | None = field(default=None, init=False)
    finished: Tensor | None = field(default=None, init=False)

    def __post_init__(self):
        self.answer(None)

    def answer(self, x0: Tensor | None) -> None:
        """Give it what it asked for; the first answer is None."""
        try:
            self.asked = self.run.send(x0)
        except StopIteration as end:
            self.asked, self.finished = None, end.value


def stream(
    sampler: Sampler,
    slabs: Sequence[Slab],
    evaluations: int,
    begin: Callable[[int], Tensor],
    sigmas: Tensor,
    noise_of_next: Callable[[int], NoiseSampler],
    denoise: Callable[[int, Slab, Tensor, Tensor], Tensor],
    report: Callable[[Slab, Asked, Tensor], None],
) -> Iterator[tuple[Slab, Tensor]]:
    """Sample a clip front to back: the frames (B, C, n, H, W) that each slab finishes, in order.

    evaluations: how many x0 the sampler asks for. begin: x at sigmas[0] of the next so many frames. noise_of_next: a
    noise sampler for them. denoise(evaluation, slab, x, sigma) -> x0 of the slab's frames, right up to `slab.done`; it
    is called for each evaluation in the order of slabs. report: told each x0 that is right.
    """
    course = _Course(slabs, evaluations)
    while not course.is_finished:
        evaluation, index, needed = course.next()
        for slab in slabs[len(course.stretches) : needed]:
            frames = slab.done - slab.start
            course.stretches.append(Stretch(sampler.steps(_ask, begin(frames), sigmas, noise_of_next(frames))))
        slab, stretch = slabs[index], course.stretches[index]
        x = torch.cat([each.asked.x for each in course.stretches[index:needed]], dim=2)
        x0 = denoise(evaluation, slab, x[:, :, : slab.stop - slab.start], stretch.asked.sigma)
        x0 = x0[:, :, : slab.done - slab.start].contiguous()
        del x
        report(slab, stretch.asked, x0)
        stretch.answer(x0)
        del x0
        if stretch.finished is not None:
            course.stretches[index] = None
            yield slab, stretch.finished


class _Course:
    """Which slab is evaluated next, and for which of the sampler's evaluations."""

    def __init__(self, slabs: Sequence[Slab], evaluations: int):
        self.slabs, self.made = slabs, [0] * evaluations  # how many slabs, by evaluation
        # The stretches from the beginning that each slab needs.
        self.needed = [next(i for i, other in enumerate(slabs, 1) if other.done >= slab.stop) for slab in slabs]
        self.stretches: list[Any] = []

    @property
    def is_finished(self) -> bool:
        return self.made[-1] == len(self.slabs)

    def next(self) -> tuple[int, int, int]:
        """The evaluation, its slab, and the stretches that this one needs.

        Of all that can be made the last: so the first evaluations do not run ahead, whose frames would have to be kept.
        """
        evaluation = max(filter(self._is_ready, range(len(self.made))))
        index = self.made[evaluation]
        self.made[evaluation] += 1
        return evaluation, index, self.needed[index]

    def _is_ready(self, evaluation: int) -> bool:
        """Whether all frames of its next slab have been through the evaluations before."""
        index = self.made[evaluation]
        return index < len(self.slabs) and (evaluation == 0 or self.needed[index] <= self.made[evaluation - 1])
