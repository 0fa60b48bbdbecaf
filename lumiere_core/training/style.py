"""A style from a folder of pictures, or a character from its cut-outs: a LoRA of a checkpoint's text-to-image half,
trained as a recipe of one stage.
"""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path

from ..checkpoints.bundled import find_text_encoder
from ..checkpoints.format import CheckpointInfo, load_info, require_kind
from ..runtime.outputs import clear_write_errors, require_file
from .files import StageFiles
from .folder_lock import sole_use
from .image_folder import picture_files
from .recipe import CHECKPOINT_SUFFIX, Phase, Recipe, Stage
from .run import train
from .settings import differences

START_KINDS = ("base", "t2i")
NAME = "style"  # of recipe and stage, whatever the output is called: what is drawn depends on it
OLD_SETTINGS = "settings.json"
# Our choices (unpublished). A LoRA learns in few steps, so it is averaged over fewer than whole networks are. A style
# shows in what is drawn last, where there is little noise: such timesteps come more often.
EMA_DECAY = 0.99
WARMUP_SHARE = 0.05
TIMESTEP_BIAS = 0.7


def style_recipe(
    images: str | Path,
    output: str | Path,
    checkpoint: str | Path,
    text_encoder: str | Path | None = None,
    *,
    rank: int = 4,
    steps: int = 400,
    batch: int = 16,
    learning_rate: float = 4e-3,
    caption: str = "",
    seed: int = 0,
) -> Recipe:
    """The recipe of one style, called as its file. checkpoint: of kind base or t2i; size, schedule and what the network
    predicts are its. text_encoder: None is the one that the checkpoint names. Raises ValueError for bad input.
    """
    picture_files(images)
    stage = {"caption": caption, "timestep_bias": TIMESTEP_BIAS}
    knobs = {"rank": rank, "steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    return lora_recipe(images, output, checkpoint, text_encoder, stage, **knobs)


def lora_recipe(images, output, checkpoint, text_encoder, fields, *, rank, steps, batch, learning_rate, seed) -> Recipe:
    """fields: of the one stage, by name, beyond what styles and characters have in common."""
    output, checkpoint = Path(output), Path(checkpoint)
    if output.suffix != CHECKPOINT_SUFFIX:
        raise ValueError(f"{output}: a style is written as {CHECKPOINT_SUFFIX}; got {output.suffix or 'no suffix'}.")
    info = load_info(checkpoint)
    require_kind(info, START_KINDS, checkpoint)
    encoder = Path(text_encoder) if text_encoder else find_text_encoder(info.text_encoder, checkpoint)
    if output.resolve() in (checkpoint.resolve(), encoder.resolve()):
        raise ValueError(f"{output}: this is a file that the style is made with. Choose another name for the style.")
    stage = Stage(
        name=NAME,
        kind="style",
        start=str(checkpoint.absolute()),
        images=str(Path(images).absolute()),
        size=info.size,
        schedule=info.schedule,
        network={"rank": rank},
        phases=(Phase(steps, batch),),
        learning_rate=learning_rate,
        warmup=round(WARMUP_SHARE * max(steps, 0)),
        ema_decay=EMA_DECAY,
        info=_sampling_defaults(info),
        **fields,
    )
    return Recipe(NAME, (stage,), seed, text_encoder=str(encoder.absolute()))


def train_style(recipe: Recipe, output: str | Path, **options) -> Path:
    """Train a `style_recipe` or `character_recipe` into `output`, atomically. Options: as of `train`.

    Until it is done, the folder <output>.training keeps the state: called again with the same recipe, training goes on
    where it stopped. Raises ValueError as `train` does, and at once for an output that cannot be written.
    """
    output = Path(output)
    require_file(output)
    folder = output.with_suffix(".training")
    with sole_use(folder, ".output.lock"):
        recipe = _as_begun(recipe, folder, output.stem)
        (trained,) = train(recipe, folder, **options)
        with clear_write_errors(output):
            os.replace(trained, output)
        _remove_files(folder, recipe.stages[0].name)
    with suppress(OSError):  # there is something else in it
        folder.rmdir()
    return output


def _as_begun(recipe: Recipe, folder: Path, name: str) -> Recipe:
    """Up to version 0.3.0 recipe and stage were called as the output; what was begun so goes on so.

    Raises ValueError where it was begun with other settings.
    """
    file, begun = folder / OLD_SETTINGS, StageFiles.of(folder, name)
    if not file.is_file() or not (begun.state.is_file() or begun.weights.is_file()):
        return recipe
    recipe = dataclasses.replace(recipe, name=name, stages=(dataclasses.replace(recipe.stages[0], name=name),))
    try:
        then = _fields(json.loads(file.read_text(encoding="utf-8")))
        changes = differences(then, _fields(dataclasses.asdict(recipe)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: it cannot be read ({error}). Delete {folder} to start anew.") from error
    if changes:
        raise ValueError(
            f"{folder}: an unfinished training with other settings lies here: {'; '.join(changes)}. Use the same "
            "settings to go on with it, or delete the folder to start anew."
        )
    return recipe


def _fields(recipe: dict) -> dict:
    """What a recipe of one stage says, as JSON has it."""
    fields = {name: recipe[name] for name in ("seed", "cast", "text_encoder")}
    return json.loads(json.dumps({**recipe["stages"][0], **fields}))


def _remove_files(folder: Path, name: str) -> None:
    """What the training wrote, and nothing that somebody else put there."""
    for file in (*StageFiles.of(folder, name), folder / OLD_SETTINGS):
        file.unlink(missing_ok=True)


def _sampling_defaults(info: CheckpointInfo) -> dict:
    return {"prediction": info.prediction, "thresholding": info.thresholding, **info.sampling.said()}
