"""An evaluation as files, as a table for people, and as the record that goes into a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..lumiere_core.runtime.outputs import atomic_path
from ..world.motions import MOTIONS
from .figures import contact_sheet, draw_evaluation
from .scores import ALL, PERIODIC_MOTIONS, TRAITS, rate

JSON_FILE, PLOT_FILE, SHEET_FILE = "evaluation.json", "evaluation.png", "contact_sheet.png"
STAGE_TITLES = {"base": "base", "super_resolution": "super-resolved"}
SPLIT_TITLES = {"trained": "trained", "held_out": "held out"}
LAYOUT_TITLES = {"multidiffusion": "MultiDiffusion", "no_overlap": "without overlap", "one_window": "one window"}


def write_report(result: dict, sheet: Sequence[tuple[str, Sequence[np.ndarray]]], folder: Path) -> None:
    """Write evaluation.json, its plot, and a contact sheet of captioned rows of frames, each whole or not at all."""
    with atomic_path(folder / JSON_FILE) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / PLOT_FILE) as temporary:
        draw_evaluation(result).save(temporary)
    with atomic_path(folder / SHEET_FILE) as temporary:
        contact_sheet(sheet).save(temporary)


def markdown_table(result: dict) -> str:
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
        trait: rate(*(sum(rates[trait][key] for rates in accuracy.values()) for key in ("correct", "of")))
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
    for motion in PERIODIC_MOTIONS:
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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def title(stage: str, figures: dict) -> str:
    return f"{STAGE_TITLES[stage]} {size(figures)}"


def size(figures: dict) -> str:
    height, width = figures["size"]
    return f"{width}x{height}"


def interval(share: dict) -> str:
    """A share in per cent with its 95 % interval: 98.4 (95.5-99.5)."""
    if share["rate"] is None:
        return "-"
    return "{rate:.1f} ({low:.1f}-{high:.1f})".format(**{key: 100.0 * share[key] for key in ("rate", "low", "high")})


def percent(share: dict) -> str:
    return number(None if share["rate"] is None else 100.0 * share["rate"], ".0f")


def wobble_text(wobble: dict) -> str:
    return number(None if wobble["mean"] is None else 100.0 * wobble["mean"], ".1f")


def flicker_text(flicker: dict) -> str:
    return number(None if flicker["mean"] is None else 255.0 * flicker["mean"], ".2f")


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def training_record(result: dict) -> dict:
    """The figures that a checkpoint's metadata carries as its "evaluation": shares as [rate, low, high] of 1."""
    return {
        "prompts": result["prompts"],
        "seed": result["seed"],
        "settings": result["settings"],
        "stages": {stage: stage_record(figures) for stage, figures in result["stages"].items()},
        "judge": {
            stage: compact(both_splits(figures["accuracy"])) | {"wobble": rounded(figures["wobble"]["mean"])}
            for stage, figures in result["judge"].items()
        },
        "fidelity": result["fidelity"] and {name: rounded(value) for name, value in result["fidelity"].items()},
        "boundary_to_interior": result["seams"]
        and {name: rounded(seam["boundary_to_interior"]) for name, seam in result["seams"].items()},
    }


def stage_record(figures: dict) -> dict:
    return {
        "size": figures["size"],
        "prompts": {split: rates[ALL]["of"] for split, rates in figures["accuracy"].items()},
        "accuracy": {split: compact(rates) for split, rates in figures["accuracy"].items()},
        "motion_by_word": {motion: rounded(share["rate"]) for motion, share in figures["motion_by_word"].items()},
        "wobble": rounded(figures["wobble"]["mean"]),
        "flicker": rounded(figures["flicker"]["mean"]),
        "periodic": compact(figures["periodicity"]),
    }


def compact(rates: dict[str, dict]) -> dict[str, list]:
    return {name: [rounded(share[key]) for key in ("rate", "low", "high")] for name, share in rates.items()}


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
