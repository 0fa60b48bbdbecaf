"""Where a U-Net that diffusers saved keeps its config and its tensors: a folder, a whole pipeline, or a file of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.records import read_table, shown
from .diffusers_config import SUPPORTED
from .streaming import StoredTensor, stored_tensors

STEM = "diffusion_pytorch_model"
CONFIG, INDEX = "config.json", ".safetensors.index"
# Tensors of single-file checkpoints, of which no part is a U-Net that diffusers saved.
SINGLE_FILES = {
    "conditioner.embedders.": "a Stable Diffusion XL checkpoint in one file",
    "model.diffusion_model.": "a Stable Diffusion checkpoint in one file",
}


@dataclass(frozen=True)
class SavedUNet:
    """config, scheduler: the fields of their files, None where there is no scheduler. tensors: still in their files.

    text_encoder: name of the folder that holds the pipeline's T5, for a checkpoint beside it; None where there is none.
    """

    config_file: Path
    config: dict[str, Any]
    scheduler: dict[str, Any] | None
    tensors: dict[str, StoredTensor]
    pipeline: Path | None


def find_unet(path: Path, variant: str | None = None) -> SavedUNet:
    """A pipeline's folder, its U-Net's folder, or one of that folder's weight or index files.

    variant: of several sets of weights the one of that name, "fp16"; None takes the plain one, or the only one.
    Raises ValueError for what is missing, damaged, or not of DeepFloyd's kind as far as file names tell.
    """
    folder = path if path.is_dir() else path.parent
    pipeline = folder if (folder / "unet").is_dir() and path.is_dir() else None
    if pipeline is not None:
        folder = pipeline / "unet"
    elif (folder.parent / "model_index.json").is_file():
        pipeline = folder.parent
    config_file = folder / CONFIG
    if not config_file.is_file():
        raise ValueError(_no_config(path, folder))
    config = read_table(config_file)
    scheduler = pipeline and pipeline / "scheduler" / "scheduler_config.json"
    weights = _weights(folder, variant) if path.is_dir() else path
    return SavedUNet(
        config_file=config_file,
        config=config,
        scheduler=read_table(scheduler) if scheduler and scheduler.is_file() else None,
        tensors=_tensors(weights),
        pipeline=pipeline,
    )


def _no_config(path: Path, folder: Path) -> str:
    index = folder / "model_index.json"
    if index.is_file():
        name = shown(read_table(index).get("_class_name"))[1:-1]
        return f"{path}: a pipeline with a folder unet is needed; this is the folder of a {name}. {SUPPORTED}."
    if path.is_dir():
        return f"{path}: no {CONFIG} in the folder; give a U-Net's folder that diffusers saved, or its pipeline's."
    of = next(
        (of for name in stored_tensors(path) for start, of in SINGLE_FILES.items() if name.startswith(start)), None
    )
    what = f"this is {of}; {SUPPORTED}" if of else "the network cannot be told without it"
    return f"{path}: no {CONFIG} beside the file, and {what}. Put diffusers' {CONFIG} beside it."


def _weights(folder: Path, variant: str | None) -> Path:
    """The file of the weights, or the index of their shards."""
    found = {name: file for file in sorted(folder.iterdir()) for name in _variants(file.name)}
    if variant in found or (variant is None and len(found) == 1):
        return found[variant] if variant in found else next(iter(found.values()))
    if not found:
        pickled = sorted(file.name for pattern in ("*.bin", "*.ckpt") for file in folder.glob(pattern))
        why = f"; {pickled[0]} is no such file, and others are not read" if pickled else ""
        raise ValueError(f"{folder}: no weights {STEM}.safetensors, nor an index of their shards{why}.")
    names = ", ".join(name or "without a name" for name in found)
    raise ValueError(
        f"{folder}: weights {variant or 'without a variant'} are not there; there are {names} (--variant)."
    )


def _variants(name: str) -> Iterable[str | None]:
    """The variant of which a file has the whole weights, or their index; older and newer spellings of the index."""
    for pattern in (
        rf"{STEM}(?:\.([\w-]+))?\.safetensors",
        rf"{STEM}(?:\.([\w-]+))?{re.escape(INDEX)}\.json",
        rf"{STEM}{re.escape(INDEX)}\.([\w-]+)\.json",
    ):
        if (match := re.fullmatch(pattern, name)) and not re.search(r"-\d+-of-\d+$", match[1] or ""):
            yield match[1]


def _tensors(weights: Path) -> dict[str, StoredTensor]:
    if not weights.name.endswith(".json"):
        return stored_tensors(weights)
    table = read_table(weights).get("weight_map")
    if not isinstance(table, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in table.values()
    ):
        raise ValueError(f"{weights}: weight_map must name the file of each tensor; got {shown(table)}.")
    files = {name: weights.parent / name for name in sorted(set(table.values()))}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        raise ValueError(
            f"{weights}: {len(missing)} of {len(files)} shards are not there: {', '.join(missing)}. Copy them beside "
            "the index."
        )
    tensors = {name: tensor for file in files.values() for name, tensor in stored_tensors(file).items()}
    lost = sorted(name for name, shard in table.items() if name not in tensors or tensors[name].file.name != shard)
    if lost:
        raise ValueError(f"{weights}: {table[lost[0]]} has no tensor {lost[0]}, which the index says it has.")
    return {name: tensors[name] for name in sorted(table, key=lambda name: table[name])}
