"""What a training leaves on the disk: whole or as it was, when the disk is full; refused in one line, when damaged."""

import contextlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lumiere_video.lumiere_core.checkpoints.format import load_tensors, save_checkpoint
from lumiere_video.lumiere_core.conditioning.text import text_info
from lumiere_video.lumiere_core.runtime.outputs import atomic_path
from lumiere_video.lumiere_core.training import train
from lumiere_video.lumiere_core.training.log import append_entry, read_log, trim_log
from lumiere_video.lumiere_core.training.loss_plot import plot_losses
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.lumiere_core.training.run import StageRun
from lumiere_video.lumiere_core.training.source import LabelledCaption

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

T5 = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "max_tokens": 8}
WORDS = Stage("words", "text", (Phase(4, 4),), T5, learning_rate=0.02)
RECIPE = Recipe("tiny", (WORDS,), seed=5)
STATE = "words.state.safetensors"


class TwoWords:
    """A source of captions of one word."""

    fps, label_classes = 16.0, {"word": ("yes", "no")}

    def captions(self, count, rng):
        return [LabelledCaption(("yes", "no")[i], (i,)) for i in rng.integers(2, size=count).tolist()]

    def record(self):
        return {}

    def digest(self):
        return "two words"


class Killed(BaseException):
    """Stands for a signal: no handler of ordinary errors sees it."""


