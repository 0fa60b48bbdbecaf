"""Mutated workflow files run, or are refused in one line; nothing is written by those that are refused."""

import json
import random
from pathlib import Path
from time import monotonic

import pytest
from mutations import damage, mutate, quick_ones

from lumiere_video.commands import main as cli

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SHIPPED = sorted([*WORKFLOWS.glob("*.json"), *WORKFLOWS.glob("api/*.json")])
CASES, QUICK_CASES = 6, 2  # of each shipped file


def api(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


# What runs in a moment, with as many kinds of inputs as there are.
QUICK = {
    "1": api("LoadImage", image="two_shapes_128.png"),
    "2": api("LumiereFramesToLatent", images=["1", 0], width=24, height=16, fit="pad"),
    "3": api("LumiereLatentToFrames", latent=["2", 0]),
    "4": api("LumiereRemovePlainBackground", images=["1", 0], tolerance=0.1),
    "5": api(
        "ImageStitch", image1=["3", 0], image2=["3", 0], direction="right", match_image_size=True, spacing_width=2,
        spacing_color="white",
    ),
    "6": api("SaveImage", images=["5", 0], filename_prefix="a/b"),
    "7": api(
        "SaveAnimatedWEBP", images=["4", 0], filename_prefix="c", fps=8.0, lossless=True, quality=80, method="fastest"
    ),
    "8": api("LumiereEmptyPixelVideo", frames=2, width=16, height=8),
    "9": api("LumiereLatentToFrames", latent=["8", 0]),
    "10": api("PreviewImage", images=["9", 0]),
}  # fmt: skip


@pytest.fixture
def run(tmp_path, capsys):
    """Run a file by `lumiere run` in a fresh folder: whether it ran."""

    def run(raw: bytes, *options: str) -> bool:
        path, out, begun = tmp_path / "graph.json", tmp_path / "out", monotonic()
        path.write_bytes(raw)
        code = cli.main(["run", str(path), "--output", str(out), "--device", "cpu", *options])
        errors = [line for line in capsys.readouterr().err.splitlines() if ": error: " in line or "internal" in line]
        files = [file for file in out.rglob("*") if file.is_file()]
        assert (code, len(errors)) in ((0, 0), (2, 1)), errors
        assert all(len(error) < 2000 for error in errors) and monotonic() - begun < 10
        assert code == 0 or not files or ": node " in errors[0]  # a node may fail after others have written
        return code == 0

    return run


def text_of(graph, rng: random.Random) -> bytes:
    """The graph mutated, or one time in four its text."""
    text = json.dumps(graph)
    return damage(text, rng) if rng.random() < 0.25 else json.dumps(mutate(graph, rng, rng.randint(1, 3))).encode()


@pytest.mark.parametrize("seed", quick_ones(40, 100))
def test_mutated_graphs_that_run_at_once(run, seed):
    rng = random.Random(f"quick {seed}")
    run(text_of(QUICK, rng))


@pytest.mark.parametrize("seed", quick_ones(QUICK_CASES, CASES))
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(WORKFLOWS).with_suffix("").as_posix())
def test_mutated_shipped_workflows(run, monkeypatch, path, seed):
    """Up to where they would be executed."""
    monkeypatch.setattr("lumiere_video.runner.run._execute", lambda order: [])
    rng = random.Random(f"{path.parent.name} {path.stem} {seed}")
    options = rng.choice(((), (), ("--list",), ("--set", "1.seed=5"), ("--set", "3.text=a")))
    run(text_of(json.loads(path.read_text(encoding="utf-8")), rng), *options)


def test_the_graph_that_is_mutated_runs(run):
    assert run(json.dumps(QUICK).encode())
