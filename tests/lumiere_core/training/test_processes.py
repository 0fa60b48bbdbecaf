"""Several processes train as one does: each on its own share of a step's batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lumiere_video.lumiere_core.training.batches import Share, stage_batches
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.world.source import world_sources

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

STEPS = 20
RECIPE = """
name = "two"
seed = 1
text_encoder = "{text}"

[[stage]]
name = "moves"
kind = "base"
start = "{base}"
size = 16
learning_rate = 1e-3
warmup = 2
network = {{}}
phase = [{{steps = {steps}, batch = 3, frames = 4, vary = 0.3}}]
"""


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_each_clip_is_made_once_and_counts_once(count, ranks):
    shares = [Share(rank, ranks) for rank in range(ranks)]
    made = [i for share in shares if share.weight(count) for i in range(count)[share.of(count)]]
    assert made == list(range(count))
    # The mean over processes of weighed means is the mean over clips.
    clips = torch.arange(count, dtype=torch.float64) ** 2
    means = [share.weight(count) * clips[share.of(count)].mean() for share in shares]
    assert sum(means) / ranks == pytest.approx(clips.mean().item())


@pytest.mark.parametrize("kind", ["text", "base", "ssr_image"])
def test_the_shares_of_drawn_scenes_are_the_batch_of_one(kind):
    fields = {
        "text": {"network": {"max_tokens": 4, "d_model": 8}},
        "base": {"network": {}, "start": "a.safetensors", "tasks": {"box": 1, "track": 1}},
        "ssr_image": {"network": {"channels": [8], "attention": [False]}},
    }[kind]
    phase = Phase(9, 3, 4 if kind == "base" else 1, vary=0.5 if kind == "base" else 0.0, crop=8)
    stage = Stage("a", kind, (phase,), learning_rate=1e-3, size=16, text_dropout=0.5, **fields)
    source = world_sources(Recipe("a", ()))(stage)

    def letters(texts):
        return (torch.tensor([[*text.encode()[:9].ljust(9)] for text in texts]),) * 2

    for step in range(3):
        whole = stage_batches(stage, letters, 0, source)[step]
        parts = [stage_batches(stage, letters, 0, source, Share(rank, 2))[step] for rank in (0, 1)]
        parts = [part for part in parts if part["weight"]]
        for name, values in whole.items():
            assert torch.equal(torch.cat([part[name] for part in parts]), values), name


def lumiere(recipe: Path, output: Path, processes: int, kill_at: int | None = None) -> subprocess.CompletedProcess:
    """Train with the command, by torchrun where there are several processes."""
    command = ["train", str(recipe), "--output", str(output), "--device", "cpu", "--precision", "no"]
    script = Path(__file__).with_name("train_process.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KILL_AT": str(kill_at or "")}
    if processes == 1:
        launcher = []
    done = [sys.executable, *launcher, str(script), *command]
    return subprocess.run(done, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def recipe(tiny, tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "two.toml"
    paths = {name: Path(getattr(tiny, name)).as_posix() for name in ("text", "base")}
    file.write_text(RECIPE.format(steps=STEPS, **paths), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert (done := lumiere(recipe, folder, 1)).returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def together(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    assert (done := lumiere(recipe, folder, 2)).returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr, encoding="utf-8")
    return folder


def noted(folder: Path, name: str) -> list:
    lines = (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)[name] for line in lines]


@pytest.mark.slow
def test_two_processes_train_as_one_does(alone, together):
    """An odd batch, and other lengths and shapes now and then; nobody but the first writes."""
    assert noted(alone, "processes") == [1] * STEPS and noted(together, "processes") == [2] * STEPS
    whole, shared = noted(alone, "loss"), noted(together, "loss")
    assert max(abs(a - b) for a, b in zip(whole, shared, strict=True)) < 1e-4
    assert {*os.listdir(together)} - {"stderr"} == {*os.listdir(alone)}
    assert (together / "stderr").read_text(encoding="utf-8").count("moves:   0%|") == 1
    weights, others = (load_file(folder / "moves.safetensors") for folder in (alone, together))
    # Where the gradient is nothing but rounding, Adam's step is as long as elsewhere.
    assert max((weights[name] - others[name]).abs().max().item() for name in weights) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_any_process_may_be_killed_and_all_go_on_as_if_nothing_had_been(recipe, together, tmp_path, killed):
    cut = tmp_path / "cut"
    stopped = lumiere(recipe, cut, 2, kill_at=100 * killed + 9)
    assert stopped.returncode != 0 and (cut / "moves.state.safetensors").is_file()
    assert not (cut / "moves.safetensors").exists()
    assert (done := lumiere(recipe, cut, 2)).returncode == 0, done.stderr
    weights, others = (load_file(folder / "moves.safetensors") for folder in (together, cut))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
