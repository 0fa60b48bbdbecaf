"""The loss curve as a PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..runtime.outputs import atomic_path, clear_write_errors
from ..video.curves import draw_curves
from .log import read_log


def plot_losses(log_file: Path, path: Path, title: str, smoothing: int = 25) -> None:
    """Read a JSON-lines log with step and loss; draw the loss and its running mean, logarithmic."""
    if not log_file.is_file():
        return
    entries = read_log(log_file)
    if not entries:
        return
    steps, losses = (np.array([entry[key] for entry in entries]) for key in ("step", "loss"))
    window = min(smoothing, len(losses))
    mean = np.convolve(losses, np.ones(window) / window, mode="valid")
    with clear_write_errors(path), atomic_path(path) as temporary:
        draw_curves({"loss": (steps, losses), "mean": (steps[window - 1 :], mean)}, title).save(temporary)
