"""The residual unit of the spatial U-Net, also used as its resizing module (tensor names as in diffusers)."""

from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as F

from .operations import activation


def scale_shift(x, parameters, frames: int):
    """x * (1 + scale) + shift per clip: x (B*T, C, H, W), parameters (B, 2C)."""
    scale, shift = parameters.repeat_interleave(frames, dim=0)[:, :, None, None].chunk(2, dim=1)
    return x * (1 + scale) + shift


class ResnetBlock(nn.Module):
    """(B*T, in, H, W) -> (B*T, out, H', W'); `resize` "down" halves, "up" doubles height and width."""

    def __init__(self, in_channels: int, out_channels: int, config, ops, resize: str | None = None, scale=None):
        super().__init__()
        self.resize = {None: lambda x: x, "down": _halve, "up": _double}[resize]
        self.act = activation(config.activation)
        self.act_embedding = not config.skip_time_act
        self.output_scale = config.resnet_scale_factor if scale is None else scale
        self.norm1 = ops.GroupNorm(config.norm_groups, in_channels, eps=1e-5)
        self.conv1 = ops.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = ops.Linear(config.embedding_dim, 2 * out_channels)
        self.norm2 = ops.GroupNorm(config.norm_groups, out_channels, eps=1e-5)
        self.conv2 = ops.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = ops.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x, embedding):
        frames = x.shape[0] // embedding.shape[0]
        parameters = self.time_emb_proj(self.act(embedding) if self.act_embedding else embedding)
        h = self.conv1(self.resize(self.act(self.norm1(x))))
        h = self.conv2(self.act(scale_shift(self.norm2(h), parameters, frames)))
        x = self.resize(x)
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        return x + h if self.output_scale == 1 else (x + h) / self.output_scale


def _halve(x):
    return F.avg_pool2d(x, 2)


def _double(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
