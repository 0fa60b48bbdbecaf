"""Training batches: a pure function of (seed, stage, step), so that a run resumes exactly."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from .masks import draw_change_mask
from .recipe import SSR_KINDS, VARIED_GRID, Phase, Stage
from .source import ANY, CaptionSource, Clips, ClipSource, Crop, Request, Variety, variety_of

LENGTHS = ANY.lengths
ANYWHERE = 0.15  # of an SSR's crops; a still's caption says what its crop must show


class Share(NamedTuple):
    """The part of each batch that one of several processes makes: all of them together make what one would."""

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """Where there are fewer clips than processes, some make the first one, which does not count then."""
        first, last = (count * rank // self.ranks for rank in (self.rank, self.rank + 1))
        return slice(first, last) if first < last else slice(0, 1)

    def weight(self, count: int) -> float:
        """What the mean over the part counts in the mean over all processes."""
        first, last = (count * rank // self.ranks for rank in (self.rank, self.rank + 1))
        return (last - first) * self.ranks / count


WHOLE = Share()


def stage_batches(stage: Stage, tokenize, seed: int, source: ClipSource, share: Share = WHOLE) -> StageBatches:
    """The dataset of a stage: item i is the batch of step i, or a process's share of it.

    tokenize: texts -> ids and mask, both (B, L), or a table of what takes their place in the batch.
    """
    kind = CaptionBatches if stage.kind == "text" else ClipBatches
    return kind(stage, tokenize, seed, source, share)


class StageBatches(Dataset):
    """Item i is the batch of training step i. weight: (), of a share alone; what its loss counts in the mean of all."""

    def __init__(self, stage: Stage, tokenize, seed: int, source: ClipSource, share: Share = WHOLE):
        self.stage, self.tokenize, self.seed, self.source, self.share = stage, tokenize, seed, source, share

    def __len__(self) -> int:
        return self.stage.steps

    def _random(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(self.stage.name.encode()), step])

    def _tokens(self, captions, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """ids, mask: (B, L), of this share of `count` captions; now and then of no caption at all, for guidance."""
        dropped = (rng.random(count) < self.stage.text_dropout)[self.share.of(count)]
        texts = ["" if drop else caption for caption, drop in zip(captions, dropped, strict=True)]
        read = self.tokenize(texts)
        return read if isinstance(read, dict) else dict(zip(("ids", "mask"), read, strict=True))

    def _weight(self, count: int) -> dict[str, torch.Tensor]:
        return {"weight": torch.tensor(self.share.weight(count))} if self.share.ranks > 1 else {}


class CaptionBatches(StageBatches):
    """Of captions alone. labels: (B, number of label classes). token: (B,), one place in each caption."""

    source: CaptionSource

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = self._random(step)
        count = self.stage.phase_at(step).batch
        own = self.share.of(count)
        captions = self.source.captions(count, rng)[own]
        batch = self._tokens([caption.text for caption in captions], count, rng) | self._weight(count)
        token = torch.from_numpy(rng.integers(batch["ids"].shape[1], size=count)[own])
        return batch | {"labels": torch.tensor([caption.labels for caption in captions]), "token": token}


class ClipBatches(StageBatches):
    """Captions, video in [-1, 1], noise and noise levels.

    video: (B, 3, T, H, W). timesteps: (B,) integers, one per clip, even or biased to noisy ones (Stage.timestep_bias).
    noise: like video. For an SSR also low_res: (B, 3, T, H/scale, W/scale), noise_level: (B,) uniform integers,
    low_res_noise: like video. For a stage with tasks also change_mask: (B, 1, T, H, W), 1 where pixels are hidden.
    """

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = self._random(step)
        varied = vary_phase(self.stage.phase_at(step), self.stage.size, rng, variety_of(self.source))
        request = request_of(self.stage, *varied)
        count, own = request.clips, self.share.of(request.clips)
        clips = self.source.clips(request._replace(own=own), rng)
        seeds = rng.integers(2**62, size=1 + count)
        shared, *generators = (torch.Generator().manual_seed(int(seed)) for seed in seeds)
        batch = self._tokens(clips.captions, count, rng) | {
            "video": clips.video,
            "timesteps": self._timesteps(count, shared)[own],
            "noise": _noise_like(clips.video, generators[own]),
        }
        if self.stage.tasks:
            batch["change_mask"] = self._change_masks(clips, rng.integers(2**62, size=count)[own])
        if self.stage.kind in SSR_KINDS:
            levels = torch.randint(self.stage.noise_levels, (count,), generator=shared)[own]
            batch |= self._low_res(clips.video, levels, generators[own])
        return batch | self._weight(count)

    def _timesteps(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        count, bias = self.stage.schedule.timesteps, self.stage.timestep_bias
        if bias == 1:
            return torch.randint(count, (batch,), generator=generator)
        return (count * torch.rand(batch, generator=generator) ** (1 / bias)).long().clamp_(max=count - 1)

    def _change_masks(self, clips: Clips, seeds: np.ndarray) -> torch.Tensor:
        shape, places = clips.video.shape[2:], clips.places or [()] * len(clips.video)
        masks = [
            draw_change_mask(self.stage.tasks, own, shape, np.random.default_rng(seed))
            for own, seed in zip(places, seeds, strict=True)
        ]
        return torch.from_numpy(np.stack(masks))[:, None]

    def _low_res(self, video: torch.Tensor, levels: torch.Tensor, generators) -> dict[str, torch.Tensor]:
        scale = self.stage.scale
        return {
            "low_res": F.avg_pool3d(video, (1, scale, scale)),
            "noise_level": levels,
            "low_res_noise": _noise_like(video, generators),
        }


def _noise_like(video: torch.Tensor, generators) -> torch.Tensor:
    """Each clip's from its own generator, so that it does not depend on who makes the others."""
    return torch.stack([torch.randn(video.shape[1:], generator=own) for own in generators])


