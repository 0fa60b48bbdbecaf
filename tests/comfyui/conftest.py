"""A real ComfyUI for the tests of this folder, where COMFYUI_PATH and COMFYUI_PYTHON name one."""

import os
import sys
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from comfyui_graphs import LumiereGraph  # noqa: E402
from comfyui_server import HOW_TO_RUN, running_server  # noqa: E402


@pytest.fixture(scope="session")
def comfyui_paths() -> tuple[Path, str]:
    """ComfyUI's checkout and its interpreter."""
    checkout, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not checkout or not python:
        pytest.skip(HOW_TO_RUN)
    return Path(checkout).resolve(), python


@pytest.fixture(scope="session")
def server(request, comfyui_paths, tmp_path_factory):
    """The running server; one at a time. Parametrised indirectly, with more options of main.py."""
    folder = tmp_path_factory.mktemp("comfyui")
    with running_server(*comfyui_paths, folder, getattr(request, "param", ())) as running:
        yield running


@pytest.fixture
def client(server):
    return server.client


@pytest.fixture(scope="session")
def object_info(server) -> dict:
    return server.client.object_info()


@pytest.fixture
def frames(server):
    """Run a graph that saves named tensors: a function (graph, {name: link}) -> {name: array}."""

    def run(graph: LumiereGraph, values: dict[str, list]) -> dict[str, numpy.ndarray]:
        files = {name: server.folder / "output" / f"{name}.npy" for name in values}
        for name, value in values.items():
            files[name].unlink(missing_ok=True)
            graph.save(value, name)
        server.client.succeed(graph.prompt)
        return {name: numpy.load(file) for name, file in files.items()}

    return run


@pytest.fixture
def say(capsys):
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return say
