"""Warnings at the node that they concern, every time: Python's would show once in a server's life, in its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from comfy_execution.utils import get_executing_context
from server import PromptServer

from ....lumiere_core.runtime.notices import heard_by, is_heard

NOTHING = " "  # the front end takes an empty text for none, and leaves the old one

# What nodes show, by id. The front end never takes a text away: who wrote it has to write over it, in the next run.
_SHOWN: dict[str, list[str]] = {}


@contextmanager
def notices(node: str) -> Iterator[None]:
    """Show what is warned of meanwhile at the node that is executed, in place of what it showed before."""
    clear_notices()
    with noticing(node):
        yield


@contextmanager
def noticing(source: str) -> Iterator[None]:
    """Show what is warned of meanwhile at the node that is executed, unless another listens already.

    source: who says so, for the log.
    """
    if is_heard():
        yield
        return
    with heard_by(lambda text: _say(source, text)):
        yield


def clear_notices() -> None:
    """Take away what the node that is executed shows of an earlier run."""
    node = _executing()
    if node is not None and _SHOWN.pop(node, None):
        _show(node, NOTHING)


def _say(source: str, text: str) -> None:
    node = _executing()
    texts = [] if node is None else _SHOWN.setdefault(node, [])
    if text in texts:
        return
    texts.append(text)
    logging.warning("%s: %s", source, text)
    if node is not None:
        _show(node, "\n".join(texts))


def _show(node: str, text: str) -> None:
    server = PromptServer.instance
    if server.client_id is not None:  # else all who look at some graph would get it, at their node of that id
        server.send_progress_text(text, node, server.client_id)


def _executing() -> str | None:
    context = get_executing_context()
    return None if context is None else context.node_id
