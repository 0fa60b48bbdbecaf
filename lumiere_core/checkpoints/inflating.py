"""From a still network in files to a video network in one file, tensor by tensor: what `lumiere inflate` does.

`networks.inflate` is the same for a network in memory.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..networks import STUNet, TemporalConfig, TemporalLevelConfig, UNetConfig
from ..networks.inflation import TEMPORAL_PREFIX, identity_starts, widened
from .diffusers_config import SUPPORTED, presets, unet_config
from .diffusers_files import CONFIG, SavedUNet, find_unet
from .format import CheckpointInfo, check_tensors, load_info, require_least_tensors
from .metadata import IF_TEXT_TOKENS, METADATA_KEY, checked_network
from .streaming import DTYPES_BY_NAME, StoredTensor, opened, read_stored, stored_tensors, stream_size, write_stream

VIDEO_FRAMES = 80  # of the paper's clips
CONDITIONAL_CHANNELS = 7  # <J, C, M>


@dataclass(frozen=True)
class Inflation:
    """What to add to a still network.

    halve: at how many of the spatial resizes, from the finest on, frames are halved too; None is at each (the paper's),
    and of a super-resolution net at none (ours), so that its windows may have any length.
    attention_levels: how many of the coarsest levels get temporal attention instead of convolutions; 1 in the paper.
    attention_blocks: L of Sec. 3.1. conditional: whether the first layer takes <J, C, M>, 7 channels.
    """

    halve: int | None = None
    attention_levels: int = 1
    attention_blocks: int = 2
    conditional: bool = False


@dataclass(frozen=True)
class Still:
    """A still network in its files, and what will be known of it."""

    path: Path
    info: CheckpointInfo
    tensors: dict[str, StoredTensor]


@dataclass(frozen=True)
class Plan:
    """What will be written. shapes: of the tensors, in the order in which they come."""

    still: Still
    info: CheckpointInfo
    shapes: dict[str, tuple[int, ...]]
    dtype: torch.dtype

    @property
    def parameters(self) -> tuple[int, int]:
        """Spatial and temporal."""
        temporal = sum(math.prod(shape) for name, shape in self.shapes.items() if name.startswith(TEMPORAL_PREFIX))
        return sum(math.prod(shape) for shape in self.shapes.values()) - temporal, temporal

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return stream_size(self.shapes, self.dtype)


def open_still(path: Path, variant: str | None = None) -> Still:
    """A DeepFloyd IF U-Net of diffusers (see `find_unet`), or a still checkpoint of this pack.

    Only headers are read. Raises ValueError for anything else, and where tensors are not the config's.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder.")
    if path.is_file() and path.suffix not in (".safetensors", ".json"):
        raise ValueError(f"{path}: only .safetensors files are read; got {path.suffix or 'no suffix'}.")
    still = _own(path) if _is_own(path) else _saved(path, find_unet(path, variant))
    config = UNetConfig.from_dict(still.info.config)
    require_least_tensors(config, still.tensors, path)
    check_tensors(STUNet(config, device="meta").state_dict(), still.tensors, path)
    return still


def plan_inflation(still: Still, inflation: Inflation, dtype: torch.dtype | None = None) -> Plan:
    """What the video network will be; dtype None keeps the still one's. Raises ValueError for what cannot be."""
    config = UNetConfig.from_dict(still.info.config)
    if inflation.conditional and still.info.kind == "ssr":
        raise ValueError(
            f"{still.path}: <J, C, M> is the input of a base network; this is a super-resolution network, whose 6 "
            "channels are taken. Leave conditional out."
        )
    channels = CONDITIONAL_CHANNELS if inflation.conditional else config.in_channels
    config = dataclasses.replace(
        config, in_channels=channels, temporal=temporal_config(config, inflation, still.info.kind == "ssr")
    )
    info = dataclasses.replace(still.info, kind=still.info.kind.replace("t2i", "base"), config=config.to_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in STUNet(config, device="meta").state_dict().items()}
    order = [*still.tensors, *(name for name in shapes if name not in still.tensors)]
    return Plan(still, checked_network(info), {name: shapes[name] for name in order}, dtype or _stored_dtype(still))


def temporal_config(config: UNetConfig, inflation: Inflation, is_ssr: bool) -> TemporalConfig:
    """One entry per level. Width of the condition, heads and position are our choice: unpublished."""
    levels = len(config.levels)
    halve = (0 if is_ssr else levels - 1) if inflation.halve is None else inflation.halve
    if not 0 <= halve < levels:
        raise ValueError(f"halve must be 0 to {levels - 1}, the network's spatial resizes; got {halve}.")
    if not 0 <= inflation.attention_levels <= levels:
        raise ValueError(
            f"attention_levels must be 0 to {levels}, the network's levels; got {inflation.attention_levels}."
        )
    kinds = ["conv"] * (levels - inflation.attention_levels) + ["attention"] * inflation.attention_levels
    return TemporalConfig(
        levels=tuple(TemporalLevelConfig(kind, index < halve) for index, kind in enumerate(kinds)),
        attention_blocks=inflation.attention_blocks,
        attention_head_dim=config.attention_head_dim,
        embedding_dim=max(128, config.levels[0].channels),
        position=True,
    )


def write_inflated(plan: Plan, path: Path, seed: int = 0, written: Callable[[int], None] | None = None) -> None:
    """Write the plan's checkpoint. No more of it than one tensor is in memory, beside the pages of one source file.

    seed: of the temporal layers that start at random. written: called with the bytes of each tensor.
    Raises ValueError where it cannot be read or written; the old file then stays.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        metadata = {METADATA_KEY: plan.info.to_json()}
        write_stream(path, plan.shapes, plan.dtype, _tensors(plan, written), metadata)


def fresh_temporal(config: UNetConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that inflation adds to a net of this config, by name, freshly initialised: one layer at a time.

    For networks that are larger than the memory; float32, on the CPU. The starts are those of `inflate`.
    """
    temporal = STUNet(config, device="meta").temporal
    starts = dict(identity_starts(temporal))
    for name, layer in temporal.named_modules():
        if next(layer.children(), None) is None:
            fresh = _started(layer, starts.get(layer))
            yield from (
                (f"{TEMPORAL_PREFIX}{name}.{tensor_name}", fresh.pop(tensor_name)) for tensor_name in list(fresh)
            )


def _started(layer: nn.Module, start: Callable[[nn.Module], None] | None) -> dict[str, torch.Tensor]:
    """The tensors of a layer that is on the meta device, as they start."""
    layer = copy.deepcopy(layer).to_empty(device="cpu")
    layer.reset_parameters()  # pyright: ignore[reportCallIssue]  every layer with tensors has it
    if start is not None:
        start(layer)
    return layer.state_dict()


def describe_plan(plan: Plan) -> str:
    """The plan in words, for `--dry-run`."""
    config = UNetConfig.from_dict(plan.info.config)
    spatial, temporal = plan.parameters
    sampling, threshold = plan.info.sampling, plan.info.thresholding
    rows = [
        f"{plan.still.path}: {plan.info.kind}, {config.in_channels} input and {config.out_channels} output channels"
    ]
    for index, (level, added) in enumerate(zip(config.levels, config.temporal.levels, strict=True)):
        halved = ", then frames halved" if added.halve else ""
        rows.append(
            f"  level {index}: {level.channels} channels, {level.layers} layers; {_added(config, added)}{halved}"
        )
    rows += [
        f"temporal factor: {config.temporal.factor}",
        f"parameters: {spatial + temporal:,} ({spatial:,} spatial, {temporal:,} temporal)",
        f"file: {plan.size:,} bytes, {str(plan.dtype).removeprefix('torch.')}",
        f"sampling: {plan.info.prediction}, {plan.info.schedule.name}, {sampling.steps} steps of {sampling.sampler} "
        f"({sampling.scheduler}), guidance {sampling.guidance:g}, "
        + (f"threshold {threshold['percentile']:g} / {threshold['maximum']:g}" if threshold else "no threshold"),
    ]
    return "\n".join(rows)


def _added(config: UNetConfig, added: TemporalLevelConfig) -> str:
    if added.kind == "conv":
        return "convolutions over time"
    blocks = config.temporal.attention_blocks
    return f"{blocks} block{'s' if blocks > 1 else ''} of attention over time"


def _is_own(path: Path) -> bool:
    if path.suffix != ".safetensors" or path.is_dir():
        return False
    with opened(path) as file:
        return METADATA_KEY in (file.metadata() or {})


def _own(path: Path) -> Still:
    info = load_info(path)
    if info.kind not in ("t2i", "base", "ssr") or info.config.get("temporal") is not None:
        video = " with temporal layers" if info.config.get("temporal") is not None else ""
        raise ValueError(f"{path}: a checkpoint of kind {info.kind}{video}; {SUPPORTED}.")
    frames = info.frames if info.frames > 1 else VIDEO_FRAMES
    return Still(path, dataclasses.replace(info, frames=frames), stored_tensors(path))


def _saved(path: Path, saved: SavedUNet) -> Still:
    try:
        info = _saved_info(saved)
    except ValueError as error:
        raise ValueError(f"{saved.config_file}: {error}") from error
    return Still(path, info, saved.tensors)


def _saved_info(saved: SavedUNet) -> CheckpointInfo:
    config = unet_config(saved.config)
    stage_two = config.in_channels == 6
    size = saved.config.get("sample_size")
    info = CheckpointInfo(
        kind="ssr" if stage_two else "t2i",
        config=config.to_dict(),
        **presets(saved.scheduler, stage_two),
        frames=VIDEO_FRAMES,
        size=(256 if stage_two else 64) if size is None else size,
        scale=4 if stage_two else 1,
        text_tokens=IF_TEXT_TOKENS,
        text_encoder=_text_encoder(saved.pipeline),
        training={"inflated_from": (saved.pipeline or saved.config_file.parent).name},
    )
    return checked_network(info)


def _text_encoder(pipeline: Path | None) -> str | None:
    """The pipeline's own folder, should the checkpoint lie beside it."""
    return pipeline.name if pipeline is not None and (pipeline / "text_encoder" / CONFIG).is_file() else None


def _stored_dtype(still: Still) -> torch.dtype:
    """The widest that the tensors have."""
    names = {tensor.dtype for tensor in still.tensors.values()}
    if unknown := sorted(names - DTYPES_BY_NAME.keys()):
        raise ValueError(f"{still.path}: tensors must be stored as {', '.join(DTYPES_BY_NAME)}; got {unknown[0]}.")
    if names == {"BF16", "F16"}:
        return torch.float32
    return max((DTYPES_BY_NAME[name] for name in names), key=lambda dtype: dtype.itemsize)


def _tensors(plan: Plan, written: Callable[[int], None] | None) -> Iterator[tuple[str, torch.Tensor]]:
    config = UNetConfig.from_dict(plan.info.config)
    for name, tensor in read_stored(plan.still.tensors):
        tensor = widened(tensor, plan.shapes[name][1]) if name == "conv_in.weight" else tensor
        yield name, tensor
        _report(written, tensor, plan)
    for name, tensor in fresh_temporal(config):
        yield name, tensor
        _report(written, tensor, plan)


def _report(written: Callable[[int], None] | None, tensor: torch.Tensor, plan: Plan) -> None:
    if written is not None:
        written(tensor.numel() * plan.dtype.itemsize)
