"""Styles from folders of pictures, and characters from cut-outs: what is learned from, what is trained, exact resume,
and the commands.
"""

import dataclasses
import json
import re
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, load_info, load_stunet, save_checkpoint
from lumiere_video.lumiere_core.networks import text_to_image, widen_input
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.style import load_style, stylize
from lumiere_video.lumiere_core.training import load_recipe, style_recipe, train_style
from lumiere_video.lumiere_core.training.batches import stage_batches
from lumiere_video.lumiere_core.training.image_folder import ImageFolder, picture_files, read_caption, read_square
from lumiere_video.lumiere_core.training.parametrize import low_rank_tensors, train_low_rank
from lumiere_video.lumiere_core.training.recipe import Phase
from lumiere_video.lumiere_core.training.run import StageRun, build_objective, trainable
from lumiere_video.world.captions import MOTION_PHRASES
from lumiere_video.world.cast import drawn_shapes, read_cutout
from lumiere_video.world.characters import character_cast, character_recipe
from lumiere_video.world.motions import MOTIONS
from lumiere_video.world.source import world_sources

STEPS = 4


class Killed(BaseException):
    """Stands for a signal: no handler of ordinary errors sees it."""


@pytest.fixture
def engine():
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")


@pytest.fixture
def pictures(tmp_path):
    """A folder of four pictures of different shapes, two of them with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate([(8, 8, 3), (20, 10, 3), (9, 12, 3), (16, 16, 4)]):
        Image.fromarray(rng.integers(256, size=size, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a red\n circle ", encoding="utf-8")
    (folder / "2.txt").write_text("ein grüner Stern", encoding="utf-8")
    (folder / "notes.md").write_text("nothing")
    return folder


@pytest.fixture
def recipe(tiny, pictures, tmp_path):
    return style_recipe(
        pictures, tmp_path / "look.safetensors", tiny.base, rank=2, steps=STEPS, batch=3, learning_rate=1e-2
    )


@pytest.fixture
def output(tmp_path):
    return tmp_path / "look.safetensors"


def run(recipe, output, save_every_seconds=1e9):
    return train_style(
        recipe,
        output,
        sources=world_sources(recipe, drawn_shapes()),
        device="cpu",
        precision="no",
        save_every_seconds=save_every_seconds,
    )


def batches(recipe, **changes):
    stage = dataclasses.replace(recipe.stages[0], **changes)
    return stage_batches(stage, fake_tokens, recipe.seed, ImageFolder(stage))


def source_of(recipe, world=None):
    return world_sources(recipe, world or drawn_shapes())(recipe.stages[0])


def fake_tokens(texts):
    """Tokens that are the texts themselves, for looking at."""
    return texts, torch.ones(len(texts), 1)


# What is learned from


def test_pictures_are_cut_to_their_middle_square_and_resized(tmp_path):
    pixels = np.zeros((6, 12, 3), np.uint8)
    pixels[:, 3:9] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        assert (read_square(tmp_path / f"{name}.png", 6) == 200).all()
        assert read_square(tmp_path / f"{name}.png", 3).shape == (3, 3, 3)
    exact = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(exact).save(tmp_path / "exact.png")
    assert np.array_equal(read_square(tmp_path / "exact.png", 8), exact)
    Image.fromarray(exact[..., 0]).save(tmp_path / "gray.png")
    assert read_square(tmp_path / "gray.png", 4).shape == (4, 4, 3)


def test_captions_lie_beside_pictures(pictures):
    files = picture_files(pictures)
    assert [file.name for file in files] == ["0.png", "1.png", "2.png", "3.png"]
    captions = [read_caption(file, "default") for file in files]
    assert captions == ["a red circle", "default", "ein grüner Stern", "default"]


def test_a_batch_is_a_function_of_seed_name_and_step(recipe):
    first = batches(recipe)[1]
    assert all(
        torch.equal(first[name], other) for name, other in batches(recipe)[1].items() if isinstance(other, torch.Tensor)
    )
    assert first["video"].shape == first["noise"].shape == (3, 3, 1, 8, 8) and first["timesteps"].shape == (3,)
    assert -1 <= first["video"].min() < first["video"].max() <= 1
    others = [batches(recipe)[2], batches(recipe, name="other")[1], batches(dataclasses.replace(recipe, seed=1))[1]]
    assert not any(torch.equal(first["noise"], other["noise"]) for other in others)


def test_each_picture_comes_with_its_caption_and_some_with_none(recipe, pictures):
    """Which picture is which is told by the picture."""
    data = batches(recipe, caption="default", text_dropout=0.25, phases=recipe.stages[0].phases)
    expected = {file: read_caption(file, "default") for file in picture_files(pictures)}
    known = {read_square(file, 8).tobytes(): text for file, text in expected.items()}
    dropped, seen = 0, set()
    for step in range(40):
        batch = data[step]
        for clip, text in zip(batch["video"], batch["ids"], strict=True):
            pixels = ((clip[:, 0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
            caption = known[pixels.tobytes()]
            assert text in ("", caption)
            dropped, seen = dropped + (text == ""), seen | {caption}
    assert seen == set(expected.values()) and 10 < dropped < 50  # of 120


def test_grey_of_16_bits_is_learned_as_grey(tmp_path):
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "a.png")
    assert (read_square(tmp_path / "a.png", 8) == 128).all()


# A PNG of 30,000 x 30,000 pixels, says its header.
BOMB = bytes.fromhex("89504e470d0a1a0a0000000d4948445200007530000075300802000000e9456fed0000000049444154")


def test_folders_that_cannot_be_learned_from(tmp_path, pictures):
    with pytest.raises(ValueError, match="none: no such folder. Give one with pictures"):
        picture_files(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: the folder must hold pictures .*; got none"):
        picture_files(tmp_path / "empty")
    (pictures / "0.png").write_text("nothing")
    with pytest.raises(ValueError, match="0.png: not a whole picture"):
        read_square(pictures / "0.png", 8)
    (pictures / "0.png").write_bytes(BOMB)
    with pytest.raises(ValueError, match="0.png: a picture must have at most 178 million pixels"):
        read_square(pictures / "0.png", 8)
    (pictures / "1.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="1.txt: a caption must be UTF-8 text"):
        read_caption(pictures / "1.png", "")


# What is trained


def test_a_fresh_change_changes_nothing_and_a_trained_one_is_what_is_written(tiny):
    network = text_to_image(load_stunet(tiny.base, ("base",))[1])
    x, text = torch.randn(2, 3, 1, 8, 8), torch.randn(2, 5, 32)
    with torch.no_grad():
        before = network(x, torch.tensor([5, 900]), text)
        layers = {
            name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        }
        weights = {name: network.get_submodule(name).weight.clone() for name in layers}
        train_low_rank(network, 2, without=("conv_in",))
        assert all(torch.equal(network.get_submodule(name).weight, weights[name]) for name in layers)
        # Not to the bit: a weight of another memory layout may be convolved in another order.
        torch.testing.assert_close(network(x, torch.tensor([5, 900]), text), before, rtol=0, atol=1e-5)
        for parameter in trainable(network).values():
            parameter.normal_()
    written = low_rank_tensors(network)
    assert {name.split(".lora_")[0] for name in written if ".lora_" in name} == {
        f"diffusion_model.{name}" for name in layers - {"conv_in"}
    }
    plain = load_stunet(tiny.base, ("base",))[1]
    for name in layers - {"conv_in"}:
        down, up = (written[f"diffusion_model.{name}.lora_{half}.weight"] for half in ("down", "up"))
        assert written[f"diffusion_model.{name}.alpha"] == len(down) <= 2
        assert down.ndim == up.ndim == network.get_submodule(name).weight.ndim
        delta = torch.einsum("or,r...->o...", up.flatten(1), down)
        expected = plain.get_submodule(name).weight + delta
        torch.testing.assert_close(network.get_submodule(name).weight, expected, rtol=1e-5, atol=1e-5)


def test_only_the_change_is_trained(engine, recipe, tmp_path):
    objective, _ = build_objective(recipe, recipe.stages[0], tmp_path, source_of(recipe))
    names = trainable(objective)
    assert names and all(name.endswith((".up", ".down")) for name in names)
    assert not any("conv_in" in name for name in names)
    assert objective.network.config.temporal is None and objective.network.config.in_channels == 3


def test_training_writes_a_style_that_fits_the_base(engine, recipe, output, tiny):
    assert run(recipe, output) == output
    assert {path.name for path in output.parent.iterdir()} == {"look.safetensors", "pictures"}
    info = load_info(output)
    assert (info.kind, info.size, info.frames, info.prediction, info.text_encoder) == (
        "style", 8, 1, "v", "text.safetensors",
    )  # fmt: skip
    assert info.training == {
        "recipe": "style", "stage": "style", "steps": STEPS, "samples": 3 * STEPS, "device": "cpu", "seed": 0,
        "rank": 2,
    }  # fmt: skip
    with safe_open(output, framework="pt") as file:
        assert all(name.startswith("diffusion_model.") for name in file.keys())
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
        assert str(output.parent) not in json.dumps(file.metadata())
    _, base = load_stunet(tiny.base, ("base",))
    style = load_style(output)
    for network in (base, widen_input(base, 7)):
        stylized = stylize(network, style, 1.0)  # covers every layer, so nothing is warned of
        assert torch.equal(stylized.conv_in.weight, network.conv_in.weight)
        assert not torch.equal(stylized.conv_out.weight, network.conv_out.weight)


@pytest.mark.slow
def test_the_loss_falls(engine, tiny, tmp_path):
    folder = tmp_path / "white"
    folder.mkdir()
    Image.new("RGB", (8, 8), "white").save(folder / "white.png")
    recipe = style_recipe(folder, tmp_path / "a.safetensors", tiny.t2i, rank=2, steps=90, batch=8, learning_rate=2e-2)
    state = StageRun(recipe, recipe.stages[0], tmp_path, source_of(recipe), "cpu", "no", False, 0)
    data = state.batches()
    losses = [state.train_step(data[step])["loss"] for step in range(90)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def kill_training(recipe, output, monkeypatch):
    """At its third step, after a save."""
    original = StageRun.train_step

    def until(self, batch):
        if self.step == 2:
            raise Killed
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StageRun, "train_step", until)
        run(recipe, output, save_every_seconds=0)


@pytest.fixture
def killed(engine, recipe, output, monkeypatch):
    """The folder of a training that was killed."""
    kill_training(recipe, output, monkeypatch)
    return output.with_suffix(".training")


def test_a_killed_training_resumes_bit_for_bit(killed, recipe, output, tmp_path):
    assert (killed / "style.state.safetensors").is_file() and not output.exists()
    resumed = load_file(run(recipe, output))
    assert not killed.exists()
    whole = load_file(run(recipe, tmp_path / "elsewhere" / "look.safetensors"))
    assert resumed.keys() == whole.keys() and all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_training_of_other_settings_is_not_gone_on_with(killed, recipe, output):
    other = dataclasses.replace(recipe, seed=1)
    with pytest.raises(ValueError, match="style.state.safetensors: the recipe has changed .*: seed was 0 and is 1. "):
        run(other, output)
    assert (killed / "style.state.safetensors").is_file()


@pytest.mark.slow
def test_what_is_learned_does_not_depend_on_what_the_file_is_called(engine, pictures, tiny, tmp_path):
    knobs = {"rank": 2, "steps": STEPS, "batch": 3}
    names = ("look", "another look (2)", "it's mine")
    outputs = [tmp_path / f"{name}.safetensors" for name in names]
    for file in outputs:
        run(style_recipe(pictures, file, tiny.base, **knobs), file)
    assert len({file.read_bytes() for file in outputs}) == 1


@pytest.mark.parametrize("kind", ["style", pytest.param("character", marks=pytest.mark.slow)])
def test_changed_pictures_are_noticed(engine, tiny, tmp_path, cutouts, monkeypatch, kind):
    """Of a style and of a character, by their names on the disk the same."""
    output, knobs = tmp_path / "look.safetensors", {"rank": 2, "steps": STEPS, "batch": 3}
    make = partial(style_recipe, cutouts) if kind == "style" else partial(character_recipe, cutouts, "zorp")
    recipe = make(output, tiny.base, **knobs)
    kill_training(recipe, output, monkeypatch)
    before = (cutouts / "side.png").read_bytes()
    shutil.copy(cutouts / "front.png", cutouts / "side.png")
    with pytest.raises(ValueError, match="the pictures or captions that it learns from are others"):
        run(make(output, tiny.base, **knobs), output)
    (cutouts / "side.png").write_bytes(before)
    assert run(make(output, tiny.base, **knobs), output) == output


def test_a_run_that_fails_is_not_in_the_way_of_its_remedy(engine, pictures, tiny, output):
    """A text encoder of another width, and a learning rate that is far too high."""
    with pytest.raises(ValueError, match="must have text_dim"):
        run(style_recipe(pictures, output, tiny.wide, tiny.text, rank=2, steps=STEPS, batch=3), output)
    assert not output.with_suffix(".training").exists()
    fast = style_recipe(pictures, output, tiny.base, rank=2, steps=STEPS, batch=3, learning_rate=1000)
    with pytest.raises(
        ValueError, match="the loss is NaN at step .* Lower learning_rate, and delete .*style.state"
    ) as nan:
        run(fast, output, save_every_seconds=0)
    slow = style_recipe(pictures, output, tiny.base, rank=2, steps=STEPS, batch=3)
    with pytest.raises(ValueError, match="learning_rate was 1000 and is 0.004"):
        run(slow, output)
    Path(re.search("delete (.*) if", str(nan.value)).group(1)).unlink()
    assert run(slow, output) == output


@pytest.fixture
def begun_by_0_3_0(recipe, output, monkeypatch):
    """It called recipe and stage as the output, and wrote down all of the recipe."""
    stage = dataclasses.replace(recipe.stages[0], name="look")
    old = dataclasses.replace(recipe, name="look", stages=(stage,))
    folder = output.with_suffix(".training")
    kill_training(old, output, monkeypatch)
    (folder / "look.settings.json").unlink()
    (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(old), indent=1), encoding="utf-8")
    return old


def test_a_training_of_version_0_3_0_goes_on(engine, begun_by_0_3_0, recipe, output, tmp_path):
    resumed = load_file(run(recipe, output))
    assert not output.with_suffix(".training").exists() and load_info(output).training["stage"] == "look"
    whole = load_file(run(begun_by_0_3_0, tmp_path / "elsewhere" / "other.safetensors"))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_training_of_version_0_3_0_is_of_its_settings(engine, begun_by_0_3_0, recipe, output):
    with pytest.raises(ValueError, match="look.training: an unfinished training .*: seed was 0 and is 1. Use the"):
        run(dataclasses.replace(recipe, seed=1), output)
    (output.with_suffix(".training") / "settings.json").write_text("[")
    with pytest.raises(ValueError, match="look.training/settings.json: it cannot be read .* Delete .*look.training"):
        run(recipe, output)


def test_an_output_that_cannot_be_is_found_before_the_training(engine, recipe, output, pictures, tiny, monkeypatch):
    monkeypatch.setattr(StageRun, "__init__", lambda *_: pytest.fail("a training was begun"))
    output.mkdir()
    with pytest.raises(ValueError, match="look.safetensors: a file is to be written here, and there is something else"):
        run(recipe, output)
    (pictures / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write into"):
        run(recipe, pictures / "file" / "look.safetensors")
    with pytest.raises(ValueError, match="this is a file that the style is made with. Choose another name"):
        style_recipe(pictures, tiny.base, tiny.base)
    assert not output.with_suffix(".training").exists() and tiny.base.is_file()


def test_only_its_own_files_are_removed(engine, killed, recipe, output):
    (killed / "style.png").write_text("mine")
    run(recipe, output)
    assert [file.name for file in killed.iterdir()] == ["style.png"]


def test_recipes_can_hold_a_style_of_their_own(engine, tiny, pictures, tmp_path):
    """Beside the command: a stage in a file, that starts from a checkpoint and needs no text stage."""
    text = f"""
