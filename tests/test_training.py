"""Training on a micro recipe: exact resume, frozen halves, the whole chain of stages, and recipes that are refused."""

import dataclasses
import json
import math
import shutil
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lumiere_video import lumiere_core
from lumiere_video.lumiere_core.checkpoint import load_info, load_stunet
from lumiere_video.lumiere_core.text import load_text_encoder
from lumiere_video.lumiere_core.training import load_recipe, train
from lumiere_video.lumiere_core.training.data import CLIP_FRAMES, ToyWorldBatches, clip_times, crop_pair
from lumiere_video.lumiere_core.training.masks import TASKS
from lumiere_video.lumiere_core.training.objectives import DiffusionObjective, build_network
from lumiere_video.lumiere_core.training.plot import plot_losses
from lumiere_video.lumiere_core.training.recipe import Phase
from lumiere_video.lumiere_core.training.run import StageRun, build_objective, learning_rate_factor

MICRO = """
name = "micro"
seed = 3

[[stage]]
name = "text"
kind = "text"
learning_rate = 1e-2
warmup = 2
[stage.network]
max_tokens = 128
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
stride = 5
[[stage.phase]]
steps = 3
batch = 1
frames = 5

[[stage]]
name = "conditional"
kind = "conditional"
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
    return train(recipe, folder, stages=stages, device="cpu", precision="no", save_every_seconds=save_every_seconds)


def borrow(finished, folder, *names):
    for name in names:
        shutil.copy(finished / f"{name}.safetensors", folder)


def stage_run(recipe, name, folder) -> StageRun:
    return StageRun(recipe, recipe.stage(name), folder, "cpu", "no", False, 0)


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
    assert left == {f"{name}.{kind}" for name in STAGES for kind in ("safetensors", "loss.png", "log.jsonl")}
    info, network = load_stunet(finished / "base.safetensors", ("base",))
    assert (info.frames, info.size, info.fps, info.scale, info.prediction) == (5, 16, 16.0, 1, "v")
    assert (info.guidance, info.steps, info.text_encoder) == (3.0, 25, "text.safetensors")
    assert network.config.temporal.factor == 2
    assert info.training == {
        "recipe": "micro", "stage": "base", "steps": 6, "samples": 9, "device": "cpu", "seed": 3,
    }  # fmt: skip
    ssr = load_info(finished / "ssr.safetensors")
    assert (ssr.scale, ssr.size, ssr.frames) == (4, 32, 3)
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
    assert torch.equal(wide[:, :3], before.pop("conv_in.weight"))
    assert wide.shape[1] == 7 and all(wide[:, column].any() for column in range(3, 7))
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed and all(name.startswith("temporal.") for name in changed)


def test_a_finished_stage_is_not_trained_again(finished, recipe, tmp_path, monkeypatch):
    borrow(finished, tmp_path, *STAGES)
    kill_at(monkeypatch, 0)
    assert [path.stem for path in run(recipe, tmp_path)] == STAGES


def test_loss_falls(finished, recipe, tmp_path, monkeypatch):
    borrow(finished, tmp_path, "text")
    stage = dataclasses.replace(recipe.stage("t2i"), phases=(Phase(steps=40, batch=8),))
    recipe = dataclasses.replace(recipe, stages=(recipe.text_stage, stage))
    losses, original = [], StageRun.train_step

    def recorded(self, batch):
        entry = original(self, batch)
        losses.append(entry["loss"])
        return entry

    monkeypatch.setattr(StageRun, "train_step", recorded)
    run(recipe, tmp_path, ["t2i"])
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


# Resuming


@pytest.mark.parametrize(
    ("stage", "needs", "step"),
    [
        ("text", (), 2),
        ("t2i", ("text",), 2),
        ("base", ("text", "t2i"), 4),
        ("conditional", ("text", "base"), 2),
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
    assert {path.name for path in tmp_path.glob(f"*{stage}.*")} == {
        f"{stage}.{kind}" for kind in ("safetensors", "log.jsonl", "loss.png")
    }


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
        patch.setattr("lumiere_video.lumiere_core.training.run.save_file", half_written)
        run(recipe, tmp_path, ["t2i"], save_every_seconds=0)
    assert (tmp_path / "t2i.state.safetensors").read_bytes() == state
    assert not list(tmp_path.glob(".*"))


def test_the_log_forgets_what_was_not_saved(finished, recipe, tmp_path):
    borrow(finished, tmp_path, "text")
    state = stage_run(recipe, "t2i", tmp_path)
    dataset = ToyWorldBatches(state.stage, state.tokenize, recipe.seed)
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
    state.train_step(ToyWorldBatches(state.stage, state.tokenize, recipe.seed)[0])
    state.save()
    stage = recipe.stage("t2i")
    other = dataclasses.replace(stage, network=stage.network | {"channels": [8, 24]})
    recipe = dataclasses.replace(recipe, stages=(recipe.text_stage, other))
    with pytest.raises(ValueError, match="t2i.state.safetensors.*of another network than stage 't2i'"):
        stage_run(recipe, "t2i", tmp_path)


def test_a_batch_is_a_function_of_seed_stage_and_step(finished, recipe):
    tokenize = load_text_encoder(finished / "text.safetensors").tokenize
    stage = recipe.stage("ssr-image")

    def batch(seed=0, stage=stage, step=1):
        return ToyWorldBatches(stage, tokenize, seed)[step]

    first = batch()
    assert all(torch.equal(first[name], other) for name, other in batch().items())
    renamed = dataclasses.replace(stage, name="other")
    for other in (batch(seed=1), batch(step=0), batch(stage=renamed)):
        assert not torch.equal(first["noise"], other["noise"])
        assert not torch.equal(first["video"], other["video"])
    assert first["video"].shape == first["noise"].shape == (2, 3, 1, 16, 16)
    assert first["low_res"].shape == (2, 3, 1, 4, 4)
    assert -1 <= first["video"].min() < first["video"].max() <= 1
    gentle = dataclasses.replace(stage, max_noise_level=5)
    levels = torch.cat([batch(stage=gentle, step=step)["noise_level"] for step in range(20)])
    assert levels.max() < 5 < batch()["timesteps"].max()


# Parts


def test_the_frozen_text_encoder_stays_in_eval_mode(finished, recipe):
    """Its configuration has dropout; a frozen encoder that drops words at random would teach noise."""
    objective, _ = build_objective(recipe, recipe.stage("t2i"), finished)
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


@pytest.mark.parametrize(("frames", "stride", "expected"), [(16, 5, 5), (80, 1, 1), (80, 9, 1), (40, 2, 2), (9, 20, 9)])
def test_clip_times_lie_within_the_clip(frames, stride, expected):
    """Evenly apart by the stride, or by the widest one that fits."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = clip_times(Phase(steps=1, batch=1, frames=frames, stride=stride), rng)
        assert len(times) == frames
        assert times[0] >= 0
        assert times[-1] <= (CLIP_FRAMES - 1) / 16 + 1e-9
        assert np.allclose(np.diff(times) * 16, expected)


