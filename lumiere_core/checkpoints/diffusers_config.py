"""DeepFloyd IF's config.json and scheduler_config.json, as diffusers writes them, to ours and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..diffusion.options import SamplingOptions
from ..diffusion.schedule import BETAS, NoiseSchedule
from ..networks import LevelConfig, UNetConfig
from ..networks.operations import ACTIVATIONS
from ..runtime.records import shown

UNET_CLASS = "UNet2DConditionModel"
SUPPORTED = (
    "only pixel-space U-Nets as DeepFloyd IF's, stages I and II, and still networks of this pack can be inflated"
)
DOWN = {False: "ResnetDownsampleBlock2D", True: "SimpleCrossAttnDownBlock2D"}
UP = {False: "ResnetUpsampleBlock2D", True: "SimpleCrossAttnUpBlock2D"}
# What makes a U-Net one of DeepFloyd's kind, and what diffusers takes where the file does not say.
KIND = {
    "encoder_hid_dim_type": ("text_proj", "text_proj"),
    "addition_embed_type": ("text", None),
    "cross_attention_norm": ("group_norm", None),
    "mid_block_type": ("UNetMidBlock2DSimpleCrossAttn", "UNetMidBlock2DCrossAttn"),
    "resnet_time_scale_shift": ("scale_shift", "default"),
    "time_embedding_type": ("positional", "positional"),
    "center_input_sample": (False, False),
    "flip_sin_to_cos": (True, True),
    "freq_shift": (0, 0),
    "norm_eps": (1e-5, 1e-5),
    "conv_in_kernel": (3, 3),
    "conv_out_kernel": (3, 3),
    "downsample_padding": (1, 1),
    "only_cross_attention": (False, False),
    "mid_block_only_cross_attention": (None, None),
    "class_embeddings_concat": (False, False),
    "num_class_embeds": (None, None),
    "projection_class_embeddings_input_dim": (None, None),
    "time_cond_proj_dim": (None, None),
    "timestep_post_act": (None, None),
    "num_attention_heads": (None, None),
}
# Of which we have the same figures: beta_start and beta_end.
BETA_ENDS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}
VARIANCES = {"learned_range": "learned_range", "fixed_small": "fixed_small", "fixed_small_log": "fixed_small"}
SPACINGS = {"leading": "leading", "trailing": "simple", "linspace": "normal"}
# What DeepFloyd publishes of its schedulers, for a U-Net that comes without one.
IF_SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "variance_type": "learned_range",
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.95,
}


def unet_config(fields: Mapping[str, Any]) -> UNetConfig:
    """The network of a diffusers config. Raises ValueError, saying what it is, for another than DeepFloyd IF's kind."""
    for name, (wanted, default) in KIND.items():
        given = fields.get(name, default)
        if given != wanted and not (name == "encoder_hid_dim_type" and given is None and fields.get("encoder_hid_dim")):
            raise ValueError(
                f"this is {what_it_is(fields)}; {SUPPORTED} ({name} must be {wanted}; got {shown(given)})."
            )
    if fields.get("class_embed_type") not in (None, "timestep"):
        raise ValueError(f"class_embed_type must be null or timestep; got {shown(fields['class_embed_type'])}.")
    levels = _levels(fields)
    act, class_embed = fields.get("time_embedding_act_fn"), fields.get("class_embed_type")
    return UNetConfig(
        levels=levels,
        in_channels=_said(fields, "in_channels"),
        out_channels=_said(fields, "out_channels"),
        text_dim=_said(fields, "encoder_hid_dim"),
        cross_attention_dim=_one(fields, "cross_attention_dim"),
        attention_head_dim=_one(fields, "attention_head_dim"),
        pooled_text_heads=fields.get("addition_embed_type_num_heads", 64),
        norm_groups=fields.get("norm_num_groups", 32),
        time_embedding_dim=fields.get("time_embedding_dim"),
        time_embedding_act=act and _activation(act),
        skip_time_act=fields.get("resnet_skip_time_act", False),
        resnet_scale_factor=fields.get("resnet_out_scale_factor", 1.0),
        mid_scale_factor=fields.get("mid_block_scale_factor", 1.0),
        noise_level_embedding=class_embed == "timestep",
        activation=_activation(fields.get("act_fn", "silu")),
    )


def diffusers_fields(config: UNetConfig, size: int) -> dict[str, Any]:
    """The inverse: config.json of the spatial half. Raises ValueError for a network that diffusers has none like."""
    if config.patch != 1:
        raise ValueError(
            f"diffusers has no U-Net that folds pixels into patches; this network's patch is {config.patch}."
        )
    attention = [level.attention for level in config.levels]
    return {
        "_class_name": UNET_CLASS,
        **{name: wanted for name, (wanted, _) in KIND.items()},
        "sample_size": size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": [level.channels for level in config.levels],
        "layers_per_block": [level.layers for level in config.levels],
        "down_block_types": [DOWN[each] for each in attention],
        "up_block_types": [UP[each] for each in reversed(attention)],
        "encoder_hid_dim": config.text_dim,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.attention_head_dim,
        "addition_embed_type_num_heads": config.pooled_text_heads,
        "norm_num_groups": config.norm_groups,
        "class_embed_type": "timestep" if config.noise_level_embedding else None,
        "time_embedding_dim": config.time_embedding_dim,
        "time_embedding_act_fn": config.time_embedding_act,
        "resnet_skip_time_act": config.skip_time_act,
        "resnet_out_scale_factor": config.resnet_scale_factor,
        "mid_block_scale_factor": config.mid_scale_factor,
        "act_fn": config.activation,
    }


