"""Workflows that 0.3.0 came with, saved as they were: today's nodes take them, and make the frames that 0.3.0 made.

`workflows_0.3.0/frames` holds those, by the code of that version: what `reduced` says of each, at a quarter of the size
where it is large.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lumiere_video.lumiere_core.runtime.devices import resolve_dtype
from lumiere_video.nodes.extension import NODES
from lumiere_video.nodes.host.standalone.models import Settings
from lumiere_video.runner.run import run_workflow

FOLDER = Path(__file__).parent / "workflows_0.3.0"
WORKFLOWS = sorted(FOLDER.glob("*.json"))
COMFYUI_ONLY = {"ksampler"}
QUICK = {"base_only", "cinemagraph", "style_sweep"}
SMALL = {
    "LumiereSTUNetSampler": {"frames": 5, "steps": 2},
    "LumiereTemporalMultiDiffusionSSR": {"steps": 1},
    "LumiereBuildConditioningMask": {"frames": 5},
}
AS_LONG_AS_ITS_VIDEO = {"LumiereSTUNetSampler": {"frames": 0, "steps": 2}}
SIDE, SHOWN = 32, 5  # pixels, frames


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def reduced(path: Path) -> dict:
    """The graph with few frames and steps, and its frames saved without loss beside its video."""
    graph = load(path)
    small = SMALL | (AS_LONG_AS_ITS_VIDEO if path.stem == "video_to_video" else {})
    for node in list(graph.values()):
        node["inputs"] |= small.get(node["class_type"], {})
        if "mode.last" in node["inputs"]:
            node["inputs"]["mode.last"] = 3
        if node["class_type"] == "CreateVideo":
            shown = {"images": node["inputs"]["images"], "filename_prefix": "frames"}
            graph["frames"] = {"class_type": "SaveImage", "inputs": shown}
    return graph


def strip(files: list[Path]) -> np.ndarray:
    """Some of the frames side by side, each SIDE high: (SIDE, W, 3), 0 to 255."""
    files = files[:: len(files) // SHOWN]
    frames = [np.asarray(Image.open(file).convert("RGB"), np.float32) for file in files]
    scale = frames[0].shape[0] // SIDE
    height, width = SIDE, frames[0].shape[1] // scale
    return np.hstack([frame.reshape(height, scale, width, scale, 3).mean((1, 3)) for frame in frames])


def test_all_workflows_are_here():
    assert len(WORKFLOWS) == 12 and {path.stem for path in WORKFLOWS} > COMFYUI_ONLY | QUICK


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_their_nodes_are_here_with_all_inputs(path):
    known = {node.define_schema().node_id: node.define_schema() for node in NODES}
    for node in load(path).values():
        if node["class_type"].startswith("Lumiere"):
            names = {spec.id for spec in known[node["class_type"]].inputs}
            assert {name.split(".")[0] for name in node["inputs"]} <= names


@pytest.mark.parametrize("path", [p for p in WORKFLOWS if p.stem not in COMFYUI_ONLY], ids=lambda path: path.stem)
def test_they_are_taken_as_they_are(path, monkeypatch, tmp_path):
    """Every node, link and value is checked; nothing is executed."""
    monkeypatch.setattr("lumiere_video.runner.run._execute", lambda order: order)
    assert len(run_workflow(path, [], Settings(output=tmp_path))) == len(load(path))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow)
        for path in WORKFLOWS
        if path.stem not in COMFYUI_ONLY
    ],
)
def test_they_make_the_frames_that_they_made(path, tmp_path):
    (tmp_path / path.name).write_text(json.dumps(reduced(path)), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a video has more frames than are used
        written = run_workflow(tmp_path / path.name, [], Settings(output=tmp_path, device="cpu"))
    made = strip(sorted(file for file in written if file.suffix == ".png"))
    expected = np.asarray(Image.open(FOLDER / "frames" / f"{path.stem}.png"), np.float32)
    assert made.shape == expected.shape
    if resolve_dtype("auto", torch.device("cpu")) != torch.bfloat16:
        pytest.skip("the frames were made in bfloat16, and this processor computes in float32")
    # Equal on the machine that made them; another's torch rounds otherwise.
    assert np.abs(made - expected).max() <= 2 and np.abs(made - expected).mean() < 0.5
