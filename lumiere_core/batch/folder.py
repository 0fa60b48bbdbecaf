"""The folder of a batch: clips, a line for each in results.jsonl, and for what failed in errors.jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..runtime.outputs import atomic_path, clear_write_errors, require_writable
from .jobs import Failed, Job, Made, Networks

RESULTS, ERRORS = "results.jsonl", "errors.jsonl"


class BatchFolder:
    """Raises ValueError where the folder cannot be written into."""

    def __init__(self, path: Path, networks: Networks):
        require_writable(path / RESULTS)
        self.path, self.networks = path, networks

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are still to be made."""
        kept = self._kept(jobs)
        return [job for job in jobs if job.output not in kept]

    def begin(self, jobs: Sequence[Job]) -> None:
        """Make the folder, and take the lines of what is to be made anew out of its files."""
        with clear_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        named = {job.output for job in jobs}
        _write(self.path / RESULTS, self._kept(jobs).values())
        _write(self.path / ERRORS, (line for line in _lines(self.path / ERRORS) if line["output"] not in named))

    def report(self, job: Job, outcome: Made | Failed) -> None:
        """Keep what became of a job: the clip first, then its line, so that a line is never without its clip."""
        if isinstance(outcome, Failed):
            self._append(ERRORS, job.entry() | {"error": outcome.error})
            return
        file = self.path / job.output
        with clear_write_errors(file), atomic_path(file) as temporary:
            temporary.write_bytes(outcome.video)
        self._append(RESULTS, job.entry() | outcome.facts | {"job": self.networks.digest(job)})

    def _kept(self, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
        """The lines by output, each once, whose clips are there and were asked for as they are now."""
        wanted = {job.output: self.networks.digest(job) for job in jobs}
        return {line["output"]: line for line in _lines(self.path / RESULTS) if self._holds(line, wanted)}

    def _holds(self, line: dict[str, Any], wanted: dict[str, str]) -> bool:
        output = line["output"]
        return wanted.get(output, line.get("job")) == line.get("job") and (self.path / output).is_file()

    def _append(self, name: str, entry: dict[str, Any]) -> None:
        file = self.path / name
        with clear_write_errors(file), file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            lines.flush()
            os.fsync(lines.fileno())


def _lines(file: Path) -> list[dict[str, Any]]:
    """What is whole; a line that a killed run had not finished is left out."""
    found = []
    for text in file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("output"), str):
            found.append(line)
    return found


def _write(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if text or file.is_file():
        with clear_write_errors(file), atomic_path(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
