"""How a prompt is read: without regard to case and blanks, and with weights in parentheses, as ComfyUI has them."""

from __future__ import annotations

import re
from typing import NamedTuple

EMPHASIS = 1.1  # of "(red)"; "(red:1.4)" says it, "\\(" is a parenthesis
DEEPEST = 16  # parentheses within each other; further ones are text
_PARENTHESIS = re.compile(r"(?<!\\)[()]")
_WEIGHT = re.compile(r"(?P<text>.+):\s*(?P<weight>[-+]?\d{0,3}\.?\d{1,6})\s*", re.DOTALL)


class Part(NamedTuple):
    """A piece of a prompt, and how much it counts: 1 as it is, 0 not at all."""

    text: str
    weight: float


def plain(prompt: str) -> str:
    """In lower case, with single blanks and none at the ends: what networks are trained on."""
    return " ".join(prompt.lower().split())


def weighted_parts(prompt: str) -> list[Part]:
    """The pieces of a prompt, of which one at least; together they are the prompt without its weights."""
    return _parts(plain(prompt), 1.0, DEEPEST) or [Part("", 1.0)]


def _parts(text: str, weight: float, depth: int) -> list[Part]:
    parts, start, opened = [], 0, []
    for found in _PARENTHESIS.finditer(text) if depth else ():
        if found[0] == "(":
            opened.append(found.start())
        elif opened:
            began = opened.pop()
            if not opened:
                parts += _part(text[start:began], weight) + _emphasized(text[began + 1 : found.start()], weight, depth)
                start = found.end()
    return parts + _part(text[start:], weight)


def _part(text: str, weight: float) -> list[Part]:
    return [Part(re.sub(r"\\([()])", r"\1", text), weight)] if text else []


def _emphasized(text: str, weight: float, depth: int) -> list[Part]:
    """What stands in parentheses: a number after a colon is its weight, whatever is around it."""
    said = _WEIGHT.fullmatch(text)
    if said is not None:
        return _parts(said["text"], float(said["weight"]), depth - 1)
    return _parts(text, weight * EMPHASIS, depth - 1)
