"""From finished stages to files that can be shipped: half precision, and evaluation figures in the metadata."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from ..checkpoints.format import load_checkpoint, save_checkpoint
from .recipe import Recipe

RELEASED_KINDS = ("text", "base", "conditional", "style", "motion", "ssr")


def release(recipe: Recipe, folder: str | Path) -> list[Path]:
    """Write `<folder>/release/<stage>.safetensors`, float16, for the stages that a pipeline needs.

    A stage that another one starts from is only a step on the way.
    """
    folder, paths = Path(folder), []
    steps_on_the_way = {stage.start for stage in recipe.stages}
    for stage in recipe.stages:
        source = folder / f"{stage.name}.safetensors"
        if stage.kind in RELEASED_KINDS and stage.name not in steps_on_the_way and source.is_file():
            info, tensors = load_checkpoint(source)
            paths.append(folder / "release" / source.name)
            save_checkpoint(paths[-1], {name: tensor.to(torch.float16) for name, tensor in tensors.items()}, info)
    return paths


def record_evaluation(path: str | Path, figures: dict) -> None:
    """Put evaluation figures into a checkpoint's training record; the tensors stay as they are."""
    info, tensors = load_checkpoint(path)
    training = {**info.training, "evaluation": figures}
    save_checkpoint(path, tensors, dataclasses.replace(info, training=training))
