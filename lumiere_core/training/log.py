"""The log of a stage: a JSON object a line, with step, mean loss and time."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from ..runtime.outputs import atomic_path, clear_write_errors


def append_entry(file: Path, entry: dict) -> None:
    with clear_write_errors(file), file.open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def read_log(file: Path) -> list[dict]:
    """The entries, of which each has a step and a loss. What is no entry is left out."""
    return _entries(_lines(file))


def trim_log(file: Path, last_step: int) -> None:
    """Drop what a killed run logged after its last save, and a line that it had not finished; warn of other damage."""
    lines = _lines(file)
    entries = _entries(lines)
    damaged = sum(line.endswith("\n") for line in lines) - len(entries)
    if damaged > 0:
        warnings.warn(f"{file}: lines of the log are damaged, and left out: {damaged}.", stacklevel=2)
    kept = [json.dumps(entry) + "\n" for entry in entries if entry["step"] <= last_step]
    with clear_write_errors(file), atomic_path(file) as path:
        path.write_text("".join(kept), encoding="utf-8")


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)


def _entries(lines: list[str]) -> list[dict]:
    return [entry for entry in map(_parse, lines) if entry is not None]


def _parse(line: str) -> dict | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_entry = isinstance(entry, dict) and type(entry.get("step")) is int and type(entry.get("loss")) in (int, float)
    return entry if is_entry else None
