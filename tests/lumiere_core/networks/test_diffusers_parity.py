"""The spatial half against diffusers' DeepFloyd IF networks: the same tensor names, the same numbers."""

import dataclasses

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_if import STAGE_ONE, STAGE_TWO, STAGE_TWO_PUBLISHED, TWO_ATTENTION_LEVELS
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lumiere_video.lumiere_core.networks import LevelConfig, STUNet, UNetConfig
from lumiere_video.lumiere_core.networks.inference import IF_STAGE_TWO_SCALE, infer_config

OUR_STAGE_ONE = UNetConfig(
    levels=(LevelConfig(32, 1), LevelConfig(64, 1, attention=True)),
    in_channels=3,
    out_channels=6,
    text_dim=32,
    cross_attention_dim=32,
    attention_head_dim=8,
    pooled_text_heads=2,
    norm_groups=32,
    time_embedding_dim=128,
)
OUR_TWO_ATTENTION_LEVELS = dataclasses.replace(
    OUR_STAGE_ONE, levels=(LevelConfig(32, 2), LevelConfig(32, 2, attention=True), LevelConfig(64, 2, attention=True))
)
OUR_STAGE_TWO = dataclasses.replace(
    OUR_STAGE_ONE,
    levels=(LevelConfig(32, 1), LevelConfig(64, 2, attention=True)),
    in_channels=6,
    time_embedding_dim=32,
    time_embedding_act="gelu",
    mid_scale_factor=1.414,
    noise_level_embedding=True,
)
OUR_STAGE_TWO_PUBLISHED = dataclasses.replace(
    OUR_STAGE_TWO,
    mid_scale_factor=IF_STAGE_TWO_SCALE,
    resnet_scale_factor=IF_STAGE_TWO_SCALE,
    skip_time_act=True,
)

PAIRS = {
    "stage I": (STAGE_ONE, OUR_STAGE_ONE),
    "stage I, two attention levels": (TWO_ATTENTION_LEVELS, OUR_TWO_ATTENTION_LEVELS),
    "stage II": (STAGE_TWO, OUR_STAGE_TWO),
    "stage II as published": (STAGE_TWO_PUBLISHED, OUR_STAGE_TWO_PUBLISHED),
}


@pytest.fixture(params=PAIRS.values(), ids=PAIRS.keys())
def pair(request):
    """(diffusers' net with every parameter random, ours with a copy of its state dict)."""
    fields, config = request.param
    torch.manual_seed(0)
    theirs = UNet2DConditionModel(**fields).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # a norm whose scale is 1 would hide a misplaced tensor
            parameter.add_(0.05 * torch.randn_like(parameter))
    ours = STUNet(config).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def inputs(config: UNetConfig, frames: int = 3):
    """Video (1, C, T, 16, 16), timestep, text (1, 5, D) and the keywords that a super-resolution net needs."""
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(1, config.in_channels, frames, 16, 16, generator=generator)
    text = torch.randn(1, 5, config.text_dim, generator=generator)
    extra = {"noise_level": torch.tensor([250])} if config.noise_level_embedding else {}
    return video, torch.tensor([321]), text, extra


