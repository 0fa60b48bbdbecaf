"""A training goes on with what it was begun with: a change of what was done is refused, of what is to come is not."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lumiere_video.lumiere_core.checkpoints.format import load_info, load_tensors
from lumiere_video.lumiere_core.diffusion.schedule import NoiseSchedule
from lumiere_video.lumiere_core.training import train
from lumiere_video.lumiere_core.training.image_folder import ImageFolder
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.lumiere_core.training.run import StageRun
from lumiere_video.world.cast import Cast, drawn_shapes
from lumiere_video.world.characters import character_cast
from lumiere_video.world.scene import SceneSampler
from lumiere_video.world.source import WorldSource

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

PHASES = (Phase(3, 2), Phase(3, 1))


class Killed(BaseException):
    """Stands for a signal: no handler of ordinary errors sees it."""


def recipe_in(folder) -> Recipe:
    """A style of two phases, whose start, text encoder and pictures lie in a folder."""
    fields = {"learning_rate": 0.01, "warmup": 0, "decay": 0.0, "info": {"prediction": "v", "steps": 2}, "size": 8}
    files = {"start": str(folder / "t2i.safetensors"), "images": str(folder / "pictures")}
    stage = Stage("look", "style", PHASES, {"rank": 2}, **fields, **files)
    return Recipe("looks", (stage,), seed=3, text_encoder=str(folder / "text.safetensors"))


def run(recipe, folder, save_every_seconds=1e9):
    (file,) = train(recipe, folder, device="cpu", precision="no", save_every_seconds=save_every_seconds)
    return file


def changed(recipe, seed=3, **fields):
    return dataclasses.replace(recipe, seed=seed, stages=(dataclasses.replace(recipe.stages[0], **fields),))


@pytest.fixture(scope="module")
def begun(tiny, tmp_path_factory):
    """What a recipe names, and in `out` its training, killed after four steps, one in the second phase, and a save."""
    folder, original = tmp_path_factory.mktemp("begun"), StageRun.train_step
    for file in (tiny.t2i, tiny.text):
        shutil.copy(file, folder)
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(folder / f"pictures/{number}.png")

    def until(self, batch):
        if self.step == 4:
            raise Killed
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StageRun, "train_step", until)
        run(recipe_in(folder), folder / "out", save_every_seconds=0)
    return folder


@pytest.fixture
def recipe(begun, tmp_path):
    """The recipe of a copy of it all."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return recipe_in(tmp_path)


@pytest.fixture
def killed(recipe, tmp_path):
    return tmp_path / "out"


CHANGES = [
    ({"learning_rate": 0.02}, "learning_rate was 0.01 and is 0.02"),
    ({"seed": 4}, "seed was 3 and is 4"),
    ({"size": 16}, "size was 8 and is 16"),
    ({"caption": "a thing"}, 'caption was "" and is "a thing"'),
    ({"info": {"prediction": "eps", "steps": 2}}, 'info.prediction was "v" and is "eps"'),
    ({"schedule": NoiseSchedule(shift=2.0)}, "schedule.shift was 1.0 and is 2.0"),
    ({"phases": (Phase(3, 4), Phase(3, 1))}, "batch of phase 1 was 2 and is 4"),
    ({"phases": (Phase(3, 2), Phase(3, 5))}, "batch of phase 2 was 1 and is 5"),
    ({"phases": (Phase(2, 2), Phase(4, 1))}, "steps of phase 1 was 3 and is 2; steps of phase 2 was 1 and is 2"),
    ({"text_dropout": 0.2, "ema_decay": 0.9}, "ema_decay was 0.999 and is 0.9; text_dropout was 0.1 and is 0.2"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message[:20] for _, message in CHANGES])
def test_what_was_trained_cannot_change(killed, recipe, change, message):
    state = (killed / "look.state.safetensors").read_bytes()
    whole = (
        f"look.state.safetensors: the recipe has changed since this was trained: {message}. Set it back to go on, or "
    )
    with pytest.raises(ValueError) as raised:
        run(changed(recipe, **change), killed)
    assert whole in str(raised.value)
    assert (killed / "look.state.safetensors").read_bytes() == state


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({}, 6),
        ({"phases": (*PHASES, Phase(2, 3))}, 8),
        pytest.param({"phases": (Phase(3, 2), Phase(5, 1))}, 8, marks=pytest.mark.slow),
        pytest.param({"phases": (Phase(3, 2), Phase(1, 1), Phase(4, 1))}, 8, marks=pytest.mark.slow),
        ({"phases": (Phase(3, 2), Phase(1, 1), Phase(4, 3))}, 8),
        ({"phases": (Phase(3, 2), Phase(1, 1))}, 4),
    ],
    ids=["nothing", "a phase more", "longer", "the same otherwise", "another end", "no more"],
)
def test_what_is_to_come_may_change(killed, recipe, tmp_path, change, steps):
    """And is trained as if it had always been so, where the learning rate does not decay."""
    whole = load_tensors(run(changed(recipe, **change), tmp_path / "whole"))
    file = run(changed(recipe, **change), killed)
    resumed = load_tensors(file)
    assert load_info(file).training["steps"] == steps
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_what_only_the_file_says_may_change_until_it_is_written(killed, recipe):
    file = run(changed(recipe, info={"prediction": "v", "steps": 7, "guidance": 2.0}), killed)
    assert (load_info(file).sampling.steps, load_info(file).sampling.guidance) == (7, 2.0)


