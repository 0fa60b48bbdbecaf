"""The two forms of a clip: frames (T, H, W, 3) in [0, 1], as images travel, and video (1, 3, T, H, W) in [-1, 1]."""

from __future__ import annotations

import torch
from einops import rearrange


def frames_to_video(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) in [0, 1] -> (1, 3, T, H, W) in [-1, 1], float32 on the CPU."""
    return rearrange(frames, "t h w c -> 1 c t h w").to("cpu", torch.float32).mul(2).sub(1).contiguous()


def video_to_frames(video: torch.Tensor) -> torch.Tensor:
    """(1, 3, T, H, W) in [-1, 1] -> (T, H, W, 3) in [0, 1]."""
    return rearrange(video[0], "c t h w -> t h w c").add(1).div(2).contiguous()
