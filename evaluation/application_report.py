"""An application's evaluation as files, as a table for people, and as the record that goes into a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..lumiere_core.checkpoints.format import load_checkpoint, save_checkpoint
from ..lumiere_core.runtime.outputs import atomic_path
from .figures import contact_sheet, draw_sweep
from .planning import Material, Run
from .report import compact, interval, number, rounded, table
from .scores import rate

SHEET_FRAMES = 5
UNKNOWN = 0.5  # grey, as the network is given it
RECORD_KEY = "applications"


def summarize_runs(runs: Sequence[Run], findings: Sequence[dict]) -> dict[str, dict]:
    """By variant, each finding as a share or a mean."""
    variants = dict.fromkeys(run.variant for run in runs)
    for variant in variants:
        found = [f for run, f in zip(runs, findings, strict=True) if run.variant == variant]
        variants[variant] = {name: summarize_values([f[name] for f in found]) for name in found[0]}
    return variants


def summarize_values(values: Sequence[bool | float | None]) -> dict:
    """Whether something was so: a share with Wilson's interval; numbers: their mean, and 1.96 standard errors.

    None, for what could not be measured, is not counted.
    """
    if isinstance(values[0], bool):
        return rate(sum(values), len(values))
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return {"mean": known[0] if known else None, "of": len(known), "low": None, "high": None}
    mean, half_width = float(np.mean(known)), 1.96 * float(np.std(known, ddof=1)) / len(known) ** 0.5
    return {"mean": mean, "of": len(known), "low": mean - half_width, "high": mean + half_width}


def sheet_row(
    run: Run, material: Material, frames: np.ndarray, shown: dict[str, str], found: dict
) -> tuple[str, list[np.ndarray]]:
    """What is given, grey where nothing is, and beside it what was made."""
    times = np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)
    strip = [frames[t].copy() for t in times]
    if material.frames is not None:
        given = material.frames
        if material.known is not None:
            given = np.where(material.known[..., None], given, UNKNOWN)
        gap = np.ones((frames.shape[1], 4, 3), np.float32)
        strip = [*(given[t].copy() for t in times), gap, *strip]
    judged = f"judged: {shown['noun']} {shown['motion']} on {shown['background']}"
    asked = run.asked.text if run.variant == "all" else f"{run.variant}: {run.asked.text}"
    missed = [name.replace("_", " ") for name, value in found.items() if value is False]
    return f"{asked}\n{judged}{'; not ' if missed else ''}{', '.join(missed)}", strip


def write_application(result: dict, sheet: Sequence[tuple[str, Sequence[np.ndarray]]], folder: Path) -> None:
    """Write <task>.json, the contact sheet <task>.png and, of a sweep, its plot, each whole or not at all."""
    name = result["task"]
    with atomic_path(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / f"{name}.png") as temporary:
        contact_sheet(sheet).save(temporary)
    if name == "strengths":
        with atomic_path(folder / f"{name}_plot.png") as temporary:
            draw_strengths(result).save(temporary)


def draw_strengths(result: dict):
    """Path and noun against strength as a PIL image."""
    names = {
        "path_correlation": "path's mean correlation",
        "noun": "noun as asked",
        "noun_top5": "noun as asked among the best five",
        "path_and_noun": "path kept and noun as asked",
    }
    curves = {title: [figures[name] for figures in result["figures"].values()] for name, title in names.items()}
    return draw_sweep(result["trend"]["strength"], curves, "video to video by strength, with 95 % intervals")


def application_table(result: dict) -> str:
    """The figures as markdown: shares in per cent and means, each with its 95 % interval; then the targets."""
    names = list(next(iter(result["figures"].values())))
    rows = [
        (f"{variant} ({figures[names[0]]['of']})", *(figure_text(figures[name]) for name in names))
        for variant, figures in result["figures"].items()
    ]
    for variant, figures in result["judge"].items():
        of, clips = figures[names[0]]["of"], "" if variant == "all" else f", {variant}"
        rows.append((f"judge on ground truth{clips} ({of})", *(figure_text(figures[name]) for name in names)))
    if result["targets"]:
        first = next(iter(result["figures"].values()))
        rows.append(("target", *(target_text(first[name], result["targets"].get(name)) for name in names)))
    title = f"{result['task'].replace('_', ' ')}, % or mean (95 % interval)"
    lines = table((title, *(name.replace("_", " ") for name in names)), rows)
    return "\n\n".join((lines, *trend_lines(result["trend"])))


def figure_text(figure: dict) -> str:
    """A share as 98.4 (95.5-99.5), a mean as 0.912 (0.887 to 0.937)."""
    if "rate" in figure:
        return interval(figure)
    if figure["low"] is None:
        return number(figure["mean"], ".3g")
    return "{mean:.3g} ({low:.3g} to {high:.3g})".format(**figure)


def target_text(figure: dict, target: float | None) -> str:
    if target is None:
        return ""
    return f"{100 * target:.0f}" if "rate" in figure else f"{target:g}"


def trend_lines(trend: dict | None) -> list[str]:
    """A sentence for each style, or the strength to choose."""
    if trend is None:
        return []
    if "best" in trend:
        return [f"Path and noun are right most often at strength {trend['best']:g}."]
    return [
        f"{name}: the style distance {'rises' if found['rises'] else 'does not rise'} with alpha throughout; "
        f"motion at alpha 0.5 differs by {100 * found['motion_change']:+.1f} points from alpha 0."
        for name, found in trend.items()
    ]


def application_record(result: dict) -> dict:
    """What a checkpoint's metadata carries of a task: shares and means as [value, low, high]."""
    return {
        "runs": result["runs"],
        "seed": result["seed"],
        "settings": result["settings"],
        "figures": {variant: compact_figures(figures) for variant, figures in result["figures"].items()},
        "judge": {variant: compact_figures(figures) for variant, figures in result["judge"].items()},
    }


def compact_figures(figures: dict[str, dict]) -> dict[str, list]:
    shares = {name: figure for name, figure in figures.items() if "rate" in figure}
    means = {
        name: [rounded(figure[key]) for key in ("mean", "low", "high")]
        for name, figure in figures.items()
        if name not in shares
    }
    return compact(shares) | means


def record_application(path: str | Path, result: dict) -> None:
    """Put a task's figures into a checkpoint's training record, beside those of other tasks; the tensors stay."""
    info, tensors = load_checkpoint(path)
    tasks = {**info.training.get(RECORD_KEY, {}), result["task"]: application_record(result)}
    training = {**info.training, RECORD_KEY: tasks}
    save_checkpoint(path, tensors, dataclasses.replace(info, training=training))
