"""Memory: what a run will need, what there is, and a clear refusal before anything large is allocated."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path

import torch

from ..networks import UNetConfig

# Measured peaks of STUNet's forward are 15 to 23 tensors of (window's patches, finest level's channels).
ACTIVATION_TENSORS = 24
# Float32 clips that a run holds at once: x, this and the last x0, a step's, conditioning; measured are up to 7, and 3
# more for known pixels.
CLIP_TENSORS = 10
GIB = 2**30

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def network_bytes(config: UNetConfig, frames: int, height: int, width: int, dtype: torch.dtype) -> int:
    """Peak activations of one evaluation on (3, frames, height, width), on the network's device."""
    sides = (-(-side // config.spatial_factor) * config.spatial_factor // config.patch for side in (height, width))
    patches = math.prod(sides)  # of the frame as the network pads it
    return ACTIVATION_TENSORS * frames * patches * config.levels[0].channels * dtype.itemsize


def clip_bytes(frames: int, height: int, width: int) -> int:
    """What the sampler holds of a whole clip, in main memory."""
    return CLIP_TENSORS * 4 * 3 * frames * height * width


def require_clip_memory(
    kind: str,
    config: UNetConfig,
    clip: tuple[int, int, int],
    window: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Refuse a clip (T, H, W) that would not fit the memory, made of windows (T, H, W) of which one is on `device`."""
    frames, height, width = clip
    needed = {torch.device("cpu"): clip_bytes(*clip)}
    needed[device] = needed.get(device, 0) + network_bytes(config, *window, dtype)
    require_memory(f"A clip of {frames} frames, {width} x {height} pixels ({kind}),", needed)


def require_frames_memory(what: str, frames: int, height: int, width: int, copies: int = 1) -> None:
    """Refuse frames (T, H, W, 3) in float32, so many times over, that would not fit the main memory."""
    needed = copies * 4 * 3 * frames * height * width
    require_memory(f"{what} of {frames} frames, {width} x {height} pixels,", {torch.device("cpu"): needed})


def require_memory(what: str, needed: dict[torch.device, int]) -> None:
    """Raise ValueError if a device has less memory left than a run needs there."""
    for device, amount in needed.items():
        available = available_bytes(device)
        if amount > available:
            raise ValueError(
                f"{what} needs about {amount / GIB:.1f} GiB of memory on {device}; {available / GIB:.1f} GiB is free. "
                "Use a smaller size, fewer frames or a shorter window."
            )


def available_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device, or of the machine or the container that this runs in."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    limits = (_read_number(path) for path in _CGROUP_LIMITS)
    return min([psutil.virtual_memory().available, *(limit for limit in limits if limit is not None)])


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is torch's word for that, of an accelerator or of the CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error)


@contextmanager
def clear_out_of_memory(what: str):
    """Turn torch's several out-of-memory errors into one ValueError in plain words."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(f"{what}: out of memory. Use a smaller size, fewer frames or a shorter window.") from error


def _read_number(path: str) -> int | None:
    """A cgroup's limit: a number of bytes, or "max"."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
