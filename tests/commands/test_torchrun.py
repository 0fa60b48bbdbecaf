"""`torchrun ... -m lumiere_video.commands`: one clip of several processes, files and words of the first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
WORKFLOW = Path(__file__).parents[2] / "workflows" / "api" / "base_only.json"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def lumiere(*arguments, launcher=TORCHRUN) -> subprocess.CompletedProcess:
    command = [*launcher, "-m", "lumiere_video.commands", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


def pictures(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def test_generate_writes_the_same_pictures_once(tiny, tmp_path):
    networks = ("--checkpoint", tiny.base, "--ssr-checkpoint", tiny.ssr, "--dtype", "float32", "--device", "cpu")
    for folder, launcher in (("one", (sys.executable,)), ("two", TORCHRUN)):
        made = lumiere("generate", "a star", *networks, "--output", f"{tmp_path / folder}/", launcher=launcher)
        assert made.returncode == 0, made.stderr
        assert made.stdout.count("12 frames") == 1
        assert made.stderr.count("super-resolution:   0%") == 1
    assert pictures(tmp_path / "two") == pictures(tmp_path / "one")


def test_run_writes_each_file_once(tmp_path):
    small = [word for value in ("frames=5", "steps=1", "window=3", "overlap=1") for word in ("--set", f"4.{value}")]
    made = lumiere("run", WORKFLOW, *small, "--output", tmp_path, "--device", "cpu")
    assert made.returncode == 0, made.stderr
    assert [Path(line) for line in made.stdout.split()] == [file for file in tmp_path.rglob("*") if file.is_file()]
    assert made.stderr.count("STUNet Sampler:   0%") == 1


def test_bad_input_is_said_once(tmp_path):
    made = lumiere("generate", "a star", "--style", "nothing-such", "--output", f"{tmp_path}/")
    assert made.returncode != 0
    assert made.stderr.count("lumiere: error") == 1


def test_a_batch_is_not_made_twice(tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt\na star\n", encoding="utf-8")
    made = lumiere("batch", tmp_path / "prompts.csv", "--output", tmp_path / "clips")
    assert made.returncode != 0 and not (tmp_path / "clips").exists()
    assert "torchrun makes one clip with several processes; of many clips" in made.stderr
