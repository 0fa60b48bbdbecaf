"""What a checkpoint file is, in words: the text of `lumiere info`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from safetensors import safe_open

from ..conditioning.vocabulary import Vocabulary
from ..networks.inflation import TEMPORAL_PREFIX
from .format import CheckpointInfo, load_info

NETWORK_FIELDS = ("prediction", "variance", "thresholding")
CLIP_FIELDS = ("fps", "frames", "trained_frames", "size", "trained_sides", "scale", "text_encoder", "text_tokens")


def describe_checkpoint(path: str | Path) -> str:
    """Kind, parameters, defaults, config and training record. Raises ValueError as `load_info` does."""
    info = load_info(path)
    sections = [f"{path}: {info.kind}", _parameters(path)]
    if info.kind != "text":
        sections.append(_sampling(info))
    words = Vocabulary.of(info.training).by_kind()
    training = info.training
    if words:
        sections.append(_table("words", {kind: ", ".join(names) for kind, names in words.items()}))
        training = {name: value for name, value in training.items() if name != "cast"}
    sections += [_table("config", info.config), _table("training", training)]
    return "\n\n".join(sections)


def _parameters(path: str | Path) -> str:
    with safe_open(str(path), framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        counts = {name: math.prod(part.get_shape()) for name, part in slices.items()}
        dtypes = sorted({part.get_dtype() for part in slices.values()})
    total = sum(counts.values())
    temporal = sum(count for name, count in counts.items() if name.startswith(TEMPORAL_PREFIX))
    shares = f" ({total - temporal:,} spatial, {temporal:,} temporal)" if temporal else ""
    return f"parameters: {total:,}{shares}, stored as {', '.join(dtypes)}"


def _sampling(info: CheckpointInfo) -> str:
    schedule = info.schedule
    rows = {"schedule": f"{schedule.name}, {schedule.timesteps} timesteps, shift {schedule.shift:g}"}
    rows |= {name: getattr(info, name) for name in NETWORK_FIELDS} | info.sampling.said()
    rows |= {name: getattr(info, name) for name in CLIP_FIELDS}
    return _table("sampling", {name: value for name, value in rows.items() if value is not None})


def _table(title: str, rows: dict) -> str:
    lines = [f"  {_shown(name)}: {_shown(value)}" for name, value in rows.items()]
    return "\n".join([f"{title}:", *(lines or ["  none"])])


def _shown(value) -> str:
    """Text as it is where it stays on its line, else as JSON: a file may say anything of itself."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)
