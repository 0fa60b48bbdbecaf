"""The files that come with the pack, and where a checkpoint's text encoder is looked for."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights"
RECIPES = ROOT / "recipes"
BASE = "toy-base.safetensors"
SSR = "toy-ssr.safetensors"
STYLES = ("toy-line-drawing.safetensors", "toy-watercolor.safetensors")


def bundled_weights(name: str) -> Path:
    """Path of a bundled checkpoint. Raises ValueError where the installation lacks it."""
    path = WEIGHTS / name
    if not path.is_file():
        raise ValueError(
            f"The bundled weights {name} are not in {WEIGHTS}. Install the pack again, or give a checkpoint."
        )
    return path


def find_text_encoder(name: str | None, checkpoint: Path) -> Path:
    """The text encoder that a checkpoint names: next to the checkpoint, else among the bundled weights."""
    if name is None:
        raise ValueError(
            f"{checkpoint}: the file names no text encoder. Give one (text_encoder): a .safetensors file of kind text, "
            "or a folder with a T5 encoder and its tokenizer."
        )
    folders = [checkpoint.parent, WEIGHTS]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    searched = " and ".join(str(folder) for folder in folders)
    raise ValueError(
        f"{checkpoint}: its text encoder {name} was not found; searched {searched}. Put the file beside the "
        "checkpoint, or give it (text_encoder)."
    )


def find_style(name: str | Path) -> Path:
    """A style file: a path, or the name of a bundled style such as "toy-watercolor"."""
    path = Path(name)
    bundled = WEIGHTS / f"{path.name.removesuffix('.safetensors')}.safetensors"
    if path.is_file() or not bundled.is_file() or bundled.name in (BASE, SSR):
        return path
    return bundled


def find_recipe(name: str | Path) -> Path:
    """A recipe file: a path, or the name of a bundled recipe such as "stickers"."""
    path = Path(name)
    if path.is_file():
        return path
    bundled = RECIPES / f"{name}.toml"
    if bundled.is_file():
        return bundled
    names = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
    raise ValueError(f"{name}: no such recipe file, and no bundled recipe of that name; bundled are {names}.")
