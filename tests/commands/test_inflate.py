"""`lumiere inflate` and `lumiere export`: what they print, and one line and exit code 2 for what they cannot use."""

import contextlib
import dataclasses
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_if import STAGE_ONE, STAGE_TWO, random_unet, save_pipeline
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, load_info, save_checkpoint
from lumiere_video.lumiere_core.networks import STUNet, UNetConfig

ATTENTION = "CrossAttnDownBlock2D"
LATENT = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": [ATTENTION, "DownBlock2D"],
    "addition_embed_type": None,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Pipelines that diffusers saved: IF-I, whole, and IF-II in shards."""
    folder = tmp_path_factory.mktemp("saved")
    save_pipeline(folder / "IF-I", random_unet(STAGE_ONE))
    save_pipeline(folder / "IF-II", random_unet(STAGE_TWO), max_shard_size="500KB")
    return folder


@pytest.fixture
def source(saved, tmp_path):
    """A copy of both, to be damaged."""
    return shutil.copytree(saved, tmp_path / "source")


@pytest.fixture
def lumiere(tmp_path, capsys):
    """Run a command that writes into a folder: (exit code, lines printed, lines on stderr, names of files left)."""
    out = tmp_path / "out"

    def lumiere(command, *arguments, output="net.safetensors"):
        code = cli.main([command, *map(str, arguments), "-o", str(out / output)])
        printed = capsys.readouterr()
        errors = [line for line in printed.err.splitlines() if line.startswith("lumiere: ")]
        return code, printed.out.splitlines(), errors, sorted(file.name for file in out.glob("**/*") if file.is_file())

    return lumiere


def refused(result, *words):
    code, _, errors, files = result
    assert (code, len(errors), files) == (2, 1, [])
    for word in words:
        assert word in errors[0], errors[0]
    return True


def test_a_network_is_inflated_and_exported(saved, lumiere, tmp_path):
    code, lines, _, files = lumiere("inflate", saved / "IF-I")
    assert (code, files) == (0, ["net.safetensors"])
    assert "parameters: 1,398,855 (854,310 spatial, 544,545 temporal)" in lines
    assert cli.main(["info", str(tmp_path / "out" / "net.safetensors")]) == 0
    code, _, _, files = lumiere("export", tmp_path / "out" / "net.safetensors", output="unet")
    assert (code, files) == (0, ["config.json", "diffusion_pytorch_model.safetensors", "net.safetensors"])


def test_a_cascade_is_generated_with_its_t5(source, tmp_path, capsys):
    """The pipeline's folder is the text encoder's, named or beside the checkpoint."""
    torch.manual_seed(0)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_heads": 4, "num_layers": 1, "vocab_size": 384}
    T5EncoderModel(T5Config(**shape)).save_pretrained(source / "IF-I" / "text_encoder")
    ByT5Tokenizer().save_pretrained(source / "IF-I" / "tokenizer")
    base, ssr, clip = source / "base.safetensors", source / "ssr.safetensors", tmp_path / "clip"
    for name, path in (("IF-I", base), ("IF-II", ssr)):
        assert cli.main(["inflate", str(source / name), "-o", str(path)]) == 0
    assert load_info(base).text_encoder == "IF-I"
    command = ["generate", "a corgi", "--checkpoint", str(base), "--frames", "2", "--size", "8", "--steps", "2"]
    command += ["--dtype", "float32", "--output", f"{clip}/"]
    assert cli.main([*command, "--no-ssr"]) == 0
    assert sorted(file.name for file in clip.iterdir()) == ["frame_00000.png", "frame_00001.png"]
    more = ["--ssr-checkpoint", str(ssr), "--ssr-steps", "2"]
    assert cli.main([*command, *more]) == 2
    assert "names no text encoder" in capsys.readouterr().err
    assert cli.main([*command, *more, "--text-encoder", str(source / "IF-I")]) == 0
    with Image.open(clip / "frame_00001.png") as frame:
        assert frame.size == (32, 32)


def test_a_dry_run_writes_nothing(saved, lumiere):
    code, lines, _, files = lumiere("inflate", saved / "IF-II", "--dry-run", "--attention-levels", 2)
    assert (code, files) == (0, [])
    assert lines[0] == f"{saved / 'IF-II'}: ssr, 6 input and 6 output channels"
    assert [line.partition("; ")[2] for line in lines[1:3]] == ["2 blocks of attention over time"] * 2


def test_a_file_of_a_folder_stands_for_it(saved, lumiere, tmp_path):
    unet = saved / "IF-II" / "unet"
    assert lumiere("inflate", unet / "diffusion_pytorch_model.safetensors.index.json")[0] == 0
    assert lumiere("inflate", saved / "IF-I" / "unet" / "diffusion_pytorch_model.safetensors")[0] == 0
    assert load_info(tmp_path / "out" / "net.safetensors").sampling.scheduler == "leading"


def test_no_config(source, lumiere):
    (source / "IF-I" / "unet" / "config.json").unlink()
    assert refused(lumiere("inflate", source / "IF-I"), "no config.json in the folder")
    assert refused(
        lumiere("inflate", source / "IF-I" / "unet" / "diffusion_pytorch_model.safetensors"), "no config.json"
    )
    assert refused(lumiere("inflate", source / "nothing"), "no such file or folder")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (LATENT, ["a Stable Diffusion U-Net, which works on latents", "DeepFloyd IF's, stages I and II"]),
        (LATENT | {"addition_embed_type": "text_time"}, ["a Stable Diffusion XL U-Net, which works on latents"]),
        ({"_class_name": "FluxTransformer2DModel"}, ["the config of a FluxTransformer2DModel"]),
        ({"down_block_types": ["DownBlock2D", "SimpleCrossAttnDownBlock2D"]}, ["its blocks must be ResnetDownsample"]),
        ({"in_channels": 5}, ["must have 3 or 7 input channels", "got 5"]),
        ({"in_channels": 6}, ["conv_in.weight must have shape (32, 6, 3, 3); got (32, 3, 3, 3)"]),
        ({"out_channels": 3}, ["learned_range needs 6 output channels; got 3"]),
        ({"block_out_channels": [32, 96]}, ["must have shape"]),
        ({"block_out_channels": [32, 64, 64]}, ["must have an entry for each level; got 3, 3 and 2"]),
        ({"block_out_channels": "many"}, ["block_out_channels must be a list"]),
        ({"encoder_hid_dim": None}, ["lacks the field encoder_hid_dim"]),
        ({"attention_head_dim": [8, 16]}, ["attention_head_dim must be the same at all levels"]),
        ({"layers_per_block": 10**9}, ["config.json"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else "-".join(map(str, value)),
)
def test_another_architecture(fields, words, source, lumiere):
    file = source / "IF-I" / "unet" / "config.json"
    own = json.loads(file.read_text()) if "_class_name" not in fields else {}
    file.write_text(json.dumps({**own, **({"_class_name": "UNet2DConditionModel"} if own else {}), **fields}))
    assert refused(lumiere("inflate", source / "IF-I"), *words)


def test_a_single_file_checkpoint_is_named(lumiere, tmp_path):
    path = tmp_path / "sd.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, path)
    assert refused(lumiere("inflate", path), "a Stable Diffusion checkpoint in one file")
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert refused(lumiere("inflate", tmp_path / "flux"), "the folder of a FluxPipeline")


def test_missing_and_damaged_weights(source, lumiere):
    shards = sorted((source / "IF-II" / "unet").glob("*-of-*.safetensors"))
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    assert refused(lumiere("inflate", source / "IF-II"), shards[1].name, "not a whole safetensors file")
    shards[1].unlink()
    assert refused(lumiere("inflate", source / "IF-II"), f"1 of {len(shards)} shards are not there: {shards[1].name}")
    assert refused(lumiere("inflate", source / "IF-I", "--variant", "fp16"), "weights fp16 are not there")
    weights = source / "IF-I" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert refused(lumiere("inflate", source / "IF-I"), "diffusion_pytorch_model.bin is no such file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["IF-II", "--conditional"], "6 channels are taken"),
        (["IF-I", "--halve", 2], "halve must be 0 to 1"),
        (["IF-I", "--attention-levels", 3], "attention_levels must be 0 to 2"),
        (["IF-I", "--attention-blocks", 0], "attention_blocks must be a whole number from 1"),
        (["IF-I", "--dtype", "int8"], "dtype must be one of float32"),
    ],
)
def test_options_that_do_not_fit(arguments, words, saved, lumiere):
    assert refused(lumiere("inflate", saved / arguments[0], *arguments[1:]), words)
    assert refused(lumiere("inflate", saved / "IF-I", output="net.pt"), "written as .safetensors")


def test_a_full_disk(saved, lumiere, monkeypatch, tmp_path):
    """Known before, or found while it is written: no half file, and the old one stays."""
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: free)
        assert refused(lumiere("inflate", saved / "IF-I"), "to be written", "free there")
    with files_of_at_most(100_000):
        assert refused(lumiere("inflate", saved / "IF-I"), "it could not be written", "Make room")
    old = tmp_path / "out" / "net.safetensors"
    assert lumiere("inflate", saved / "IF-I")[0] == 0
    before = old.read_bytes()
    with files_of_at_most(100_000):
        assert lumiere("inflate", saved / "IF-I", "--seed", 1)[0] == 2
    assert old.read_bytes() == before and list(old.parent.iterdir()) == [old]


@contextlib.contextmanager
def files_of_at_most(size):
    """The system refuses to write more into any file, as it does where the disk is full."""
    resource = pytest.importorskip("resource", reason="only Unix limits what may be written")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_exported(tiny, lumiere, tmp_path):
    assert refused(
        lumiere("export", tiny.text, output="unet"), "kind t2i or base or ssr is needed", "this file is text"
    )
    assert refused(lumiere("export", tiny.text.with_name("none.safetensors"), output="unet"), "no such file")
    info, _ = load_checkpoint(tiny.t2i)
    folded = STUNet(dataclasses.replace(UNetConfig.from_dict(info.config), patch=2))
    info = dataclasses.replace(info, config=folded.config.to_dict())
    save_checkpoint(tmp_path / "folded.safetensors", folded.state_dict(), info)
    assert refused(lumiere("export", tmp_path / "folded.safetensors", output="unet"), "this network's patch is 2")
