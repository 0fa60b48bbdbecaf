"""The state of an unfinished stage, <stage>.state.safetensors: weights, their average, the optimizer's moments, steps.

Metadata: step, optimizer. Tensors: model.<parameter>, average.<parameter>, optimizer.<moment>.<parameter>.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..runtime.outputs import atomic_path, clear_write_errors
from .recipe import Stage

Tensors = dict[str, torch.Tensor]
PARTS = ("model", "average", "optimizer")


class State(NamedTuple):
    """step: how many are done. model, average: by parameter; moments: <moment>.<parameter>."""

    step: int
    model: Tensors
    average: Tensors
    moments: Tensors


def save_state(file: Path, stage: Stage, state: State) -> None:
    """Atomically: what was saved before stays whole until this is complete."""
    tensors = {
        f"{part}.{name}": tensor.detach().contiguous().cpu()
        for part, values in zip(PARTS, state[1:], strict=True)
        for name, tensor in values.items()
    }
    metadata = {"step": str(state.step), "optimizer": stage.optimizer}
    with clear_write_errors(file), atomic_path(file) as path:
        save_file(tensors, str(path), metadata)


def saved_step(file: Path, stage: Stage) -> int:
    """How many steps the file's training has done, read without its tensors.

    Raises ValueError for a file that is damaged, of another optimizer, or further than the stage goes.
    """
    with _open(file) as state:
        metadata = state.metadata() or {}
    step = metadata.get("step", "")
    if not (step.isascii() and step.isdigit() and len(step) < 13):
        raise ValueError(_unreadable(file, f"its metadata must say the step, a whole number; got {step[:20]!r}"))
    if int(step) > stage.steps:
        raise ValueError(
            f"{file}: the saved training has done {int(step)} steps already; stage {stage.name!r} has {stage.steps}. "
            "Give it as many, or delete the file to start the stage again."
        )
    if metadata.get("optimizer", stage.optimizer) != stage.optimizer:
        raise ValueError(
            f"{file}: the saved training state is of the optimizer {metadata['optimizer']}; stage {stage.name!r} has "
            f"{stage.optimizer}. Delete it to start the stage again, or set it back."
        )
    return int(step)


def load_state(file: Path, stage: Stage, expected: Mapping[str, Mapping[str, Any]]) -> State:
    """A state whose parts have exactly the `expected` shapes, by tensor. Raises ValueError as `saved_step` does,
    and for a state of another network.
    """
    step = saved_step(file, stage)
    with _open(file) as state:
        shapes = {name: torch.Size(state.get_slice(name).get_shape()) for name in state.keys()}
        if shapes != {f"{part}.{name}": shape for part in PARTS for name, shape in expected[part].items()}:
            raise ValueError(
                f"{file}: the saved training state is of another network than stage {stage.name!r} of the recipe. "
                "Set it back, or delete the file to start the stage again."
            )
        parts = ({name: state.get_tensor(f"{part}.{name}") for name in expected[part]} for part in PARTS)
        return State(step, *parts)


def _open(file: Path):
    try:
        return safe_open(str(file), framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(_unreadable(file, str(error))) from error


def _unreadable(file: Path, why: str) -> str:
    return f"{file}: the saved training state cannot be read ({why}). Delete it to start the stage again."
