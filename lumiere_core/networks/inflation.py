"""Inflation: a text-to-image net becomes a video net by adding temporal modules, Sec. 3.1 of the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
import torch.nn as nn

from .config import TemporalConfig, UNetConfig
from .stunet import STUNet, TemporalHalf
from .temporal import AttentionInflation, ConvInflation, TemporalDownsample, TemporalUpsample

TEMPORAL_PREFIX = "temporal."


def inflate(unet: STUNet, temporal: TemporalConfig, init: str = "identity") -> STUNet:
    """A new STUNet with `unet`'s spatial weights (copied) and fresh temporal modules.

    init "identity" (paper): resizing convolutions start as the identity, the last linear layer of every inflation
    block as zero, so that frames 0, N, 2N... equal the text-to-image net's output (N = temporal.factor), and all
    frames do on a static clip. init "he": ordinary random initialisation, for the ablation of Fig. 12 only.
    """
    if init not in ("identity", "he"):
        raise ValueError(f"inflate: init must be identity or he; got {init!r}.")
    if unet.config.temporal is not None:
        raise ValueError("inflate: the network already has temporal modules; give a text-to-image net.")
    config = dataclasses.replace(unet.config, temporal=temporal)
    weight = unet.conv_in.weight
    video = STUNet(config, dtype=weight.dtype, device=weight.device)
    video.load_state_dict(unet.state_dict(), strict=False)
    if init == "identity":
        _initialise_identity(video.temporal)
    return video


def freeze_spatial(stunet: STUNet) -> None:
    """Only the newly added (temporal) parameters stay trainable, as in the paper."""
    for name, parameter in stunet.named_parameters():
        parameter.requires_grad_(name.startswith(TEMPORAL_PREFIX))


def temporal_parameters(stunet: STUNet) -> list[nn.Parameter]:
    return [p for name, p in stunet.named_parameters() if name.startswith(TEMPORAL_PREFIX)]


def widen_input(unet: STUNet, in_channels: int) -> STUNet:
    """A copy whose conv_in takes more channels; the new columns are zero, so the old output is kept exactly.

    Used for <J, C, M> (7 channels, Sec. 4.2 of the paper) and for SSR nets grown from a text-to-image net.
    """
    old = unet.config.in_channels
    if in_channels < old:
        raise ValueError(f"widen_input: in_channels must be at least {old}; got {in_channels}.")
    state = unet.state_dict()
    weight = state["conv_in.weight"]
    state["conv_in.weight"] = widened(weight, in_channels * unet.config.patch**2)
    wide = STUNet(_with_channels(unet.config, in_channels), dtype=weight.dtype, device=weight.device)
    wide.load_state_dict(state)
    return wide


def widened(weight: torch.Tensor, columns: int) -> torch.Tensor:
    """A conv_in's weight (out, in, h, w) with `columns` of input channels; those behind the old ones are zero."""
    extra = weight.new_zeros(weight.shape[0], columns - weight.shape[1], *weight.shape[2:])
    return torch.cat([weight, extra], dim=1)


def text_to_image(stunet: STUNet) -> STUNet:
    """The inverse of `inflate` and `widen_input`: a copy of the spatial half that sees the noisy image (J) alone.

    stunet: a base or text-to-image net; raises ValueError for an SSR, whose first layer needs the small picture.
    """
    if stunet.config.noise_level_embedding:
        raise ValueError("text_to_image: a base or text-to-image net is needed; got a super-resolution net.")
    state = {name: tensor for name, tensor in stunet.state_dict().items() if not name.startswith(TEMPORAL_PREFIX)}
    weight = state["conv_in.weight"]
    state["conv_in.weight"] = weight[:, : 3 * stunet.config.patch**2]
    config = dataclasses.replace(stunet.config, temporal=None, in_channels=3)
    still = STUNet(config, dtype=weight.dtype, device=weight.device)
    still.load_state_dict(state)
    return still


def _with_channels(config: UNetConfig, in_channels: int) -> UNetConfig:
    return dataclasses.replace(config, in_channels=in_channels)


def _initialise_identity(temporal: TemporalHalf) -> None:
    for layer, start in identity_starts(temporal):
        start(layer)


def identity_starts(temporal: TemporalHalf) -> Iterator[tuple[nn.Module, Callable[[nn.Module], None]]]:
    """The layers of a temporal half that `inflate` does not start at random, each with what sets it."""
    for module in temporal.modules():
        if isinstance(module, TemporalDownsample | TemporalUpsample):
            yield module.conv.conv, _set_identity
        elif isinstance(module, ConvInflation | AttentionInflation):
            yield module.out, _set_zero
    yield temporal.condition.text_score, _set_zero


@torch.no_grad()
def _set_zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


@torch.no_grad()
def _set_identity(conv: nn.Module) -> None:
    _set_zero(conv)
    conv.weight[:, :, 1, 0] = torch.eye(conv.out_channels, dtype=conv.weight.dtype, device=conv.weight.device)
