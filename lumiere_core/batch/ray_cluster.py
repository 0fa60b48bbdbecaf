"""Workers on a Ray cluster: an actor each, on a GPU of its own where the cluster has any."""

# pyright: reportMissingImports=false
# Ray is an extra, and need not be there to check the rest.
from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import contextmanager

from .crew import Crew
from .jobs import Failed, Job, Made, Networks, WorkerLost
from .maker import Maker, load_maker

SECONDS_TO_ANSWER = 10


class RemoteMaker:
    """What an actor is: a maker that says whether it has loaded."""

    def __init__(self, networks: Networks):
        self.maker = load_maker(networks)

    def loaded(self) -> Failed | None:
        return self.maker if isinstance(self.maker, Failed) else None

    def make(self, job: Job) -> Made | Failed:
        assert isinstance(self.maker, Maker)
        return self.maker.make(job)


class RayWorker:
    def __init__(self, networks: Networks, gpus: int):
        import ray

        options = {"num_cpus": 1, "num_gpus": gpus, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self.actor = ray.remote(RemoteMaker).options(**options).remote(networks)
        self.answer = self.actor.loaded.remote()

    def give(self, job: Job) -> None:
        self.answer = self.actor.make.remote(job)

    def outcome(self) -> Made | Failed | None:
        import ray

        try:
            return ray.get(self.answer)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
            raise WorkerLost(str(error).partition("\n")[0].rstrip(".")) from error

    def close(self) -> None:
        import ray

        ray.kill(self.actor)


@contextmanager
def ray_crew(address: str, networks: Networks, workers: int | None):
    """A crew on the cluster at an address ("auto": the one that this machine belongs to), and how many workers.

    None is one for each GPU, or else for each node. The pack has to be installed on all nodes, and the networks' files
    have to be there under the same names. Raises ModuleNotFoundError without Ray, ValueError where no cluster answers.
    """
    import ray

    with _connected(ray, address):
        cluster = ray.cluster_resources()
        gpus = int(cluster.get("GPU", 0)) if networks.device in ("auto", "cuda") else 0
        nodes = sum(node["Alive"] for node in ray.nodes())
        crew = Crew(lambda: RayWorker(networks, 1 if gpus else 0), _first_done)
        yield crew, workers or gpus or nodes


@contextmanager
def _connected(ray, address: str):
    """To the cluster; to the one that this process is connected to already, if it is."""
    if ray.is_initialized():
        yield
        return
    try:
        _require_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        where = "on this machine" if address == "auto" else f"at {address}"
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise ValueError(
            f"no Ray cluster answers {where} ({why}). Start one (ray start --head), or give its address."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would try for minutes, and then end the process."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER):
            pass


def _first_done(workers: Sequence[RayWorker]) -> list[RayWorker]:
    import ray

    ready, _ = ray.wait([worker.answer for worker in workers], num_returns=1)
    return [worker for worker in workers if worker.answer in ready]
