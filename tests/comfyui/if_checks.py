"""Runs inside ComfyUI's interpreter, without a server: DeepFloyd IF's text and steps as ComfyUI has them, in small.

Usage: python if_checks.py COMFYUI_PATH PACKAGES FOLDER; PACKAGES holds lumiere_video. Prints one JSON object.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

comfyui, packages, folder = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path[:0] = [comfyui, packages]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.sd  # noqa: E402
import comfy.text_encoders.genmo as genmo  # noqa: E402
import comfy.text_encoders.lt as lt  # noqa: E402
import torch  # noqa: E402
from transformers import T5Config, T5EncoderModel, T5TokenizerFast  # noqa: E402

from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, load_stunet, save_checkpoint  # noqa: E402
from lumiere_video.lumiere_core.diffusion import NoiseSchedule  # noqa: E402
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions  # noqa: E402
from lumiere_video.lumiere_core.networks import (  # noqa: E402
    LevelConfig,
    STUNet,
    TemporalConfig,
    TemporalLevelConfig,
    UNetConfig,
    inflate,
)
from lumiere_video.lumiere_core.sampling import network_call, plan_sampling, sample_base  # noqa: E402
from lumiere_video.nodes.host.comfyui import model as models  # noqa: E402
from lumiere_video.nodes.host.comfyui import sampling, text  # noqa: E402

SHAPE = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 2}
TYPES = {"ltxv": lt.LTXVT5Tokenizer, "mochi": genmo.MochiT5Tokenizer}  # what CLIPLoader takes for these
TEXTS = ["", "a corgi running along the beach", "a corgi, " * 60]
CPU = torch.device("cpu")


def reference(t5: T5EncoderModel, prompt: str) -> torch.Tensor:
    """What IF was trained on: (1, 77, 32)."""
    tokenizer = T5TokenizerFast.from_pretrained(Path(comfyui) / "comfy" / "text_encoders" / "t5_tokenizer")
    tokens = tokenizer([prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return t5(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state


def core_clip(t5: T5EncoderModel, kind: str) -> comfy.sd.CLIP:
    target = SimpleNamespace(params={}, clip=genmo.mochi_te(torch.float32), tokenizer=TYPES[kind])
    clip = comfy.sd.CLIP(target, model_options={"t5xxl_model_config": SHAPE})
    missing, _ = clip.load_sd(t5.state_dict())
    assert not [name for name in missing if "logit_scale" not in name], missing
    return clip


def distances(t5: T5EncoderModel, kind: str) -> list[list]:
    """Of each text: core's length, how far ours is from IF's, and how far core's first 77 tokens are."""
    clip, found = core_clip(t5, kind), []
    for prompt in TEXTS:
        expected = reference(t5, prompt)
        ours = text.encode_text(clip, prompt)[0][0]
        core = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0]
        far = [(each[:, :77] - expected).abs().max().item() for each in (ours, core)]
        assert ours.shape == expected.shape
        found.append([core.shape[1], *far])
    return found


def checkpoint() -> Path:
    torch.manual_seed(0)
    levels = (LevelConfig(8), LevelConfig(32, attention=True))
    still = STUNet(UNetConfig(levels, out_channels=6, text_dim=32, attention_head_dim=16, norm_groups=4))
    temporal = TemporalConfig(
        (TemporalLevelConfig("conv", True), TemporalLevelConfig("attention")), attention_head_dim=16
    )
    network, path = inflate(still, temporal, init="he"), Path(folder) / "if.safetensors"
    torch.nn.init.normal_(network.conv_out.weight, std=0.02)
    info = CheckpointInfo(
        kind="base",
        config=network.config.to_dict(),
        schedule=NoiseSchedule(),
        variance="learned_range",
        thresholding={"percentile": 0.95, "maximum": 1.5},
        sampling=SamplingOptions(steps=5, guidance=7.0, sampler="ddpm", scheduler="leading"),
        frames=4,
        size=16,
        text_tokens=77,
    )
    save_checkpoint(path, network.state_dict(), info)
    return path


def clip_distances(t5: T5EncoderModel) -> dict[str, float]:
    """How far ComfyUI's clip is from the library's, which gets IF's own text; of core's conditioning and of ours."""
    path = checkpoint()
    patcher = models.load_model(path, ("base",), "float32")
    info, network = load_stunet(path, ("base",))
    info = dataclasses.replace(info, variance="fixed_small")  # as ComfyUI's MODEL has it
    plan = plan_sampling(info, 4, (16, 16))
    call = network_call(network, CPU, torch.float32)
    with torch.no_grad():
        expected = sample_base(call, info, plan, reference(t5, TEXTS[1]), reference(t5, ""), 7)
    clip = core_clip(t5, "ltxv")
    found = {}
    for name, encode in {
        "TextEncode": lambda prompt: text.encode_text(clip, prompt),
        "CLIPTextEncode": lambda prompt: clip.encode_from_tokens_scheduled(clip.tokenize(prompt)),
    }.items():
        conds = [encode(prompt) for prompt in (TEXTS[1], "")]
        video = sampling.sample_video(patcher, plan, *conds, 7, None, None, True)
        found[name] = (video - expected).abs().max().item()
    return found


torch.manual_seed(0)
t5 = T5EncoderModel(T5Config(**SHAPE, vocab_size=32128, feed_forward_proj="gated-gelu")).eval()
print(json.dumps({"texts": {kind: distances(t5, kind) for kind in TYPES}, "clips": clip_distances(t5)}))
