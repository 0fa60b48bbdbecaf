"""`lumiere train-style`: a style from pictures, or a character from cut-outs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_seed_option, add_training_options

SUMMARY = (
    "make a style from a folder of pictures, or teach a character from cut-outs of it; started again, it goes on "
    "where it stopped"
)


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.checkpoints.bundled import BASE, bundled_weights
    from ..lumiere_core.runtime.modules import require_modules
    from ..lumiere_core.training import style_recipe, train_style
    from ..world.cast import load_cast
    from ..world.characters import character_recipe
    from ..world.source import world_sources

    require_modules("accelerate", "PIL")
    checkpoint = options.checkpoint or bundled_weights(BASE)
    names = ("rank", "steps", "batch", "learning_rate", "seed")
    knobs = {name: value for name in names if (value := getattr(options, name)) is not None}
    _check_style_options(options)
    cast = options.cast and load_cast(options.cast)
    if options.character is None:
        files = (options.folder, options.output, checkpoint, options.text_encoder)
        recipe = style_recipe(*files, caption=options.caption or "", **knobs)
    else:
        files = (options.folder, options.character, options.output, checkpoint, options.text_encoder)
        recipe = character_recipe(*files, world=cast, **knobs)
    engine = {name: getattr(options, name) for name in ("device", "precision", "compile")}
    print(train_style(recipe, options.output, sources=world_sources(recipe, cast), **engine))


def _check_style_options(options: argparse.Namespace) -> None:
    if options.character is None and options.cast is not None:
        raise ValueError("cast is what else to draw beside a character; give its name with --character.")
    if options.character is not None and options.caption is not None:
        raise ValueError("caption is of a style's pictures; a character's captions are written for it. Leave it out.")


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("folder", metavar="FOLDER", type=Path, help="pictures; NAME.txt beside NAME.png is the picture's caption")
    option("--output", required=True, type=Path, metavar="FILE.safetensors", help="the style, a LoRA")
    option(
        "--character",
        metavar="NAME",
        help="what prompts will call the one thing that all pictures, transparent around it, are of: zorp, my mascot",
    )
    option(
        "--cast",
        type=Path,
        metavar="DIR",
        help="with a character: the pictures that the checkpoint draws, with their table; shown between, so that they "
        "are not forgotten",
    )
    option("--caption", metavar="TEXT", help="of pictures without a text file; default: an empty one")
    option("--checkpoint", metavar="FILE", type=Path, help="network that the style is for; default: the bundled base")
    option("--text-encoder", metavar="PATH", help="file or T5 folder; default: what the checkpoint names")
    option(
        "--rank",
        type=int,
        help="of the LoRA: more learns more, and makes a larger file; default: 4, of a character 8",
    )
    option(
        "--steps",
        type=int,
        help="optimizer steps; default: 400, of a character 300; raise it where a character looks like something else",
    )
    option("--batch", type=int, help="pictures a step; default: 16")
    option("--learning-rate", type=float, metavar="X", help="default: 0.004")
    add_seed_option(option)
    add_training_options(option)