name = "styles"
text_encoder = "{tiny.text}"
[[stage]]
name = "look"
kind = "style"
start = "{tiny.t2i}"
images = "{pictures}"
learning_rate = 1e-2
[stage.network]
rank = 1
[[stage.phase]]
steps = 1
batch = 1
"""
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    (stage,) = load_recipe(tmp_path / "a.toml").stages
    assert (stage.kind, stage.network["rank"]) == ("style", 1)
    for old, new, message in (
        ("rank = 1", "rank = 0", "rank must be a whole number from 1 to 4096; got 0"),
        ("rank = 1", "", "network lacks the field 'rank'"),
        (f'images = "{pictures}"', "", "name their folder in 'images'"),
        (f'start = "{tiny.t2i}"', "", "builds upon another stage"),
        (f'start = "{tiny.t2i}"', 'start = "t2i"', "'look' starts from 't2i', which is no earlier stage"),
        (f'text_encoder = "{tiny.text}"', "", "needs a stage of kind text"),
    ):
        assert old in text
        (tmp_path / "b.toml").write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_recipe(tmp_path / "b.toml")


# Commands


@pytest.fixture
def command(capsys):
    """Run `lumiere`: (exit code, standard output, the last line on stderr)."""

    def command(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out.strip(), captured.err.strip().splitlines()[-1] if captured.err.strip() else ""

    return command


def test_the_commands_make_pictures_and_a_style_of_them(engine, command, tiny, tmp_path):
    stills, style = tmp_path / "stills", tmp_path / "styles" / "watercolor.safetensors"
    made = command("stills", stills, "--look", "watercolor", "--count", 3, "--size", 8, "--seed", 5)
    assert made[:2] == (0, str(stills)) and len(list(stills.iterdir())) == 6
    options = ["--rank", 1, "--steps", 2, "--batch", 2, "--device", "cpu", "--precision", "no", "--seed", 7]
    code, said, _ = command("train-style", stills, "--output", style, "--checkpoint", tiny.base, *options)
    assert (code, said) == (0, str(style)) and load_info(style).training["seed"] == 7
    code, said, _ = command("info", style)
    assert code == 0 and said.startswith(f"{style}: style")


def test_bad_input_of_train_style_is_one_line(command, tiny, pictures, tmp_path):
    output, base = tmp_path / "a.safetensors", ("--checkpoint", tiny.base)
    cases = [
        ((tmp_path / "none", "--output", output, *base), "none: no such folder"),
        ((pictures, "--output", tmp_path / "a.ckpt", *base), "a style is written as .safetensors; got .ckpt"),
        ((pictures, "--output", output, "--checkpoint", tiny.ssr), "a checkpoint of kind base or t2i is needed here"),
        ((pictures, "--output", output, "--checkpoint", tmp_path / "b.safetensors"), "b.safetensors: no such file"),
        (
            (pictures, "--output", output, *base, "--rank", 0),
            "network: rank must be .* from 1 to 4096; got 0",
        ),
        (
            (pictures, "--output", output, *base, "--steps", 0),
            "phase 1: steps must be .*; got 0",
        ),
        (
            (pictures, "--output", output, *base, "--batch", -1),
            "phase 1: batch must be .*; got -1",
        ),
        (
            (pictures, "--output", output, *base, "--learning-rate", 0),
            "learning_rate must be a number above 0.*; got 0",
        ),
        ((pictures, "--output", output, *base, "--seed", -1), "a seed is a whole number from 0 to .*; got '-1'"),
        ((pictures, "--output", output, *base, "--precision", "fp8"), "invalid choice: 'fp8'"),
        ((pictures, *base), "the following arguments are required: --output"),
    ]
    for arguments, message in cases:
        code, said, line = command("train-style", *arguments)
        assert (code, said) == (2, "") and re.search(message, line), line
    assert not output.exists() and not output.with_suffix(".training").exists()


def test_bad_input_of_stills_is_one_line(command, tmp_path):
    for options, message in (
        (("--look", "oil"), "look must be one of plain, line_drawing, watercolor; got 'oil'"),
        (("--count", 0), "count must be at least 1; got 0"),
        (("--size", 0), "size must be at least 1 pixel; got 0"),
    ):
        code, said, line = command("stills", tmp_path / "new", *options)
        assert (code, said) == (2, "") and message in line
    assert not (tmp_path / "new").exists()


# Characters


@pytest.fixture
def cutouts(tmp_path):
    """A folder of two pictures of one thing, with nothing behind it: a blue and an orange box of other shapes."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    for name, size, color in (("front", (20, 12), (0, 80, 255)), ("side", (12, 20), (255, 160, 0))):
        picture = np.zeros((32, 32, 4), np.uint8)
        picture[6 : 6 + size[0], 6 : 6 + size[1]] = (*color, 255)
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def character(tiny, cutouts, tmp_path):
    return character_recipe(
        cutouts, "my zorp", tmp_path / "zorp.safetensors", tiny.base, rank=2, steps=STEPS, batch=3, learning_rate=1e-2
    )


