"""What a recipe's values are held to, beyond the records' own rules.

They are no tuples: equal ones of two classes would be one to `typing`, which keeps the annotations that it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..runtime.records import check_values, shown


@dataclass(frozen=True)
class Above:
    """Numbers above `least`, at most `most`."""

    least: float
    most: float

    def allows(self, value: float) -> bool:
        return self.least < value <= self.most

    def name(self, kind: str) -> str:
        return f"{kind} above {self.least}, at most {self.most}"


@dataclass(frozen=True)
class Below:
    """Numbers from `least` on, below `most`."""

    least: float
    most: float

    def allows(self, value: float) -> bool:
        return self.least <= value < self.most

    def name(self, kind: str) -> str:
        return f"{kind} from {self.least} to below {self.most}"


@dataclass(frozen=True)
class Items:
    """Lists of so many entries."""

    least: int
    most: int

    def allows(self, value: list | tuple) -> bool:
        return self.least <= len(value) <= self.most

    def name(self, kind: str) -> str:
        return f"{kind}, with {self.least} to {self.most} entries"


@dataclass(frozen=True)
class Weights:
    """Tables of numbers above 0."""

    most: float

    def allows(self, value: dict) -> bool:
        return all(type(weight) in (int, float) and 0 < weight <= self.most for weight in value.values())

    def name(self, kind: str) -> str:
        return f"{kind} of numbers above 0, at most {self.most}"


@dataclass(frozen=True)
class FileStem:
    """Texts that a file's name can begin with, in a folder that they do not lead out of."""

    longest: int = 200  # bytes, of the 255 that file systems allow

    def allows(self, value: str) -> bool:
        plain = value.isprintable() and not set(value) & set('/\\:*?"<>|')
        return plain and not value.startswith(".") and value == value.strip(" ").rstrip(".") and self._fits(value)

    def _fits(self, value: str) -> bool:
        return 0 < len(value.encode()) <= self.longest

    def name(self, kind: str) -> str:
        return (
            f"{kind} that can be a file's name: 1 to {self.longest} letters, none of /\\:*?\"<>|, no dot at either end"
        )


def check_table(where: str, hints: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    """`check_values`, and every name must be a known one."""
    for name in table:
        if name not in hints:
            raise ValueError(f"{where} has the unknown field {shown(name)}; known are {', '.join(hints)}.")
    check_values(where, hints, table)
