"""Seeded mutations of JSON, for tests that give a reader what no writer writes."""

from __future__ import annotations

import copy
import json
import random

import pytest

NESTED = json.loads("[" * 200 + "]" * 200)
VALUES = (
    [None, True, False, [], {}, [[]], [None], {"a": {}}, NESTED]
    + [0, 1, -1, 2, 7, 255, 2**31, 2**63, 2**64, 10**9, -(10**9), 10**30, 10**400]
    + [0.0, -0.5, 0.5, 1.5, 1e-9, 1e-300, 1e300, float("nan"), float("inf")]
    + ["", "a", "0", "1", "²", "-1", "\ud800", "\x00", "\x1b[2J", "../../a", "/etc", "a" * 5000, "é" * 300]
)


def quick_ones(quick: int, seeds: int) -> list:
    """As many seeds, of which all but the first few are slow."""
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, seeds))]


def mutate(data, rng: random.Random, times: int = 1):
    """A copy with so many places of it changed, removed, renamed, moved or repeated."""
    data = copy.deepcopy(data)
    for _ in range(times):
        places = list(_places(data))
        if places:
            parent, key = rng.choice(places)
            rng.choice((_replace, _replace, _replace, _remove, _exchange, _rename, _repeat))(parent, key, places, rng)
    return data


def damage(text: str, rng: random.Random) -> bytes:
    """The bytes of a text with a few of them changed, cut out or put in."""
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.randint(1, 4)):
        begin = rng.randrange(len(raw))
        end = begin + rng.choice((0, 1, 1, 20, len(raw)))
        raw[begin:end] = rng.choice((b"", b"\xff", b'"', b"{", b"]", b",", b"9" * 5000, b"\xef\xbb\xbf", b"null"))
        raw = raw or bytearray(b" ")
    return bytes(raw)


def _places(data):
    """(parent, key) of everything in it."""
    parents = [data]
    while parents:
        parent = parents.pop()
        for key in parent if isinstance(parent, dict) else range(len(parent)):
            yield parent, key
            if isinstance(parent[key], dict | list) and parent[key] is not NESTED:
                parents.append(parent[key])


def _replace(parent, key, places, rng) -> None:
    parent[key] = rng.choice(VALUES)


def _remove(parent, key, places, rng) -> None:
    del parent[key]


def _exchange(parent, key, places, rng) -> None:
    """What stands elsewhere, here."""
    other, name = rng.choice(places)
    if name in other if isinstance(other, dict) else name < len(other):
        parent[key] = copy.deepcopy(other[name])


def _rename(parent, key, places, rng) -> None:
    if isinstance(parent, dict):
        parent[rng.choice(("wings", "", "kind", "1", key.upper()))] = parent.pop(key)


def _repeat(parent, key, places, rng) -> None:
    if isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(parent[key])] * rng.choice((1, 2, 50))