def test_a_crop_and_its_low_res_version_show_the_same_place():
    video = torch.arange(32.0)[None, None, None, :, None] * 100 + torch.arange(32.0)
    video = video.expand(1, 3, 2, 32, 32)
    for seed in range(5):
        crop, low_res = crop_pair(video, 4, 16, np.random.default_rng(seed))
        assert crop.shape == (1, 3, 2, 16, 16)
        torch.testing.assert_close(low_res, torch.nn.functional.avg_pool3d(crop, (1, 4, 4)))


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
    with pytest.raises(ValueError, match="got cuda"):
        train(recipe, tmp_path, stages=["text"], device="cuda", precision="no")


# Recipes


def test_the_shipped_recipe():
    recipe = load_recipe(resources.files(lumiere_core) / "recipes" / "toy.toml")
    assert recipe.stages[0] is recipe.text_stage
    assert {stage.kind for stage in recipe.stages} == {"text", "t2i", "base", "conditional", "ssr_image", "ssr"}
    text_dim = recipe.text_stage.network["d_model"]
    networks = {}
    for stage in recipe.stages[1:]:
        networks[stage.name] = build_network(stage, networks.get(stage.start))
        assert networks[stage.name].config.text_dim == text_dim
    base, ssr = ([stage for stage in recipe.stages if stage.kind == kind][-1] for kind in ("conditional", "ssr"))
    assert base.name == "toy-base" and set(base.tasks) == set(TASKS)
    assert base.phases[-1].frames == 80
    assert ssr.size == ssr.scale * base.size
    assert networks[base.name].config.temporal.factor > 1
    assert networks[ssr.name].config.temporal.factor == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "micro"', 'name = "micro"\nwings = 2', "recipe has the unknown field 'wings'"),
        ('kind = "t2i"', 'kind = "t2i"\nwings = 2', "stage t2i has the unknown field 'wings'"),
        ("stride = 5", "wings = 2", "stage base, phase has the unknown field 'wings'"),
        ("shift = 2.0", "wings = 2", "stage t2i, schedule has the unknown field 'wings'"),
        ("guidance = 3.0", "wings = 2", "stage 'base', info has the unknown field 'wings'"),
        ("guidance = 3.0", "size = 64", "stage 'base', info has the unknown field 'size'"),
        ('name = "micro"', "", "recipe lacks the field 'name'"),
        ("max_tokens = 128", "", "stage 'text', network lacks the field 'max_tokens'"),
        ('kind = "ssr_image"', 'kind = "upscaler"', "kind out of .*; got 'upscaler'"),
        ('start = "t2i"', "", "stage 'base' builds upon another stage"),
        ("box = 2", "wings = 2", "stage 'conditional', tasks has the unknown name 'wings'"),
        ("box = 2", "box = 0", "stage 'conditional': tasks must have weights above 0; got box = 0"),
        ("first_frame = 1\nbox = 2", "", "stage 'conditional' needs the masks it learns from"),
        ("spinning = 3", "sailing = 3", "stage 'conditional', motions has the unknown name 'sailing'"),
        ('start = "t2i"', 'start = "ssr"', "'base' starts from 'ssr', which is no earlier stage"),
        ('name = "ssr"', 'name = "ssr-image"', "two stages are called 'ssr-image'"),
        ('kind = "text"', 'kind = "t2i"', "network lacks the field 'channels'"),
        ("steps = 4\nbatch = 4", "steps = 0\nbatch = 4", "steps of a phase must be at least 1; got 0"),
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


