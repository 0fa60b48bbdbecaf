"""The figures of text to video as files, and as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...world.motions import MOTIONS
from ..judge.traits import ALL, TRAITS
from ..statistics import share
from .charts import draw_text_figures
from .contact_sheet import contact_sheet
from .files import write_json, write_picture
from .markdown import interval, number, percent, scaled, table

JSON_FILE, PLOT_FILE, SHEET_FILE = "evaluation.json", "evaluation.png", "contact_sheet.png"
STAGE_TITLES = {"base": "base", "super_resolution": "super-resolved"}
SPLIT_TITLES = {"trained": "trained", "held_out": "held out"}
LAYOUT_TITLES = {"multidiffusion": "MultiDiffusion", "no_overlap": "without overlap", "one_window": "one window"}


def write_text_report(result: dict, sheet: Sequence[tuple[str, Sequence[np.ndarray]]], folder: Path) -> None:
    """Write evaluation.json, its plot, and a contact sheet of captioned rows of frames, each whole or not at all."""
    write_json(result, folder / JSON_FILE)
    write_picture(draw_text_figures(result), folder / PLOT_FILE)
    write_picture(contact_sheet(sheet), folder / SHEET_FILE)


def text_table(result: dict) -> str:
    """The figures as markdown: accuracies with 95 % intervals, temporal quality, then of super-resolution what it adds
    and how its windows join.
    """
    tables = (
        accuracy_table(result),
        motion_table(result),
        temporal_table(result),
        fidelity_table(result["fidelity"]),
        seam_table(result["seams"]),
    )
    return "\n\n".join(filter(None, tables))


def accuracy_table(result: dict) -> str:
    rows = [
        (f"{title(stage, figures)}, {SPLIT_TITLES[split]} ({rates[ALL]['of']})", *map(interval, rates.values()))
        for stage, figures in result["stages"].items()
        for split, rates in figures["accuracy"].items()
    ]
    for figures in result["judge"].values():
        rates = both_splits(figures["accuracy"])
        name = f"judge on ground truth {size(figures)} ({rates[ALL]['of']})"
        rows.append((name, *map(interval, rates.values())))
    return table(("accuracy, % (95 % interval)", *TRAITS, ALL), rows)


def both_splits(accuracy: dict[str, dict]) -> dict[str, dict]:
    """Trained and held-out combinations counted together, by trait."""
    return {
        trait: share(*(sum(rates[trait][key] for rates in accuracy.values()) for key in ("correct", "of")))
        for trait in (*TRAITS, ALL)
    }


def motion_table(result: dict) -> str:
    """How often each motion is shown where it is asked for, in per cent, by stage and of ground truth."""
    rows = [(title(stage, figures), figures) for stage, figures in result["stages"].items()]
    rows += [(f"judge on ground truth {size(figures)}", figures) for figures in result["judge"].values()]
    return table(
        ("motion by word, %", *MOTIONS),
        [(name, *map(percent, figures["motion_by_word"].values())) for name, figures in rows],
    )


def temporal_table(result: dict) -> str:
    """Beside wobble, in brackets, the judge's own figure on ground truth, whose outlines are rigid."""
    stages = result["stages"]
    wobbles = [
        f"{wobble_text(figures['wobble'])} ({wobble_text(result['judge'][stage]['wobble'])})"
        for stage, figures in stages.items()
    ]
    rows = [
        ("wobble of the outline, % (ground truth's)", *wobbles),
        ("background flicker, mean change of 255", *(flicker_text(f["flicker"]) for f in stages.values())),
    ]
    for motion in next(iter(stages.values()))["periodicity"]:
        shares = (interval(figures["periodicity"][motion]) for figures in stages.values())
        rows.append((f"{motion} with a clear period, %", *shares))
    return table(("", *(title(stage, figures) for stage, figures in stages.items())), rows)


def fidelity_table(fidelity: dict | None) -> str:
    if fidelity is None:
        return ""
    header = (f"super-resolution of ground truth ({fidelity['clips']})", "PSNR, dB", "Lanczos, dB", "largest shift, px")
    return table(header, [("", *(f"{fidelity[key]:.2f}" for key in ("psnr", "lanczos_psnr", "largest_shift")))])


def seam_table(seams: dict | None) -> str:
    if seams is None:
        return ""
    rows = [
        (LAYOUT_TITLES[name], str(seam["window"]), str(seam["overlap"]), number(seam["boundary_to_interior"], ".2f"))
        for name, seam in seams.items()
    ]
    return table(("super-resolution windows", "frames", "overlap", "boundary / interior change"), rows)


def title(stage: str, figures: dict) -> str:
    return f"{STAGE_TITLES[stage]} {size(figures)}"


def size(figures: dict) -> str:
    height, width = figures["size"]
    return f"{width}x{height}"


def wobble_text(wobble: dict) -> str:
    return scaled(wobble["mean"], 100.0, ".1f")


def flicker_text(flicker: dict) -> str:
    return scaled(flicker["mean"], 255.0, ".2f")
