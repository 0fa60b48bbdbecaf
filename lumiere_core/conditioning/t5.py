"""The T5 encoder (Raffel et al. 2020; v1.1 where gated), for small ones that would load slower than they run.

Tensor names, initialisation and results are those of transformers' T5EncoderModel, whose import takes seconds. A
folder that transformers saved is still read with it, see `text`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from ..checkpoints.metadata import T5Shape

ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "gated-gelu": partial(F.gelu, approximate="tanh"),
    "gated-silu": F.silu,
}


class Encoded(NamedTuple):
    """last_hidden_state: (B, L, d_model), under the name that transformers gives it."""

    last_hidden_state: torch.Tensor


class T5Norm(nn.Module):
    """Root mean square norm, in float32 (Zhang & Sennrich 2019): (..., D) -> (..., D)."""

    def __init__(self, config: T5Shape):
        super().__init__()
        self.weight = nn.Parameter(torch.full((config.d_model,), float(config.initializer_factor)))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * (x * scale).to(self.weight.dtype)


class T5Attention(nn.Module):
    """Self-attention whose scores are not scaled; the first layer's holds the position bias of all."""

    def __init__(self, config: T5Shape, has_bias: bool):
        super().__init__()
        self.config, inner = config, config.num_heads * config.d_kv
        self.q, self.k, self.v = (_linear(config.d_model, inner, config) for _ in range(3))
        self.o = _linear(inner, config.d_model, config)
        _start(self.q, (config.d_model * config.d_kv) ** -0.5, config)
        if has_bias:
            buckets = config.relative_attention_num_buckets
            self.relative_attention_bias = _embedding(buckets, config.num_heads, config.d_model**-0.5, config)

    def position_bias(self, length: int):
        """(1, heads, length, length): what each head adds to a score for how far the two tokens are apart."""
        table = self.relative_attention_bias
        return rearrange(table(_buckets(length, self.config).to(table.weight.device)), "q k h -> 1 h q k")

    def forward(self, x, bias):
        q, k, v = (rearrange(each(x), "b l (h d) -> b h l d", d=self.config.d_kv) for each in (self.q, self.k, self.v))
        dropout = self.config.dropout_rate if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=1.0)
        return self.o(rearrange(out, "b h l d -> b l (h d)"))


class SelfAttention(nn.Module):
    """x plus the attention over its norm."""

    def __init__(self, config: T5Shape, has_bias: bool):
        super().__init__()
        self.SelfAttention = T5Attention(config, has_bias)
        self.layer_norm = T5Norm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x, bias):
        return x + self.dropout(self.SelfAttention(self.layer_norm(x), bias))


class Dense(nn.Module):
    """Two linear layers; v1.1 multiplies the first by a second of its kind (a gate)."""

    def __init__(self, config: T5Shape):
        super().__init__()
        self.gated = config.feed_forward_proj.startswith("gated-")
        if self.gated:
            self.wi_0 = _linear(config.d_model, config.d_ff, config)
            self.wi_1 = _linear(config.d_model, config.d_ff, config)
        else:
            self.wi = _linear(config.d_model, config.d_ff, config)
        self.wo = _linear(config.d_ff, config.d_model, config)
        self.act = ACTIVATIONS[config.feed_forward_proj]
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x):
        x = self.act(self.wi_0(x)) * self.wi_1(x) if self.gated else self.act(self.wi(x))
        return self.wo(self.dropout(x))


class FeedForward(nn.Module):
    """x plus the two dense layers over its norm."""

    def __init__(self, config: T5Shape):
        super().__init__()
        self.DenseReluDense = Dense(config)
        self.layer_norm = T5Norm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x):
        return x + self.dropout(self.DenseReluDense(self.layer_norm(x)))


class Block(nn.Module):
    def __init__(self, config: T5Shape, has_bias: bool):
        super().__init__()
        self.layer = nn.ModuleList([SelfAttention(config, has_bias), FeedForward(config)])

    def forward(self, x, bias):
        return self.layer[1](self.layer[0](x, bias))


class Stack(nn.Module):
    """The blocks, between embedding and last norm."""

    def __init__(self, config: T5Shape, embedding: nn.Embedding):
        super().__init__()
        self.embed_tokens = embedding
        self.block = nn.ModuleList([Block(config, has_bias=index == 0) for index in range(config.num_layers)])
        self.final_layer_norm = T5Norm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, ids, mask):
        x = self.dropout(self.embed_tokens(ids))
        bias = self.block[0].layer[0].SelfAttention.position_bias(ids.shape[1]).to(x.dtype)
        bias = bias.masked_fill((mask == 0)[:, None, None], torch.finfo(x.dtype).min)  # (B, heads, L, L)
        for block in self.block:
            x = block(x, bias)
        return self.dropout(self.final_layer_norm(x))


class T5Encoder(nn.Module):
    """config: its shape, from which it starts with random weights. Tokens that the mask leaves out are not heard."""

    def __init__(self, config: T5Shape):
        super().__init__()
        self.config = config
        self.shared = _embedding(config.vocab_size, config.d_model, 1.0, config)
        self.encoder = Stack(config, self.shared)  # one embedding under two names

    def forward(self, input_ids, attention_mask=None) -> Encoded:
        """input_ids, and a mask of 1 for words and 0 for padding: both (B, L)."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return Encoded(self.encoder(input_ids, mask))


def _buckets(length: int, config: T5Shape) -> torch.Tensor:
    """(length, length): which bias a query (row) has for a key (column). Half of the buckets are for keys behind it;
    of each half, one half are single distances, the other grow with the logarithm.
    """
    place = torch.arange(length, device="cpu")
    distance = place[None] - place[:, None]
    half = config.relative_attention_num_buckets // 2
    exact = half // 2
    far = torch.log(distance.abs().float() / exact) / math.log(config.relative_attention_max_distance / exact)
    far = (exact + (far * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(distance.abs() < exact, distance.abs(), far) + half * (distance > 0)


def _linear(inputs: int, outputs: int, config: T5Shape) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    _start(layer, inputs**-0.5, config)
    return layer


def _embedding(count: int, width: int, deviation: float, config: T5Shape) -> nn.Embedding:
    layer = nn.Embedding(count, width, _weight=torch.empty(count, width))
    _start(layer, deviation, config)
    return layer


@torch.no_grad()
def _start(layer: nn.Linear | nn.Embedding, deviation: float, config: T5Shape) -> None:
    if not layer.weight.is_meta:  # where drawing nothing imports torch's compiler, for seconds
        layer.weight.normal_(0.0, config.initializer_factor * deviation)
