"""What a sampler's timeline shows: the clip's frames, the windows that cover them, and what is given of it.

The front end asks for it while a graph is edited (web/timeline.js). It comes from the same plan and the same conditions
as the run.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..lumiere_core.checkpoints.format import load_info
from ..lumiere_core.conditioning.given import MASKED, Given, parse_indices
from ..lumiere_core.diffusion.options import SamplingOptions
from ..lumiere_core.sampling import plan_sampling
from . import host
from .checks import chosen


def timeline(asked: Mapping[str, str]) -> dict:
    """A query's values -> {"frames": T, "windows": [[first, end], ...], "given": [share of the frame's pixels, ...]}.

    asked: `checkpoint`, and what the widgets say: frames, window, overlap, loop, and BuildConditioningMask's mode,
    indices and last. A window that runs past the end goes on at the clip's start. given: 1 for a frame that is given, a
    half for one of which a part is; empty where nothing is, or where only the run will tell how much.
    Raises ValueError for what the run would refuse.
    """
    info = load_info(host.checkpoint_path(asked.get("checkpoint", "")))
    number = {name: _whole(asked, name) for name in ("frames", "window", "overlap", "last")}
    frames = number["frames"] or info.frames
    options = SamplingOptions(
        window=chosen(number["window"], 0), overlap=chosen(number["overlap"], -1), loop=asked.get("loop") == "true"
    )
    plan = plan_sampling(info, frames, (info.size, info.size), options)
    given = _given(asked.get("mode", ""), asked.get("indices", ""), number["last"], frames)
    return {"frames": frames, "windows": [window.frames for window in plan.windows], "given": given}


def _given(mode: str, indices: str, last: int, frames: int) -> list[float]:
    """Each frame's share of known pixels, from the condition of pictures of two pixels, of which a mask covers one."""
    if not mode or (mode == "extend" and not last):
        return []
    named = parse_indices(indices) if mode == "keyframes" else (0,)
    count = {"keyframes": len(named), "extend": last, "inpaint": frames}.get(mode, 1)
    mask = torch.tensor([[[0.0, 1.0]]]) if mode in MASKED else None
    condition = Given(mode, torch.zeros(count, 1, 2, 3), named, mask, last=last).condition(frames, (1, 2))
    return (condition.change_mask == 0).float().mean(dim=(0, 1, 3, 4)).tolist()


def _whole(asked: Mapping[str, str], name: str) -> int:
    value = asked.get(name) or {"overlap": "-1"}.get(name, "0")
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a whole number; got {value!r}.") from error
