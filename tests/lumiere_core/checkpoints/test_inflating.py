"""Inflating DeepFloyd IF's U-Nets from files: the same output at one frame, the published sizes, and the way back."""

import dataclasses
import json
import weakref

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_if import STAGE_ONE, STAGE_TWO, STAGE_TWO_PUBLISHED, random_unet, save_pipeline

from lumiere_video.lumiere_core.checkpoints import streaming
from lumiere_video.lumiere_core.checkpoints.diffusers_config import diffusers_fields, unet_config
from lumiere_video.lumiere_core.checkpoints.exporting import export_unet
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, load_info, load_stunet, save_checkpoint
from lumiere_video.lumiere_core.checkpoints.inflating import (
    Inflation,
    open_still,
    plan_inflation,
    temporal_config,
    write_inflated,
)
from lumiere_video.lumiere_core.checkpoints.summary import describe_checkpoint
from lumiere_video.lumiere_core.networks import STUNet, freeze_spatial, temporal_parameters
from lumiere_video.lumiere_core.networks.inflation import TEMPORAL_PREFIX

STAGES = {"stage I": STAGE_ONE, "stage II": STAGE_TWO, "stage II as published": STAGE_TWO_PUBLISHED}
every_stage = pytest.mark.parametrize("fields", STAGES.values(), ids=STAGES.keys())

# What the published config.json files add to the fixtures' fields, and how many parameters the networks have.
PUBLISHED = {"attention_head_dim": 64, "addition_embed_type_num_heads": 64, "encoder_hid_dim": 4096}
DOWN = ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D")
UP = ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D")
THREE_WITH_TEXT = {"down_block_types": [DOWN[0]] + 3 * [DOWN[1]], "up_block_types": 3 * [UP[1]] + [UP[0]]}


def stage_one(*widths):
    fields = {"block_out_channels": widths, "cross_attention_dim": widths[-1], "layers_per_block": 3}
    return STAGE_ONE | PUBLISHED | THREE_WITH_TEXT | fields


LARGE = {
    "IF-I-M": (stage_one(192, 384, 576, 768), 371_605_830, 512_643_847),
    "IF-I-L": (stage_one(320, 640, 960, 1280), 935_365_830, 1_325_823_239),
    "IF-I-XL": (stage_one(704, 1408, 2112, 2816), 4_304_695_110, 6_189_341_447),
    "IF-II-L": (
        STAGE_TWO_PUBLISHED
        | PUBLISHED
        | {
            "block_out_channels": (160, 320, 640, 960, 1280),
            "cross_attention_dim": 1280,
            "time_embedding_dim": 1280,
            "layers_per_block": [2, 2, 3, 5, 5],
            "down_block_types": 3 * [DOWN[0]] + 2 * [DOWN[1]],
            "up_block_types": 2 * [UP[1]] + 3 * [UP[0]],
        },
        1_243_277_190,
        1_771_959_079,
    ),
}


def inflated(source, output, dtype=None, variant=None, **inflation):
    plan = plan_inflation(open_still(source, variant), Inflation(**inflation), dtype)
    write_inflated(plan, output)
    return plan