def request_of(stage: Stage, phase: Phase, size: tuple[int, int]) -> Request:
    """What a phase of a stage asks of its source, at a size (height, width)."""
    crop = None
    if phase.crop:
        crop = Crop(phase.crop, stage.scale, ANYWHERE) if stage.kind in SSR_KINDS else Crop(phase.crop)
    return Request(phase.batch, phase.frames, *size, phase.excerpt_of, crop, moving=phase.frames > 1)


def vary_phase(
    phase: Phase, side: int, rng: np.random.Generator, variety: Variety = ANY
) -> tuple[Phase, tuple[int, int]]:
    """The phase of one step and its frames' (height, width): now and then of another length and shape."""
    if rng.random() >= phase.vary:
        return phase, (side, side)
    frames = int(rng.choice(variety.lengths)) if phase.frames > 1 else 1
    batch = max(1, round(phase.batch * phase.frames / frames))
    height, width = variety.shapes[int(rng.integers(len(variety.shapes)))]
    whole = phase.excerpt_of and max(phase.excerpt_of, frames)
    varied = Phase(1, batch, frames, whole, 0.0, phase.crop)
    return varied, (_on_grid(height * side), _on_grid(width * side))


def trained_spans(stage: Stage, variety: Variety = ANY) -> tuple[tuple[int, int], tuple[int, int]]:
    """The least and the most frames, and pixels of a side, of what a stage ends with: its last phase."""
    phase = stage.phases[-1]
    lengths = [phase.frames, phase.excerpt_of or phase.frames]
    sides = [phase.crop or stage.size, stage.size]
    if phase.vary:
        lengths += variety.lengths if phase.frames > 1 else ()
        sides += [_on_grid(length * stage.size) for shape in variety.shapes for length in shape]
    return (min(lengths), max(lengths)), (min(sides), max(sides))


def _on_grid(length: float) -> int:
    return VARIED_GRID * round(length / VARIED_GRID)
