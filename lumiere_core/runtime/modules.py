"""Packages that are imported where they are used: a missing one is found before the work, and not after it."""

from __future__ import annotations

from importlib import import_module


def require_modules(*names: str) -> None:
    """Raise ModuleNotFoundError for the first of them that is not installed."""
    for name in names:
        import_module(name)