def scenes_of(recipe, world=None):
    return stage_batches(recipe.stages[0], fake_tokens, recipe.seed, source_of(recipe, world))


def test_all_captions_of_a_character_say_its_one_name(character):
    stage = dataclasses.replace(character.stages[0], phases=(Phase(20, 16),), text_dropout=0.0)
    data = scenes_of(dataclasses.replace(character, stages=(stage,)))
    texts = [text for step in range(20) for text in data[step]["ids"]]
    assert all(text.lower().count("my zorp") == 1 for text in texts)
    assert not any(re.search(r"\b(a|an|the) my zorp|#", text.lower()) for text in texts)
    shown = {motion for motion in MOTIONS if any(MOTION_PHRASES[motion].participles[0] in text for text in texts)}
    assert len(shown) == len(MOTIONS), "and are of all motions: none is held out"


def test_every_picture_of_a_character_is_shown_and_nothing_else(character, cutouts):
    cast = character_cast(cutouts, "zorp")
    assert cast.names == ("zorp #0", "zorp #1") and {m.spoken_words for m in cast.members} == {("zorp",)}
    assert np.array_equal(cast.members[0].picture, read_cutout(cutouts / "front.png"))
    data, rng = scenes_of(character), np.random.default_rng(0)
    assert {actor.name for _ in range(60) for actor in data.source.sample(rng).actors} == {"my zorp #0", "my zorp #1"}
    batch = data[0]
    assert batch["video"].shape == (3, 3, 1, 8, 8) and -1 <= batch["video"].min() < batch["video"].max() <= 1


