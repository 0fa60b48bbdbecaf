"""Prompts with words that the weights never heard: one warning, which names things that they can draw."""

import dataclasses
import warnings

import numpy as np
import pytest

from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, save_checkpoint
from lumiere_video.lumiere_core.checkpoints.summary import describe_checkpoint
from lumiere_video.lumiere_core.conditioning.vocabulary import (
    check_prompt,
    known_words,
    nearest_nouns,
    singular_forms,
    taught,
    unknown_words,
)
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.world.captions import Captioner, words_beside_nouns
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.scene import SceneSampler
from lumiere_video.world.source import describe_cast

NOUNS = [
    ["fox", "red fox"], ["bear", "brown bear"], ["raccoon"], ["rainbow"], ["cherries"], ["ice cream", "soft ice"],
    ["rocket", "spaceship"], ["elephant"], ["whale"], ["mouse"], ["t-shirt"],
]  # fmt: skip
PHRASES = words_beside_nouns()


def check(prompt):
    return check_prompt(prompt, NOUNS, PHRASES)


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox moving right on a beach",
        "Two foxes and a brown bear slowly bouncing, in front of a sunset.",
        "my elephants are spinning with the cherry",
        "an ice cream staying still on a pink to blue gradient background",
        "the rocket that goes around in a circle under the stars",
        "T-shirt",
        "",
        "  ... 123!",
    ],
)
def test_what_the_weights_know_is_not_warned_of(prompt):
    assert check(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "unknown", "nearest"),
    [
        ("a zebra bouncing on a beach", "'zebra' is", "bear"),
        ("a racoon jumping", "'racoon' is", "raccoon"),
        ("A Spaceshuttle at sea", "'spaceshuttle' is", "rocket"),  # by a synonym, called by its name
        ("elephant and elefant", "'elefant' is", "elephant"),
        ("a dragon eating a whale", "'dragon', 'eating' are", ""),
        ("a zebra and a zebra", "'zebra' is", "bear"),
    ],
)
def test_the_warning_names_the_words_and_the_nearest_things(prompt, unknown, nearest):
    warning = check(prompt)
    assert warning.startswith(
        f"The prompt's {unknown} not among the words these weights know; they can draw: {nearest}"
    )
    named = warning.partition("draw: ")[2].removesuffix(", ...").split(", ")
    assert 1 <= len(named) <= 4 and set(named) <= {names[0] for names in NOUNS}


def test_where_nothing_is_near_some_things_are_named():
    assert check("qqqq").endswith("they can draw: fox, bear, raccoon, rainbow, ...")


def test_of_weights_of_which_nothing_is_known_nothing_is_said():
    assert check_prompt("a zebra", [], PHRASES) is None and check_prompt("a zebra", NOUNS, []) is None
    assert known_words("fox", NOUNS, []) and not known_words("fox", [], [])


def test_what_begins_alike_is_nearer():
    assert nearest_nouns(["starfish"], [["fish"], ["star"]]) == ["star", "fish"]


def test_plurals():
    assert singular_forms("cherries") == ["cherrie", "cherri", "cherry"] and singular_forms("fox") == []
    assert unknown_words("foxes", [["fox"]], []) == [] == unknown_words("cherry", [["cherries"]], [])


def test_every_caption_is_known():
    """Of many scenes, in all phrasings: the recorded phrases are all that captions say beside nouns."""
    cast, rng = drawn_shapes(), np.random.default_rng(0)
    record, sample, captioner = describe_cast(cast), SceneSampler(cast, "all", 0.3), Captioner(cast)
    assert record["words"][0] == ["red circle"]
    for _ in range(1500):
        scene = sample(rng)
        for caption in (captioner.moving(scene, rng), captioner.still(scene, rng), captioner.canonical(scene)):
            assert check_prompt(caption.text, record["words"], record["phrases"]) is None, caption.text


def test_a_character_is_one_thing_more():
    training = taught({"steps": 3, "cast": {"words": NOUNS, "phrases": PHRASES}}, "my zorp")
    cast = training["cast"]
    assert check_prompt("my zorp jumping", cast["words"], cast["phrases"]) is None
    assert check("my zorp jumping") is not None and training["steps"] == 3
    assert taught({}, "zorp") == {"cast": {"words": [["zorp"]]}}


def test_info_lists_the_words_by_kind(tiny, tmp_path):
    info, tensors = load_checkpoint(tiny.base)
    cast = {"name": "few", "words": [["fox", "red fox"], ["bear"]], "phrases": ["a", "jumping"]}
    path = tmp_path / "known.safetensors"
    save_checkpoint(path, tensors, dataclasses.replace(info, training={"steps": 3, "cast": cast}))
    lines = describe_checkpoint(path).splitlines()
    at = lines.index("words:")
    assert lines[at + 1 : at + 4] == ["  things: fox, bear", "  also called: red fox", "  other words: a, jumping"]
    assert "  steps: 3" in lines and not any("cast" in line for line in lines)


def test_the_pipeline_warns_once_and_only_of_the_prompt(tiny, tmp_path):
    info, tensors = load_checkpoint(tiny.base)
    record = {"cast": {"name": "few", "words": NOUNS, "phrases": PHRASES}}
    path = tmp_path / "known.safetensors"
    save_checkpoint(path, tensors, dataclasses.replace(info, training=record))
    pipeline = LumierePipeline.load(path, None, tiny.text, device="cpu", super_resolution=False)
    with pytest.warns(UserWarning, match="prompt's 'zebra' is not among") as caught:
        pipeline.generate("a zebra", "gibberish", frames=1)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.generate("a fox", frames=1)
        pipeline.generate("", frames=1)
        LumierePipeline.load(tiny.base, device="cpu", super_resolution=False).generate("a zebra", frames=1)