def presets(scheduler: Mapping[str, Any] | None, stage_two: bool) -> dict[str, Any]:
    """How DeepFloyd samples such a network, as fields of CheckpointInfo.

    scheduler: its scheduler_config.json; None takes the published one. Raises ValueError for what we do not have.
    """
    fields = IF_SCHEDULER | {"sample_max_value": 1.0 if stage_two else 1.5} if scheduler is None else scheduler
    spacing = _named(fields, "timestep_spacing", SPACINGS, "leading")
    figures = {"steps": 50, "guidance": 4.0, "noise_level": 250, "window": 15, "overlap": 2} if stage_two else {}
    return {
        "schedule": _schedule(fields),
        "prediction": _named(fields, "prediction_type", PREDICTIONS, "epsilon"),
        "variance": _named(fields, "variance_type", VARIANCES, "fixed_small"),
        "thresholding": _thresholding(fields),
        "sampling": SamplingOptions(
            **{"steps": 100, "guidance": 7.0, **figures, "sampler": "ddpm", "scheduler": spacing}
        ),
    }


def what_it_is(fields: Mapping[str, Any]) -> str:
    """In a few words, for those who gave the wrong thing."""
    name = fields.get("_class_name") or next(iter(fields.get("architectures") or ()), None)
    if name != UNET_CLASS:
        return f"the config of a {shown(name)[1:-1]}" if name else "a config that does not name its network"
    if fields.get("addition_embed_type") == "text_time":
        return "a Stable Diffusion XL U-Net, which works on latents"
    if fields.get("in_channels") not in (3, 6) and "CrossAttnDownBlock2D" in (fields.get("down_block_types") or ()):
        return "a Stable Diffusion U-Net, which works on latents"
    return f"a {UNET_CLASS} of another kind"


def _levels(fields: Mapping[str, Any]) -> tuple[LevelConfig, ...]:
    channels, down, up = (_list(fields, name) for name in ("block_out_channels", "down_block_types", "up_block_types"))
    layers = fields.get("layers_per_block", 2)
    layers = [layers] * len(channels) if isinstance(layers, int) else _list(fields, "layers_per_block")
    attention = [block == DOWN[True] for block in down]
    if list(down) != [DOWN[each] for each in attention] or list(up) != [UP[each] for each in reversed(attention)]:
        raise ValueError(
            f"this is {what_it_is(fields)}; {SUPPORTED} (its blocks must be {', '.join(DOWN.values())}, and their like "
            f"on the way up; got {', '.join(map(str, (*down, *up)))})."
        )
    if not len(channels) == len(layers) == len(down):
        raise ValueError(
            "block_out_channels, layers_per_block and down_block_types must have an entry for each level; got "
            f"{len(channels)}, {len(layers)} and {len(down)}."
        )
    return tuple(LevelConfig(*level) for level in zip(channels, layers, attention, strict=True))


def _list(fields: Mapping[str, Any], name: str) -> Sequence:
    value = fields.get(name)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{name} must be a list with an entry for each level; got {shown(value)}.")
    return value


def _one(fields: Mapping[str, Any], name: str):
    """A value that all levels share, written once or for each."""
    value = _said(fields, name)
    each = value if isinstance(value, list | tuple) else [value]
    if not each or any(other != each[0] for other in each):
        raise ValueError(f"{name} must be the same at all levels; got {shown(value)}.")
    return each[0]


def _said(fields: Mapping[str, Any], name: str):
    if fields.get(name) is None:
        raise ValueError(f"it lacks the field {name}; a config.json that diffusers saved has it.")
    return fields[name]


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"activations must be one of {', '.join(ACTIVATIONS)}; got {shown(name)}.")
    return name


def _schedule(fields: Mapping[str, Any]) -> NoiseSchedule:
    name = _named(fields, "beta_schedule", {name: name for name in BETAS}, "linear")
    ends = BETA_ENDS.get(name)
    given = fields.get("beta_start", 1e-4), fields.get("beta_end", 0.02)
    if fields.get("trained_betas") or fields.get("rescale_betas_zero_snr") or (ends and given != ends):
        raise ValueError("its betas must be those that its beta_schedule usually has; got others.")
    return NoiseSchedule(name, fields.get("num_train_timesteps", 1000))


def _thresholding(fields: Mapping[str, Any]) -> dict[str, float] | None:
    """Clipping is thresholding with a maximum of 1."""
    if fields.get("thresholding", False):
        return {
            "percentile": fields.get("dynamic_thresholding_ratio", 0.995),
            "maximum": fields.get("sample_max_value", 1.0),
        }
    clips = fields.get("clip_sample", True) and fields.get("clip_sample_range", 1.0) == 1.0
    return {"percentile": 0.95, "maximum": 1.0} if clips else None


def _named(fields: Mapping[str, Any], name: str, ours: Mapping[str, str], default: str) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or value not in ours:
        raise ValueError(f"{name} must be one of {', '.join(ours)}; got {shown(value)}.")
    return ours[value]
