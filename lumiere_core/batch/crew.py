"""Jobs over workers that may be lost: each job is made once, or is said to have failed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .jobs import Failed, Job, Made, WorkerLost

TRIES = 3  # of a job whose workers are lost, and of workers that are lost before they have loaded


class Worker(Protocol):
    """Loads when it is made; its first outcome says that it has."""

    def give(self, job: Job) -> None:
        """Begin a job; one at a time."""

    def outcome(self) -> Made | Failed | None:
        """Of the job that it has, or None when it has loaded. Raises WorkerLost."""

    def close(self) -> None:
        """End it, whatever it does."""


class Crew:
    """Workers of one kind.

    start: makes a worker. wait: given all workers that have an outcome to come, those that have it; waits for one.
    """

    def __init__(self, start: Callable[[], Worker], wait: Callable[[Sequence[Worker]], Sequence[Worker]]):
        self.start, self.wait = start, wait
        self.workers: dict[Worker, Job | None] = {}  # what each is at; None while it loads
        self.tries: Counter[Job] = Counter()
        self.lost_loading = 0

    def run(self, jobs: Sequence[Job], count: int, report: Callable[[Job, Made | Failed], None]) -> None:
        """Make all jobs with so many workers at most; `report` gets every job once, as they are done.

        Raises ValueError where workers cannot load their networks, or are lost again and again before they have.
        """
        waiting = deque(jobs)
        try:
            while waiting or any(job is not None for job in self.workers.values()):
                self._fill(min(count, len(waiting) + self._busy()))
                for worker in self.wait(list(self.workers)):
                    self._take(worker, waiting, report)
        finally:
            for worker in self.workers:
                worker.close()

    def _busy(self) -> int:
        return sum(job is not None for job in self.workers.values())

    def _fill(self, count: int) -> None:
        while len(self.workers) < count:
            self.workers[self.start()] = None

    def _take(self, worker: Worker, waiting: deque[Job], report: Callable[[Job, Made | Failed], None]) -> None:
        job = self.workers[worker]
        try:
            outcome = worker.outcome()
        except WorkerLost as lost:
            self._drop(worker)
            self._try_again(job, waiting, report, lost)
            return
        self.lost_loading = 0
        if job is not None:
            report(job, outcome)
        elif isinstance(outcome, Failed):
            raise ValueError(outcome.error)
        if waiting:
            self.workers[worker] = waiting.popleft()
            worker.give(self.workers[worker])
        else:
            self._drop(worker)

    def _drop(self, worker: Worker) -> None:
        del self.workers[worker]
        worker.close()

    def _try_again(self, job: Job | None, waiting: deque[Job], report, lost: WorkerLost) -> None:
        if job is None:
            self.lost_loading += 1
            if self.lost_loading >= TRIES:
                raise ValueError(
                    f"{TRIES} workers in a row ended before they had loaded their networks: {lost}."
                ) from lost
            return
        self.tries[job] += 1
        if self.tries[job] < TRIES:
            waiting.appendleft(job)
        else:
            report(job, Failed(f"its worker was lost {TRIES} times: {lost}."))
