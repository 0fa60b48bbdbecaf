"""What every node's `execute` runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import host
from .checks import named


@contextmanager
def running(node: str) -> Iterator[None]:
    """A decorator of `execute`: what goes wrong is said in the node's name, and what is warned of shows at the node."""
    with host.notices(node), named(node):
        yield
