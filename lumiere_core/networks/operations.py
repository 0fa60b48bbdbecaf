"""Layers come from an injectable namespace, so that a host can place and cast the weights its own way."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS = ("Linear", "Conv2d", "GroupNorm", "LayerNorm")
ACTIVATIONS = {"gelu": F.gelu, "silu": F.silu}


def bind(operations=nn, dtype: torch.dtype | None = None, device=None) -> SimpleNamespace:
    """The layer constructors of `operations` (torch.nn, comfy.ops...) with dtype and device filled in."""
    return SimpleNamespace(
        **{name: partial(getattr(operations, name), dtype=dtype, device=device) for name in LAYERS},
        factory={"dtype": dtype, "device": device},
    )


def activation(name: str):
    if name not in ACTIVATIONS:
        raise ValueError(f"U-Net: activation must be one of {', '.join(ACTIVATIONS)}; got {name!r}.")
    return ACTIVATIONS[name]
