"""What a training runs on: its own device and precision; what several processes share comes from accelerate."""

from __future__ import annotations

import os

import torch
import torch.nn as nn

from ..runtime.devices import resolve_device
from .batches import Share

PRECISIONS = ("auto", "bf16", "no")


class Engine:
    """Device and precision of one training, and the processes that it was started in.

    accelerate keeps one state in a process, whose device and precision the first training would decide for all later
    ones. So it is only asked about processes. Raises ValueError for a device or precision that there is not.
    """

    def __init__(self, device: str | None, precision: str):
        from accelerate import Accelerator

        # Of what torchrun has started, accelerate takes processes on CPUs for one each unless it is told.
        on_cpus = int(os.environ.get("WORLD_SIZE", 1)) > 1 and resolve_device(device or "auto").type == "cpu"
        self.processes = Accelerator(device_placement=False, cpu=on_cpus)
        self.device = self._chosen_device(device)
        self.precision = chosen_precision(precision, self.device)

    def _chosen_device(self, name: str | None) -> torch.device:
        """The one of that name, index and all; of several processes each has the one that accelerate gives it."""
        if name in (None, "auto"):
            return self.processes.device
        device, own = resolve_device(name), self.processes.device
        if self.processes.num_processes == 1:
            return device
        if (device.type, device.index) != (own.type, None):
            raise ValueError(f"training: device must be {own.type}, of which each process takes its own; got {name}.")
        return own

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.processes.is_main_process

    @property
    def share(self) -> Share:
        """The part of each batch that this process makes."""
        return Share(self.processes.process_index, self.processes.num_processes)

    def mean(self, value: torch.Tensor) -> float:
        """Over all processes."""
        return self.processes.reduce(value.detach(), "mean").item()

    def prepare(self, objective: nn.Module) -> nn.Module:
        return self.processes.prepare(objective) if self.processes.num_processes > 1 else objective

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def chosen_precision(precision: str, device: torch.device) -> str:
    """bf16 or no; "auto" is bf16 but on CPUs, where its backward pass is slower."""
    if precision not in PRECISIONS:
        raise ValueError(f"training: precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision != "auto":
        return precision
    return "no" if device.type == "cpu" else "bf16"
