"""Frames by different ways, to compare: what ComfyUI wrote, and what the same prompt makes without it."""

import io
import json
import os
import subprocess
from pathlib import Path

import numpy
from comfyui_server import copy_pack
from PIL import Image

ONE_LEVEL = 1 / 255  # of an 8-bit colour


def difference(a: numpy.ndarray, b: numpy.ndarray) -> float:
    assert a.shape == b.shape
    assert numpy.isfinite(a).all() and numpy.isfinite(b).all()
    return float(numpy.abs(a - b).max())


def run_standalone(prompt: dict, python: str, folder: Path) -> list[numpy.ndarray]:
    """The PNGs that `lumiere run` makes of a prompt under ComfyUI's interpreter, in order."""
    copy_pack(folder / "packages" / "lumiere_video")
    (folder / "elsewhere").mkdir()
    (folder / "graph.json").write_text(json.dumps(prompt), encoding="utf-8")
    command = [
        python,
        "-m",
        "lumiere_video.commands",
        "run",
        str(folder / "graph.json"),
        "--output",
        str(folder / "out"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder / "packages")}
    ran = subprocess.run(command, cwd=folder / "elsewhere", env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return [pixels(file.read_bytes()) for file in sorted((folder / "out").rglob("*.png"))]


def pixels(png: bytes) -> numpy.ndarray:
    return numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=numpy.int16)
