"""Training batches from the toy world: a pure function of (seed, stage, step), so that a run resumes exactly."""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ..toy_world import CLIP_SECONDS, FPS, caption, render_frames, sample_scene, still_caption
from .masks import draw_change_mask
from .recipe import Phase, Stage

CLIP_FRAMES = int(CLIP_SECONDS * FPS)


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


class ToyWorldBatches(StageBatches):
    """Item i: captions, video in [-1, 1], noise and noise levels of random scenes.

    video: (B, 3, T, H, W). timesteps: (B,) integers, one per clip, even or biased to noisy ones (Stage.timestep_bias).
    noise: like video. For an SSR also low_res: (B, 3, T, H/scale, W/scale), noise_level: (B,) uniform integers,
    low_res_noise: like video. For a conditional stage also change_mask: (B, 1, T, H, W), 1 where pixels are hidden.
    """

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        stage, phase, rng = self.stage, self.stage.phase_at(step), self._random(step)
        scenes = [sample_scene(rng, "train", stage.two_objects, stage.motions) for _ in range(phase.batch)]
        write = caption if phase.frames > 1 or stage.kind == "text" else still_caption
        captions = [write(scene, rng) for scene in scenes]
        if stage.kind == "text":
            captions = [
                still_caption(s, rng) if rng.random() < 0.25 else c for s, c in zip(scenes, captions, strict=True)
            ]
        texts = ["" if rng.random() < stage.text_dropout else c.text for c in captions]
        ids, mask = self.tokenize(texts)
        batch = {"ids": ids, "mask": mask}
        if stage.kind == "text":
            token = torch.from_numpy(rng.integers(ids.shape[1], size=len(ids)))
            return batch | {"labels": torch.tensor([c.labels for c in captions]), "token": token}
        return batch | self._video(scenes, phase, rng)

    def _video(self, scenes, phase: Phase, rng) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        size, times = self.stage.size, [clip_times(phase, rng) for _ in scenes]
        clips = [render_frames(scene, at, size, size) for scene, at in zip(scenes, times, strict=True)]
        video = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).mul_(2).sub_(1)
        extra = {}
        if self.stage.kind == "conditional":
            masks = [
                draw_change_mask(self.stage.tasks, scene, at, size, rng)
                for scene, at in zip(scenes, times, strict=True)
            ]
            extra = {"change_mask": torch.from_numpy(np.stack(masks))[:, None]}
        if self.stage.kind in ("ssr_image", "ssr"):
            video, small = crop_pair(video, self.stage.scale, phase.crop or self.stage.size, rng)
            extra = {
                "low_res": small,
                "noise_level": torch.randint(self.stage.noise_levels, (phase.batch,), generator=generator),
                "low_res_noise": torch.randn(video.shape, generator=generator),
            }
        return extra | {
            "video": video.contiguous(),
            "timesteps": self._timesteps(phase.batch, generator),
            "noise": torch.randn(video.shape, generator=generator),
        }


def clip_times(phase: Phase, rng: np.random.Generator) -> np.ndarray:
    """Times in seconds of a phase's frames: every `stride`-th (or as far apart as fits), a random start in the clip."""
    longest = max(1, (CLIP_FRAMES - 1) // max(phase.frames - 1, 1))
    stride = min(phase.stride, longest)
    slack = CLIP_FRAMES - 1 - stride * (phase.frames - 1)
    start = rng.uniform(0, max(slack, 0))
    return (start + stride * np.arange(phase.frames)) / FPS


def crop_pair(video: torch.Tensor, scale: int, crop: int, rng) -> tuple[torch.Tensor, torch.Tensor]:
    """A random crop of (B, 3, T, H, W), aligned to the low-res grid, and its low-res version by area averaging."""
    low_res = F.avg_pool3d(video, (1, scale, scale))
    row, column = (int(rng.integers((side - crop) // scale + 1)) for side in video.shape[-2:])
    window = crop // scale
    low_res = low_res[..., row : row + window, column : column + window]
    row, column = row * scale, column * scale
    return video[..., row : row + crop, column : column + crop], low_res