@every_stage
@torch.no_grad()
def test_one_frame_is_what_diffusers_makes(fields, tmp_path):
    theirs = random_unet(fields)
    path, stage_two = tmp_path / "out.safetensors", fields["in_channels"] == 6
    inflated(save_pipeline(tmp_path / "IF", theirs), path, halve=1)
    info, ours = load_stunet(path, ("base", "ssr"))
    assert (info.kind, ours.config.temporal.factor) == ("ssr" if stage_two else "base", 2)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, fields["in_channels"], 16, 16, generator=generator)
    text, timestep = torch.randn(2, 5, 32, generator=generator), torch.tensor([321, 700])
    level = torch.tensor([250, 3]) if stage_two else None
    expected = theirs(image, timestep, text, class_labels=level).sample
    result = ours(image[:, :, None], timestep, text, noise_level=level)[:, :, 0]
    assert expected.std() > 0.1
    assert (result - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(("fields", "spatial", "total"), LARGE.values(), ids=LARGE.keys())
def test_published_networks_have_their_published_sizes(fields, spatial, total):
    """On the meta device, still and inflated."""
    config = unet_config(fields)
    video = dataclasses.replace(config, temporal=temporal_config(config, Inflation(), config.in_channels == 6))
    counts = [sum(p.numel() for p in STUNet(each, device="meta").parameters()) for each in (config, video)]
    assert counts == [spatial, total]


def test_what_deepfloyd_samples_with_is_in_the_metadata(tmp_path):
    one, two = (tmp_path / name for name in ("one.safetensors", "two.safetensors"))
    inflated(save_pipeline(tmp_path / "IF-I", random_unet(STAGE_ONE)), one)
    inflated(save_pipeline(tmp_path / "IF-II", random_unet(STAGE_TWO)) / "unet", two)
    said = [load_info(one), load_info(two)]
    assert [info.thresholding for info in said] == [
        {"percentile": 0.95, "maximum": 1.5},
        {"percentile": 0.95, "maximum": 1.0},
    ]
    assert [(info.prediction, info.variance, info.schedule.name, info.text_tokens) for info in said] == [
        ("eps", "learned_range", "squaredcos_cap_v2", 77)
    ] * 2
    sampling = [info.sampling for info in said]
    assert [(each.steps, each.guidance, each.noise_level) for each in sampling] == [(100, 7.0, None), (50, 4.0, 250)]
    assert [(each.sampler, each.scheduler) for each in sampling] == [("ddpm", "leading")] * 2
    assert "text_tokens: 77" in describe_checkpoint(one)


def test_a_scheduler_is_read_and_its_lack_is_no_fault(tmp_path):
    folder = save_pipeline(tmp_path / "IF", random_unet(STAGE_ONE))
    file = folder / "scheduler" / "scheduler_config.json"
    fields = json.loads(file.read_text())
    changes = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "dynamic_thresholding_ratio": 0.9}
    file.write_text(json.dumps(fields | changes))
    info = open_still(folder).info
    assert (info.prediction, info.sampling.scheduler, info.thresholding["percentile"]) == ("v", "simple", 0.9)
    file.unlink()
    assert open_still(folder).info.prediction == "eps"
    file.write_text(json.dumps(fields | {"prediction_type": "sample"}))
    with pytest.raises(ValueError, match="prediction_type must be one of epsilon, v_prediction; got 'sample'"):
        open_still(folder)


