"""Shared fixtures: tiny checkpoints with random weights, a text encoder, a base network and an SSR."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, save_checkpoint
from lumiere_video.lumiere_core.conditioning.text import build_text_encoder, text_info, text_tensors
from lumiere_video.lumiere_core.diffusion.options import KNOBS, SamplingOptions
from lumiere_video.lumiere_core.networks import (
    LevelConfig,
    STUNet,
    TemporalConfig,
    TemporalLevelConfig,
    UNetConfig,
    inflate,
    widen_input,
)

# Where tests run side by side (pytest -n), each process takes its share of the cores.
torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))

TEXT_CONFIG = {"vocab_size": 384, "d_model": 32, "d_kv": 8, "num_heads": 4, "num_layers": 1, "d_ff": 32}
MAX_TOKENS = 32


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Paths of tiny checkpoints: text, base (8 x 8, 12 frames), ssr (x4, windows of 6 frames), t2i.

    conditional is the base with the input <J, C, M>; restyled is the t2i with other weights; wide is a base network for
    another text encoder.
    """
    folder = tmp_path_factory.mktemp("tiny")
    names = ("text", "base", "conditional", "ssr", "t2i", "restyled", "wide")
    paths = SimpleNamespace(**{name: folder / f"{name}.safetensors" for name in names})
    torch.manual_seed(0)
    encoder = build_text_encoder(TEXT_CONFIG, MAX_TOKENS)
    save_checkpoint(paths.text, text_tensors(encoder), text_info(TEXT_CONFIG, MAX_TOKENS, {}))
    common = {"text_encoder": paths.text.name, "prediction": "v", "steps": 2}
    t2i = tiny_unet()
    save_unet(paths.t2i, t2i, kind="t2i", frames=1, size=8, **common)
    base = inflate(t2i, tiny_temporal(halve=True), init="he")  # he: temporal layers that do something
    save_unet(paths.base, base, kind="base", frames=12, size=8, guidance=2.0, training={"recipe": "test"}, **common)
    conditional = widen_input(base, 7)
    torch.nn.init.normal_(conditional.conv_in.weight.data[:, 3:], std=0.3)
    save_unet(paths.conditional, conditional, kind="base", frames=12, size=8, guidance=2.0, **common)
    ssr = inflate(tiny_unet(in_channels=6, noise_level_embedding=True), tiny_temporal(halve=False), init="he")
    save_unet(paths.ssr, ssr, kind="ssr", size=32, scale=4, window=6, overlap=2, noise_level=100, **common)
    save_unet(paths.restyled, tiny_unet(), kind="t2i", frames=1, size=8, **common)
    save_unet(paths.wide, tiny_unet(text_dim=64), kind="base", **common)
    return paths


def tiny_unet(**fields) -> STUNet:
    levels = (LevelConfig(8), LevelConfig(32, attention=True))
    return STUNet(UNetConfig(levels, **{"text_dim": 32, "attention_head_dim": 16, "norm_groups": 4, **fields}))


def tiny_temporal(halve: bool) -> TemporalConfig:
    levels = (TemporalLevelConfig("conv", halve), TemporalLevelConfig("attention"))
    return TemporalConfig(levels, attention_head_dim=16, embedding_dim=16)


def save_unet(path, network: STUNet, **info) -> None:
    """info: fields of CheckpointInfo, and its sampling options beside them, as a file has them."""
    said = SamplingOptions(**{name: info.pop(name) for name in KNOBS if name in info})
    sampling = said.over(CheckpointInfo.sampling)
    info = CheckpointInfo(config=network.config.to_dict(), sampling=sampling, **info)
    save_checkpoint(path, network.state_dict(), info)
