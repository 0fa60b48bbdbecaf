"""Training on a micro recipe: exact resume, frozen halves, the whole chain of stages, and recipes that are refused."""

import dataclasses
import json
import math
import shutil
from importlib import resources

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

from lumiere_video import lumiere_core
from lumiere_video.lumiere_core.checkpoints.format import load_info, load_stunet
from lumiere_video.lumiere_core.conditioning.text import load_text_encoder
from lumiere_video.lumiere_core.training import load_recipe, train
from lumiere_video.lumiere_core.training.batches import (
    LENGTHS,
    ClipBatches,
    StageBatches,
    stage_batches,
    vary_phase,
)
from lumiere_video.lumiere_core.training.loss_plot import plot_losses
from lumiere_video.lumiere_core.training.masks import TASKS
from lumiere_video.lumiere_core.training.objectives import DiffusionObjective, build_network, min_snr_weight
from lumiere_video.lumiere_core.training.optimizer import BETAS, NamedOptimizer
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe
from lumiere_video.lumiere_core.training.run import StageRun, build_objective, learning_rate_factor
from lumiere_video.lumiere_core.training.source import SHAPES, Crop, Request
from lumiere_video.world import source
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.motions import CLIP_SECONDS, Motion
from lumiere_video.world.scene import Actor, Scene
from lumiere_video.world.source import clip_seconds, draw_window, world_sources

MICRO = """
name = "micro"
seed = 3

[[stage]]
name = "text"
kind = "text"
learning_rate = 1e-2
warmup = 2
[stage.network]
max_tokens = 96
vocab_size = 384
d_model = 16
d_kv = 8
num_heads = 2
num_layers = 1
d_ff = 16
dropout_rate = 0.1
[[stage.phase]]
steps = 4
batch = 4

[[stage]]
name = "t2i"
kind = "t2i"
size = 16
learning_rate = 5e-3
warmup = 2
[stage.schedule]
shift = 2.0
[stage.network]
patch = 2
channels = [8, 16]
attention = [false, true]
attention_head_dim = 8
norm_groups = 4
text_dim = 16
cross_attention_dim = 32
[[stage.phase]]
steps = 4
batch = 4

[[stage]]
name = "base"
kind = "base"
start = "t2i"
size = 16
learning_rate = 5e-3
warmup = 2
[stage.network]
attention_head_dim = 8
embedding_dim = 16
[stage.info]
guidance = 3.0
steps = 25
[[stage.phase]]
steps = 3
batch = 2
frames = 3
excerpt_of = 15
[[stage.phase]]
steps = 3
batch = 1
frames = 5
vary = 0.5

[[stage]]
name = "conditional"
kind = "base"
start = "base"
size = 16
learning_rate = 5e-3
warmup = 1
[stage.tasks]
first_frame = 1
box = 2
[stage.motions]
spinning = 3
[stage.network]
[[stage.phase]]
steps = 3
batch = 2
frames = 5

[[stage]]
name = "ssr-image"
kind = "ssr_image"
size = 32
learning_rate = 5e-3
warmup = 2
[stage.network]
channels = [8, 16]
attention = [false, true]
attention_head_dim = 8
norm_groups = 4
text_dim = 16
cross_attention_dim = 32
in_channels = 6
noise_level_embedding = true
[[stage.phase]]
steps = 2
batch = 2
crop = 16

[[stage]]
name = "ssr"
kind = "ssr"
start = "ssr-image"
size = 32
learning_rate = 5e-3
warmup = 2
[stage.network]
halve = false
attention_head_dim = 8
embedding_dim = 16
[[stage.phase]]
steps = 2
batch = 1
frames = 3
crop = 16
"""
KEPT = ("safetensors", "settings.json", "log.jsonl", "loss.png")
STAGES = ["text", "t2i", "base", "conditional", "ssr-image", "ssr"]


class Killed(BaseException):
    """Stands for a signal: no handler of ordinary errors sees it."""


