"""Workers on this machine: one in this process, or several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection, wait

import torch

from .crew import Crew
from .jobs import Failed, Job, Made, Networks, WorkerLost
from .maker import Maker, load_maker

SECONDS_TO_END = 5


def local_crew(networks: Networks, workers: int) -> Crew:
    """One worker is this process itself. Several share the processor's threads, and the GPUs in turn."""
    if workers == 1:
        return Crew(lambda: HereWorker(networks), lambda workers: workers)
    threads = max(1, torch.get_num_threads() // workers)
    places = (replace(networks, device=device) for device in _devices(networks.device))
    return Crew(lambda: ProcessWorker(next(places), threads), _first_done)


class HereWorker:
    """Works when it is asked for the outcome."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self.maker: Maker | Failed | None = None
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job

    def outcome(self) -> Made | Failed | None:
        if self.maker is None:
            self.maker = load_maker(self.networks)
            return self.maker if isinstance(self.maker, Failed) else None
        return self.maker.make(self.job)

    def close(self) -> None:
        self.maker = None


class ProcessWorker:
    """A process of its own, that ends with this one."""

    def __init__(self, networks: Networks, threads: int):
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads and CUDA's context
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, networks, threads), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def give(self, job: Job) -> None:
        try:
            self.connection.send(job)
        except OSError:
            pass  # it has ended; the outcome says so

    def outcome(self) -> Made | Failed | None:
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(SECONDS_TO_END)
            raise WorkerLost(f"a process ended with code {self.process.exitcode}") from error

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()


def _first_done(workers: Sequence[ProcessWorker]) -> list[ProcessWorker]:
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _serve(connection: Connection, networks: Networks, threads: int) -> None:
    """The process of a worker: until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the one who ends this, too
    maker = load_maker(networks, threads)
    connection.send(maker if isinstance(maker, Failed) else None)
    while isinstance(maker, Maker):
        try:
            connection.send(maker.make(connection.recv()))
        except (EOFError, OSError):
            return


def _devices(name: str) -> Iterator[str]:
    """The device of each worker, for ever: the GPUs in turn where there are several and none is named."""
    gpus = torch.cuda.device_count() if name in ("auto", "cuda") else 0
    return (f"cuda:{index % gpus}" if gpus > 1 else name for index in count())