@torch.no_grad()
def test_same_output_as_diffusers_from_the_same_tensors(pair):
    theirs, ours = pair
    video, timestep, text, extra = inputs(ours.config)
    expected = theirs(
        video[0].transpose(0, 1),
        timestep.expand(3),
        text.expand(3, -1, -1),
        class_labels=extra["noise_level"].expand(3) if extra else None,
    ).sample
    result = ours(video, timestep, text, **extra)[0].transpose(0, 1)
    assert expected.std() > 0.1
    assert (result - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("patch", [2, 4])
@pytest.mark.parametrize(("fields", "config"), [PAIRS["stage I"], PAIRS["stage II as published"]])
@torch.no_grad()
def test_with_patches_diffusers_sees_the_folded_picture(fields, config, patch):
    """Space to depth, diffusers' net with patch^2 times the channels at both ends, depth to space."""
    torch.manual_seed(0)
    channels = {name: fields[name] * patch**2 for name in ("in_channels", "out_channels")}
    theirs = UNet2DConditionModel(**(fields | channels)).eval()
    ours = STUNet(dataclasses.replace(config, patch=patch)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    video, timestep, text, extra = inputs(ours.config)
    expected = theirs(
        pixel_unshuffle(video[0].transpose(0, 1), patch),
        timestep.expand(3),
        text.expand(3, -1, -1),
        class_labels=extra["noise_level"].expand(3) if extra else None,
    ).sample
    result = ours(video, timestep, text, **extra)[0].transpose(0, 1)
    assert (result - pixel_shuffle(expected, patch)).abs().max() <= 1e-4


@torch.no_grad()
def test_a_still_net_treats_every_frame_as_an_image(pair):
    """A clip through the text-to-image net is the plain net on each frame; in float64 that is exact to rounding."""
    ours = pair[1].double()
    video, timestep, text, extra = inputs(ours.config)
    video, text = video.double(), text.double()
    whole = ours(video, timestep, text, **extra)
    frames = [ours(video[:, :, i : i + 1], timestep, text, **extra) for i in range(video.shape[2])]
    torch.testing.assert_close(whole, torch.cat(frames, dim=2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [config for _, config in PAIRS.values()], ids=PAIRS.keys())
def test_config_is_inferred_from_shapes(config):
    """All that a shape tells, at widths which the published heads divide; the rest is as in the published models."""
    levels = tuple(dataclasses.replace(level, channels=2 * level.channels) for level in config.levels)
    config = dataclasses.replace(config, levels=levels, text_dim=64)
    shapes = {name: tuple(tensor.shape) for name, tensor in STUNet(config, device="meta").state_dict().items()}
    stage_two = config.noise_level_embedding
    untold = {
        "attention_head_dim": 64,
        "pooled_text_heads": 64,
        "norm_groups": 32,
        "resnet_scale_factor": IF_STAGE_TWO_SCALE if stage_two else 1.0,
        "mid_scale_factor": IF_STAGE_TWO_SCALE if stage_two else 1.0,
        "skip_time_act": stage_two,
    }
    assert infer_config(shapes) == dataclasses.replace(config, **untold)


def test_config_of_something_else_is_refused():
    with pytest.raises(ValueError, match="conv_in.weight is missing"):
        infer_config({"weight": (3, 3)})
    shapes = {name: tuple(tensor.shape) for name, tensor in STUNet(OUR_STAGE_ONE).state_dict().items()}
    with pytest.raises(ValueError, match="temporal tensors"):
        infer_config(shapes | {"temporal.mid_block.units.0.out.weight": (8, 8)})


def test_a_super_resolution_net_asks_for_its_noise_level():
    video, timestep, text, _ = inputs(OUR_STAGE_TWO)
    with pytest.raises(ValueError, match="noise_level"):
        STUNet(OUR_STAGE_TWO)(video, timestep, text)


@torch.no_grad()
def test_the_noise_level_is_heard():
    torch.manual_seed(0)
    network = STUNet(OUR_STAGE_TWO).eval()
    video, timestep, text, _ = inputs(OUR_STAGE_TWO)
    quiet, loud = (network(video, timestep, text, noise_level=torch.tensor([level])) for level in (0, 900))
    assert (quiet - loud).abs().max() > 1e-3


def test_our_names_are_plain_torch_modules():
    """No buffers and no tied tensors: a state dict is the whole network, each tensor once."""
    network = STUNet(OUR_STAGE_TWO)
    assert not list(network.buffers())
    pointers = [parameter.data_ptr() for parameter in network.parameters()]
    assert len(set(pointers)) == len(pointers) == len(network.state_dict())
    assert all(isinstance(parameter, nn.Parameter) for parameter in network.parameters())
