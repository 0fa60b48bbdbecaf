"""What inflation adds to the spatial U-Net: Sec. 3.1 and Figure 4 of the paper.

Frames travel in the batch, (B*T, C, H, W), so that the spatial half runs unchanged. A convolution over time is a
Conv2d of kernel (3, 1) over (T, H*W): in channels-last memory that is a view, no copy.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from einops import rearrange

from .attention import attention
from .embeddings import TimestepEmbedding, sinusoidal_embedding
from .operations import activation
from .resnet import scale_shift


class TemporalCondition(nn.Module):
    """The vector by which temporal blocks hear timestep and text: (B,), (B, L, text_dim) -> (B, dim).

    The frozen spatial layers learned from stills, where words of motion carry no signal; without this no prompt could
    steer motion. Our choice: unpublished. The text is pooled with learned weights that start uniform.
    """

    def __init__(self, timestep_dim: int, text_dim: int, dim: int, act: str, ops):
        super().__init__()
        self.timestep_dim = timestep_dim
        self.act = activation(act)
        self.time = TimestepEmbedding(timestep_dim, dim, act, ops)
        self.text_norm = ops.LayerNorm(text_dim)
        self.text_score = ops.Linear(text_dim, 1)
        self.text_proj = ops.Linear(text_dim, dim)
        self.mix = ops.Linear(dim, dim)

    def forward(self, timesteps, text):
        text = self.text_norm(text)
        pooled = (self.text_score(text).softmax(dim=1) * text).sum(dim=1)
        time = self.time(sinusoidal_embedding(timesteps, self.timestep_dim).to(text.dtype))
        return self.act(self.mix(self.act(time + self.text_proj(pooled))))


class ConvOverTime(nn.Module):
    """1D convolution over frames: (B*T, C, H, W) -> (B*ceil(T/stride), C, H, W)."""

    def __init__(self, channels: int, ops, stride: int = 1):
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, (3, 1), stride=(stride, 1), padding=(1, 0))

    def forward(self, x, batch: int):
        height = x.shape[2]
        x = self.conv(rearrange(x, "(b t) c h w -> b c t (h w)", b=batch))
        return rearrange(x, "b c t (h w) -> (b t) c h w", h=height)


class ConvInflation(nn.Module):
    """Figure 4b: 2D conv -> norm, act -> 1D conv over time -> norm, act -> linear; residual from the spatial output.

    Statistics of the norms are per frame. The last norm is scaled and shifted by the temporal condition.
    """

    def __init__(self, channels: int, condition_dim: int, norm_groups: int, act: str, ops):
        super().__init__()
        self.act = activation(act)
        self.conv_space = ops.Conv2d(channels, channels, 3, padding=1)
        self.norm_space = ops.GroupNorm(norm_groups, channels)
        self.conv_time = ConvOverTime(channels, ops)
        self.norm_time = ops.GroupNorm(norm_groups, channels)
        self.condition = ops.Linear(condition_dim, 2 * channels)
        self.out = ops.Linear(channels, channels)

    def forward(self, x, condition):
        batch = condition.shape[0]
        h = self.act(self.norm_space(self.conv_space(x)))
        h = self.norm_time(self.conv_time(h, batch))
        h = self.act(scale_shift(h, self.condition(condition), x.shape[0] // batch))
        return x + self.out(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TemporalAttentionBlock(nn.Module):
    """Pre-norm transformer block along time, rotary positions: (N, T, C), condition (N or B, 2C) -> (N, T, C)."""

    def __init__(self, channels: int, head_dim: int, condition_dim: int, act: str, ops):
        super().__init__()
        self.heads = channels // head_dim
        self.act = activation(act)
        self.norm = ops.LayerNorm(channels)
        self.to_qkv = ops.Linear(channels, 3 * channels)
        self.to_out = ops.Linear(channels, channels)
        self.norm_mlp = ops.LayerNorm(channels)
        self.condition = ops.Linear(condition_dim, 2 * channels)
        self.mlp_in = ops.Linear(channels, 2 * channels)
        self.mlp_out = ops.Linear(2 * channels, channels)

    def forward(self, x, condition):
        q, k, v = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.to_out(attention(rotate(q, self.heads), rotate(k, self.heads), v, self.heads))
        pixels = x.shape[0] // condition.shape[0]
        scale, shift = self.condition(condition).repeat_interleave(pixels, dim=0)[:, None].chunk(2, dim=-1)
        h = self.norm_mlp(x) * (1 + scale) + shift
        return x + self.mlp_out(self.act(self.mlp_in(h)))


class ClipPosition(nn.Module):
    """Where each token lies in clip and frame, to be added to it: T, H, W -> (T, H, W, channels).

    Frame, row and column run from -1 (first) to 1 (last), so that 24 frames at stride 3 and 80 frames at stride 1 tell
    the same story in the same numbers. Our choice: unpublished.
    """

    FREQUENCIES = (0.5, 1.0, 2.0)  # half turns from the centre to the edge

    def __init__(self, channels: int, ops):
        super().__init__()
        self.proj = ops.Linear(3 * (1 + 2 * len(self.FREQUENCIES)), channels)

    def forward(self, frames: int, height: int, width: int, like):
        axes = torch.meshgrid(*(self.axis(count, like.device) for count in (frames, height, width)), indexing="ij")
        position = torch.stack(axes, dim=-1)
        angles = torch.pi * position[..., None] * torch.tensor(self.FREQUENCIES, device=like.device)
        features = [position, angles.sin().flatten(-2), angles.cos().flatten(-2)]
        return self.proj(torch.cat(features, dim=-1).to(like.dtype))

    @staticmethod
    def axis(count: int, device):
        return torch.linspace(-1, 1, count, device=device) if count > 1 else torch.zeros(1, device=device)


class AttentionInflation(nn.Module):
    """Figure 4c: L blocks of temporal self-attention -> linear; residual. Coarsest level only."""

    def __init__(
        self, channels: int, blocks: int, head_dim: int, condition_dim: int, act: str, ops, position: bool = False
    ):
        super().__init__()
        self.position = ClipPosition(channels, ops) if position else None
        self.blocks = nn.ModuleList(
            [TemporalAttentionBlock(channels, head_dim, condition_dim, act, ops) for _ in range(blocks)]
        )
        self.out = ops.Linear(channels, channels)

    def forward(self, x, condition):
        batch, height, width = condition.shape[0], *x.shape[2:]
        h = rearrange(x, "(b t) c h w -> b t h w c", b=batch)
        if self.position is not None:
            h = h + self.position(h.shape[1], height, width, like=h)
        h = rearrange(h, "b t h w c -> (b h w) t c")
        for block in self.blocks:
            h = block(h, condition)
        return x + rearrange(self.out(h), "(b h w) t c -> (b t) c h w", b=batch, h=height)


class TemporalDownsample(nn.Module):
    """Identity-initialised convolution over time with stride 2: T -> ceil(T / 2) frames."""

    def __init__(self, channels: int, ops):
        super().__init__()
        self.conv = ConvOverTime(channels, ops, stride=2)

    def forward(self, x, batch: int):
        return self.conv(x, batch)


class TemporalUpsample(nn.Module):
    """Every frame twice, cropped to `frames`, then an identity-initialised convolution over time."""

    def __init__(self, channels: int, ops):
        super().__init__()
        self.conv = ConvOverTime(channels, ops)

    def forward(self, x, batch: int, frames: int):
        x = rearrange(x, "(b t) c h w -> b t c h w", b=batch).repeat_interleave(2, dim=1)[:, :frames]
        return self.conv(rearrange(x, "b t c h w -> (b t) c h w"), batch)


def rotate(x, heads: int):
    """Rotary position embedding over the token axis of (N, T, heads * d) (Su et al. 2021), in float32."""
    length, dim = x.shape[1], x.shape[2] // heads
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=x.device) / dim)
    angles = torch.arange(length, dtype=torch.float32, device=x.device)[:, None] * frequencies
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    a, b = rearrange(x.float(), "n t (h d) -> n t h d", h=heads).chunk(2, dim=-1)
    rotated = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
    return rearrange(rotated, "n t h d -> n t (h d)").to(x.dtype)
