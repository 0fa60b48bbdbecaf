"""The checkpoint format: what goes in comes out, a failed write leaves nothing, a wrong file is named."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lumiere_video.lumiere_core.checkpoints.format import (
    METADATA_KEY,
    CheckpointInfo,
    atomic_path,
    load_checkpoint,
    load_info,
    load_stunet,
    save_checkpoint,
)
from lumiere_video.lumiere_core.diffusion import NoiseSchedule
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.networks import (
    LevelConfig,
    STUNet,
    TemporalConfig,
    TemporalLevelConfig,
    UNetConfig,
    inflate,
)

STILL = UNetConfig(
    levels=(LevelConfig(8), LevelConfig(16, attention=True)),
    text_dim=16,
    cross_attention_dim=32,
    attention_head_dim=8,
    norm_groups=4,
)
TEMPORAL = TemporalConfig((TemporalLevelConfig("conv", True), TemporalLevelConfig("attention")), attention_head_dim=8)
# A metadata-free file: the widths that DeepFloyd IF's heads of 64 divide.
IF_STAGE_ONE = UNetConfig(
    levels=(LevelConfig(64), LevelConfig(64, attention=True)),
    out_channels=6,
    text_dim=64,
    cross_attention_dim=64,
    attention_head_dim=64,
    pooled_text_heads=64,
    norm_groups=32,
    time_embedding_dim=256,
)


def video_net() -> STUNet:
    torch.manual_seed(0)
    return inflate(STUNet(STILL), TEMPORAL)


def info_of(network: STUNet, **fields) -> CheckpointInfo:
    return CheckpointInfo(kind="base", config=network.config.to_dict(), **fields)


@pytest.fixture
def saved(tmp_path):
    """(path, network): a good checkpoint of kind base."""
    network, path = video_net(), tmp_path / "net.safetensors"
    save_checkpoint(path, network.state_dict(), info_of(network))
    return path, network


def rewrite(path, tensors=None, **metadata):
    """Change some tensors (None removes one) and some fields of the metadata of a checkpoint."""
    info = json.loads(load_info(path).to_json()) | metadata
    changed = load_file(path) | (tensors or {})
    save_file({name: x for name, x in changed.items() if x is not None}, path, {METADATA_KEY: json.dumps(info)})


def refused(path, *words, load=lambda path: load_stunet(path, ("base",))):
    """Loading is a ValueError of one line that names the file and says all of `words`."""
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_round_trip(tmp_path):
    network, path = video_net(), tmp_path / "new folder" / "net.safetensors"
    info = info_of(
        network,
        schedule=NoiseSchedule("linear", 500, 2.0),
        prediction="v",
        thresholding={"percentile": 0.95, "maximum": 1.5},
        sampling=SamplingOptions(window=15, overlap=2, fuse="hann").over(CheckpointInfo.sampling),
        text_encoder="text.safetensors",
        training={"steps": 7},
    )
    channels_last = network.to(memory_format=torch.channels_last)  # not contiguous, as training holds it
    save_checkpoint(path, channels_last.state_dict(), info)
    assert load_info(path) == load_checkpoint(path)[0]
    assert load_info(path).to_json() == info.to_json()  # JSON has lists where the config has tuples
    assert load_info(path).schedule == NoiseSchedule("linear", 500, 2.0)
    _, loaded = load_stunet(path, ("t2i", "base"))
    assert loaded.config == network.config
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_is_loaded_in_the_dtype_asked_for(saved, dtype):
    _, loaded = load_stunet(saved[0], ("base",), dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {loaded.dtype} == {dtype}


def test_a_half_precision_file_loads_in_float32(tmp_path):
    network, path = video_net(), tmp_path / "net.safetensors"
    save_checkpoint(path, {name: x.half() for name, x in network.state_dict().items()}, info_of(network))
    _, loaded = load_stunet(path, ("base",))
    assert torch.equal(loaded.conv_in.weight, network.conv_in.weight.half().float())


def test_a_file_without_metadata_is_inferred(tmp_path):
    torch.manual_seed(0)
    network, path = STUNet(IF_STAGE_ONE), tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(network.state_dict(), path)
    info, loaded = load_stunet(path, ("t2i",))
    assert loaded.config == IF_STAGE_ONE
    assert (info.kind, info.prediction, info.sampling.guidance, info.sampling.steps) == ("t2i", "eps", 7.0, 100)
    assert info.thresholding == {"percentile": 0.95, "maximum": 1.5}
    second = dataclasses.replace(IF_STAGE_ONE, in_channels=6, noise_level_embedding=True)
    save_file(STUNet(second).state_dict(), path)
    info, loaded = load_stunet(path, ("ssr",))
    assert loaded.config.noise_level_embedding
    assert (info.kind, info.scale) == ("ssr", 4)
    assert (info.sampling.noise_level, info.sampling.guidance, info.sampling.steps) == (250, 4.0, 50)
    assert info.thresholding == {"percentile": 0.95, "maximum": 1.0}


# Writing


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("error", [ValueError, OSError, Interrupted])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_bytes(b"half a ne")
        raise error
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("net.safetensors", b"old")]


def test_a_path_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "net.safetensors"
    path.mkdir()
    with pytest.raises(OSError), atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_checkpoint(saved, monkeypatch):
    path, network = saved
    before = path.read_bytes()

    def full_disk(tensors, filename, **_):
        with open(filename, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lumiere_video.lumiere_core.checkpoints.format.save_file", full_disk)
    with pytest.raises(ValueError, match=r"could not be written \(No space left on device\)"):
        save_checkpoint(path, network.state_dict(), info_of(network))
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_the_old_file_stays_whole_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


# Files that are not what they should be


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.safetensors", "no such file")


def test_a_file_of_another_format(tmp_path):
    path = tmp_path / "net.ckpt"
    path.write_bytes(b"x")
    refused(path, "only .safetensors files are read", ".ckpt")


@pytest.mark.parametrize("content", [b"", b"no", b"<!doctype html>" * 99, (2**40).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_not_safetensors(tmp_path, content):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    refused(path, "not a whole safetensors file")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999])
def test_a_truncated_file(saved, keep):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    refused(path, "not a whole safetensors file")


def test_a_checkpoint_of_another_kind(saved):
    refused(saved[0], "ssr or t2i is needed", "is base", load=lambda path: load_stunet(path, ("ssr", "t2i")))


def test_a_file_that_is_neither_ours_nor_deepfloyds(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"model.weight": torch.zeros(3)}, path)
    refused(path, "neither metadata of this pack nor a DeepFloyd IF U-Net", "conv_in.weight")


def test_a_missing_tensor(saved):
    rewrite(saved[0], {"conv_out.bias": None, "mid_block.resnets.0.conv1.bias": None})
    refused(saved[0], "lacks tensor conv_out.bias (2 such in all)")


def test_an_unexpected_tensor(saved):
    rewrite(saved[0], {"wings.weight": torch.zeros(2)})
    refused(saved[0], "has the unexpected tensor wings.weight (1 such in all)")


def test_a_tensor_of_another_shape(saved):
    """(1,) could be broadcast to (8,) without a word."""
    rewrite(saved[0], {"conv_in.bias": torch.zeros(1)})
    refused(saved[0], "tensor conv_in.bias must have shape (8,); got (1,)")


def test_an_unknown_config_field(saved):
    rewrite(saved[0], config=saved[1].config.to_dict() | {"wings": 2})
    refused(saved[0], "unknown field wings", "newer version")


@pytest.mark.parametrize("config", [{}, {"levels": 3}, {"levels": [{"channels": 7}]}])
def test_a_config_that_is_no_network(saved, config):
    rewrite(saved[0], config=config)
    refused(saved[0], "config")


def test_an_unknown_metadata_field(saved):
    rewrite(saved[0], wings=2)
    refused(saved[0], "wings", METADATA_KEY)


def test_a_newer_format(saved):
    rewrite(saved[0], format=99)
    refused(saved[0], "newer version of this pack")


def test_an_unknown_kind(saved):
    rewrite(saved[0], kind="bird")
    refused(saved[0], "kind must be one of t2i, base, ssr, text, style; got 'bird'")


def test_an_unknown_schedule(saved):
    rewrite(saved[0], schedule={"name": "sigmoid"})
    refused(saved[0], "sigmoid")


@pytest.mark.parametrize("text", ["not json", "[1, 2]", "7", '"base"', "{}", "null"])
def test_metadata_that_is_not_ours(saved, text):
    path, network = saved
    save_file(network.state_dict(), path, {METADATA_KEY: text})
    refused(path, METADATA_KEY)
