"""Plain data, as JSON and TOML have it, as frozen dataclasses: every name, type and range is checked.

What a field may be stands in its annotation: int, float, str, bool, dict, list[X], tuple[X, ...], another record,
X | None, and with `Annotated` a Range or a Choice.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a table",
    NoneType: "null",
}

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


class Range(NamedTuple):
    """A number from least to most."""

    least: float
    most: float

    def allows(self, value: Any) -> bool:
        return self.least <= value <= self.most

    def name(self, kind: str) -> str:
        least, most = (int(x) if x == int(x) else x for x in self)  # typing may give another Range that equals it
        return f"{kind} from {least} to {most}"


class Choice(NamedTuple):
    """One of these."""

    values: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        return value in self.values

    def name(self, kind: str) -> str:
        return f"one of {', '.join(self.values)}"


@dataclass(frozen=True)
class Record:
    """Base of the dataclasses whose values are checked. A wrong one raises a ValueError that names the field."""

    def __post_init__(self):
        check_values(type(self).__name__, _hints(type(self)), vars(self))

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Any):
        """Inverse of `to_dict`, from JSON's lists too. Raises ValueError for the first thing that is wrong."""
        if not isinstance(data, Mapping):
            raise ValueError(f"{cls.__name__} must be a table of its fields; got {shown(data)}.")
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise ValueError(
                    f"{cls.__name__}: unknown field {shown(name)[1:-1]}; known fields are {', '.join(sorted(known))}. "
                    "The file may need a newer version of this pack."
                )
        for name, field in known.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in data:
                raise ValueError(f"{cls.__name__} lacks the field {name}.")
        hints = _hints(cls)
        return cls(**{name: _built(hints[name], value) for name, value in data.items()})


def check_values(where: str, hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError for the first of the values by name that its hint, a type, does not allow."""
    for name, hint in hints.items():
        if name in values and not _fits(hint, values[name]):
            raise ValueError(f"{where}: {name} must be {_in_words(hint)}; got {shown(values[name])}.")


def nesting(data: Any) -> int:
    """How many tables and lists lie within each other, counted without recursion."""
    depth, parents = 0, [data]
    while parents := [parent for parent in parents if isinstance(parent, dict | list)]:
        depth += 1
        parents = [child for parent in parents for child in (parent.values() if isinstance(parent, dict) else parent)]
    return depth


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: not where it has the bytes of another encoding, or half a pair of UTF-16."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: Any) -> str:
    """A value in one short line."""
    return _short.repr(value)


def _fits(hint: Any, value: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(arguments[0], value) and all(limit.allows(value) for limit in arguments[1:])
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in arguments)
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_fits(arguments[0], part) for part in value)
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is hint if hint in WORDS else isinstance(value, hint)


def _in_words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return arguments[1].name(_in_words(arguments[0]))
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin in (tuple, list):
        return f"a list, each of it {_in_words(arguments[0])}"
    return WORDS.get(hint) or f"a {hint.__name__}"


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _built(hint: Any, value: Any) -> Any:
    """Tables as records and lists as tuples where the annotation has those; all else stays, to be checked."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType) and value is not None:
        return _built(next(part for part in arguments if part is not NoneType), value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_built(arguments[0], part) for part in value)
    if isinstance(hint, type) and issubclass(hint, Record) and not isinstance(value, hint):
        return hint.from_dict(value)
    return value


def read_table(file: Path) -> dict[str, Any]:
    """A JSON file that is one table. Raises ValueError for another."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a JSON file ({error}).") from error
    if not isinstance(table, dict):
        raise ValueError(f"{file}: must be a table of fields; got {shown(table)}.")
    return table
