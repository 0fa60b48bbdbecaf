"""A style from a folder of pictures, or a character from its cut-outs: a LoRA of a checkpoint's text-to-image half,
trained as a recipe of one stage.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

from ..checkpoints.bundled import find_text_encoder
from ..checkpoints.format import CheckpointInfo, load_info, require_kind
from ..runtime.outputs import atomic_path
from .image_folder import picture_files
from .recipe import CHECKPOINT_SUFFIX, Phase, Recipe, Stage
from .run import train

START_KINDS = ("base", "t2i")
SETTINGS_FILE = "settings.json"
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
    stage = Stage(
        name=output.stem,
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
    return Recipe(output.stem, (stage,), seed, text_encoder=str(encoder.absolute()))


def train_style(recipe: Recipe, output: str | Path, **options) -> Path:
    """Train a `style_recipe` or `character_recipe` into `output`, atomically. Options: as of `train`.

    Until it is done, the folder <output>.training keeps the state: called again with the same recipe, training goes on
    where it stopped. Raises ValueError where the folder belongs to other settings.
    """
    output = Path(output)
    folder = output.with_suffix(".training")
    _keep_settings(folder, recipe)
    (trained,) = train(recipe, folder, **options)
    os.replace(trained, output)
    shutil.rmtree(folder)
    return output


def _sampling_defaults(info: CheckpointInfo) -> dict:
    return {"prediction": info.prediction, "thresholding": info.thresholding, **info.sampling.said()}


def _keep_settings(folder: Path, recipe: Recipe) -> None:
    """Write down what the folder's training is of; raise ValueError where it is of something else."""
    file = folder / SETTINGS_FILE
    settings = json.dumps(dataclasses.asdict(recipe), indent=1)
    if file.is_file() and file.read_text(encoding="utf-8") != settings:
        raise ValueError(
            f"{folder}: an unfinished training with other settings lies here. Use the same settings to go on with it, "
            "or delete the folder to start anew."
        )
    with atomic_path(file) as temporary:
        temporary.write_text(settings, encoding="utf-8")
