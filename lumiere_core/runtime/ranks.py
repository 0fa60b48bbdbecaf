"""Several processes that make one clip: those that torchrun starts are its ranks, each with a device of its own."""

from __future__ import annotations

import ctypes
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from .devices import resolve_device

# What torchrun tells each process.
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
MOST_MOVED = 2**24  # elements that go to a device at once to be summed: a large clip stays in RAM
POLL = 0.001  # seconds; in between, Ctrl-C is heard
FAILURES = "lumiere/failures"


class EndedElsewhere(SystemExit):
    """Another rank failed, or was ended, and said so; this one ends without a word."""


@dataclass(frozen=True)
class Ranks:
    """One rank of `count`, as a Share. device: its own."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether it writes the files and shows what there is to show."""
        return self.rank == 0

    @property
    def share(self) -> Ranks | None:
        """None where there is nobody to share with."""
        return self if self.count > 1 else None

    def part(self, count: int) -> range:
        """Neighbours, as even as can be; the first rank has no fewer than another, as it is what is shown."""
        begin, end = (-(-count * rank // self.count) for rank in (self.rank, self.rank + 1))
        return range(begin, end)

    def total(self, tensor: Tensor) -> None:
        """Sum over all ranks, in place: piece by piece through the device, in which nccl alone can sum."""
        for piece in tensor.view(-1).split(MOST_MOVED):
            placed = piece.to(self.device)
            self._finish(dist.all_reduce(placed, async_op=True))
            piece.copy_(placed)  # on a CPU it is the same one

    def _finish(self, work: dist.Work) -> None:
        """Wait for the others without being deaf to signals. A rank that ended takes this one along."""
        while not work.is_completed():
            time.sleep(POLL)
        work.wait()


def are_told() -> bool:
    """Whether this process is one of several that torchrun, or what does as it does, has started."""
    return all(name in os.environ for name in TOLD) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process's rank among those that torchrun started, or the only one.

    device: of one process as `resolve_device` takes it; of several auto, cpu or cuda, and each has its own. Where one
    rank fails all end: the first to fail raises what was wrong, the others EndedElsewhere. Warnings are the first
    rank's. Raises ValueError for a device that cannot be had.
    """
    if not are_told():
        yield Ranks(0, 1, resolve_device(device))
        return
    store, rank, count = next(iter(rendezvous("env://")))
    try:
        place = rank_device(device, int(os.environ["LOCAL_RANK"]))
        dist.init_process_group(BACKENDS[place.type], store=store, rank=rank, world_size=count)
        with warnings.catch_warnings():
            if rank > 0:
                warnings.simplefilter("ignore")
            yield Ranks(rank, count, place)
    except BaseException as error:  # Ctrl-C too. The others lose this rank when its process ends, and so after this
        is_first = _is_first_to_fail(store)
        _leave_unfinished()
        if is_first:
            raise
        raise EndedElsewhere(1) from error
    dist.destroy_process_group()


def rank_device(name: str, local_rank: int) -> torch.device:
    """A rank's own device: the CPU, or the GPU of its number on its host."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if kind not in BACKENDS:
        raise ValueError(f"device must be auto, cpu or cuda where torchrun starts several processes; got {name!r}.")
    if kind == "cpu":
        return resolve_device(kind)
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"torchrun started more processes here than there are GPUs ({torch.cuda.device_count()}). Start as many "
            "with --nproc-per-node, or use --device cpu."
        )
    return torch.device(kind, local_rank)


def _leave_unfinished() -> None:
    """Never destroy the group: gloo's destructor waits for sums that the other ranks may never join, and hangs."""
    if dist.is_initialized():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(dist.group.WORLD))


def _is_first_to_fail(store: dist.Store) -> bool:
    try:
        return store.add(FAILURES, 1) == 1
    except RuntimeError:  # whoever kept the store has ended
        return False
