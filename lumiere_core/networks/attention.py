"""All attention of the networks: one function, and the spatial attention unit of DeepFloyd IF."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from .config import CROSS_NORM_GROUPS

LARGEST_BATCH = 2**15  # CUDA's fast kernels refuse 2**16 sequences and more, which a large frame's pixels are


def attention(q, k, v, heads: int):
    """Scaled dot-product attention over (B, L, heads * d) tensors -> (B, L, heads * d)."""
    q, k, v = (rearrange(x, "b l (h d) -> b h l d", h=heads) for x in (q, k, v))
    if q.shape[0] <= LARGEST_BATCH:
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        parts = zip(*(x.split(LARGEST_BATCH) for x in (q, k, v)), strict=True)
        out = torch.cat([F.scaled_dot_product_attention(*part) for part in parts])
    return rearrange(out, "b h l d -> b l (h d)")


class SpatialAttention(nn.Module):
    """Residual attention of each frame's pixels over the same pixels and the text (diffusers: AttnAddedKV).

    x: (B*T, C, H, W), text: (B, L, context_dim), shared by the T frames of a clip.
    """

    def __init__(self, channels: int, head_dim: int, context_dim: int, norm_groups: int, ops):
        super().__init__()
        self.heads = channels // head_dim
        self.group_norm = ops.GroupNorm(norm_groups, channels, eps=1e-5)
        self.norm_cross = ops.GroupNorm(CROSS_NORM_GROUPS, context_dim, eps=1e-5)
        self.to_q = ops.Linear(channels, channels)
        self.to_k = ops.Linear(channels, channels)
        self.to_v = ops.Linear(channels, channels)
        self.add_k_proj = ops.Linear(context_dim, channels)
        self.add_v_proj = ops.Linear(context_dim, channels)
        self.to_out = nn.ModuleList([ops.Linear(channels, channels)])

    def forward(self, x, text):
        frames = x.shape[0] // text.shape[0]
        text = self.norm_cross(text.transpose(1, 2)).transpose(1, 2)
        pixels = rearrange(self.group_norm(x), "n c h w -> n (h w) c")
        k = torch.cat([self.add_k_proj(text).repeat_interleave(frames, dim=0), self.to_k(pixels)], dim=1)
        v = torch.cat([self.add_v_proj(text).repeat_interleave(frames, dim=0), self.to_v(pixels)], dim=1)
        out = self.to_out[0](attention(self.to_q(pixels), k, v, self.heads))
        return x + rearrange(out, "n (h w) c -> n c h w", h=x.shape[2])