def test_a_share_of_the_scenes_is_the_worlds(tiny, cutouts, tmp_path):
    world = drawn_shapes()
    recipe = character_recipe(cutouts, "zorp", tmp_path / "a.safetensors", tiny.base, world=world)
    assert (recipe.cast, recipe.stages[0].world_share) == ("shapes", 0.25)
    data, rng = scenes_of(recipe, world), np.random.default_rng(0)
    first = [data.source.sample(rng).actors[0].name for _ in range(400)]
    assert 70 < sum(name in world.names for name in first) < 130
    assert data[0]["video"].shape == (16, 3, 1, 8, 8)  # both are drawn


@pytest.mark.filterwarnings("ignore:The prompt has")
def test_training_a_character_writes_a_style_that_says_its_name(engine, character, tiny, tmp_path):
    output = tmp_path / "zorp.safetensors"
    assert run(character, output) == output
    info, style = load_info(output), load_style(output)
    assert (info.kind, info.training["character"], style.character) == ("style", "my zorp", "my zorp")
    assert "cast" not in info.training
    pipeline = LumierePipeline.load(tiny.base, device="cpu", super_resolution=False).stylized(style, 1.0)
    assert ["my zorp"] in pipeline.base.info.training["cast"]["words"], "so prompts may have it"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The prompt has")  # the tiny encoder reads 32 tokens
