"""The way back from `inflating`: the spatial half of a network in diffusers' format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from ..networks import STUNet, UNetConfig
from ..networks.inflation import TEMPORAL_PREFIX
from ..runtime.outputs import atomic_path, clear_write_errors, require_writable
from .diffusers_config import diffusers_fields
from .diffusers_files import CONFIG, STEM
from .format import check_tensors, load_info, require_kind, require_least_tensors
from .streaming import DTYPES_BY_NAME, StoredTensor, read_stored, stored_tensors, write_stream

STILL_CHANNELS = {"ssr": 6}  # and 3 of a base, which may also hear C and M


def export_unet(path: Path, folder: Path) -> list[Path]:
    """Write the spatial half of a checkpoint as diffusers' `save_pretrained` does, bit for bit: config and weights.

    The columns of C and M in a conditional base's first layer stay behind. Returns the files. Raises ValueError for a
    checkpoint that is no U-Net, or one that diffusers cannot have, and where files cannot be read or written.
    """
    info = load_info(path)
    require_kind(info, ("t2i", "base", "ssr"), path)
    require_writable(folder / CONFIG)
    stored, config = stored_tensors(path), UNetConfig.from_dict(info.config)
    require_least_tensors(config, stored, path)
    check_tensors(STUNet(config, device="meta").state_dict(), stored, path)
    channels = STILL_CHANNELS.get(info.kind, 3)
    try:
        fields = diffusers_fields(config, info.size) | {"in_channels": channels}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    spatial = {name: tensor for name, tensor in stored.items() if not name.startswith(TEMPORAL_PREFIX)}
    files = [folder / f"{STEM}.safetensors", folder / CONFIG]
    _write_weights(files[0], spatial, channels, path)
    with clear_write_errors(files[1]), atomic_path(files[1]) as temporary:
        temporary.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    return files


def _write_weights(file: Path, spatial: dict[str, StoredTensor], channels: int, path: Path) -> None:
    names = {tensor.dtype for tensor in spatial.values()}
    if len(names) > 1 or not names <= DTYPES_BY_NAME.keys():
        raise ValueError(f"{path}: tensors must all be stored as one of {', '.join(DTYPES_BY_NAME)}; got {names}.")
    shapes = {name: tensor.shape for name, tensor in spatial.items()}
    shapes["conv_in.weight"] = (shapes["conv_in.weight"][0], channels, *shapes["conv_in.weight"][2:])
    write_stream(file, shapes, DTYPES_BY_NAME[names.pop()], _still(spatial, channels), {"format": "pt"})


def _still(spatial: dict[str, StoredTensor], channels: int) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in read_stored(spatial):
        yield name, tensor[:, :channels] if name == "conv_in.weight" else tensor
