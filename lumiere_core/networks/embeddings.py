"""Timestep embedding and the pooled text that is added to it (tensor names as in diffusers)."""

from __future__ import annotations

import math

import torch
import torch.nn as nn

from .attention import attention
from .operations import activation


def sinusoidal_embedding(timesteps: torch.Tensor, dim: int) -> torch.Tensor:
    """(B,) timesteps, fractions allowed -> (B, dim) float32, cosines first (DDPM; diffusers' flip_sin_to_cos)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10000.0) * exponents)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers over a sinusoidal embedding: (B, in_dim) -> (B, dim)."""

    def __init__(self, in_dim: int, dim: int, act: str, ops):
        super().__init__()
        self.linear_1 = ops.Linear(in_dim, dim)
        self.linear_2 = ops.Linear(dim, dim)
        self.act = activation(act)

    def forward(self, x):
        return self.linear_2(self.act(self.linear_1(x)))


class AttentionPooling(nn.Module):
    """(B, L, D) -> (B, D): the mean token attends to itself and all tokens (DeepFloyd IF)."""

    def __init__(self, dim: int, heads: int, ops):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter((torch.randn(1, dim) / dim**0.5).to(**ops.factory))
        self.q_proj = ops.Linear(dim, dim)
        self.k_proj = ops.Linear(dim, dim)
        self.v_proj = ops.Linear(dim, dim)

    def forward(self, x):
        query = x.mean(dim=1, keepdim=True) + self.positional_embedding.to(x)
        x = torch.cat([query, x], dim=1)
        return attention(self.q_proj(query), self.k_proj(x), self.v_proj(x), self.heads)[:, 0]


class PooledTextEmbedding(nn.Module):
    """(B, L, text_dim) -> (B, dim), added to the time embedding (diffusers: TextTimeEmbedding)."""

    def __init__(self, text_dim: int, dim: int, heads: int, ops):
        super().__init__()
        self.norm1 = ops.LayerNorm(text_dim)
        self.pool = AttentionPooling(text_dim, heads, ops)
        self.proj = ops.Linear(text_dim, dim)
        self.norm2 = ops.LayerNorm(dim)

    def forward(self, text):
        return self.norm2(self.proj(self.pool(self.norm1(text))))
