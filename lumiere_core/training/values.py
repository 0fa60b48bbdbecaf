"""Values that come from outside, held to the types and ranges that a class or a table declares for them."""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin


class Range(NamedTuple):
    """Numbers from `least` to `most`; `above`, `below`: that end is not one of them."""

    least: float
    most: float
    above: bool = False
    below: bool = False

    def allows(self, value: float) -> bool:
        low = self.least < value if self.above else self.least <= value
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        return f"{'above' if self.above else 'from'} {self.least} to {'below ' if self.below else ''}{self.most}"


class OneOf(NamedTuple):
    """Texts out of a list."""

    choices: tuple[str, ...]

    def allows(self, value: str) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return f"out of {', '.join(self.choices)}"


class FileStem(NamedTuple):
    """Texts that a file's name can begin with, in a folder that they do not lead out of."""

    longest: int = 200  # bytes, of the 255 that file systems allow

    def allows(self, value: str) -> bool:
        plain = value.isprintable() and not set(value) & set('/\\:*?"<>|')
        return plain and not value.startswith(".") and value == value.strip(" ").rstrip(".") and self._fits(value)

    def _fits(self, value: str) -> bool:
        return 0 < len(value.encode()) <= self.longest

    def __str__(self) -> str:
        return f"that can be a file's name: 1 to {self.longest} letters, none of /\\:*?\"<>|, no dot at either end"


class Items(NamedTuple):
    """Lists of so many entries."""

    least: int
    most: int

    def allows(self, value) -> bool:
        return self.least <= len(value) <= self.most

    def __str__(self) -> str:
        return f"with {self.least} to {self.most} entries"


NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a table"}
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def check_values(where: str, values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the first value which its hint does not allow, or which has none.

    hints: as `typing.get_type_hints(..., include_extras=True)` gives them: int, float, bool, str, dict, lists as
    tuple[X, ...], dict[str, X], X | None, classes, and any of them Annotated with a rule of this module. Whole numbers
    are numbers, too; true and false are not. Numbers are finite.
    """
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"{where} has the unknown field {name!r}; known are {', '.join(hints)}.")
        if not _allows(hints[name], value):
            raise ValueError(f"{where}: {name} must be {_describe(hints[name])}; got {_shown(value)}.")


def _shown(value) -> str:
    """A value as a message has it. Python refuses to print numbers of thousands of digits."""
    is_huge = isinstance(value, int) and value.bit_length() > 256
    return f"a number of {value.bit_length()} bits" if is_huge else _short.repr(value)


def _allows(hint, value) -> bool:
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _allows(parts[0], value) and all(rule.allows(value) for rule in parts[1:])
    if kind in (Union, types.UnionType):
        return any(_allows(part, value) for part in parts)
    if kind is tuple:
        return isinstance(value, list | tuple) and all(_allows(parts[0], entry) for entry in value)
    if kind is dict:
        return isinstance(value, dict) and all(_allows(parts[1], entry) for entry in value.values())
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    if hint is str:
        return isinstance(value, str) and "\0" not in value  # which no file's name can have
    return type(value) is int if hint is int else isinstance(value, hint)


def _describe(hint, entries: str = "of any length") -> str:
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        rules = " ".join(map(str, parts[1:]))
        return _describe(parts[0], rules) if get_origin(parts[0]) is tuple else f"{_describe(parts[0])} {rules}"
    if kind in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in parts if part is not type(None))
    if kind is tuple:
        return f"a list {entries}, each {_describe(parts[0])}"
    if kind is dict:
        return f"a table, each value {_describe(parts[1])}"
    return NOUNS.get(hint, hint.__name__)
