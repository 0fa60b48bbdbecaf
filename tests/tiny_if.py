"""DeepFloyd IF's two networks in small, as diffusers configures, builds and saves them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from lumiere_video.lumiere_core.networks.inference import IF_STAGE_TWO_SCALE

STAGE_ONE = {
    "sample_size": 32,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "in_channels": 3,
    "out_channels": 6,
    "cross_attention_dim": 32,
    "encoder_hid_dim": 32,
    "encoder_hid_dim_type": "text_proj",
    "attention_head_dim": 8,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "cross_attention_norm": "group_norm",
    "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu",
}
TWO_ATTENTION_LEVELS = STAGE_ONE | {
    "block_out_channels": (32, 32, 64),
    "layers_per_block": 2,
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
STAGE_TWO = STAGE_ONE | {
    "layers_per_block": [1, 2],
    "in_channels": 6,
    "class_embed_type": "timestep",
    "mid_block_scale_factor": 1.414,
    "time_embedding_act_fn": "gelu",
    "time_embedding_dim": 32,
}
# What the published II-L adds to the fixture above.
STAGE_TWO_PUBLISHED = STAGE_TWO | {
    "mid_block_scale_factor": IF_STAGE_TWO_SCALE,
    "resnet_out_scale_factor": IF_STAGE_TWO_SCALE,
    "resnet_skip_time_act": True,
}

# scheduler_config.json of both published stages; sample_max_value is 1.0 in the second.
SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "variance_type": "learned_range",
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.95,
    "sample_max_value": 1.5,
}


def random_unet(fields: dict, seed: int = 0) -> UNet2DConditionModel:
    """Every parameter random: a norm whose scale is 1 would hide a misplaced tensor."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**fields).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return unet


def scheduler(stage_two: bool = False) -> DDPMScheduler:
    return DDPMScheduler(**(SCHEDULER | {"sample_max_value": 1.0 if stage_two else 1.5}))


def save_pipeline(folder: Path, unet: UNet2DConditionModel, **options) -> Path:
    """A pipeline's folder as far as inflating reads it. options: of `save_pretrained`."""
    unet.save_pretrained(folder / "unet", **options)
    scheduler(unet.config.in_channels == 6).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "IFPipeline"}')
    return folder