def test_shards_and_variants_are_the_same_network(tmp_path):
    unet = random_unet(STAGE_ONE)
    unet.save_pretrained(tmp_path / "whole")
    unet.save_pretrained(tmp_path / "shards", max_shard_size="500KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    unet.half().save_pretrained(tmp_path / "whole", variant="fp16")
    unet.save_pretrained(tmp_path / "half", variant="fp16", max_shard_size="500KB")
    outputs = {name: tmp_path / f"{name}.safetensors" for name in ("whole", "shards", "half", "fp16")}
    for name in ("whole", "shards", "half"):
        inflated(tmp_path / name, outputs[name])
    inflated(tmp_path / "whole", outputs["fp16"], variant="fp16")
    whole, shards, half, fp16 = (load_checkpoint(path)[1] for path in outputs.values())
    assert whole.keys() == shards.keys() and all(torch.equal(whole[name], shards[name]) for name in whole)
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert all(torch.equal(half[name], fp16[name]) for name in half)
    assert all(torch.equal(half[name], whole[name].half()) for name in half)


def test_the_conditional_input_starts_as_the_plain_one(tmp_path):
    path = tmp_path / "out.safetensors"
    unet = random_unet(STAGE_ONE)
    unet.save_pretrained(tmp_path / "unet")
    inflated(tmp_path / "unet", path, conditional=True, dtype=torch.bfloat16)
    info, tensors = load_checkpoint(path)
    weight = tensors["conv_in.weight"]
    assert info.config["in_channels"] == 7 and weight.dtype == torch.bfloat16
    assert torch.equal(weight[:, :3], unet.conv_in.weight.bfloat16()) and not weight[:, 3:].any()


def test_a_still_checkpoint_of_ours_is_inflated(tiny, tmp_path):
    plan = inflated(tiny.t2i, tmp_path / "out.safetensors")
    before, (info, tensors) = load_checkpoint(tiny.t2i)[1], load_checkpoint(tmp_path / "out.safetensors")
    assert (info.kind, info.text_encoder, info.size) == ("base", tiny.text.name, 8)
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    assert sum(tensor.numel() for tensor in tensors.values()) == sum(plan.parameters)
    with pytest.raises(ValueError, match="kind base with temporal layers"):
        open_still(tiny.base)


def test_temporal_layers_start_as_in_memory(tmp_path):
    """Zero, identity or, of random ones, as spread out as torch's own."""
    random_unet(STAGE_ONE).save_pretrained(tmp_path / "unet")
    inflated(tmp_path / "unet", tmp_path / "out.safetensors")
    tensors = load_checkpoint(tmp_path / "out.safetensors")[1]
    resize = tensors["temporal.down_blocks.0.resize.conv.conv.weight"]
    assert torch.equal(resize[:, :, 1, 0], torch.eye(32)) and not resize[:, :, [0, 2]].any()
    ends = [name for name in tensors if name.startswith(TEMPORAL_PREFIX) and name.endswith(".out.weight")]
    assert len(ends) == 7 and not any(tensors[name].any() for name in ends)
    spread = tensors["temporal.down_blocks.0.units.0.conv_space.weight"].std() * (32 * 9) ** 0.5
    assert 0.5 < spread < 0.65  # uniform in +-1 / sqrt(fan in)


def train_temporal_half(network):
    """A few steps of the paper's training."""
    freeze_spatial(network)
    optimizer = torch.optim.AdamW(temporal_parameters(network), lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        clip = torch.randn(1, network.config.in_channels, 3, 8, 8)
        output = network(clip, torch.tensor([500]), torch.randn(1, 4, 32))
        optimizer.zero_grad()
        output[:, :3].square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("conditional", [False, True])
def test_training_leaves_what_goes_back_to_diffusers(conditional, tmp_path):
    theirs, path = random_unet(STAGE_ONE), tmp_path / "out.safetensors"
    theirs.save_pretrained(tmp_path / "unet")
    inflated(tmp_path / "unet", path, conditional=conditional)
    info, network = load_stunet(path, ("base",))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_temporal_half(network)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert len(changed) > 20 and all(name.startswith(TEMPORAL_PREFIX) for name in changed)
    with torch.no_grad():
        network.conv_in.weight[:, 3:] += 1  # the columns of C and M, which a conditional stage trains as well
    save_checkpoint(path, network.state_dict(), info)
    export_unet(path, tmp_path / "back")
    back = UNet2DConditionModel.from_pretrained(tmp_path / "back")
    before = theirs.state_dict()
    assert back.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in back.state_dict().items())
    assert unet_config(back.config) == unet_config(theirs.config)
    assert back.config.sample_size == theirs.config.sample_size


@every_stage
def test_a_config_goes_to_diffusers_and_back(fields):
    config = unet_config(fields)
    assert unet_config(diffusers_fields(config, 64)) == config


def test_only_one_tensor_at_a_time_is_in_memory(tmp_path, monkeypatch):
    random_unet(STAGE_ONE).save_pretrained(tmp_path / "unet")
    plan = plan_inflation(open_still(tmp_path / "unet"), Inflation())
    alive, most, write = weakref.WeakSet(), [], streaming._bytes

    def watched(tensor, dtype):
        alive.add(tensor)
        most.append(len(alive))
        return write(tensor, dtype)

    monkeypatch.setattr(streaming, "_bytes", watched)
    write_inflated(plan, tmp_path / "out.safetensors")
    assert len(most) == len(plan.shapes) and max(most) <= 2


def test_the_caller_s_random_numbers_are_left_alone(tmp_path):
    random_unet(STAGE_ONE).save_pretrained(tmp_path / "unet")
    plan = plan_inflation(open_still(tmp_path / "unet"), Inflation())
    before = torch.get_rng_state()
    write_inflated(plan, tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    write_inflated(plan, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_file_is_what_safetensors_reads(tmp_path):
    tensors = {"b": torch.randn(3, 5), "a": torch.arange(4.0), "c": torch.tensor(2.0)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for dtype in streaming.DTYPE_NAMES:
        streaming.write_stream(tmp_path / "x.safetensors", shapes, dtype, tensors.items(), {"key": "é"})
        read = load_file(tmp_path / "x.safetensors")
        assert all(torch.equal(read[name], tensor.to(dtype)) for name, tensor in tensors.items())
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, tmp_path / "y.safetensors")
    assert streaming.stored_tensors(tmp_path / "x.safetensors")["b"].shape == (3, 5)
