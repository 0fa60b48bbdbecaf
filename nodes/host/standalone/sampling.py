"""Sampling without ComfyUI: the network runs where it was loaded, with a bar on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from ....lumiere_core.conditioning.given import Condition
from ....lumiere_core.runtime.memory import available_bytes, clear_out_of_memory, require_clip_memory
from ....lumiere_core.runtime.progress import StageBars
from ....lumiere_core.sampling import SamplingPlan, run_on, sample_base
from ...checks import known_pixels, one_text
from ...masks import change_mask
from .models import Model, settings


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
    texts = {"text": one_text(positive, "positive"), "negative": one_text(negative, "negative")}
    conditions = {"condition": known_pixels(positive), "negative_condition": known_pixels(negative)}
    known = Condition(start, change_mask(mask, plan.shape[2:])) if keep_known and mask is not None else None
    node = "STUNet Sampler"
    with placed(model, plan, node) as place, progress(node, plan, model.info.fps) as report:
        return sample_base(
            info=model.info, plan=plan, seed=seed, start=start, known=known, **texts, **conditions, **place, **report
        )


@contextmanager
def placed(model: Model, plan: SamplingPlan, node: str) -> Iterator[dict]:
    """Raises ValueError where the run needs more memory than there is, at once or when it is exhausted."""
    config = model.network.config
    require_clip_memory(model.info.kind, config, plan.shape[2:], plan.window_size, model.device, model.dtype)
    with clear_out_of_memory("sampling"):
        place = run_on(model.stylized(), plan, model.device, model.dtype, available_bytes(model.device))
        yield place | {"share": settings().share}


@contextmanager
def progress(title: str, plan: SamplingPlan, fps: float) -> Iterator[dict]:
    with StageBars() as bars:
        yield {"evaluated": partial(bars, title)} if settings().leads else {}


def shown_clip(frames: torch.Tensor, fps: float) -> dict:
    """Nothing: there is no node to play the clip in."""
    return {}
