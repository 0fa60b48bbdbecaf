"""Config from tensor shapes, so that DeepFloyd IF U-Net files load without options (as in sd3-ref)."""

from __future__ import annotations

from .config import LevelConfig, UNetConfig

IF_HEAD_DIM = 64
IF_POOLED_TEXT_HEADS = 64
IF_NORM_GROUPS = 32
# Whose shapes are read.
MATRICES = ("conv_in.weight", "conv_out.weight", "conv1.weight", "hid_proj.weight", "linear_1.weight")
# sqrt(2) as DeepFloyd's stage II writes it.
IF_STAGE_TWO_SCALE = 1.4142271248762552


def infer_config(shapes: dict[str, tuple[int, ...]]) -> UNetConfig:
    """The UNetConfig of a DeepFloyd IF U-Net (diffusers tensor names) from its tensors' shapes.

    What no shape tells (head width 64, 32 norm groups, stage II's scale factors) is taken from the published models.
    """
    required = ("conv_in.weight", "conv_out.weight", "encoder_hid_proj.weight", "time_embedding.linear_1.weight")
    for name in required:
        if name not in shapes:
            raise ValueError(f"tensor {name} is missing.")
    for name, shape in shapes.items():
        if name.endswith(MATRICES) and len(shape) < 2:
            raise ValueError(f"tensor {name} must have two dimensions or more; got shape {shape}.")
    if any(name.startswith("temporal.") for name in shapes):
        raise ValueError("it has temporal tensors but no metadata to say how they are used.")
    levels, index = [], 0
    while f"down_blocks.{index}.resnets.0.conv1.weight" in shapes:
        prefix = f"down_blocks.{index}."
        layers = 0
        while f"{prefix}resnets.{layers}.conv1.weight" in shapes:
            layers += 1
        channels = shapes[f"{prefix}resnets.0.conv1.weight"][0]
        levels.append(LevelConfig(channels, layers, f"{prefix}attentions.0.to_q.weight" in shapes))
        index += 1
    stage_two = "class_embedding.linear_1.weight" in shapes
    return UNetConfig(
        levels=tuple(levels),
        in_channels=shapes["conv_in.weight"][1],
        out_channels=shapes["conv_out.weight"][0],
        text_dim=shapes["encoder_hid_proj.weight"][1],
        cross_attention_dim=shapes["encoder_hid_proj.weight"][0],
        attention_head_dim=IF_HEAD_DIM,
        pooled_text_heads=IF_POOLED_TEXT_HEADS,
        norm_groups=IF_NORM_GROUPS,
        time_embedding_dim=shapes["time_embedding.linear_1.weight"][0],
        time_embedding_act="gelu" if stage_two else None,
        skip_time_act=stage_two,
        resnet_scale_factor=IF_STAGE_TWO_SCALE if stage_two else 1.0,
        mid_scale_factor=IF_STAGE_TWO_SCALE if stage_two else 1.0,
        noise_level_embedding=stage_two,
    )
