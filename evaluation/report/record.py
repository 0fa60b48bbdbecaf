"""What a checkpoint's metadata carries of its evaluations: figures, rounded and without their counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...lumiere_core.checkpoints.format import load_checkpoint, save_checkpoint
from ..judge.traits import ALL
from .text_report import both_splits

RECORD_KEY = "applications"  # of the figures of tasks in which something is given, by task


def text_record(result: dict) -> dict:
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


def task_record(result: dict) -> dict:
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


def record_task(path: str | Path, result: dict) -> None:
    """Put a task's figures into a checkpoint's training record, beside those of other tasks; the tensors stay."""
    info, tensors = load_checkpoint(path)
    tasks = {**info.training.get(RECORD_KEY, {}), result["task"]: task_record(result)}
    training = {**info.training, RECORD_KEY: tasks}
    save_checkpoint(path, tensors, dataclasses.replace(info, training=training))
