"""Training batches from the world: a pure function of (seed, stage, step), so that a run resumes exactly."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ..world.captions import Captioner
from ..world.cast import Cast
from ..world.motions import CLIP_SECONDS
from ..world.render import render_scenes
from ..world.scene import Scene, SceneSampler, pick
from .masks import draw_change_mask
from .recipe import Phase, Stage

# What a phase's `vary` draws from: users ask for any length and shape. Sides are of equal area, in units of the
# stage's size.
LENGTHS = (8, 16, 24, 40, 56, 80, 120, 160)
SHAPES = ((1.0, 1.0), (0.75, 1.3125), (1.3125, 0.75), (0.875, 1.125), (1.125, 0.875))


ANYWHERE = 0.15  # of an SSR's crops; a still's caption says what its crop must show
JITTER = 0.15  # of a crop's side, between its middle and the object's
SSR_KINDS = ("ssr_image", "ssr")


class StageBatches(Dataset):
    """Item i is the whole batch of training step i. tokenize: texts -> token ids and attention mask, both (B, L)."""

    def __init__(self, stage: Stage, tokenize, seed: int):
        self.stage, self.tokenize, self.seed = stage, tokenize, seed

    def __len__(self) -> int:
        return self.stage.steps

    def _random(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(self.stage.name.encode()), step])

    def _timesteps(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        count, bias = self.stage.schedule.timesteps, self.stage.timestep_bias
        if bias == 1:
            return torch.randint(count, (batch,), generator=generator)
        return (count * torch.rand(batch, generator=generator) ** (1 / bias)).long().clamp_(max=count - 1)


class WorldBatches(StageBatches):
    """Item i: captions, video in [-1, 1], noise and noise levels of random scenes.

    video: (B, 3, T, H, W). timesteps: (B,) integers, one per clip, even or biased to noisy ones (Stage.timestep_bias).
    noise: like video. For an SSR also low_res: (B, 3, T, H/scale, W/scale), noise_level: (B,) uniform integers,
    low_res_noise: like video. For a stage with tasks also change_mask: (B, 1, T, H, W), 1 where pixels are hidden.
    """

    def __init__(
        self,
        stage: Stage,
        tokenize,
        seed: int,
        cast: Cast,
        sample: Callable[[np.random.Generator], Scene] | None = None,
    ):
        """sample: draws a scene of the cast; None draws of what a training may see."""
        super().__init__(stage, tokenize, seed)
        self.cast = cast
        self.sample = sample or SceneSampler(cast, "train", stage.two_objects, stage.motions)
        self.captioner = Captioner(cast)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        stage, rng = self.stage, self._random(step)
        phase, size = vary_phase(stage.phase_at(step), stage.size, rng)
        scenes = [self.sample(rng) for _ in range(phase.batch)]
        moving = phase.frames > 1 or stage.kind == "text"
        captions = [(self.captioner.moving if moving else self.captioner.still)(scene, rng) for scene in scenes]
        if stage.kind == "text":
            captions = [
                self.captioner.still(s, rng) if rng.random() < 0.25 else c
                for s, c in zip(scenes, captions, strict=True)
            ]
        texts = ["" if rng.random() < stage.text_dropout else c.text for c in captions]
        ids, mask = self.tokenize(texts)
        batch = {"ids": ids, "mask": mask}
        if stage.kind == "text":
            token = torch.from_numpy(rng.integers(ids.shape[1], size=len(ids)))
            return batch | {"labels": torch.tensor([c.labels for c in captions]), "token": token}
        return batch | self._video(scenes, phase, size, rng)

    def _video(self, scenes: list[Scene], phase: Phase, size: tuple[int, int], rng) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        seconds = [clip_seconds(phase, rng) for _ in scenes]
        crops = None
        if phase.crop:
            grid, anywhere = (self.stage.scale, ANYWHERE) if self.stage.kind in SSR_KINDS else (1, 0.0)
            crops = [
                draw_crop(phase.crop, size, grid, anywhere, scene, at, rng)
                for scene, at in zip(scenes, seconds, strict=True)
            ]
        video = render_scenes(self.cast, scenes, seconds, *size, crops).mul_(2).sub_(1)
        extra = {}
        if self.stage.tasks:
            masks = [
                draw_change_mask(self.stage.tasks, scene, at, size, rng)
                for scene, at in zip(scenes, seconds, strict=True)
            ]
            extra = {"change_mask": torch.from_numpy(np.stack(masks))[:, None]}
        if self.stage.kind in SSR_KINDS:
            extra = {
                "low_res": F.avg_pool3d(video, (1, self.stage.scale, self.stage.scale)),
                "noise_level": torch.randint(self.stage.noise_levels, (phase.batch,), generator=generator),
                "low_res_noise": torch.randn(video.shape, generator=generator),
            }
        return extra | {
            "video": video,
            "timesteps": self._timesteps(phase.batch, generator),
            "noise": torch.randn(video.shape, generator=generator),
        }


def vary_phase(phase: Phase, side: int, rng: np.random.Generator) -> tuple[Phase, tuple[int, int]]:
    """The phase of one step and its frames' (height, width): now and then of another length and shape."""
    if rng.random() >= phase.vary:
        return phase, (side, side)
    frames = int(rng.choice(LENGTHS)) if phase.frames > 1 else 1
    batch = max(1, round(phase.batch * phase.frames / frames))
    height, width = SHAPES[int(rng.integers(len(SHAPES)))]
    whole = phase.excerpt_of and max(phase.excerpt_of, frames)
    varied = Phase(1, batch, frames, whole, 0.0, phase.crop)
    return varied, (8 * round(height * side / 8), 8 * round(width * side / 8))


def clip_seconds(phase: Phase, rng: np.random.Generator) -> np.ndarray:
    """Times in seconds of a phase's frames: the whole motion once, an excerpt of it, or, for stills, any moment."""
    if phase.frames == 1:
        return np.array([rng.uniform(0, CLIP_SECONDS)])
    whole = phase.excerpt_of or phase.frames
    start = int(rng.integers(whole - phase.frames + 1))
    return (start + np.arange(phase.frames)) * CLIP_SECONDS / whole


def draw_crop(
    crop: int, size: tuple[int, int], grid: int, anywhere: float, scene: Scene, seconds: np.ndarray, rng
) -> tuple[int, int, int, int]:
    """A window (top, left, height, width) of a frame, aligned to a grid: where an object is or, now and then, anywhere.

    What things look like is learned from as many pixels of them, and as few others, as can be. The window is as large
    as the frame allows.
    """
    track = pick(rng, scene.actors).motion.track(seconds[rng.integers(len(seconds))])
    near = rng.random() >= anywhere
    corner, lengths = [], [min(crop, side) for side in size]
    for side, length, place in zip(size, lengths, (track.y, track.x), strict=True):
        middle = (side - min(size)) / 2 + float(place) * min(size) + crop * rng.uniform(-JITTER, JITTER)
        middle = middle if near else rng.uniform(length / 2, side - length / 2)
        corner.append(grid * int(np.clip(round((middle - length / 2) / grid), 0, (side - length) // grid)))
    return *corner, *lengths