def test_a_change_back_goes_on(killed, recipe):
    with pytest.raises(ValueError, match="seed was 3 and is 4"):
        run(changed(recipe, seed=4), killed)
    assert load_info(run(recipe, killed)).training["steps"] == 6


def test_without_the_state_the_stage_is_trained_anew(killed, recipe):
    (killed / "look.state.safetensors").unlink()
    assert load_info(run(changed(recipe, seed=4), killed)).training["seed"] == 4


@pytest.mark.parametrize("change", ["start", "text encoder", "picture", "caption", "one more picture"])
def test_changed_contents_are_noticed(killed, recipe, tmp_path, tiny, change):
    pictures, message = tmp_path / "pictures", "the pictures or captions that it learns from are others"
    if change == "start":
        message = "the weights that it starts from are others"
        shutil.copy(tiny.restyled, tmp_path / tiny.t2i.name)
    elif change == "text encoder":
        message = "the text encoder is another one"
        with (tmp_path / tiny.text.name).open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x07")
    elif change == "caption":
        (pictures / "0.txt").write_text("something")
    else:
        name = "0.png" if change == "picture" else "9.png"
        Image.new("RGB", (8, 8), "red").save(pictures / name)
    with pytest.raises(ValueError, match=f"look.state.safetensors: the recipe has changed .*: {message}"):
        run(recipe, killed)


def test_where_things_lie_may_change(killed, recipe, tmp_path):
    (tmp_path / "pictures").rename(tmp_path / "moved")
    file = run(changed(recipe, images=str(tmp_path / "moved")), killed)
    assert load_info(file).training["steps"] == 6


def test_a_state_of_version_0_3_0_goes_on(killed, recipe, tmp_path):
    """It has no settings beside it; they are written from then on."""
    whole = load_tensors(run(recipe, tmp_path / "whole"))
    (killed / "look.settings.json").unlink()
    resumed = load_tensors(run(recipe, killed))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert (killed / "look.settings.json").is_file()


def test_a_finished_stage_is_of_its_recipe(recipe, killed):
    file = run(recipe, killed)
    assert run(recipe, killed) == file
    for change, message in (
        ({"phases": (*PHASES, Phase(2, 3))}, "the number of phases was 2 and is 3"),
        ({"info": {"prediction": "v", "steps": 3}}, "info.steps was 2 and is 3"),
        ({"seed": 4}, "seed was 3 and is 4"),
    ):
        with pytest.raises(
            ValueError, match=f"look.safetensors: the recipe has changed .*: {message}.*delete the file"
        ):
            run(changed(recipe, **change), killed)
    file.unlink()
    assert load_info(run(changed(recipe, seed=4), killed)).training["seed"] == 4


def test_a_finished_stage_needs_its_pictures_no_more(recipe, killed, tmp_path):
    file = run(recipe, killed)
    shutil.rmtree(tmp_path / "pictures")
    assert run(recipe, killed) == file


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fields": {}, "contents": {}}', '{"fields": 3', "[" * 9999, "\0"])
def test_damaged_settings_are_named(killed, recipe, text):
    (killed / "look.settings.json").write_text(text)
    with pytest.raises(
        ValueError, match="look.settings.json: it says what .* cannot be read .*Delete it if the recipe is"
    ):
        run(recipe, killed)
    (killed / "look.settings.json").unlink()
    run(recipe, killed)


def test_every_source_has_a_digest_of_what_it_shows(recipe, tmp_path):
    shapes = drawn_shapes()
    fewer = Cast("shapes", shapes.members[1:])
    renamed = Cast("shapes", (dataclasses.replace(shapes.members[0], name="ruby circle"), *shapes.members[1:]))
    repainted = dataclasses.replace(shapes.members[0], picture=shapes.members[1].picture)
    worlds = [shapes, fewer, renamed, Cast("shapes", (repainted, *shapes.members[1:]))]
    digests = [WorldSource(world, SceneSampler(world, "train", 0.1, {})).digest() for world in worlds]
    assert len(set(digests)) == len(worlds)
    assert digests[0] == WorldSource(drawn_shapes(), SceneSampler(shapes, "train", 0.1, {})).digest()
    assert ImageFolder(recipe.stages[0]).digest() == ImageFolder(recipe.stages[0]).digest() not in digests
    cutout = np.zeros((32, 32, 4), np.uint8)
    cutout[6:26, 6:26] = 255
    Image.fromarray(cutout).save(tmp_path / "pictures" / "0.png")
    Image.fromarray(cutout).save(tmp_path / "pictures" / "1.png")
    zorp, blob = (WorldSource(character_cast(tmp_path / "pictures", name), None).digest() for name in ("zorp", "blob"))
    assert zorp != blob
