"""The checkpoint format: one safetensors file is one network.

The metadata key `lumiere` holds JSON, the fields of `CheckpointInfo`. Files without it (DeepFloyd IF U-Nets from
diffusers) get their config from the tensors' shapes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..networks import STUNet, UNetConfig
from ..networks.inference import infer_config
from ..runtime.outputs import atomic_path, clear_write_errors
from .diffusers_config import presets
from .metadata import IF_TEXT_TOKENS, METADATA_KEY, CheckpointInfo, checked_network
from .streaming import opened

UNTOLD = "untold"  # the kind of a whole file that is neither ours nor an IF U-Net: somebody's LoRA, for one


class HasShape(Protocol):
    """A tensor, in memory or still in its file."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class UntoldKind(ValueError):
    """The file is whole, and nothing in it says what it is."""


def save_checkpoint(path: str | Path, tensors: dict[str, torch.Tensor], info: CheckpointInfo) -> None:
    """Write one network, atomically: an old file stays whole until the new one is complete."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with clear_write_errors(Path(path)), atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata={METADATA_KEY: info.to_json()})


def load_info(path: str | Path) -> CheckpointInfo:
    """Metadata of a checkpoint, without its tensors; inferred from shapes when the file carries none."""
    path = Path(path)
    with _open(path) as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        if text is not None:
            return CheckpointInfo.from_json(text, path)
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return _inferred_info(path, shapes)


def kind_to_list(path: str | Path) -> str | None:
    """A file's kind, UNTOLD, or None, with a warning, for a file that cannot be used: it should hide itself alone."""
    try:
        return load_info(path).kind
    except UntoldKind:
        return UNTOLD
    except (ValueError, OSError) as error:
        warnings.warn(f"left out of the lists of checkpoints: {error}", stacklevel=2)
        return None


def load_checkpoint(path: str | Path) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    """Metadata and tensors (on the CPU, in the file's dtype). Raises ValueError for anything but a whole file."""
    return load_info(path), load_tensors(path)


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, whatever they are, on the CPU; pages are read when they are needed."""
    path = Path(path)
    with _open(path) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path}: the file is damaged ({error}). Download or copy it again.") from error


def load_stunet(
    path: str | Path, kinds: tuple[str, ...], dtype: torch.dtype = torch.float32, device="cpu"
) -> tuple[CheckpointInfo, STUNet]:
    """A U-Net whose kind is one of `kinds`, in eval mode. Missing, unexpected or misshapen tensors are an error."""
    info, tensors = load_checkpoint(path)
    require_kind(info, kinds, path)
    network = meta_network(info, tensors, path, dtype)
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    return info, network.to(device=device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]


def meta_network(info: CheckpointInfo, tensors: dict[str, torch.Tensor], path: str | Path, dtype=None) -> STUNet:
    """The network that the metadata describe, without weights, which cost no memory before they are there.

    Raises ValueError where the tensors are not the network's.
    """
    config = UNetConfig.from_dict(info.config)
    require_least_tensors(config, tensors, path)
    network = STUNet(config, dtype=dtype, device="meta")
    check_tensors(network.state_dict(), tensors, path)
    return network


def require_least_tensors(config: UNetConfig, tensors: Sized, path: str | Path) -> None:
    """Raise ValueError where a file has too few tensors: so that no time is spent on building what cannot be."""
    if config.least_tensors > len(tensors):
        raise ValueError(
            f"{path}: a network of its config has at least {config.least_tensors} tensors; the file has {len(tensors)}."
        )


def require_kind(info: CheckpointInfo, kinds: tuple[str, ...], path: str | Path) -> None:
    if info.kind not in kinds:
        raise ValueError(f"{path}: a checkpoint of kind {' or '.join(kinds)} is needed here; this file is {info.kind}.")


def load_exactly(network: torch.nn.Module, tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    """Copy tensors into the network, which must have exactly these; see `check_tensors`."""
    expected = network.state_dict()
    check_tensors(expected, tensors, path)
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


def check_tensors(expected: Mapping[str, torch.Tensor], tensors: Mapping[str, HasShape], path: str | Path) -> None:
    """Raise a ValueError that names the first tensor that is missing, unexpected or misshapen."""
    for problem, names in (
        ("lacks", sorted(expected.keys() - tensors.keys())),
        ("has the unexpected", sorted(tensors.keys() - expected.keys())),
    ):
        if names:
            raise ValueError(f"{path}: the file {problem} tensor {names[0]} ({len(names)} such in all).")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != tuple(expected[name].shape):
            raise ValueError(
                f"{path}: tensor {name} must have shape {tuple(expected[name].shape)}; got {tuple(tensor.shape)}."
            )


def _open(path: Path):
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: only .safetensors files are read; got {path.suffix or 'no suffix'}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    return opened(path)


def _inferred_info(path: Path, shapes: dict[str, tuple[int, ...]]) -> CheckpointInfo:
    try:
        config = infer_config(shapes)
        stage_two = config.noise_level_embedding
        info = CheckpointInfo(
            kind="ssr" if stage_two else "t2i",
            config=config.to_dict(),
            **presets(None, stage_two),
            text_tokens=IF_TEXT_TOKENS,
            frames=1,
            size=256 if stage_two else 64,
            scale=4 if stage_two else 1,
        )
        return checked_network(info)
    except ValueError as error:
        raise UntoldKind(f"{path}: neither metadata of this pack nor a DeepFloyd IF U-Net: {error}") from error
