"""Several processes make one clip over gloo, and end together."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lumiere_video.lumiere_core.runtime.ranks import Ranks, joined, rank_device

WORKER = Path(__file__).with_name("rank_worker.py")
PATIENCE = 240  # seconds, on a busy machine: far below torch.distributed's own, which would end a hang


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(count: int, *arguments: str) -> list[subprocess.Popen]:
    """The ranks, told what torchrun tells them; nobody ends one because another failed."""
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environments = [{**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    command, pipe = [sys.executable, str(WORKER), *map(str, arguments)], subprocess.PIPE
    return [subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) for env in environments]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit code, standard output and error of each."""
    try:
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


@pytest.mark.slow
def test_ranks_make_the_clip_of_one_process(tiny, tmp_path):
    found = {}
    for count in (1, 2, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        assert [code for code, _, _ in ended(start(count, tiny.base, tiny.ssr, folder))] == [0] * count
        found[count] = [torch.load(folder / f"{rank}.pt") for rank in range(count)]
    (alone,) = found[1]
    for count in (2, 4):
        for rank in found[count]:
            assert (rank["frames"] - alone["frames"]).abs().max() <= 1e-5
        for stage, (done, total) in alone["seen"].items():
            parts = [rank["seen"][stage] for rank in found[count]]
            assert done == total == sum(done for done, _ in parts) and all(done == total for done, total in parts)
            assert max(done for done, _ in parts) <= -(-total // count) + 3  # a window more in each of three steps


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong, said", [("error@1", "out of order"), ("error@0", "of order"), ("cancel@1", "Interrupt")]
)
def test_a_rank_that_fails_says_so_and_ends_all(tiny, tmp_path, wrong, said):
    results = ended(start(3, tiny.base, tiny.ssr, tmp_path, wrong))
    rank = int(wrong[-1])
    assert all(code == 1 for code, _, _ in results)
    assert said in results[rank][2]
    others = [result for number, result in enumerate(results) if number != rank]
    assert [out.strip() for _, out, _ in others] == ["ended elsewhere"] * 2
    assert not any("ended by" in error for _, _, error in others)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.slow
def test_a_rank_that_waits_hears_a_signal(tiny, tmp_path):
    processes = start(2, tiny.base, tiny.ssr, tmp_path, "stuck@0")
    try:
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "stuck").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)  # the other has no window of the base, and waits
        processes[1].send_signal(signal.SIGINT)
        _, error = processes[1].communicate(timeout=20)
        assert "ended by KeyboardInterrupt" in error
    finally:
        for process in processes:
            process.kill()


def test_alone_there_is_nobody_to_share_with(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as ranks:
        assert ranks == Ranks(0, 1, torch.device("cpu")) and ranks.is_first and ranks.share is None


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("pieces", [0, 1, 2, 5, 12])
def test_parts_are_even_and_all_there_is(pieces, count):
    parts = [Ranks(rank, count, torch.device("cpu")).part(pieces) for rank in range(count)]
    assert [piece for part in parts for piece in part] == list(range(pieces))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and sizes[0] == max(sizes)


@pytest.mark.parametrize("name", ["mps", "cuda:1", "toaster"])
def test_devices_that_ranks_cannot_have_are_named(name):
    with pytest.raises(ValueError, match=f"device must be auto, cpu or cuda .*; got '{name}'"):
        rank_device(name, 0)
