"""Recipes as TOML files: one table per stage, and in it one per phase."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

from ..diffusion.schedule import NoiseSchedule
from ..runtime.records import Range
from .recipe import Phase, Recipe, Stage
from .values import check_table

SCHEDULE = {"name": str, "timesteps": Annotated[int, Range(2, 10**4)], "shift": float}


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. A file that is none raises a ValueError that names what is wrong in it."""
    path = Path(path)
    data = _read(path)
    stages = tuple(_stage(number, table) for number, table in enumerate(_tables(data, "stage", str(path)), start=1))
    if "text_encoder" not in data and not any(stage.kind == "text" for stage in stages):
        raise ValueError(f"{path}: a recipe needs a stage of kind text; got {len(stages)} stages without one.")
    return _build(Recipe, data, "recipe", stages=stages)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise ValueError(f"{path}: no such recipe file.")
    try:
        data = _toml_reader().loads(path.read_text(encoding="utf-8-sig"))
        if _largest(data) >= 2**63:
            raise ValueError("its whole numbers have at most 64 bits")
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested too deep
        raise ValueError(f"{path}: not a TOML file: {error}.") from error
    return data


def _largest(value) -> int:
    """The size of the largest whole number in tables and lists. Python reads any, and prints not all."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_largest, parts), default=abs(value) if type(value) is int else 0)


def _stage(number: int, table: dict) -> Stage:
    where = f"recipe: stage {table.get('name', number)!r}"
    phases = tuple(_build(Phase, phase, f"{where}, phase") for phase in _tables(table, "phase", where))
    parts = {"phases": phases}
    if "schedule" in table:
        parts["schedule"] = _schedule(table.pop("schedule"), f"{where}, schedule")
    return _build(Stage, table, where, **parts)


def _schedule(table: dict, where: str) -> NoiseSchedule:
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table; write [stage.schedule].")
    check_table(where, SCHEDULE, table)
    return NoiseSchedule(**table)


def _tables(data: dict, name: str, where: str) -> list[dict]:
    """A list of tables, taken out of the table that holds it."""
    tables = data.pop(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        written = name if name == "stage" else f"stage.{name}"
        raise ValueError(f"{where}: {name}s are a list; write [[{written}]] instead of [{written}].")
    return tables


def _build(cls, table: dict, where: str, **parts):
    """An instance of a dataclass from its table and from the parts that tables of their own give."""
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in known or name in parts:
            names = ", ".join(name for name in known if name not in parts)
            raise ValueError(f"{where} has the unknown field {name!r}; known are {names}.")
    for name, f in known.items():
        is_needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if is_needed and name not in table and name not in parts:
            raise ValueError(f"{where} lacks the field {name!r}.")
    return cls(**table, **parts)


def _toml_reader():
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    import tomli

    return tomli
