"""Model files for the tests, made of the bundled ones: a base without a text encoder, one with NaN weights, LoRAs,
styles, and what styles make of a base.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from lumiere_video.lumiere_core.checkpoints.bundled import BASE, SSR, bundled_weights
from lumiere_video.lumiere_core.checkpoints.format import METADATA_KEY, load_checkpoint, load_stunet, save_checkpoint
from lumiere_video.lumiere_core.networks import STUNet, text_to_image, widen_input
from lumiere_video.lumiere_core.style import load_style, stylize

DAMAGED = "damaged.safetensors"  # its metadata are nested so deeply that no JSON reader follows
NO_TEXT, BROKEN = "no-text.safetensors", "broken.safetensors"
KNOWING = "knowing.safetensors"  # says which words it knows
RESIDUAL = "residual-ssr.safetensors"  # the bundled SSR, said to predict the residual, and not aligned as IF's
LORAS = {BASE: "lora-base.safetensors", SSR: "lora-ssr.safetensors"}
LORA_TENSOR = "up_blocks.0.attentions.1.to_out.0"  # a Linear of both networks
LORA_RANK = 2
# Styles of WIDE, a base with the input <J, C, M>: a whole 3-channel network, a difference to one, the bundled LoRA.
WIDE = "wide.safetensors"
FULL, DIFFERENCE, LINES = "style-full.safetensors", "style-difference.safetensors", "toy-line-drawing.safetensors"
STYLES = (FULL, DIFFERENCE, LINES)
STYLED_LORA = "styled-lora.safetensors"  # WIDE with a LoRA at 1, then FULL at 0.5


def write_models(models: Path) -> None:
    """Fill a models folder: lumiere/ with the checkpoints, loras/ with a LoRA for each bundled network."""
    info, tensors = load_checkpoint(bundled_weights(BASE))
    save_checkpoint(models / "lumiere" / NO_TEXT, tensors, replace(info, text_encoder=None))
    cast = {"name": "few", "words": [["red circle", "circle"], ["star"]], "phrases": ["a", "moving", "right", "gray"]}
    knowing = replace(info, training={"cast": cast}, trained_frames=(8, 160))
    save_checkpoint(models / "lumiere" / KNOWING, tensors, knowing)
    broken = {**tensors, "conv_in.weight": torch.full_like(tensors["conv_in.weight"], torch.nan)}
    save_checkpoint(models / "lumiere" / BROKEN, broken, info)
    info, tensors = load_checkpoint(bundled_weights(SSR))
    save_checkpoint(models / "lumiere" / RESIDUAL, tensors, replace(info, prediction="residual", align_corners=False))
    save_file({"x": torch.zeros(1)}, models / "lumiere" / DAMAGED, {METADATA_KEY: "[" * 100_000 + "]" * 100_000})
    (models / "loras").mkdir()
    for network, name in LORAS.items():
        weight = load_checkpoint(bundled_weights(network))[1][f"{LORA_TENSOR}.weight"]
        save_file(lora_tensors(weight), models / "loras" / name)
    write_styles(models)


def write_styles(models: Path) -> None:
    """The styles in lumiere/ (the LoRA in loras/, too), WIDE, and `styled(style)`: WIDE with a style at 0.5."""
    info, base = load_stunet(bundled_weights(BASE), ("base",))
    wide = widen_input(base, 7)
    info, folder = replace(info, config=wide.config.to_dict()), models / "lumiere"
    save_checkpoint(folder / WIDE, wide.state_dict(), info)
    changed, generator = text_to_image(base).state_dict(), torch.Generator().manual_seed(0)
    deltas = {name: 0.2 * x.std() * torch.randn(x.shape, generator=generator) for name, x in changed.items()}
    save_file({name: (x + deltas[name]).contiguous() for name, x in changed.items()}, folder / FULL)
    save_file(difference_tensors(deltas), folder / DIFFERENCE)
    shutil.copy(bundled_weights(LINES), models / "loras" / LINES)
    paths = {FULL: folder / FULL, DIFFERENCE: folder / DIFFERENCE, LINES: bundled_weights(LINES)}
    made = {styled(name): blend(wide, path, 0.5) for name, path in paths.items()}
    made[STYLED_LORA] = blend(blend(wide, models / "loras" / LORAS[BASE], 1.0), folder / FULL, 0.5)
    for name, network in made.items():
        save_checkpoint(folder / name, network.state_dict(), info)


def styled(style: str) -> str:
    return f"styled-{style}"


def blend(network: STUNet, path: Path, alpha: float) -> STUNet:
    """By the library; that some of the files cover a part of the network only is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stylize(network, load_style(path), alpha)


def difference_tensors(deltas: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Differences of weights and biases as core's LoRA loader reads them."""
    suffixes = {"weight": "diff", "bias": "diff_b"}
    split = {tuple(name.rpartition(".")[::2]): x.contiguous() for name, x in deltas.items()}
    return {f"diffusion_model.{module}.{suffixes[kind]}": x for (module, kind), x in split.items() if kind in suffixes}


def lora_tensors(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """A change several times as large as the weight itself, so that it shows."""
    generator = torch.Generator().manual_seed(0)
    up = torch.randn(weight.shape[0], LORA_RANK, generator=generator) * 8 * weight.float().std()
    down = torch.randn(LORA_RANK, weight.shape[1], generator=generator)
    prefix = f"diffusion_model.{LORA_TENSOR}"
    return {
        f"{prefix}.lora_up.weight": up,
        f"{prefix}.lora_down.weight": down,
        f"{prefix}.alpha": torch.tensor(float(LORA_RANK)),
    }
