"""Safetensors files written and read tensor by tensor: for networks that are larger than the memory."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from ..runtime.outputs import atomic_path, clear_write_errors

# The format's names of what networks are stored in.
DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
DTYPES_BY_NAME = {name: dtype for dtype, name in DTYPE_NAMES.items()}


class StoredTensor(NamedTuple):
    """A tensor that still lies in its file. dtype: the format's name of it, "F16"."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def stored_tensors(file: Path) -> dict[str, StoredTensor]:
    """What a safetensors file holds, by name, from its header. Raises ValueError for one that is not whole."""
    with opened(file) as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}
        return {name: StoredTensor(file, tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def read_stored(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors by name, file by file: no more than one file is open, and its pages are read when they are needed."""
    for file in dict.fromkeys(tensor.file for tensor in tensors.values()):
        with opened(file) as source:
            for name in (name for name, tensor in tensors.items() if tensor.file == file):
                yield name, source.get_tensor(name)


def opened(file: Path):
    """A safetensors file to read from. Raises ValueError for one that is not whole or cannot be read."""
    try:
        return safe_open(str(file), framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{file}: not a whole safetensors file ({error}). Download or copy it again.") from error
    except OSError as error:
        raise ValueError(f"{file}: the file cannot be read ({error}).") from error


def write_stream(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    tensors: Iterable[tuple[str, torch.Tensor]],
    metadata: dict[str, str],
) -> None:
    """Write tensors in the order in which they come, each cast to dtype, and forgotten; atomically, as all files are.

    shapes: of every tensor that will come, which the format wants at the beginning. Raises ValueError where there is
    not enough room, before anything is written, and where writing fails.
    """
    size = stream_size(shapes, dtype)
    with clear_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_room(path, size)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(_header(shapes, dtype, metadata))
            for (name, tensor), expected in zip(tensors, shapes, strict=True):
                if name != expected or tuple(tensor.shape) != tuple(shapes[name]):
                    raise RuntimeError(f"{expected} {shapes[expected]} was to come; {name} {tuple(tensor.shape)} came.")
                file.write(_bytes(tensor, dtype))


def stream_size(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> int:
    """Bytes of the tensors."""
    return sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize


def _require_room(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise ValueError(
            f"{path}: {size / 1e9:.1f} GB are to be written, and {free / 1e9:.1f} GB are free there. Make room or "
            "choose another folder."
        )


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, metadata: dict[str, str]) -> bytes:
    """The format's beginning: its own length in 8 bytes, then JSON, padded so that the tensors are aligned."""
    table, begin = {"__metadata__": metadata}, 0
    for name, shape in shapes.items():
        end = begin + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: torch.Tensor, dtype: torch.dtype) -> memoryview:
    """The tensor's memory; flat first, as only that can be seen as bytes whatever its shape."""
    return memoryview(tensor.detach().to(dtype).contiguous().flatten().view(torch.uint8).numpy())
