"""Training batches: a pure function of (seed, stage, step), so that a run resumes exactly."""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from .masks import draw_change_mask
from .recipe import SSR_KINDS, VARIED_GRID, Phase, Stage
from .source import CaptionSource, Clips, ClipSource, Crop, Request

# What a phase's `vary` draws from: users ask for any length and shape. Sides are of equal area, in units of the
# stage's size.
LENGTHS = (8, 16, 24, 40, 56, 80, 120, 160)
SHAPES = ((1.0, 1.0), (0.75, 1.3125), (1.3125, 0.75), (0.875, 1.125), (1.125, 0.875))
ANYWHERE = 0.15  # of an SSR's crops; a still's caption says what its crop must show


def stage_batches(stage: Stage, tokenize, seed: int, source: ClipSource) -> Dataset:
    """The dataset of a stage: item i is the whole batch of step i. tokenize: texts -> ids and mask, both (B, L)."""
    kind = CaptionBatches if stage.kind == "text" else ClipBatches
    return kind(stage, tokenize, seed, source)


class StageBatches(Dataset):
    """Item i is the whole batch of training step i."""

    def __init__(self, stage: Stage, tokenize, seed: int, source: ClipSource):
        self.stage, self.tokenize, self.seed, self.source = stage, tokenize, seed, source

    def __len__(self) -> int:
        return self.stage.steps

    def _random(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(self.stage.name.encode()), step])

    def _tokens(self, captions, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """ids, mask: (B, L); now and then of no caption at all, for guidance."""
        dropped = rng.random(len(captions)) < self.stage.text_dropout
        texts = ["" if drop else caption for caption, drop in zip(captions, dropped, strict=True)]
        return dict(zip(("ids", "mask"), self.tokenize(texts), strict=True))


class CaptionBatches(StageBatches):
    """Of captions alone. labels: (B, number of label classes). token: (B,), one place in each caption."""

    source: CaptionSource

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = self._random(step)
        captions = self.source.captions(self.stage.phase_at(step).batch, rng)
        batch = self._tokens([caption.text for caption in captions], rng)
        token = torch.from_numpy(rng.integers(batch["ids"].shape[1], size=len(captions)))
        return batch | {"labels": torch.tensor([caption.labels for caption in captions]), "token": token}


class ClipBatches(StageBatches):
    """Captions, video in [-1, 1], noise and noise levels.

    video: (B, 3, T, H, W). timesteps: (B,) integers, one per clip, even or biased to noisy ones (Stage.timestep_bias).
    noise: like video. For an SSR also low_res: (B, 3, T, H/scale, W/scale), noise_level: (B,) uniform integers,
    low_res_noise: like video. For a stage with tasks also change_mask: (B, 1, T, H, W), 1 where pixels are hidden.
    """

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = self._random(step)
        request = request_of(self.stage, *vary_phase(self.stage.phase_at(step), self.stage.size, rng))
        clips = self.source.clips(request, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch = self._tokens(clips.captions, rng) | {
            "video": clips.video,
            "timesteps": self._timesteps(len(clips.video), generator),
            "noise": torch.randn(clips.video.shape, generator=generator),
        }
        if self.stage.tasks:
            batch["change_mask"] = self._change_masks(clips, rng)
        if self.stage.kind in SSR_KINDS:
            batch |= self._low_res(clips.video, generator)
        return batch

    def _timesteps(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        count, bias = self.stage.schedule.timesteps, self.stage.timestep_bias
        if bias == 1:
            return torch.randint(count, (batch,), generator=generator)
        return (count * torch.rand(batch, generator=generator) ** (1 / bias)).long().clamp_(max=count - 1)

    def _change_masks(self, clips: Clips, rng: np.random.Generator) -> torch.Tensor:
        places = clips.places or [()] * len(clips.video)
        masks = [draw_change_mask(self.stage.tasks, own, clips.video.shape[2:], rng) for own in places]
        return torch.from_numpy(np.stack(masks))[:, None]

    def _low_res(self, video: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        stage = self.stage
        return {
            "low_res": F.avg_pool3d(video, (1, stage.scale, stage.scale)),
            "noise_level": torch.randint(stage.noise_levels, (len(video),), generator=generator),
            "low_res_noise": torch.randn(video.shape, generator=generator),
        }


def request_of(stage: Stage, phase: Phase, size: tuple[int, int]) -> Request:
    """What a phase of a stage asks of its source, at a size (height, width)."""
    crop = None
    if phase.crop:
        crop = Crop(phase.crop, stage.scale, ANYWHERE) if stage.kind in SSR_KINDS else Crop(phase.crop)
    return Request(phase.batch, phase.frames, *size, phase.excerpt_of, crop, moving=phase.frames > 1)


def vary_phase(phase: Phase, side: int, rng: np.random.Generator) -> tuple[Phase, tuple[int, int]]:
    """The phase of one step and its frames' (height, width): now and then of another length and shape."""
    if rng.random() >= phase.vary:
        return phase, (side, side)
    frames = int(rng.choice(LENGTHS)) if phase.frames > 1 else 1
    batch = max(1, round(phase.batch * phase.frames / frames))
    height, width = SHAPES[int(rng.integers(len(SHAPES)))]
    whole = phase.excerpt_of and max(phase.excerpt_of, frames)
    varied = Phase(1, batch, frames, whole, 0.0, phase.crop)
    return varied, (_on_grid(height * side), _on_grid(width * side))


def trained_spans(stage: Stage) -> tuple[tuple[int, int], tuple[int, int]]:
    """The least and the most frames, and pixels of a side, of what a stage ends with: its last phase."""
    phase = stage.phases[-1]
    lengths = [phase.frames, phase.excerpt_of or phase.frames]
    sides = [phase.crop or stage.size, stage.size]
    if phase.vary:
        lengths += LENGTHS if phase.frames > 1 else ()
        sides += [_on_grid(length * stage.size) for shape in SHAPES for length in shape]
    return (min(lengths), max(lengths)), (min(sides), max(sides))


def _on_grid(length: float) -> int:
    return VARIED_GRID * round(length / VARIED_GRID)