def write_recipe(path, text: str = MICRO):
    file = path / "micro.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def engine():
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(write_recipe(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of one uninterrupted run of the whole micro recipe."""
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    folder = tmp_path_factory.mktemp("finished")
    written = run(load_recipe(write_recipe(folder)), folder)
    assert [path.stem for path in written] == STAGES
    return folder


def run(recipe, folder, stages=None, save_every_seconds=1e9):
    """Train on the CPU in float32; no state is saved on the way unless a test asks for it."""
    options = {"device": "cpu", "precision": "no", "save_every_seconds": save_every_seconds}
    return train(recipe, folder, sources=shown, stages=stages, **options)


def shown(stage):
    """What a stage learns from."""
    return world_sources(Recipe("micro", ()), drawn_shapes())(stage)


def borrow(finished, folder, *names):
    for name in names:
        shutil.copy(finished / f"{name}.safetensors", folder)


def stage_run(recipe, name, folder) -> StageRun:
    return StageRun(recipe, recipe.stage(name), folder, shown(recipe.stage(name)), "cpu", "no", False, 0)


def batches(stage, seed=0, tokenize=lambda texts: (torch.zeros(len(texts), 1, dtype=torch.long),) * 2) -> StageBatches:
    return stage_batches(stage, tokenize, seed, shown(stage))


def assert_same_tensors(a, b):
    a, b = load_file(a), load_file(b)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def kill_at(monkeypatch, step, method="train_step"):
    """Raise instead of doing training step `step` (counted from 0)."""
    original = getattr(StageRun, method)

    def until(self, *arguments):
        if self.step == step:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(StageRun, method, until)


# The chain


def test_the_whole_chain_runs(finished):
    """text -> t2i -> base, and text -> ssr_image -> ssr; nothing but results, logs and plots is left behind."""
    kinds = {name: load_info(finished / f"{name}.safetensors").kind for name in STAGES}
    videos = {"base": "base", "conditional": "base", "ssr-image": "ssr", "ssr": "ssr"}
    assert kinds == {"text": "text", "t2i": "t2i", **videos}
    left = {path.name for path in finished.iterdir()} - {"micro.toml"}
    assert left == {f"{name}.{kind}" for name in STAGES for kind in KEPT}
    info, network = load_stunet(finished / "base.safetensors", ("base",))
    assert (info.frames, info.size, info.fps, info.scale, info.prediction) == (5, 16, 16.0, 1, "v")
    assert (info.trained_frames, info.trained_sides) == ((5, 160), (16, 24)), "its last phase varies"
    assert load_info(finished / "ssr.safetensors").trained_frames is None, "it sees windows of any clip"
    assert (info.sampling.guidance, info.sampling.steps, info.text_encoder) == (3.0, 25, "text.safetensors")
    assert network.config.temporal.factor == 2
    record, cast = dict(info.training), info.training["cast"]
    assert (cast["name"], len(cast["words"]), cast["words"][0]) == ("shapes", 24, ["red circle"])
    del record["cast"]
    assert record == {"recipe": "micro", "stage": "base", "steps": 6, "samples": 9, "device": "cpu", "seed": 3}
    ssr = load_info(finished / "ssr.safetensors")
    assert (ssr.scale, ssr.size, ssr.frames, ssr.align_corners) == (4, 32, 3, False)
    assert load_info(finished / "t2i.safetensors").schedule.shift == 2.0


@torch.no_grad()
def test_a_trained_chain_makes_a_video(finished):
    text = load_text_encoder(finished / "text.safetensors").encode(["a red circle moving right"])
    _, base = load_stunet(finished / "base.safetensors", ("base",))
    assert base(torch.randn(1, 3, 6, 16, 16), torch.tensor([500]), text).isfinite().all()
    _, ssr = load_stunet(finished / "ssr.safetensors", ("ssr",))
    result = ssr(torch.randn(1, 6, 4, 32, 32), torch.tensor([500]), text, noise_level=torch.tensor([100]))
    assert result.shape == (1, 3, 4, 32, 32)


@pytest.mark.parametrize(("stage", "start"), [("base", "t2i"), ("ssr", "ssr-image")])
def test_frozen_tensors_are_bit_identical_after_the_temporal_stage(finished, stage, start):
    before, after = (load_file(finished / f"{name}.safetensors") for name in (start, stage))
    assert after.keys() > before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    zero_at_first = [name for name in after if name.startswith("temporal.") and name.endswith(".out.weight")]
    assert zero_at_first and all(after[name].any() for name in zero_at_first)


def test_the_conditional_stage_trains_temporal_tensors_and_new_input_columns_only(finished):
    before, after = (load_file(finished / f"{name}.safetensors") for name in ("base", "conditional"))
    assert after.keys() == before.keys()
    wide = after.pop("conv_in.weight")
    assert torch.equal(wide[:, : 3 * 4], before.pop("conv_in.weight"))  # patch 2: four columns a channel
    assert wide.shape[1] == 7 * 4 and all(wide[:, column].any() for column in range(3 * 4, 7 * 4))
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed and all(name.startswith("temporal.") for name in changed)


def test_a_finished_stage_is_not_trained_again(finished, recipe, tmp_path, monkeypatch):
    borrow(finished, tmp_path, *STAGES)
    kill_at(monkeypatch, 0)
    assert [path.stem for path in run(recipe, tmp_path)] == STAGES


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_loss_falls(finished, recipe, tmp_path, monkeypatch, optimizer):
    """On one batch, which a few steps learn by heart."""
    borrow(finished, tmp_path, "text")
    stage = dataclasses.replace(recipe.stage("t2i"), optimizer=optimizer, phases=(Phase(steps=40, batch=4),))
    recipe = dataclasses.replace(recipe, stages=(recipe.text_stage, stage))
    losses, step, item = [], StageRun.train_step, ClipBatches.__getitem__

    def recorded(self, batch):
        entry = step(self, batch)
        losses.append(entry["loss"])
        return entry

    monkeypatch.setattr(StageRun, "train_step", recorded)
    monkeypatch.setattr(ClipBatches, "__getitem__", lambda self, _: item(self, 0))
    run(recipe, tmp_path, ["t2i"])
    assert len(losses) == 40
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])


# Resuming


@pytest.mark.parametrize(
    ("stage", "needs", "step"),
    [
        ("text", (), 2),
        ("t2i", ("text",), 2),
        ("base", ("text", "t2i"), 4),
        pytest.param("conditional", ("text", "base"), 2, marks=pytest.mark.slow),
        pytest.param("ssr-image", ("text",), 1, marks=pytest.mark.slow),
        pytest.param("ssr", ("text", "ssr-image"), 1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_bit_for_bit(finished, recipe, tmp_path, monkeypatch, stage, needs, step):
    """Killed at `step` (the base stage in its second phase) after a save; the text stage has dropout."""
    borrow(finished, tmp_path, *needs)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, step)
        run(recipe, tmp_path, [stage], save_every_seconds=0)
    assert (tmp_path / f"{stage}.state.safetensors").is_file()
    assert not (tmp_path / f"{stage}.safetensors").exists()
    run(recipe, tmp_path, [stage])
    assert_same_tensors(tmp_path / f"{stage}.safetensors", finished / f"{stage}.safetensors")
    assert {path.name for path in tmp_path.glob(f"*{stage}.*")} == {f"{stage}.{kind}" for kind in KEPT}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stage", ["t2i", "conditional"])
def test_every_optimizer_resumes_bit_for_bit(finished, recipe, tmp_path, monkeypatch, stage, optimizer):
    table = dataclasses.replace(recipe.stage(stage), optimizer=optimizer)
    recipe = dataclasses.replace(recipe, stages=tuple(table if s.name == stage else s for s in recipe.stages))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        borrow(finished, folder, "text", "base")
    run(recipe, whole, [stage])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 2)
        run(recipe, killed, [stage], save_every_seconds=0)
    run(recipe, killed, [stage])
    assert_same_tensors(whole / f"{stage}.safetensors", killed / f"{stage}.safetensors")
    saved, other = (load_file(folder / f"{stage}.safetensors") for folder in (whole, finished))
    assert any(not torch.equal(saved[name], other[name]) for name in saved) == (optimizer == "muon")


def test_a_state_of_another_optimizer_is_refused(finished, recipe, tmp_path):
    borrow(finished, tmp_path, "text")
    state = stage_run(recipe, "t2i", tmp_path)
    state.train_step(batches(state.stage, recipe.seed, state.tokenize)[0])
    state.save()
    other = dataclasses.replace(recipe.stage("t2i"), optimizer="muon")
    with pytest.raises(ValueError, match="t2i.state.safetensors.*of the optimizer adamw; stage 't2i' has muon"):
        stage_run(dataclasses.replace(recipe, stages=(recipe.text_stage, other)), "t2i", tmp_path)


def test_steps_after_the_last_save_are_done_again(finished, recipe, tmp_path, monkeypatch):
    """Saved at step 2, killed at step 3."""
    borrow(finished, tmp_path, "text")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 3)
        kill_at(patch, 3, "save")  # the third save does not happen: the kill comes first
        run(recipe, tmp_path, ["t2i"], save_every_seconds=0)
    assert stage_run(recipe, "t2i", tmp_path).step == 2
    run(recipe, tmp_path, ["t2i"])
    assert_same_tensors(tmp_path / "t2i.safetensors", finished / "t2i.safetensors")


def test_a_kill_while_saving_leaves_the_last_state(finished, recipe, tmp_path, monkeypatch):
    borrow(finished, tmp_path, "text")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 1)
        run(recipe, tmp_path, ["t2i"], save_every_seconds=0)
    state = (tmp_path / "t2i.state.safetensors").read_bytes()

    def half_written(tensors, filename, *_):
        with open(filename, "wb") as file:
            file.write(b"half")
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("lumiere_video.lumiere_core.training.state.save_file", half_written)
        run(recipe, tmp_path, ["t2i"], save_every_seconds=0)
    assert (tmp_path / "t2i.state.safetensors").read_bytes() == state
    assert not list(tmp_path.glob(".*"))


def test_the_log_forgets_what_was_not_saved(finished, recipe, tmp_path):
    borrow(finished, tmp_path, "text")
    state = stage_run(recipe, "t2i", tmp_path)
    dataset = batches(state.stage, recipe.seed, state.tokenize)
    state.train_step(dataset[0])
    state.save()
    lines = [json.dumps({"step": step, "loss": 1.0, "time": 0.0}) + "\n" for step in (0, 1, 2)]
    log = tmp_path / "t2i.log.jsonl"
    log.write_text("".join(lines) + lines[0][:9])  # step 2 came after the save; the last line is half written
    stage_run(recipe, "t2i", tmp_path)
    assert log.read_text() == "".join(lines[:2])


def test_a_state_of_another_network_is_refused(finished, recipe, tmp_path):
    """A bias of shape (1,) would be broadcast without a word."""
    borrow(finished, tmp_path, "text")
    state = stage_run(recipe, "t2i", tmp_path)
    state.train_step(batches(state.stage, recipe.seed, state.tokenize)[0])
    state.save()
    stage = recipe.stage("t2i")
    other = dataclasses.replace(stage, network=stage.network | {"channels": [8, 24]})
    recipe = dataclasses.replace(recipe, stages=(recipe.text_stage, other))
    with pytest.raises(ValueError, match="t2i.state.safetensors.*of another network than stage 't2i'"):
        stage_run(recipe, "t2i", tmp_path)


# Batches


@pytest.mark.parametrize("name", ["text", "t2i", "base", "conditional", "ssr-image", "ssr"])
def test_a_batch_is_a_function_of_seed_stage_and_step(finished, recipe, name):
    tokenize = load_text_encoder(finished / "text.safetensors").tokenize
    stage = recipe.stage(name)

    def batch(seed=0, stage=stage, step=1):
        return batches(stage, seed, tokenize)[step]

    first, again = batch(), batch()
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)
    key = "labels" if name == "text" else "video"
    for other in (batch(seed=1), batch(step=0), batch(stage=dataclasses.replace(stage, name="other"))):
        assert not torch.equal(first["ids"], other["ids"]) and not torch.equal(first[key], other[key])


def test_what_a_batch_holds(finished, recipe):
    tokenize = load_text_encoder(finished / "text.safetensors").tokenize
    batch = batches(recipe.stage("ssr-image"), 0, tokenize)[1]
    assert batch["video"].shape == batch["noise"].shape == batch["low_res_noise"].shape == (2, 3, 1, 16, 16)
    assert batch["low_res"].shape == (2, 3, 1, 4, 4) and batch["ids"].shape == (2, 96)
    assert -1 <= batch["video"].min() < batch["video"].max() <= 1
    assert (batch["noise"] - batch["low_res_noise"]).abs().max() > 1
    conditional = batches(recipe.stage("conditional"), 0, tokenize)[0]
    assert conditional["change_mask"].shape == (2, 1, 5, 16, 16)
    assert set(conditional["change_mask"].unique().tolist()) == {0.0, 1.0}
    text = batches(recipe.stage("text"), 0, tokenize)[0]
    assert text["labels"].shape == (4, 7) and text["token"].shape == (4,) and "video" not in text


def test_the_augmentation_stays_below_its_largest_level(recipe):
    gentle = batches(dataclasses.replace(recipe.stage("ssr-image"), max_noise_level=5))
    drawn = [gentle[step] for step in range(20)]
    assert torch.cat([batch["noise_level"] for batch in drawn]).unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.cat([batch["timesteps"] for batch in drawn]).max() > 900


def test_captions_are_dropped_as_often_as_asked(recipe):
    said = []
    stage = dataclasses.replace(recipe.stage("t2i"), text_dropout=0.25, size=8, phases=(Phase(1, 400),))
    batches(stage, tokenize=lambda texts: (said.extend(texts), None))[0]
    assert np.mean([text == "" for text in said]) == pytest.approx(0.25, abs=0.06)


LONG = Phase(steps=1, batch=8, frames=24, vary=1.0)


def test_vary_gives_other_lengths_and_shapes_of_about_as_many_pixels():
    rng = np.random.default_rng(0)
    drawn = [vary_phase(LONG, 64, rng) for _ in range(300)]
    assert {phase.frames for phase, _ in drawn} == set(LENGTHS)
    assert len({size for _, size in drawn}) == len(SHAPES)
    for phase, (height, width) in drawn:
        assert height % 8 == width % 8 == 0 and 48 <= min(height, width)
        assert 0.75 < phase.batch * phase.frames * height * width / (8 * 24 * 64 * 64) < 1.3


def test_vary_is_a_share_of_the_steps_and_leaves_the_rest_as_they_are():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3):
        phase = dataclasses.replace(LONG, vary=share)
        same = np.mean([vary_phase(phase, 64, rng) == (phase, (64, 64)) for _ in range(1000)])
        assert same == pytest.approx(1 - share, abs=0.05)


def test_stills_vary_in_shape_only():
    rng = np.random.default_rng(0)
    drawn = [vary_phase(Phase(1, 4, vary=1.0), 64, rng) for _ in range(50)]
    assert {(phase.frames, phase.batch) for phase, _ in drawn} == {(1, 4)} and len({size for _, size in drawn}) > 3


@pytest.mark.parametrize(
    ("kind", "crop", "excerpt_of"), [("conditional", None, None), ("base", None, 24), ("ssr", 32, 40)]
)
def test_varied_batches_are_whole(recipe, kind, crop, excerpt_of):
    """Longer than what they are an excerpt of, and with crops as large as the frame's longer side."""
    phase = Phase(steps=40, batch=1, frames=4, vary=1.0, crop=crop, excerpt_of=excerpt_of)
    stage = dataclasses.replace(recipe.stage(kind), size=32, phases=(phase,))
    dataset, seen = batches(stage), set()
    for step in range(12):
        batch = dataset[step]
        shape = batch["video"].shape
        seen.add(shape)
        assert batch["noise"].shape == shape
        if kind == "conditional":
            assert batch["change_mask"].shape == (shape[0], 1, *shape[2:])
        if kind == "ssr":
            torch.testing.assert_close(batch["low_res"], F.avg_pool3d(batch["video"], (1, 4, 4)))
    assert len(seen) > 4


@pytest.mark.parametrize(("frames", "excerpt_of"), [(16, None), (80, None), (3, 15), (24, 24), (1, 80)])
def test_clips_show_the_whole_motion_once_or_an_excerpt(frames, excerpt_of):
    rng = np.random.default_rng(0)
    request = Request(1, frames, 8, 8, excerpt_of)
    drawn = np.array([clip_seconds(request, rng) for _ in range(300)])
    assert drawn.shape == (300, frames) and drawn.min() >= 0 and drawn.max() < CLIP_SECONDS
    whole = excerpt_of or frames
    np.testing.assert_allclose(np.diff(drawn), CLIP_SECONDS / whole)
    if frames == 1:
        assert len(set(drawn[:, 0])) == 300 and drawn.max() > 4.9 and drawn.min() < 0.1
    else:  # from every frame from which it fits
        starts = np.arange(whole - frames + 1) * CLIP_SECONDS / whole
        np.testing.assert_allclose(np.unique(drawn[:, 0].round(9)), starts.round(9))


def crops(size, anywhere, x=0.5, y=0.5, grid=4, crop=16):
    """Windows of a scene whose one object rests at (x, y)."""
    rng = np.random.default_rng(0)
    scene = Scene((Actor("red star", Motion("staying still", x, y, 0.1)),), "white")
    return {draw_window(Crop(crop, grid, anywhere), size, scene, np.zeros(1), rng) for _ in range(600)}


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (40, 24)])
def test_crops_are_aligned_to_the_low_res_grid_and_reach_everywhere(size):
    tops, lefts = (range(0, side - 16 + 1, 4) for side in size)
    assert crops(size, anywhere=1.0) == {(top, left, 16, 16) for top in tops for left in lefts}


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (80, 48)])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.3, 0.7)])
def test_crops_show_the_object_near_their_middle(size, x, y):
    side = min(size)
    for top, left, rows, columns in crops(size, anywhere=0.0, x=x, y=y, grid=1):
        place = y * side + (size[0] - side) / 2 - top, x * side + (size[1] - side) / 2 - left
        assert np.abs(np.array(place) - (rows / 2, columns / 2)).max() <= 0.15 * 16 + 0.5


