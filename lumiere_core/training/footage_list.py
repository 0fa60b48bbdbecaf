"""Which videos a training learns from, and what they show: a folder with text files beside them, or a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from .image_folder import read_caption

SUFFIXES = tuple(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .ogv .wmv .flv .3gp .gif".split())
FILE_COLUMNS, CAPTION_COLUMNS = ("file", "video", "path"), ("caption", "text", "prompt")


class Listed(NamedTuple):
    """A video and its caption; "" is none. name: of the file as the list has it."""

    name: str
    file: Path
    caption: str


def list_videos(path: str | Path) -> list[Listed]:
    """The videos of a folder, by name, its subfolders' too, or of a .csv, .jsonl or .parquet table, in its order.

    In a folder, NAME.txt is the caption of NAME.mp4. A table has a column file (or video, path), from the table's
    folder on, and a column caption (or text, prompt). Raises ValueError for a list that cannot be read or is empty.
    """
    path = Path(path)
    if path.is_dir():
        return _list_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise ValueError(f"{path}: videos are a folder or a table ({known}); got {path.suffix or 'no such folder'}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    found = [_listed(path, number, row) for number, row in enumerate(reader(path), start=1)]
    if not found:
        raise ValueError(f"{path}: the table has no rows; a row for each video is needed.")
    return found


def _list_folder(folder: Path) -> list[Listed]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"{folder}: the folder must hold videos ({', '.join(SUFFIXES)}); got none.")
    return [Listed(str(file.relative_to(folder)), file, read_caption(file, "")) for file in files]


def _listed(table: Path, number: int, row: dict) -> Listed:
    values = {str(name).strip().lower(): value for name, value in row.items()}
    file, caption = (_column(table, number, values, names) for names in (FILE_COLUMNS, CAPTION_COLUMNS))
    if not file:
        raise ValueError(f"{table}: row {number}: it names no file.")
    return Listed(file, table.parent / file, " ".join(caption.split()))


def _column(table: Path, number: int, values: dict, names: tuple[str, ...]) -> str:
    for name in names:
        if name in values:
            value = values[name]
            return value if isinstance(value, str) else ""  # what is missing is None, or a number that is none
    got = ", ".join(values) or "none"
    raise ValueError(f"{table}: row {number}: a column {names[0]} is needed (or {', '.join(names[1:])}); got {got}.")


def _csv_rows(table: Path) -> Iterable[dict]:
    reader = csv.DictReader(io.StringIO(_text(table), newline=""), strict=True)
    try:
        for row in reader:
            row.pop(None, None)  # values beyond the columns
            yield row
    except csv.Error as error:
        raise ValueError(f"{table}: line {reader.line_num} is not CSV ({error}).") from error


def _json_rows(table: Path) -> Iterable[dict]:
    for number, line in enumerate(_text(table).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{table}: line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(
                f'{table}: line {number}: an object such as {{"file": "...", "caption": "..."}} is needed.'
            )
        yield row


def _parquet_rows(table: Path) -> Iterable[dict]:
    try:
        from pyarrow import ArrowException, parquet  # pyright: ignore[reportMissingImports]  only where it is there
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{table}: to read a parquet table, pyarrow is needed: pip install pyarrow. Or save it as .csv or .jsonl."
        ) from error
    try:
        return parquet.read_table(table).to_pylist()
    except (ArrowException, OSError) as error:
        raise ValueError(f"{table}: not a parquet table that can be read ({error}).") from error


def _text(table: Path) -> str:
    try:
        return table.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{table}: not text in UTF-8 ({error}).") from error


READERS: dict[str, Callable[[Path], Iterable[dict]]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}
