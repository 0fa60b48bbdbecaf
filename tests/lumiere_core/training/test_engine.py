"""Where a training runs and in which precision: what it is told, whatever ran in this process before."""

import pytest
import torch

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.checkpoints.format import load_tensors
from lumiere_video.lumiere_core.runtime import devices
from lumiere_video.lumiere_core.training import train
from lumiere_video.lumiere_core.training.objectives import TextObjective
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.lumiere_core.training.run import StageRun
from lumiere_video.world.source import world_sources

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

T5 = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "max_tokens": 96}
WORDS = Stage("words", "text", (Phase(2, 2),), T5, learning_rate=0.01)
RECIPE = Recipe("tiny", (WORDS,))


def trained(folder, **options):
    (file,) = train(RECIPE, folder, sources=world_sources(RECIPE), **options)
    return load_tensors(file)


@pytest.mark.slow
def test_trainings_in_one_process_have_a_precision_each(tmp_path):
    """bf16 after no, and no after bf16."""
    runs = [trained(tmp_path / str(i), device="cpu", precision=name) for i, name in enumerate(("no", "bf16", "no"))]
    same = [all(torch.equal(run[name], runs[0][name]) for name in run) for run in runs]
    assert same == [True, False, True]


def test_the_card_that_is_named_is_the_one_that_trains(tmp_path, monkeypatch):
    """On a machine that seems to have several; what would be moved there stops the run."""

    class Moved(Exception):
        pass

    def to(self, device, **_):
        raise Moved(device)

    monkeypatch.setattr(devices, "_is_available", lambda *_: True)
    monkeypatch.setattr(TextObjective, "to", to)
    with pytest.raises(Moved) as moved:
        StageRun(RECIPE, WORDS, tmp_path, world_sources(RECIPE)(WORDS), "cuda:1", "no", False, 0)
    assert moved.value.args == (torch.device("cuda:1"),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "zz"}, "device must be auto, cpu, cuda, cuda:1, mps or xpu; got 'zz'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available in this installation of torch; use auto or cpu"),
        ({"device": "cpu", "precision": "fp8"}, "precision must be one of auto, bf16, no; got 'fp8'"),
        ({"device": "cpu", "workers": -1}, "workers must be at least 0; got -1"),
    ],
)
def test_what_there_is_not_is_named_and_leaves_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        trained(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


FILE = """
name = "tiny"
[[stage]]
name = "words"
kind = "text"
learning_rate = 1e-3
network = {max_tokens = 64, d_model = 16, d_kv = 8, num_heads = 2, num_layers = 1, d_ff = 16, vocab_size = 384}
phase = [{steps = 1, batch = 1}]
"""


def test_a_wrong_device_is_one_line_of_the_command(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(FILE)
    command = ["train", str(tmp_path / "tiny.toml"), "--output", str(tmp_path / "out"), "--device", "zz"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err.startswith("lumiere: error: device must be auto, cpu, cuda, cuda:1, mps or xpu")
    assert not (tmp_path / "out").exists()
