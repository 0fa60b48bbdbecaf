"""The space-time U-Net (STUNet): a DeepFloyd-IF-style U-Net with the paper's temporal modules beside it.

The spatial modules carry diffusers' tensor names, so that IF files load without a conversion table. The temporal
modules live under the prefix `temporal.` and mirror the blocks they follow. With `config.temporal is None` this class
is the text-to-image net itself: every frame is then an image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from .attention import SpatialAttention
from .config import UNetConfig
from .embeddings import PooledTextEmbedding, TimestepEmbedding, sinusoidal_embedding
from .operations import activation, bind
from .resnet import ResnetBlock
from .temporal import AttentionInflation, ConvInflation, TemporalCondition, TemporalDownsample, TemporalUpsample


class Signals(NamedTuple):
    """What every block hears: time embedding (B, D), text (B, L, context_dim), temporal condition (B, E) or None."""

    embedding: torch.Tensor
    text: torch.Tensor
    condition: torch.Tensor | None

    @property
    def batch(self) -> int:
        return self.embedding.shape[0]


class Skips:
    """What the way down leaves for the way up, in order; whoever brings their own may change either."""

    def __init__(self):
        self.kept: list[torch.Tensor] = []

    def keep(self, x):
        """Leave x, (B*T, C, H, W), for the way up; what the way down goes on with."""
        self.kept.append(x)
        return x

    def join(self, x):
        """x beside what was left last, by channels."""
        return torch.cat([x, self.kept.pop()], dim=1)

    def next_frames(self, batch: int) -> int:
        """How many frames a clip has in what was left last."""
        return self.kept[-1].shape[0] // batch


class DownBlock(nn.Module):
    """Units of one level on the way down, then the resize to the next level."""

    def __init__(self, in_channels: int, index: int, config: UNetConfig, ops):
        super().__init__()
        level = config.levels[index]
        widths = [in_channels] + [level.channels] * level.layers
        self.resnets = nn.ModuleList(
            [ResnetBlock(a, b, config, ops) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.attentions = _attentions(level, level.layers, config, ops)
        if index < len(config.levels) - 1:
            self.downsamplers = nn.ModuleList([ResnetBlock(level.channels, level.channels, config, ops, "down")])
        else:
            self.downsamplers = None

    def forward(self, x, signals: Signals, temporal: TemporalBlock | None, skips: Skips):
        for index, resnet in enumerate(self.resnets):
            x = skips.keep(_unit(x, signals, resnet, self.attentions, temporal, index))
        if self.downsamplers is not None:
            x = self.downsamplers[0](x, signals.embedding)
            if temporal is not None and temporal.resize is not None:
                x = temporal.resize(x, signals.batch)
            x = skips.keep(x)
        return x


class MidBlock(nn.Module):
    """Residual unit, attention, residual unit at the coarsest level; one spatial unit as far as inflation goes."""

    def __init__(self, config: UNetConfig, ops):
        super().__init__()
        channels = config.levels[-1].channels
        self.attentions = nn.ModuleList([_attention(channels, config, ops)])
        self.resnets = nn.ModuleList(
            [ResnetBlock(channels, channels, config, ops, scale=config.mid_scale_factor) for _ in range(2)]
        )

    def forward(self, x, signals: Signals, temporal: TemporalBlock | None):
        x = self.resnets[0](x, signals.embedding)
        x = self.resnets[1](self.attentions[0](x, signals.text), signals.embedding)
        return x if temporal is None else temporal.units[0](x, signals.condition)


class UpBlock(nn.Module):
    """Units of one level on the way up, each fed one skip, then the resize to the next finer level."""

    def __init__(self, in_channels: int, index: int, config: UNetConfig, ops):
        super().__init__()
        level = config.levels[index]
        count = level.layers + 1
        finer = config.levels[max(index - 1, 0)].channels
        skips = [level.channels] * level.layers + [finer]
        inputs = [in_channels] + [level.channels] * level.layers
        self.resnets = nn.ModuleList(
            [ResnetBlock(a + b, level.channels, config, ops) for a, b in zip(inputs, skips, strict=True)]
        )
        self.attentions = _attentions(level, count, config, ops)
        self.upsamplers = (
            nn.ModuleList([ResnetBlock(level.channels, level.channels, config, ops, "up")]) if index else None
        )

    def forward(self, x, signals: Signals, temporal: TemporalBlock | None, skips: Skips):
        for index, resnet in enumerate(self.resnets):
            x = _unit(skips.join(x), signals, resnet, self.attentions, temporal, index)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, signals.embedding)
            if temporal is not None and temporal.resize is not None:
                x = temporal.resize(x, signals.batch, skips.next_frames(signals.batch))
        return x


class TemporalBlock(nn.Module):
    """The temporal modules that follow one spatial block: one inflation per unit, and the temporal resize or None."""

    def __init__(self, index: int, units: int, resize, config: UNetConfig, ops):
        super().__init__()
        channels, temporal = config.levels[index].channels, config.temporal
        self.units = nn.ModuleList([_inflation(index, config, ops) for _ in range(units)])
        halve_level = index if resize is TemporalDownsample else index - 1
        resized = resize is not None and halve_level >= 0 and temporal.levels[halve_level].halve
        self.resize = resize(channels, ops) if resized else None  # pyright: ignore[reportOptionalCall]


class TemporalHalf(nn.Module):
    """All that inflation adds; its block lists mirror those of the spatial U-Net."""

    def __init__(self, config: UNetConfig, ops):
        super().__init__()
        levels, last = config.levels, len(config.levels) - 1
        self.condition = TemporalCondition(
            max(levels[0].channels, 32), config.text_dim, config.temporal.embedding_dim, config.activation, ops
        )
        self.down_blocks = nn.ModuleList(
            [TemporalBlock(i, level.layers, TemporalDownsample, config, ops) for i, level in enumerate(levels)]
        )
        self.mid_block = TemporalBlock(last, 1, None, config, ops)
        self.up_blocks = nn.ModuleList(
            [TemporalBlock(i, levels[i].layers + 1, TemporalUpsample, config, ops) for i in range(last, -1, -1)]
        )


class STUNet(nn.Module):
    """Space-time U-Net. See `forward` for shapes and `UNetConfig` for what it can be.

    operations: namespace of layer classes (default torch.nn; ComfyUI passes comfy.ops).
    """

    def __init__(self, config: UNetConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        ops = bind(operations, dtype, device)
        levels, first, last = config.levels, config.levels[0].channels, len(config.levels) - 1
        self.config = config
        self.dtype = dtype or torch.get_default_dtype()
        self.act = activation(config.activation)
        self.embedding_act = activation(config.time_embedding_act) if config.time_embedding_act else None
        self.conv_in = ops.Conv2d(config.in_channels * config.patch**2, first, 3, padding=1)
        self.time_embedding = TimestepEmbedding(first, config.embedding_dim, config.activation, ops)
        self.class_embedding = (
            TimestepEmbedding(first, config.embedding_dim, config.activation, ops)
            if config.noise_level_embedding
            else None
        )
        self.add_embedding = PooledTextEmbedding(config.text_dim, config.embedding_dim, config.pooled_text_heads, ops)
        self.encoder_hid_proj = ops.Linear(config.text_dim, config.context_dim)
        self.down_blocks = nn.ModuleList(
            [DownBlock(levels[max(i - 1, 0)].channels, i, config, ops) for i in range(last + 1)]
        )
        self.mid_block = MidBlock(config, ops)
        self.up_blocks = nn.ModuleList(
            [UpBlock(levels[min(i + 1, last)].channels, i, config, ops) for i in range(last, -1, -1)]
        )
        self.conv_norm_out = ops.GroupNorm(config.norm_groups, first, eps=1e-5)
        self.conv_out = ops.Conv2d(first, config.out_channels * config.patch**2, 3, padding=1)
        self.temporal = TemporalHalf(config, ops) if config.temporal is not None else None

    def forward(self, x, timesteps, text, noise_level=None, skips: Skips | None = None):
        """One evaluation of the network.

        x: (B, in_channels, T, H, W); any T, H, W >= 1. timesteps: (B,), 0..999, fractions allowed.
        text: (B, L, text_dim), the text encoder's output. noise_level: (B,) integer augmentation level, SSR only.
        skips: the caller's own; None is none of them changed.
        Returns (B, out_channels, T, H, W), in x's dtype.
        """
        batch, _, frames, height, width = x.shape
        signals = self._signals(x, timesteps, text, noise_level)
        x = fold(self._pad(rearrange(x, "b c t h w -> (b t) c h w")), self.config.patch)
        x = self._blocks(self.conv_in(x.contiguous(memory_format=torch.channels_last)), signals, skips or Skips())
        x = self.conv_out(self.act(self.conv_norm_out(x)))
        x = unfold(x, self.config.patch)[..., :height, :width]
        return rearrange(x, "(b t) c h w -> b c t h w", b=batch, t=frames)

    def _blocks(self, x, signals: Signals, skips: Skips):
        temporal, x = self.temporal, skips.keep(x)
        for index, block in enumerate(self.down_blocks):
            x = block(x, signals, temporal and temporal.down_blocks[index], skips)
        x = self.mid_block(x, signals, temporal and temporal.mid_block)
        for index, block in enumerate(self.up_blocks):
            x = block(x, signals, temporal and temporal.up_blocks[index], skips)
        return x

    def _signals(self, x, timesteps, text, noise_level) -> Signals:
        first = self.config.levels[0].channels
        text = text.to(x.dtype)
        embedding = self.time_embedding(sinusoidal_embedding(timesteps, first).to(x.dtype))
        if self.class_embedding is not None:
            if noise_level is None:
                raise ValueError(
                    "STUNet: this net is a super-resolution net and needs noise_level, an integer per clip; got None."
                )
            embedding = embedding + self.class_embedding(sinusoidal_embedding(noise_level, first).to(x.dtype))
        embedding = embedding + self.add_embedding(text)
        if self.embedding_act is not None:
            embedding = self.embedding_act(embedding)
        condition = self.temporal.condition(timesteps, text) if self.temporal is not None else None
        return Signals(embedding, self.encoder_hid_proj(text), condition)

    def _pad(self, x):
        """Height and width up to a multiple of the spatial factor, by repeating the border."""
        multiple = self.config.spatial_factor
        bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def fold(x, patch: int):
    """(N, C, H, W) -> (N, C * patch^2, H / patch, W / patch); each channel's pixels stay together, C outermost, so that
    a wider input (<J, C, M>) adds columns behind the old ones.
    """
    return rearrange(x, "n c (h p) (w q) -> n (c p q) h w", p=patch, q=patch) if patch > 1 else x


def unfold(x, patch: int):
    """The inverse of `fold`."""
    return rearrange(x, "n (c p q) h w -> n c (h p) (w q)", p=patch, q=patch) if patch > 1 else x


def _unit(x, signals: Signals, resnet, attentions, temporal, index: int):
    """One spatial unit (residual block, attention where the level has it) and its inflation."""
    x = resnet(x, signals.embedding)
    if attentions is not None:
        x = attentions[index](x, signals.text)
    if temporal is not None:
        x = temporal.units[index](x, signals.condition)
    return x


def _attention(channels: int, config: UNetConfig, ops):
    return SpatialAttention(channels, config.attention_head_dim, config.context_dim, config.norm_groups, ops)


def _attentions(level, count: int, config: UNetConfig, ops):
    if not level.attention:
        return None
    return nn.ModuleList([_attention(level.channels, config, ops) for _ in range(count)])


def _inflation(index: int, config: UNetConfig, ops):
    channels, temporal = config.levels[index].channels, config.temporal
    if temporal.levels[index].kind == "attention":
        return AttentionInflation(
            channels,
            temporal.attention_blocks,
            temporal.attention_head_dim,
            temporal.embedding_dim,
            config.activation,
            ops,
            temporal.position,
        )
    return ConvInflation(channels, temporal.embedding_dim, config.norm_groups, config.activation, ops)
