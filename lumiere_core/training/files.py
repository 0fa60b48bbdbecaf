"""Which files a stage reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .recipe import Recipe, Stage

SUFFIXES = (".safetensors", ".partial.safetensors", ".state.safetensors", ".settings.json", ".log.jsonl", ".loss.png")


class StageFiles(NamedTuple):
    """What a stage writes: the finished weights; until then partial ones and the state; settings, log and plot stay."""

    weights: Path
    partial: Path
    state: Path
    settings: Path
    log: Path
    plot: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> StageFiles:
        return cls(*(folder / f"{name}{suffix}" for suffix in SUFFIXES))


def start_file(stage: Stage, folder: Path) -> Path | None:
    """The weights that a stage starts from."""
    if stage.start is None or stage.starts_from_file:
        return stage.start and Path(stage.start)
    return StageFiles.of(folder, stage.start).weights


def text_file(recipe: Recipe, folder: Path) -> Path:
    """The text encoder that the networks hear: a file or a folder."""
    return Path(recipe.text_encoder) if recipe.text_encoder else StageFiles.of(folder, recipe.text_stage.name).weights
