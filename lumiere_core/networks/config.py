"""Network configuration as data: one frozen dataclass per concept, one entry per U-Net level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..runtime.records import Choice, Range, Record
from .operations import ACTIVATIONS

# More than any network has; so that what a file says of itself cannot fill the memory, or take an hour to build.
MOST_LEVELS = 8
Width = Annotated[int, Range(1, 2**16)]
Count = Annotated[int, Range(1, 32)]
Factor = Annotated[float, Range(1e-3, 1e3)]
Activation = Annotated[str, Choice(tuple(ACTIVATIONS))]

CROSS_NORM_GROUPS = 32  # of the norm over the text inside the U-Net; fixed in DeepFloyd IF


@dataclass(frozen=True)
class LevelConfig(Record):
    """One resolution of the U-Net, finest first.

    channels: width. layers: residual units on the way down (one more on the way up).
    attention: whether each unit ends in attention over the frame's pixels and the text.
    """

    channels: Width
    layers: Count = 1
    attention: bool = False


@dataclass(frozen=True)
class TemporalLevelConfig(Record):
    """What inflation adds at one level.

    kind: "conv" (every level but the coarsest) or "attention" (the coarsest), Sec. 3.1 of the paper.
    halve: halve the frame count together with the spatial resize that leaves this level downwards.
    """

    kind: str = "conv"
    halve: bool = False


@dataclass(frozen=True)
class TemporalConfig(Record):
    """The temporal half. One entry per U-Net level, finest first.

    attention_blocks (L in the paper) and attention_head_dim are unpublished: our choice.
    embedding_dim: width of the vector by which temporal blocks hear timestep and text (our choice: unpublished).
    position: attention inflation also hears where in the clip and in the frame each of its tokens lies (our choice:
    unpublished). Rotary positions are relative: without it nothing but the padding tells the clip's start from its end,
    and words such as "moving left" or "growing" hardly steer the first, noisiest steps.
    """

    levels: tuple[TemporalLevelConfig, ...]
    attention_blocks: Count = 1
    attention_head_dim: Width = 32
    embedding_dim: Width = 128
    position: bool = False

    @property
    def factor(self) -> int:
        """Total temporal compression N: the coarsest level holds ceil(T / N) frames."""
        return 2 ** sum(level.halve for level in self.levels)


@dataclass(frozen=True)
class UNetConfig(Record):
    """A DeepFloyd-IF-style U-Net; `temporal=None` is the text-to-image (or image SSR) net itself.

    Names follow the idea, the tensors follow diffusers' UNet2DConditionModel.
    text_dim: width of the text encoder (diffusers: encoder_hid_dim).
    patch: side of the squares of pixels that become one place with patch^2 times the channels before conv_in, and
        pixels again after conv_out ("simple diffusion", Hoogeboom et al. 2023, sec. 3.2); 1 in DeepFloyd IF.
    cross_attention_dim: width of the text inside the U-Net; None = the coarsest level's channels.
    noise_level_embedding: an integer noise-augmentation level is added to the time embedding (IF stage II).
    """

    levels: tuple[LevelConfig, ...]
    in_channels: Width = 3
    out_channels: Width = 3
    text_dim: Width = 64
    cross_attention_dim: Width | None = None
    attention_head_dim: Width = 32
    pooled_text_heads: Width = 4
    norm_groups: Width = 8
    time_embedding_dim: Width | None = None
    time_embedding_act: Activation | None = None
    skip_time_act: bool = False
    resnet_scale_factor: Factor = 1.0
    mid_scale_factor: Factor = 1.0
    noise_level_embedding: bool = False
    activation: Activation = "gelu"
    patch: Annotated[int, Range(1, 64)] = 1
    temporal: TemporalConfig | None = None

    def __post_init__(self):
        super().__post_init__()
        _check(self)

    @property
    def context_dim(self) -> int:
        return self.cross_attention_dim or self.levels[-1].channels

    @property
    def embedding_dim(self) -> int:
        return self.time_embedding_dim or 4 * self.levels[0].channels

    @property
    def spatial_factor(self) -> int:
        """Height and width are padded to a multiple of this."""
        return self.patch * 2 ** (len(self.levels) - 1)

    @property
    def least_tensors(self) -> int:
        """No network of this config has fewer: a bound that costs nothing. A block of any sort has eight or more."""
        units = [2 * level.layers + 1 for level in self.levels]
        temporal = self.temporal
        if temporal is None:
            return 8 * sum(units)
        inflated = [1 + temporal.attention_blocks * (level.kind == "attention") for level in temporal.levels]
        return 8 * sum(count * each for count, each in zip(units, inflated, strict=True))


def _check(config: UNetConfig) -> None:
    if not 1 <= len(config.levels) <= MOST_LEVELS:
        got = len(config.levels) or "none"
        raise ValueError(f"UNetConfig: at least one level is needed, and at most {MOST_LEVELS}; got {got}.")
    if config.levels[0].channels % 2:
        raise ValueError(f"UNetConfig: channels of level 0 must be even; got {config.levels[0].channels}.")
    for index, level in enumerate(config.levels):
        if level.channels % config.norm_groups:
            raise ValueError(
                f"UNetConfig: channels of level {index} must be a multiple of norm_groups={config.norm_groups}; "
                f"got {level.channels}."
            )
        attention = level.attention or index == len(config.levels) - 1  # the middle block always has it
        if attention and level.channels % config.attention_head_dim:
            raise ValueError(
                f"UNetConfig: channels of level {index} must be a multiple of "
                f"attention_head_dim={config.attention_head_dim}; got {level.channels}."
            )
    if config.context_dim % CROSS_NORM_GROUPS:
        raise ValueError(
            f"UNetConfig: cross_attention_dim must be a multiple of {CROSS_NORM_GROUPS}; got {config.context_dim}."
        )
    if config.text_dim % config.pooled_text_heads:
        raise ValueError(
            f"UNetConfig: text_dim must be a multiple of pooled_text_heads={config.pooled_text_heads}; "
            f"got {config.text_dim}."
        )
    if config.temporal is not None:
        _check_temporal(config.temporal, config)


def _check_temporal(temporal: TemporalConfig, config: UNetConfig) -> None:
    if len(temporal.levels) != len(config.levels):
        raise ValueError(
            f"TemporalConfig: one entry per U-Net level is needed, {len(config.levels)}; got {len(temporal.levels)}."
        )
    if temporal.levels[-1].halve:
        raise ValueError("TemporalConfig: the coarsest level has no spatial resize to follow; set its halve to False.")
    for index, level in enumerate(temporal.levels):
        if level.kind not in ("conv", "attention"):
            raise ValueError(f"TemporalConfig: kind of level {index} must be conv or attention; got {level.kind!r}.")
        channels = config.levels[index].channels
        if level.kind == "attention" and channels % temporal.attention_head_dim:
            raise ValueError(
                f"TemporalConfig: channels of level {index} must be a multiple of "
                f"attention_head_dim={temporal.attention_head_dim}; got {channels}."
            )
    if temporal.attention_head_dim % 2:
        raise ValueError(
            f"TemporalConfig: attention_head_dim must be even, for rotary positions; got {temporal.attention_head_dim}."
        )
