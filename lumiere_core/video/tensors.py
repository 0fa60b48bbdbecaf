"""The two forms of a clip: frames (T, H, W, 3) in [0, 1], as images travel, and video (1, 3, T, H, W) in [-1, 1]."""

from __future__ import annotations

import torch
from einops import rearrange


def check_frames(frames: torch.Tensor, name: str) -> None:
    """Raise ValueError unless these are frames as floats, (T, H, W, 3), finite, of one pixel at least."""
    if not isinstance(frames, torch.Tensor) or not frames.is_floating_point():
        got = getattr(frames, "dtype", None) if isinstance(frames, torch.Tensor) else type(frames)
        raise ValueError(f"{name} must be a torch tensor of floats, 0 to 1; got {got}. Divide 8-bit values by 255.")
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.numel():
        raise ValueError(
            f"{name} must have the shape (T, H, W, 3), RGB without alpha, and at least one pixel; got "
            f"{tuple(frames.shape)}."
        )
    if not torch.isfinite(torch.stack(torch.aminmax(frames))).all():
        raise ValueError(f"{name} must be finite; got NaN or infinity.")


def frames_to_video(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) in [0, 1] -> (1, 3, T, H, W) in [-1, 1], float32 on the CPU."""
    return rearrange(frames, "t h w c -> 1 c t h w").to("cpu", torch.float32).mul(2).sub(1).contiguous()


def video_to_frames(video: torch.Tensor) -> torch.Tensor:
    """(1, 3, T, H, W) in [-1, 1] -> (T, H, W, 3) in [0, 1]."""
    frames = rearrange(video[0], "c t h w -> t h w c").clone(memory_format=torch.contiguous_format)
    return frames.add_(1).div_(2)