def test_a_character_is_learned(engine, cutouts, tiny, tmp_path):
    """Told by the same batches before and after, which are none of those that it learns from."""
    recipe = character_recipe(
        cutouts, "zorp", tmp_path / "a.safetensors", tiny.t2i, rank=4, steps=80, batch=8, learning_rate=2e-2
    )
    state = StageRun(recipe, recipe.stages[0], tmp_path, source_of(recipe), "cpu", "no", False, 0)
    data = state.batches()

    def unseen_loss():
        with torch.no_grad():
            return sum(state.objective(data[step]).item() for step in range(200, 220))

    before = unseen_loss()
    for step in range(80):
        state.train_step(data[step])
    assert unseen_loss() < 0.85 * before


def test_a_name_that_the_checkpoint_knows_is_warned_of(tiny, cutouts, tmp_path):
    known = tmp_path / "known.safetensors"
    info, tensors = load_checkpoint(tiny.base)
    cast = {"name": "few", "words": [["fox", "red fox"], ["cat"]], "phrases": ["spinning", "blue"]}
    save_checkpoint(known, tensors, dataclasses.replace(info, training={"cast": cast}))
    output = tmp_path / "a.safetensors"
    for name in ("fox", "my Fox", "blue cats"):
        with pytest.warns(UserWarning, match=f"The checkpoint knows the words of '{name}' already"):
            character_recipe(cutouts, name, output, known, tiny.text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        character_recipe(cutouts, "my mascot", output, known, tiny.text)
        character_recipe(cutouts, "fox", output, tiny.base)  # of which nothing is known


def test_bad_cutouts_and_names_are_one_line(command, tiny, cutouts, tmp_path):
    picture = Image.open(cutouts / "front.png")

    def folder(name, image):
        (tmp_path / name).mkdir()
        if image is not None:
            image.save(tmp_path / name / "a.png")
        return tmp_path / name

    output = tmp_path / "a.safetensors"
    clear = Image.new("RGBA", picture.size)
    cases = [
        (folder("opaque", picture.convert("RGB")), "zorp", "a.png: a cut-out needs an alpha channel"),
        (folder("clear", clear), "zorp", "a.png: a cut-out must show something; this picture is empty"),
        (folder("none", None), "zorp", "none: the folder must hold pictures"),
        (tmp_path / "nowhere", "zorp", "nowhere: no such folder"),
        (cutouts, "", "character: what prompts will call it must have 1 to 40 letters, on one line; got ''"),
        (cutouts, "z" * 41, "must have 1 to 40 letters"),
        (cutouts, "zorp --caption x", "caption is of a style's pictures"),
        (cutouts, f"zorp --cast {cutouts}", "stickers.csv: it names 100 files that are not in"),
    ]
    for pictures, name, message in cases:
        name, *more = name.split(" ") if "--" in name else [name]
        options = ["--character", name, *more, "--output", output, "--checkpoint", tiny.base]
        code, said, line = command("train-style", pictures, *options)
        assert (code, said) == (2, "") and re.search(message, line), line
    code, said, line = command("train-style", cutouts, "--output", output, "--cast", cutouts, "--checkpoint", tiny.base)
    assert (code, said) == (2, "") and "cast is what else to draw beside a character" in line
    assert not output.exists() and not output.with_suffix(".training").exists()
