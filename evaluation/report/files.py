"""A report's files: the folder that they go into, and JSON and pictures that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

from ...lumiere_core.runtime.outputs import atomic_path

FORMAT = 2  # of the JSON files


def writable_folder(output: str | Path | None) -> Path | None:
    """The folder, made if need be. Raises ValueError where it cannot be."""
    if output is None:
        return None
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"evaluate: output must be a folder that can be written; got {output} ({error}).") from error
    return Path(output)


def write_json(result: dict, file: Path) -> None:
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_picture(image, file: Path) -> None:
    """image: a PIL image."""
    with atomic_path(file) as temporary:
        image.save(temporary)