def test_a_crop_larger_than_the_frame_is_the_frame():
    assert crops((24, 40), anywhere=0.0, crop=32) == {(0, 4, 24, 32)} | {(0, left, 24, 32) for left in (0, 8)}


def test_low_res_crops_are_crops_of_the_low_res_clip(recipe, monkeypatch):
    """What the SSR is trained on is what it is given: the area average of the whole frame, at the same place."""
    seen = {}

    def recorded(cast, scenes, seconds, height, width, windows):
        seen.update(whole=data_render(cast, scenes, seconds, height, width), windows=windows)
        return data_render(cast, scenes, seconds, height, width, windows)

    data_render = source.render_scenes
    monkeypatch.setattr(source, "render_scenes", recorded)
    stage = dataclasses.replace(recipe.stage("ssr"), size=64, phases=(Phase(1, 6, 3, crop=24),))
    batch = batches(stage)[0]
    whole = F.avg_pool3d(seen["whole"] * 2 - 1, (1, 4, 4))
    assert len(set(seen["windows"])) > 3
    for low_res, frames, (top, left, _, _) in zip(batch["low_res"], whole, seen["windows"], strict=True):
        expected = frames[..., top // 4 : top // 4 + 6, left // 4 : left // 4 + 6]
        torch.testing.assert_close(low_res, expected, rtol=0, atol=2e-3)


# Optimizers


class Parts(nn.Module):
    """One of each thing that a network has."""

    def __init__(self):
        super().__init__()
        self.conv_in, self.conv, self.point = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Conv2d(8, 6, 1)
        self.over_time, self.linear = nn.Conv2d(8, 8, (3, 1)), nn.Linear(5, 7)
        self.score, self.norm = nn.Linear(5, 1), nn.GroupNorm(2, 8)


MATRICES = ("conv.weight", "point.weight", "over_time.weight", "linear.weight")


def parts(memory_format=torch.channels_last) -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return dict(Parts().to(memory_format=memory_format).named_parameters())


def as_rows(tensor: torch.Tensor) -> torch.Tensor:
    """(out, in, h, w) -> (out, h * w * in), a copy."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(len(tensor), -1).clone()


def gradients(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in parameters.items()}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
@pytest.mark.parametrize("gradient_format", [torch.contiguous_format, torch.channels_last])
def test_muon_steps_are_those_of_torch_on_flattened_matrices(gradient_format):
    """In place, in the memory of weights that lie channels last, whatever the gradients' own format."""
    parameters = parts()
    optimizer = NamedOptimizer("muon", parameters, 0.1)
    assert set(optimizer.matrices) == set(MATRICES)
    flat = {name: nn.Parameter(as_rows(parameters[name].detach())) for name in MATRICES}
    muon = torch.optim.Muon(flat.values(), weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = {name: nn.Parameter(p.detach().clone()) for name, p in parameters.items() if name not in flat}
    adamw = torch.optim.AdamW(rest.values(), betas=BETAS, weight_decay=0.1)
    places, before = (
        {name: p.data_ptr() for name, p in parameters.items()},
        parameters["conv.weight"].detach().clone(),
    )
    assert not parameters["conv.weight"].is_contiguous()
    for step, rate in enumerate((0.1, 0.05, 0.02)):
        for name, gradient in gradients(parameters, step).items():
            four = gradient.ndim == 4
            parameters[name].grad = gradient.to(memory_format=gradient_format) if four else gradient
            (flat if name in flat else rest)[name].grad = as_rows(gradient) if name in flat else gradient.clone()
        optimizer.step(rate)
        for theirs in (muon, adamw):
            theirs.param_groups[0]["lr"] = rate
            theirs.step()
        assert all(p.grad is None for p in parameters.values())
    assert {name: p.data_ptr() for name, p in parameters.items()} == places
    assert (parameters["conv.weight"] - before).abs().max() > 0.05
    for name, parameter in parameters.items():
        if name in flat:  # theirs is rounded to bfloat16 at each of its 15 products
            assert torch.allclose(as_rows(parameter.detach()), flat[name], atol=0.002), name
        else:
            assert torch.equal(parameter, rest[name]), name


def test_adamw_is_torch_s(recipe):
    ours, theirs = parts(), parts()
    optimizer, reference = (
        NamedOptimizer("adamw", ours, 0.1),
        torch.optim.AdamW(theirs.values(), 0.1, BETAS, weight_decay=0.1),
    )
    assert not optimizer.matrices
    for step in range(3):
        for name, gradient in gradients(ours, step).items():
            ours[name].grad, theirs[name].grad = gradient, gradient.clone()
        optimizer.step(0.1)
        reference.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_state_of_an_optimizer_is_named_and_comes_back(kind):
    parameters = parts()
    optimizer = NamedOptimizer(kind, parameters, 0.01)

    def step(optimizer, parameters, seed):
        for name, gradient in gradients(parameters, seed).items():
            parameters[name].grad = gradient
        optimizer.step(0.01)

    step(optimizer, parameters, 0)
    state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    moment = "momentum_buffer" if kind == "muon" else "exp_avg_sq"
    assert f"{moment}.conv.weight" in state and "exp_avg.norm.weight" in state
    copies = {name: nn.Parameter(p.detach().clone()) for name, p in parameters.items()}
    again = NamedOptimizer(kind, copies, 0.01)
    again.load_state(state, 1)
    step(optimizer, parameters, 1)
    step(again, copies, 1)
    assert all(torch.equal(parameters[name], copies[name]) for name in parameters)


# Parts


def test_the_frozen_text_encoder_stays_in_eval_mode(finished, recipe):
    """Its configuration has dropout; a frozen encoder that drops words at random would teach noise."""
    objective, _ = build_objective(recipe, recipe.stage("t2i"), finished, shown(recipe.stage("t2i")))
    assert isinstance(objective.train(), DiffusionObjective)
    assert objective.network.training
    assert not any(module.training for module in objective.t5.modules())


def test_learning_rate_warms_up_stays_and_falls_to_zero(recipe):
    stage = dataclasses.replace(
        recipe.stage("t2i"), warmup=10, decay=0.25, phases=(Phase(steps=60, batch=1), Phase(steps=40, batch=1))
    )
    factors = [learning_rate_factor(stage, step) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[9:76] == [1.0] * 67
    assert factors[75:] == pytest.approx([i / 25 for i in range(25, 0, -1)])
    assert 0 < min(factors)
    flat = dataclasses.replace(stage, warmup=0, decay=0.0)
    assert {learning_rate_factor(flat, step) for step in range(100)} == {1.0}


def test_phases_follow_each_other(recipe):
    stage = recipe.stage("base")
    assert [stage.phase_at(step).frames for step in range(6)] == [3, 3, 3, 5, 5, 5]
    assert stage.steps == 6


def test_min_snr_weights_in_closed_form():
    """min(SNR, gamma) / (SNR + 1): the even weight in v is SNR + 1 times that in x0, which it clips."""
    sigma = torch.tensor([10.0, 1.0, 0.5, 0.1])
    expected = torch.tensor([0.01 / 1.01, 1 / 2, 4 / 5, 5 / 101])
    torch.testing.assert_close(min_snr_weight(sigma, 5.0), expected)


@torch.no_grad()
def test_the_min_snr_loss_is_a_clipped_error_of_the_clip(finished, recipe):
    """Recomputed from the x0 that the network's v stands for."""
    stage = dataclasses.replace(recipe.stage("t2i"), min_snr=5.0, schedule=recipe.stage("base").schedule)
    objective, tokenize = build_objective(recipe, stage, finished, shown(stage))
    seen = {}

    def network(x, timesteps, text):
        seen["x"] = x
        return 0.3 * x

    objective.network.forward = network
    batch = batches(stage, 0, tokenize)[0] | {"timesteps": torch.tensor([1, 200, 500, 990])}
    loss = objective(batch)
    sigma = stage.schedule.sigmas[batch["timesteps"]].view(-1, 1, 1, 1, 1)
    x0 = (seen["x"] - sigma * 0.3 * seen["x"]) / (sigma**2 + 1).sqrt()
    error = ((x0 - batch["video"]) ** 2).mean((1, 2, 3, 4))
    expected = ((sigma.flatten() ** -2).clamp(max=5) * error).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("align_corners", [False, True])
def test_the_ssr_objective_hears_the_low_res_clip_as_the_stage_aligns_it(finished, recipe, align_corners):
    stage = dataclasses.replace(recipe.stage("ssr"), align_corners=align_corners)
    objective, tokenize = build_objective(recipe, stage, finished, shown(stage))
    seen = {}
    objective.network.forward = lambda x, *_, **said: seen.update(x=x, **said) or x[:, :3]
    batch = batches(stage, 0, tokenize)[0]
    batch["noise_level"] = torch.zeros_like(batch["noise_level"])
    objective(batch)
    frames = batch["low_res"][0].transpose(0, 1)
    expected = F.interpolate(frames, scale_factor=4.0, mode="bilinear", align_corners=align_corners).transpose(0, 1)
    torch.testing.assert_close(seen["x"][0, 3:], expected, rtol=0, atol=0.05)
    other = F.interpolate(frames, scale_factor=4.0, mode="bilinear", align_corners=not align_corners).transpose(0, 1)
    assert (seen["x"][0, 3:] - expected).abs().mean() < 0.5 * (seen["x"][0, 3:] - other).abs().mean()
    assert objective.export({})[1].align_corners == align_corners


def test_the_loss_plot_is_drawn(tmp_path):
    from PIL import Image

    log = tmp_path / "a.log.jsonl"
    plot_losses(log, tmp_path / "a.png", "a")
    log.write_text("")  # resumed before anything was logged
    plot_losses(log, tmp_path / "a.png", "a")
    assert not (tmp_path / "a.png").exists()
    for count in (1, 60):
        log.write_text("".join(json.dumps({"step": i, "loss": math.exp(-i / 9)}) + "\n" for i in range(count)))
        plot_losses(log, tmp_path / "a.png", "a")
        assert Image.open(tmp_path / "a.png").size == (800, 400)


def test_an_impossible_device_is_refused(engine, recipe, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match="device 'cuda' is not available"):
        train(recipe, tmp_path, sources=shown, stages=["text"], device="cuda", precision="no")


def test_a_recipe_of_another_world_asks_for_its_pictures(recipe, tmp_path):
    with pytest.raises(ValueError, match="recipe micro: it shows stickers; give the folder .*--cast"):
        world_sources(dataclasses.replace(recipe, cast="stickers"))


def test_a_motion_that_the_world_has_not_is_refused_at_once(recipe):
    stages = [dataclasses.replace(stage, motions={"sailing": 3}) for stage in recipe.stages[-1:]]
    with pytest.raises(ValueError, match="stage 'ssr', motions has the unknown name 'sailing'; known are moving left"):
        world_sources(dataclasses.replace(recipe, stages=(*recipe.stages[:-1], *stages)), drawn_shapes())


def test_without_a_source_only_folders_of_pictures_are_learned_from(engine, recipe, tmp_path):
    with pytest.raises(
        ValueError, match="stage 'text' learns from more than a folder of pictures; give train a source"
    ):
        train(recipe, tmp_path, device="cpu")


# Recipes


def test_the_shipped_recipe():
    recipe = load_recipe(resources.files(lumiere_core) / "recipes" / "stickers.toml")
    assert recipe.stages[0] is recipe.text_stage
    assert {stage.kind for stage in recipe.stages} == {"text", "t2i", "base", "ssr_image", "ssr"}
    text_dim = recipe.text_stage.network["d_model"]
    networks = {}
    for stage in recipe.stages[1:]:
        networks[stage.name] = build_network(stage, networks.get(stage.start))
        assert networks[stage.name].config.text_dim == text_dim
    base, ssr = ([stage for stage in recipe.stages if stage.kind == kind][-1] for kind in ("base", "ssr"))
    assert recipe.cast == "stickers" and set(base.tasks) == set(TASKS)
    assert base.phases[-1].frames == 80
    assert ssr.size == ssr.scale * base.size
    assert networks[base.name].config.temporal.factor > 1
    assert networks[ssr.name].config.temporal.factor == 1
    assert networks[base.name].config.in_channels == 7 and networks[ssr.name].config.in_channels == 6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "micro"', 'name = "micro"\nwings = 2', "recipe has the unknown field 'wings'"),
        ('kind = "t2i"', 'kind = "t2i"\nwings = 2', "stage 't2i' has the unknown field 'wings'"),
        ("excerpt_of = 15", "wings = 2", "stage 'base', phase has the unknown field 'wings'"),
        ("excerpt_of = 15", "excerpt_of = 2", "excerpt_of must be at least the phase's frames, 3; got 2"),
        ("vary = 0.5", "vary = 50", "'base', phase 2: vary must be a number from 0 to 1; got 50"),
        (
            'kind = "t2i"',
            'kind = "t2i"\noptimizer = "sgd"',
            "stage 't2i': optimizer must be one of adamw, muon; got 'sgd'",
        ),
        (
            'kind = "t2i"',
            'kind = "t2i"\ntasks = {box = 1}',
            "stage 't2i': tasks are for stages of kind base and motion; this is t2i",
        ),
        ('kind = "t2i"', 'kind = "t2i"\nmin_snr = 0', "stage 't2i': min_snr must be a number above 0.*; got 0"),
        ("shift = 2.0", "wings = 2", "stage 't2i', schedule has the unknown field 'wings'"),
        ("guidance = 3.0", "wings = 2", "stage 'base', info has the unknown field 'wings'"),
        ("guidance = 3.0", "size = 64", "stage 'base', info has the unknown field 'size'"),
        ('name = "micro"', "", "recipe lacks the field 'name'"),
        ("max_tokens = 96", "", "stage 'text', network lacks the field 'max_tokens'"),
        ('kind = "ssr_image"', 'kind = "upscaler"', "kind must be one of .*; got 'upscaler'"),
        ('start = "t2i"', "", "stage 'base' builds upon another stage"),
        ("box = 2", "wings = 2", "stage 'conditional', tasks has the unknown name 'wings'"),
        ("box = 2", "box = 0", "stage 'conditional': tasks must be a table of numbers above 0.*'box': 0"),
        ('start = "t2i"', 'start = "ssr"', "'base' starts from 'ssr', which is no earlier stage"),
        ('name = "ssr"', 'name = "ssr-image"', "two stages are called 'ssr-image'"),
        ("channels = [8, 16]", "", "network lacks the field 'channels'"),
        ("steps = 4\nbatch = 4", "steps = 0\nbatch = 4", "phase 1: steps must be a whole number from 1 .*; got 0"),
        ("crop = 16", "crop = 18", "multiples of scale=4, at most 32; got 18"),
        ("crop = 16", "crop = 64", "multiples of scale=4, at most 32; got 64"),
        ('kind = "ssr"', 'kind = "ssr"\nmax_noise_level = 1001', "max_noise_level must be 1 to 1000; got 1001"),
        ("seed = 3", "seed = = 3", "not a TOML file"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, old, new, message):
    assert old in MICRO
    with pytest.raises(ValueError, match=message):
        load_recipe(write_recipe(tmp_path, MICRO.replace(old, new, 1)))


def test_other_files_that_are_no_recipe(tmp_path):
    with pytest.raises(ValueError, match="no such recipe file"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="stage of kind text"):
        load_recipe(write_recipe(tmp_path, 'name = "empty"'))
    with pytest.raises(ValueError, match=r"write \[\[stage\]\]"):
        load_recipe(write_recipe(tmp_path, 'name = "single"\n[stage]\nname = "text"'))


@pytest.mark.parametrize("stage", ["t2i", "base"])
def test_an_unknown_network_field_is_named(recipe, stage):
    with pytest.raises(ValueError, match=f"stage '{stage}', network has the unknown field 'wings'; known are "):
        dataclasses.replace(recipe.stage(stage), network=recipe.stage(stage).network | {"wings": 2})


def test_a_stage_on_a_conditional_network_needs_its_masks(finished, recipe):
    start = load_stunet(finished / "conditional.safetensors", ("base",))[1]
    stage = recipe.stage("conditional")
    assert build_network(stage, start).config.in_channels == 7
    with pytest.raises(
        ValueError, match="'conditional' starts from a conditional network; it needs the masks, 'tasks'"
    ):
        build_network(dataclasses.replace(stage, tasks={}), start)


def test_a_network_for_another_text_encoder_is_refused(finished, recipe):
    stage = recipe.stage("t2i")
    wrong = dataclasses.replace(stage, network=stage.network | {"text_dim": 32})
    with pytest.raises(ValueError, match="'t2i' must have text_dim = 16.*; got 32"):
        build_objective(recipe, wrong, finished, shown(wrong))


def test_an_unknown_stage_is_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="no stage is called 'video'; stages are text, t2i"):
        run(recipe, tmp_path, ["video"])


def test_timestep_bias_prefers_noisy_timesteps(recipe):
    """u ** (1 / bias) has the mean bias / (bias + 1)."""
    for bias in (0.5, 1.0, 3.0):
        stage = dataclasses.replace(recipe.stage("t2i"), timestep_bias=bias)
        drawn = batches(stage)._timesteps(20000, torch.Generator().manual_seed(0)).float()
        assert drawn.min() >= 0 and drawn.max() <= 999
        assert abs(drawn.mean() / 1000 - bias / (bias + 1)) < 0.01
