"""Model files for the tests, made of the bundled ones: a base without a text encoder, one with NaN weights, LoRAs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from lumiere_video.lumiere_core.bundled import BASE, SSR, bundled_weights
from lumiere_video.lumiere_core.checkpoint import load_checkpoint, save_checkpoint

NO_TEXT, BROKEN = "no-text.safetensors", "broken.safetensors"
LORAS = {BASE: "lora-base.safetensors", SSR: "lora-ssr.safetensors"}
LORA_TENSOR = "up_blocks.0.attentions.1.to_out.0"  # a Linear of both networks
LORA_RANK = 2


def write_models(models: Path) -> None:
    """Fill a models folder: lumiere/ with the checkpoints, loras/ with a LoRA for each bundled network."""
    info, tensors = load_checkpoint(bundled_weights(BASE))
    save_checkpoint(models / "lumiere" / NO_TEXT, tensors, replace(info, text_encoder=None))
    broken = {**tensors, "conv_in.weight": torch.full_like(tensors["conv_in.weight"], torch.nan)}
    save_checkpoint(models / "lumiere" / BROKEN, broken, info)
    (models / "loras").mkdir()
    for network, name in LORAS.items():
        weight = load_checkpoint(bundled_weights(network))[1][f"{LORA_TENSOR}.weight"]
        save_file(lora_tensors(weight), models / "loras" / name)


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
