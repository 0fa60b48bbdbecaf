"""Sampling without ComfyUI: the network runs where it was loaded, with a bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ....lumiere_core import sampling
from ....lumiere_core.memory import clear_out_of_memory, clip_bytes, is_out_of_memory, network_bytes, require_memory
from ....lumiere_core.progress import StageBars
from ....lumiere_core.sampling import SamplingPlan
from .models import Model

NODE = "STUNetSampler"


class Placed(NamedTuple):
    """A network as `lumiere_core.sampling` calls it, what it computes in, and windows to evaluate at once."""

    network: Callable[..., torch.Tensor]
    dtype: torch.dtype
    batch: int


class Progress(NamedTuple):
    evaluated: Callable[[int, int], None]
    step: Callable[[dict], None]


def sample_video(
    model: Model,
    plan: SamplingPlan,
    positive: list,
    negative: list,
    seed: int,
    start: torch.Tensor | None,
    mask: torch.Tensor | None,
    keep_known: bool,
) -> torch.Tensor:
    """A base network's clip, (1, 3, T, H, W) in [-1, 1].

    start: a clip of that size. mask: core's noise mask, 1 where pixels are to be changed, or None. keep_known: pixels
    outside the mask come out exactly as they are in `start`; else the mask is ignored.
    """
    cond, uncond = ({"text": _text(texts, name)} for texts, name in ((positive, "positive"), (negative, "negative")))
    known = None
    if keep_known and start is not None and mask is not None:
        known = start, noise_mask(mask, plan.shape[2:])
    with placed(model, plan, NODE) as place, progress(NODE, plan.evaluations) as bar:
        return sampling.sample(
            place.network,
            model.info,
            plan,
            cond,
            uncond,
            seed,
            start=start,
            known=known,
            dtype=place.dtype,
            batch=place.batch,
            is_out_of_memory=is_out_of_memory,
            evaluated=bar.evaluated,
            callback=bar.step,
        )


@contextmanager
def placed(model: Model, plan: SamplingPlan, node: str) -> Iterator[Placed]:
    """Raises ValueError where the run needs more memory than there is, at once or when it is exhausted."""
    _require_memory(model, plan, node)
    with torch.no_grad(), clear_out_of_memory(node):
        yield Placed(sampling.placed(model.network, model.device, model.dtype), model.dtype, batch=1)


@contextmanager
def progress(title: str, evaluations: int) -> Iterator[Progress]:
    with StageBars() as bars:
        bars(title, 0, evaluations)
        yield Progress(partial(bars, title), lambda step: None)


def noise_mask(mask: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Core's noise mask -> (1, 1, 1 or T, H, W) in 0..1, float32 on the CPU; resized in space where it must be.

    mask: (H, W), (1 or T, H, W), (1 or T, 1, H, W) or (1, 1, 1 or T, H, W). size: (T, H, W) of the clip.
    """
    frames, height, width = size
    masks = mask.to("cpu", torch.float32)
    masks = masks[None] if masks.ndim == 2 else masks
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    masks = masks[0, 0] if masks.ndim == 5 and masks.shape[:2] == (1, 1) else masks
    if masks.ndim != 3 or masks.shape[0] not in (1, frames):
        raise ValueError(
            f"the latent's noise mask must be one mask, or one for each of its {frames} frames; got shape "
            f"{tuple(mask.shape)}."
        )
    if masks.shape[1:] != (height, width):
        masks = F.interpolate(masks[:, None], (height, width), mode="bilinear")[:, 0]
    return masks.clamp(0, 1)[None, None]


def _text(conditioning: list, name: str) -> torch.Tensor:
    """The one text of a conditioning, (1, L, D)."""
    if len(conditioning) != 1:
        raise ValueError(f"{name} must hold one text here, without ComfyUI; got {len(conditioning)}.")
    return conditioning[0][0]


def _require_memory(model: Model, plan: SamplingPlan, node: str) -> None:
    height, width = (min(side, plan.tile or side) for side in (plan.height, plan.width))
    window = min(plan.window, plan.frames)
    needed = {torch.device("cpu"): clip_bytes(plan.frames, plan.height, plan.width)}
    network = network_bytes(model.network.config, window, height, width, model.dtype)
    needed[model.device] = needed.get(model.device, 0) + network
    require_memory(f"a clip of {plan.frames} frames, {plan.width} x {plan.height} pixels,", needed)