@pytest.mark.parametrize(
    ("stage", "match"), [("t2i", "UNetConfig: unknown field wings"), ("base", "TemporalConfig: .*wings")]
)
def test_an_unknown_network_field_is_named(recipe, stage, match):
    still = build_network(recipe.stage("t2i"), None)
    wrong = dataclasses.replace(recipe.stage(stage), network=recipe.stage(stage).network | {"wings": 2})
    with pytest.raises(ValueError, match=match):
        build_network(wrong, still if stage == "base" else None)


def test_a_network_for_another_text_encoder_is_refused(finished, recipe):
    stage = recipe.stage("t2i")
    wrong = dataclasses.replace(stage, network=stage.network | {"text_dim": 32})
    with pytest.raises(ValueError, match="'t2i' must have text_dim = 16.*; got 32"):
        build_objective(recipe, wrong, finished)


def test_an_unknown_stage_is_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="no stage is called 'video'; stages are text, t2i"):
        run(recipe, tmp_path, ["video"])


def test_timestep_bias_prefers_noisy_timesteps(recipe):
    """u ** (1 / bias) has the mean bias / (bias + 1)."""
    for bias in (0.5, 1.0, 3.0):
        stage = dataclasses.replace(recipe.stage("t2i"), timestep_bias=bias)
        drawn = ToyWorldBatches(stage, None, 0)._timesteps(20000, torch.Generator().manual_seed(0)).float()
        assert drawn.min() >= 0 and drawn.max() <= 999
        assert abs(drawn.mean() / 1000 - bias / (bias + 1)) < 0.01
