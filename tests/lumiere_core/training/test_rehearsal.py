"""`lumiere train --dry-run`: every phase of every stage is tried, and nothing stays."""

import dataclasses

import pytest

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.training import load_recipe
from lumiere_video.lumiere_core.training.rehearsal import STEPS, rehearse
from lumiere_video.world.source import world_sources

RECIPE = """
name = "small"
[[stage]]
name = "words"
kind = "text"
learning_rate = 1e-3
[stage.network]
max_tokens = 96
vocab_size = 384
d_model = 32
d_kv = 8
num_heads = 4
num_layers = 1
d_ff = 32
[[stage.phase]]
steps = 7200
batch = 4
[[stage]]
name = "stills"
kind = "t2i"
size = 16
learning_rate = 1e-3
[stage.network]
patch = 2
text_dim = 32
channels = [8, 32]
attention = [false, true]
norm_groups = 4
attention_head_dim = 16
[[stage.phase]]
steps = 100
batch = 4
crop = 8
[[stage.phase]]
steps = 50
batch = 2
"""


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(RECIPE)
    return file


def sources(recipe_file):
    return world_sources(load_recipe(recipe_file))


def test_every_phase_is_timed_and_the_next_stage_finds_its_start(recipe_file):
    phases = list(rehearse(load_recipe(recipe_file), sources(recipe_file), device="cpu"))
    assert [(p.stage, p.number, p.steps) for p in phases] == [("words", 1, 7200), ("stills", 1, 100), ("stills", 2, 50)]
    assert all(0 < p.batch_seconds < p.seconds for p in phases)
    assert phases[0].hours == pytest.approx(2 * phases[0].seconds)


def test_batches_can_be_made_smaller(recipe_file, monkeypatch):
    from lumiere_video.lumiere_core.training.run import StageRun

    seen, train_step = [], StageRun.train_step

    def watch(run, batch):
        seen.append(len(batch["ids"]))
        return train_step(run, batch)

    monkeypatch.setattr(StageRun, "train_step", watch)
    list(rehearse(load_recipe(recipe_file), sources(recipe_file), most_clips=3, device="cpu"))
    assert seen == [3] * STEPS + [3] * STEPS + [2] * STEPS


def test_what_would_stop_the_training_later_stops_it_at_once(recipe_file):
    recipe = load_recipe(recipe_file)
    stills = dataclasses.replace(recipe.stages[1], network={**recipe.stages[1].network, "text_dim": 64})
    with pytest.raises(ValueError, match="text_dim = 32"):
        list(
            rehearse(dataclasses.replace(recipe, stages=(recipe.stages[0], stills)), sources(recipe_file), device="cpu")
        )


def test_the_command_keeps_nothing(recipe_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", str(recipe_file), "--dry-run", "2", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("words phase 1: 7200 steps of ") and lines[-1].startswith("in all ")
    assert [file.name for file in tmp_path.iterdir()] == ["small.toml"]