def run(folder, recipe=RECIPE, save_every_seconds=0.0):
    source = TwoWords()
    options = {"device": "cpu", "precision": "no", "save_every_seconds": save_every_seconds}
    (file,) = train(recipe, folder, sources=lambda stage: source, **options)
    return load_tensors(file)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training that nothing disturbed."""
    return run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """The folder of a training that was killed at its third step, after a save."""
    original = StageRun.train_step

    def until(self, batch):
        if self.step == 2:
            raise Killed
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StageRun, "train_step", until)
        run(tmp_path)
    return tmp_path


def assert_same(tensors, others):
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


# A full disk


@contextlib.contextmanager
def files_of_at_most(size):
    """The system refuses to write more into any file, as it does where the disk is full."""
    resource = pytest.importorskip("resource", reason="only Unix limits what may be written")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_state(killed, whole):
    before = {file.name: file.read_bytes() for file in killed.iterdir()}
    with files_of_at_most(20000), pytest.raises(ValueError, match=f"{STATE}: it could not be written .*Make room"):
        run(killed)
    after = {file.name: file.read_bytes() for file in killed.iterdir()}
    assert after[STATE] == before[STATE] and not [name for name in after if name.startswith(".words")]
    assert_same(run(killed), whole)


def test_whatever_is_written_is_named(tmp_path):
    plot_log = tmp_path / "a.log.jsonl"
    plot_log.write_text('{"step": 1, "loss": 2.0}\n' * 3)
    with files_of_at_most(10):
        for write, name in (
            (
                lambda: save_checkpoint(tmp_path / "a.safetensors", {"x": torch.zeros(9)}, text_info({}, 8, {})),
                "a.safe",
            ),
            (lambda: plot_losses(plot_log, tmp_path / "a.png", "a"), "a.png"),
            (lambda: append_entry(tmp_path / "b.log.jsonl", {"step": 1, "loss": 2.0}), "b.log.jsonl"),
            (lambda: trim_log(plot_log, 1), "a.log.jsonl"),
        ):
            with pytest.raises(ValueError, match=f"{name}.*: it could not be written .*File too large"):
                write()
    assert plot_log.read_text().count("\n") == 3
    assert {file.name for file in tmp_path.iterdir()} == {"a.log.jsonl", "b.log.jsonl"}


def test_what_a_kill_left_half_written_goes_with_the_next_run(killed):
    """39 kills of a large network would fill a disk. What only looks like it stays."""
    interrupted = [atomic_path(killed / f"words.{kind}") for kind in ("state.safetensors", "loss.png", "log.jsonl")]
    left = [writing.__enter__() for writing in interrupted]
    others = {".words.mine", ".words.state.safetensors", ".others.state.abcd1234.safetensors", "notes"}
    for name in others:
        (killed / name).write_bytes(b"mine")
    run(killed)
    assert not any(file.exists() for file in left)
    kept = {f"words.{suffix}" for suffix in ("safetensors", "settings.json", "log.jsonl", "loss.png")}
    assert {file.name for file in killed.iterdir()} == others | kept


# Damage


def damage(file, how):
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    if how == "empty":
        file.write_bytes(b"")
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "overwritten":
        file.write_bytes(b"\0" * 5000)
    elif how == "no metadata":
        save_file(tensors, file)
    elif how.startswith("step "):
        save_file(tensors, file, metadata | {"step": how.removeprefix("step ")})
    elif how.startswith("without "):
        kept = {name: x for name, x in tensors.items() if not name.startswith(how.removeprefix("without "))}
        save_file(kept, file, metadata)
    else:
        name = next(name for name in tensors if name.startswith(how.removeprefix("misshapen ")))
        save_file(tensors | {name: torch.zeros(1)}, file, metadata)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "cannot be read .*Delete it to start the stage again"),
        ("cut", "cannot be read .*Delete it"),
        ("overwritten", "cannot be read .*Delete it"),
        ("no metadata", "cannot be read .its metadata must say the step, a whole number; got ''.* Delete it"),
        ("step two", "its metadata must say the step, a whole number; got 'two'"),
        ("step -1", "its metadata must say the step, a whole number; got '-1'"),
        ("step ٣", "its metadata must say the step, a whole number"),
        ("step " + "9" * 5000, "its metadata must say the step, a whole number; got '9{20}'"),
        ("step 5", "has done 5 steps already; stage 'words' has 4. Give it as many, or delete the file"),
        ("without model.", "of another network than stage 'words' of the recipe"),
        ("without average.", "of another network than stage 'words' of the recipe"),
        ("without optimizer.", "of another network than stage 'words' of the recipe"),
        ("without optimizer.exp_avg_sq", "of another network than stage 'words' of the recipe"),
        ("misshapen average.", "of another network than stage 'words' of the recipe"),
        ("misshapen optimizer.", "of another network than stage 'words' of the recipe"),
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_state_is_named_and_kept(killed, how, message):
    damage(killed / STATE, how)
    before = (killed / STATE).read_bytes()
    with pytest.raises(ValueError, match=f"{STATE}: .*{message}") as raised:
        run(killed)
    assert "\n" not in str(raised.value) and (killed / STATE).read_bytes() == before
    assert not (killed / "words.safetensors").exists()


def test_what_the_message_says_helps(killed, whole):
    damage(killed / STATE, "cut")
    (killed / STATE).unlink()
    assert_same(run(killed), whole)


def test_a_damaged_log_stops_nothing(killed, whole):
    entry = json.dumps({"step": 1, "loss": 2.5, "time": 0.0})
    lines = [entry, "", "\0\0\0", "[1]", '{"step": "1"}', '{"loss": 1.0}', "[" * 9999, '{"step": 1, "loss']
    (killed / "words.log.jsonl").write_bytes("\n".join(lines).encode() + b"\xff")
    with pytest.warns(UserWarning, match="words.log.jsonl: lines of the log are damaged, and left out: 6"):
        tensors = run(killed)
    assert_same(tensors, whole)
    assert [entry["step"] for entry in read_log(killed / "words.log.jsonl")] == [1, 4]


def test_a_partial_checkpoint_that_somebody_took_away_is_not_missed(killed, whole, monkeypatch):
    original = StageRun.export

    def without_partial(self, path):
        if "partial" not in path.name:
            original(self, path)

    monkeypatch.setattr(StageRun, "export", without_partial)
    (killed / "words.partial.safetensors").unlink()
    assert_same(run(killed), whole)
