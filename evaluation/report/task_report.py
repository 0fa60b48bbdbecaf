"""The figures of a task in which something is given as files, and as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .contact_sheet import contact_sheet
from .files import write_json, write_picture
from .markdown import share_or_mean_text, table


def write_task_report(
    result: dict,
    sheet: Sequence[tuple[str, Sequence[np.ndarray]]],
    folder: Path,
    plot: Callable[[dict], Any] | None = None,
) -> None:
    """Write <task>.json, the contact sheet <task>.png and, of what is plotted, <task>_plot.png."""
    name = result["task"]
    write_json(result, folder / f"{name}.json")
    write_picture(contact_sheet(sheet), folder / f"{name}.png")
    if plot is not None:
        write_picture(plot(result), folder / f"{name}_plot.png")


def task_table(result: dict) -> str:
    """The figures as markdown: shares in per cent and means, each with its 95 % interval; then the targets."""
    first = next(iter(result["figures"].values()))
    rows = [variant_row(variant, figures) for variant, figures in result["figures"].items()]
    for variant, figures in result["judge"].items():
        clips = "" if variant == "all" else f", {variant}"
        rows.append(variant_row(f"judge on ground truth{clips}", figures))
    if result["targets"]:
        rows.append(("target", *(target_text(figure, result["targets"].get(name)) for name, figure in first.items())))
    title = f"{result['task'].replace('_', ' ')}, % or mean (95 % interval)"
    return table((title, *(name.replace("_", " ") for name in first)), rows)


def variant_row(title: str, figures: dict[str, dict]) -> tuple[str, ...]:
    first = next(iter(figures.values()))
    return f"{title} ({first['of']})", *map(share_or_mean_text, figures.values())


def target_text(figure: dict, target: float | None) -> str:
    if target is None:
        return ""
    return f"{100 * target:.0f}" if "rate" in figure else f"{target:g}"
