"""Seeded cases of input that no writer writes: each gives a right result, or one line that says why not."""

import sys
from pathlib import Path

import pytest

from lumiere_video.lumiere_core.runtime import memory

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """What would take long to fill is refused."""
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**28)
