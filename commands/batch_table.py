"""The table of `lumiere batch`: a row for each clip, its columns named as the flags of `generate`."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..lumiere_core.batch.jobs import Job
from ..lumiere_core.video.files import SUFFIXES
from .sampling_flags import read_sampling_options, sampling_flags

PROMPT, OUTPUT = "prompt", "output"
PLAIN_FLAGS = ("negative", "seed", "frames", "size")
SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
Row = dict[str, str]


class _RowParser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def read_jobs(file: Path, options: argparse.Namespace, add_arguments) -> list[Job]:
    """A job for each row. What a row does not say is as `options`, those of the command, have it.

    add_arguments: gives a parser the flags that columns are named as. Raises ValueError that names the row.
    """
    rows = list(_rows(file))
    if not rows:
        raise ValueError(f"{file}: the table has no rows; a row for each clip is needed.")
    parser = _RowParser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    jobs = []
    for number, row in rows:
        try:
            jobs.append(_job(len(jobs), row, options, parser))
        except ValueError as error:
            raise ValueError(f"{file}: row {number}: {error}") from error
    _check_names(file, rows, jobs)
    return jobs


def columns() -> list[str]:
    """All that a table may have."""
    return [PROMPT, OUTPUT, *PLAIN_FLAGS, *(flag.name for flag in sampling_flags())]


def _job(index: int, row: Row, options: argparse.Namespace, parser: argparse.ArgumentParser) -> Job:
    if row.get(PROMPT) is None:
        raise ValueError("it has no prompt.")
    given = parser.parse_args(list(_arguments(row)), argparse.Namespace(**vars(options)))
    for name in (flag.name for flag in sampling_flags()):
        if row.get(name, "").lower() in SWITCHES and isinstance(getattr(given, name), bool):
            setattr(given, name, SWITCHES[row[name].lower()])
    return Job(
        output=row.get(OUTPUT) or f"{index:05}.mp4",
        prompt=row[PROMPT],
        **{name: getattr(given, name) for name in PLAIN_FLAGS},
        **read_sampling_options(given),
    )


def _arguments(row: Row) -> Iterator[str]:
    """The row as it would stand on the command line."""
    switches = {flag.name for flag in sampling_flags() if flag.option == "loop"}
    for name, value in row.items():
        if name in (PROMPT, OUTPUT) or not value:
            continue
        if name not in switches:
            yield f"--{name.replace('_', '-')}={value}"
        elif value.lower() not in SWITCHES:
            raise ValueError(f"{name} must be true or false; got {value!r}.")
        elif SWITCHES[value.lower()]:
            yield f"--{name.replace('_', '-')}"


def _rows(file: Path) -> Iterator[tuple[int, Row]]:
    """(number in the file, values by column's name) of each row; an empty value is none."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if file.suffix.lower() not in readers:
        raise ValueError(f"{file}: a table is a .csv or a .jsonl file; got {file.suffix or 'no suffix'}.")
    if not file.is_file():
        raise ValueError(f"{file}: no such file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{file}: not text in UTF-8 ({error}).") from error
    for number, row in readers[file.suffix.lower()](file, text):
        _check_columns(f"{file}: row {number}" if file.suffix.lower() == ".jsonl" else str(file), row)
        yield number, row


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [_name(name) for name in reader.fieldnames or ()]
        if len(set(names)) != len(names):
            raise ValueError(f"{file}: each column may be there once; got {', '.join(names)}.")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{file}: row {reader.line_num}: it must have {len(names)} values, as the first line.")
            yield reader.line_num, dict(zip(names, row.values(), strict=True))
    except csv.Error as error:
        raise ValueError(f"{file}: line {reader.line_num} is not CSV ({error}).") from error


def _json_rows(file: Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}: row {number}: not JSON ({error}).") from error
        if not isinstance(row, dict) or any(isinstance(value, list | dict) for value in row.values()):
            raise ValueError(f'{file}: row {number}: a table of plain values is needed, such as {{"prompt": "..."}}.')
        yield number, {_name(name): _text(value) for name, value in row.items() if value is not None}


def _text(value) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _name(column: str) -> str:
    """Columns may be written as flags are: --ssr-steps, ssr-steps, ssr_steps."""
    return column.strip().lstrip("-").replace("-", "_").lower()


def _check_columns(where: str, row: Row) -> None:
    known = columns()
    if PROMPT not in row:
        raise ValueError(f"{where}: a column prompt is needed; got {', '.join(row) or 'none'}.")
    for name in row:
        if name not in known:
            raise ValueError(f"{where}: unknown column {name!r}; known are {', '.join(known)}.")


def _check_names(file: Path, rows: Sequence[tuple[int, Row]], jobs: Sequence[Job]) -> None:
    """Every clip needs a file of its own, in the folder itself."""
    taken: dict[str, int] = {}
    for (number, _), job in zip(rows, jobs, strict=True):
        plain = Path(job.output).name == job.output and not set(job.output) & set("\\\0")
        if not plain or Path(job.output).suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{file}: row {number}: output must be a file's name that ends in {', '.join(SUFFIXES)}; got "
                f"{job.output!r}."
            )
        if job.output.lower() in taken:
            other = taken[job.output.lower()]
            raise ValueError(f"{file}: row {number}: output {job.output!r} is that of row {other}, too.")
        taken[job.output.lower()] = number
