"""Before the first stage begins: whatever would stop one of them, said at once.

Networks are built without memory for their weights, so that this takes hardly any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from ..checkpoints.format import load_info, require_kind
from ..networks import STUNet, UNetConfig
from ..runtime.memory import GIB, available_bytes
from .files import StageFiles, start_file, text_file
from .objectives import START_KINDS, build_network, checkpoint_kind, require_fit
from .recipe import SSR_KINDS, Recipe, Stage
from .settings import Settings, require_same, stage_fields, stage_settings
from .source import ClipSource
from .state import saved_step

FLOAT32 = 4  # bytes
T5_WIDTH = 512  # of transformers' T5Config that does not say
Outlines = dict[str, STUNet | None]  # of the stages that are to be trained, by name; None is a text encoder


def check_stages(
    recipe: Recipe, stages: Iterable[Stage], folder: Path, sources: Callable[[Stage], ClipSource]
) -> dict[str, ClipSource]:
    """Raise a ValueError for what would stop one of the stages, in this order, on its way; no file is written.

    Returns what each learns from, by its name, but for those that are finished already.
    """
    outlines: Outlines = {}
    found: dict[str, ClipSource] = {}
    for stage in stages:
        files = StageFiles.of(folder, stage.name)
        _require_places(files)
        if files.weights.is_file():
            require_kind(load_info(files.weights), (checkpoint_kind(stage),), files.weights)
            require_same(files.settings, Settings(stage_fields(recipe, stage), {}), files.weights, None)
            continue
        found[stage.name] = sources(stage)
        outlines[stage.name] = _outline(recipe, stage, folder, outlines)
        if files.state.is_file():
            step = saved_step(files.state, stage)
            require_same(files.settings, stage_settings(recipe, stage, folder, found[stage.name]), files.state, step)
    return found


def _require_places(files: StageFiles) -> None:
    for file in files:
        if file.exists() and not file.is_file():
            raise ValueError(f"{file}: a file is to be written here, and there is something else. Move it away.")


def _outline(recipe: Recipe, stage: Stage, folder: Path, outlines: Outlines) -> STUNet | None:
    """The network of a stage on torch's device without memory."""
    if stage.kind == "text":
        return None
    width = _text_width(recipe, folder, outlines)
    start = _start_outline(recipe, stage, folder, outlines)
    try:
        with torch.device("meta"):
            network = build_network(stage, start)
    except ValueError as error:
        raise ValueError(f"recipe: stage {stage.name!r} cannot be built: {error}") from error
    require_fit(stage, network, width)
    _require_memory(stage, network)
    return network


def _text_width(recipe: Recipe, folder: Path, outlines: Outlines) -> int:
    if recipe.text_encoder is None and recipe.text_stage.name in outlines:
        return recipe.text_stage.network["d_model"]
    file = text_file(recipe, folder)
    if file.is_dir():
        return _folder_width(file)
    if recipe.text_encoder is None:
        _require_trained(file, recipe.text_stage.name)
    info = load_info(file)
    require_kind(info, ("text",), file)
    return info.config.get("d_model", T5_WIDTH)


def _folder_width(folder: Path) -> int:
    """Of a T5 encoder as transformers saves it."""
    inner = folder / "text_encoder"
    file = (inner if inner.is_dir() else folder) / "config.json"
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["d_model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: a T5 folder needs it, with the field d_model ({error}).") from error


def _start_outline(recipe: Recipe, stage: Stage, folder: Path, outlines: Outlines) -> STUNet | None:
    file = start_file(stage, folder)
    if stage.start in outlines:
        _require_alignment(stage, recipe.stage(stage.start).align_corners)
    if file is None or stage.start in outlines:
        return outlines.get(stage.start)
    if not stage.starts_from_file:
        _require_trained(file, stage.start)
    info = load_info(file)
    require_kind(info, START_KINDS, file)
    _require_alignment(stage, info.align_corners)
    return STUNet(UNetConfig.from_dict(info.config), device="meta")


def _require_alignment(stage: Stage, started_with: bool) -> None:
    """Enlarged in another way, the small clip would lie elsewhere than the layers that stay frozen expect it."""
    if stage.kind in SSR_KINDS and stage.align_corners != started_with:
        raise ValueError(
            f"recipe: stage {stage.name!r} must have align_corners = {str(started_with).lower()}, as what it starts "
            f"from; got {str(stage.align_corners).lower()}."
        )


def _require_trained(file: Path, stage: str) -> None:
    if not file.is_file():
        raise ValueError(f"{file}: no such file. Train the stage {stage!r} first, or together with this one.")


def _require_memory(stage: Stage, network: STUNet) -> None:
    needed = sum(FLOAT32 * parameter.numel() for parameter in network.parameters())
    free = available_bytes(torch.device("cpu"))
    if needed > free:
        raise ValueError(
            f"recipe: stage {stage.name!r}, network: its weights alone need {needed / GIB:.1f} GiB of memory; "
            f"{free / GIB:.1f} GiB is free. Use fewer channels or layers."
        )
