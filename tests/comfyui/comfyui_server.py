"""A real ComfyUI in a folder of its own, with this pack, the probe pack, and files for the tests to load."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfyui_client import Client
from comfyui_models import write_models

ROOT = Path(__file__).resolve().parent.parent.parent
PROBE_PACK = Path(__file__).resolve().parent / "probe_pack"
PACK_FOLDER = "Lumiere pack-1.0 (odd)"
MEDIA = ROOT / "workflows" / "media"
START_SECONDS = 900  # about ten on an idle machine
HOW_TO_RUN = (
    "needs a real ComfyUI, a checkout and an interpreter with its requirements: COMFYUI_PATH=... COMFYUI_PYTHON=... "
    "python -m pytest -m comfyui tests/comfyui"
)


@dataclass(frozen=True)
class Server:
    """A running server. folder: its base directory. start_log: what it said until it was ready."""

    process: subprocess.Popen
    folder: Path
    client: Client
    start_log: str

    @property
    def log(self) -> str:
        return read_log(self.folder)


def copy_pack(target: Path) -> Path:
    """The pack as a user has it: without the tests, and without what git or an editor keep beside it."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "tests", "benchmarks", "build", "dist", "runs")
    return Path(shutil.copytree(ROOT, target, ignore=ignored))


def other_packs() -> list[Path]:
    """Node packs of other people that the tests' server is to have beside ours."""
    folder = os.environ.get("COMFYUI_PACKS")
    return sorted(path for path in Path(folder).iterdir() if path.is_dir()) if folder else []


@contextmanager
def running_server(checkout: Path, python: str, folder: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """Start ComfyUI with the pack under an odd name, other packs, models and files for the tests to load."""
    write_models(folder / "models")
    for beside in (PROBE_PACK, *other_packs()):
        shutil.copytree(beside, folder / "custom_nodes" / beside.name)
    with bare_server(checkout, python, folder, PACK_FOLDER, options) as server:
        for file in sorted(MEDIA.glob("*")):
            server.client.upload(file)
        yield server


@contextmanager
def bare_server(checkout: Path, python: str, folder: Path, pack: str, options: Sequence[str] = ()) -> Iterator[Server]:
    """Start ComfyUI on a free port with nothing but the pack, with `options` after the usual ones; end it with the
    context.
    """
    for name in ("user", "input", "output", "temp"):
        (folder / name).mkdir(parents=True)
    copy_pack(folder / "custom_nodes" / pack)
    port = free_port()
    command = [python, str(checkout / "main.py"), "--cpu", "--disable-api-nodes", "--base-directory", str(folder)]
    command += ["--database-url", "sqlite:///:memory:", "--port", str(port), *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        await_start(process, port, folder)
        client = Client(port)
        try:
            yield Server(process, folder, client, read_log(folder))
        finally:
            client.close()
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_start(process: subprocess.Popen, port: int, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            opener.open(f"http://127.0.0.1:{port}/system_stats", timeout=60).close()
            return
        except urllib.error.URLError:
            time.sleep(0.5)
    raise RuntimeError(f"ComfyUI did not start; the end of its log:\n{read_log(folder)[-4000:]}")


def read_log(folder: Path) -> str:
    """The server's output without colours."""
    text = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
