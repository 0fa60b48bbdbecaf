"""What would stop a later stage is said before the first one begins."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lumiere_video.lumiere_core.training import load_recipe, train
from lumiere_video.lumiere_core.training.rehearsal import rehearse
from lumiere_video.lumiere_core.training.run import StageRun
from lumiere_video.world.source import world_sources

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

TEXT = Path(__file__).with_name("small.toml").read_text(encoding="utf-8")


class Begun(Exception):
    """A stage has passed all checks and is to be trained."""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Reads the recipe of these tests, with its pictures in place, and changed."""
    (tmp_path / "pictures").mkdir()
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[6:26, 6:26] = (0, 80, 255, 255)
    Image.fromarray(picture).save(tmp_path / "pictures" / "a.png")
    monkeypatch.chdir(tmp_path)

    def recipe(old="", new=""):
        assert old in TEXT
        (tmp_path / "small.toml").write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        return load_recipe(tmp_path / "small.toml")

    return recipe


def start(recipe, folder, stages=None):
    train(recipe, folder, sources=world_sources(recipe), stages=stages, device="cpu", precision="no")


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    def begin(self, *_):
        raise Begun(self.stage.name)

    monkeypatch.setattr(StageRun, "train", begin)


@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ('character = "zorp"\n', ""), ('start = "stills"\nimages', 'start = "clips"\nimages')],
    ids=["as it is", "a style", "upon clips"],
)
def test_a_right_recipe_begins_with_its_first_stage(recipe, tmp_path, old, new):
    with pytest.raises(Begun, match="words"):
        start(recipe(old, new), tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("text_dim = 32", "text_dim = 64", "'stills' must have text_dim = 32, the text encoder's width; got 64"),
        ("norm_groups = 4", "norm_groups = 3", "channels of level 0 must be a multiple of norm_groups=3; got 8"),
        ("attention_head_dim = 8", "attention_head_dim = 7", "must be a multiple of attention_head_dim=7; got 32"),
        ("attention_head_dim = 8\nembedding_dim", "attention_head_dim = 3\nembedding_dim",
         "stage 'clips' cannot be built: TemporalConfig: .* must be a multiple of attention_head_dim=3; got 32"),
        ("in_channels = 6", "in_channels = 3", "'large' must have in_channels = 6, what it sees of a clip; got 3"),
        ("noise_level_embedding = true", "", "'large' must have noise_level_embedding = True, which super-resolution"),
        ("patch = 2", "out_channels = 6", "'stills' must have out_channels = 3, as no other networks .*; got 6"),
        ("patch = 2", "noise_level_embedding = true", "'stills' must have noise_level_embedding = False"),
        ("channels = [8, 32]\nattention = [false, true]\nattention_head_dim = 8\nnorm_groups = 4\ntext_dim = 32\nin_",
         "channels = [65536, 65536]\nlayers = 32\nattention = [true, true]\nattention_head_dim = 8\nnorm_groups = 4\n"
         "text_dim = 32\nin_", "'large', network: its weights alone need .* GiB of memory; .* Use fewer channels"),
        ('images = "pictures"', 'images = "nowhere"', "nowhere: no such folder. Give one with pictures"),
        ('character = "zorp"', f'character = "{"z" * 50}"', "what prompts will call it must have 1 to 40 letters"),
        ('start = "stills"\nimages', 'start = "none.safetensors"\nimages', "none.safetensors: no such file"),
        ('start = "stills"\nimages', 'start = "large"\nimages', "'look' cannot be built: .* super-resolution net"),
        ("spinning = 3", "sailing = 3", "'clips', motions has the unknown name 'sailing'"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_fault_of_any_stage_is_found_before_the_first_begins(recipe, tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        start(recipe(old, new), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_networks_need_a_text_encoder(recipe, tmp_path):
    small = recipe()
    with pytest.raises(
        ValueError, match="recipe small: it needs a stage of kind text, or a text_encoder; it has neither"
    ):
        start(dataclasses.replace(small, stages=(small.stage("large"),)), tmp_path / "out")
    encoder = tmp_path / "t5"
    encoder.mkdir()
    large = dataclasses.replace(small, stages=(small.stage("large"),), text_encoder=str(encoder))
    with pytest.raises(ValueError, match="config.json: a T5 folder needs it, with the field d_model"):
        start(large, tmp_path / "out")
    (encoder / "config.json").write_text('{"d_model": 48}')
    with pytest.raises(ValueError, match="'large' must have text_dim = 48, the text encoder's width; got 32"):
        start(large, tmp_path / "out")


def test_what_a_stage_needs_of_others_must_be_there_or_come_first(recipe, tmp_path):
    small = recipe()
    with pytest.raises(ValueError, match="words.safetensors: no such file. Train the stage 'words' first, or together"):
        start(small, tmp_path / "out", ["stills"])
    with pytest.raises(ValueError, match="stills.safetensors: no such file. Train the stage 'stills' first"):
        start(small, tmp_path / "out", ["words", "clips"])
    with pytest.raises(Begun, match="words"):
        start(small, tmp_path / "out", ["clips", "stills", "words"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clips.safetensors", None, "clips.safetensors: a file is to be written here, and there is something else"),
        ("clips.state.safetensors", None, "clips.state.safetensors: a file is to be written here"),
        ("clips.log.jsonl", None, "clips.log.jsonl: a file is to be written here"),
        ("clips.safetensors", b"half a file", "clips.safetensors: not a whole safetensors file"),
        ("clips.state.safetensors", b"half", "clips.state.safetensors: the saved training state cannot be read"),
    ],
)
def test_what_lies_in_the_way_is_found_before_the_first_begins(recipe, tmp_path, name, content, message):
    place = tmp_path / "out" / name
    place.parent.mkdir()
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        start(recipe(), tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [name]


def test_a_finished_file_of_another_kind_is_no_stage(recipe, tmp_path, tiny):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clips.safetensors").write_bytes(tiny.ssr.read_bytes())
    with pytest.raises(
        ValueError, match="clips.safetensors: a checkpoint of kind base is needed here; this file is ssr"
    ):
        start(recipe(), tmp_path / "out")


def test_a_rehearsal_finds_it_before_it_takes_a_step(recipe, monkeypatch):
    small = recipe("in_channels = 6", "in_channels = 3")
    monkeypatch.setattr(StageRun, "train_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ValueError, match="'large' must have in_channels = 6"):
        next(rehearse(small, world_sources(small), device="cpu"))


INFLATED = """
[[stage]]
name = "larger"
kind = "ssr"
start = "large"
size = 32
align_corners = true
learning_rate = 5e-3
[stage.network]
attention_head_dim = 8
embedding_dim = 8
[[stage.phase]]
steps = 1
batch = 1
frames = 3
"""


def test_a_stage_enlarges_the_small_clip_as_the_network_that_it_starts_from(recipe, tmp_path, tiny):
    """In another alignment its frozen layers would see all things in other places. The file's is true, as IF's is."""
    from_file = INFLATED.replace('"large"', f'"{tiny.ssr}"')
    look = '[[stage]]\nname = "look"'
    for stage, right in ((from_file, "true"), (INFLATED, "false")):
        right_one, wrong_one = (
            stage.replace("= true", f"= {a}") for a in (right, "false" if right == "true" else "true")
        )
        with pytest.raises(Begun):
            start(recipe(look, right_one + look), tmp_path / "right")
        with pytest.raises(ValueError, match=f"'larger' must have align_corners = {right}, as what it starts from"):
            start(recipe(look, wrong_one + look), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
