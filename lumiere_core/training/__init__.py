"""Training: one recipe file reproduces the bundled weights from nothing, stage by stage."""

from .recipe import Recipe, load_recipe
from .release import record_evaluation, release
from .run import train
from .style import character_recipe, style_recipe, train_style

__all__ = [
    "Recipe",
    "character_recipe",
    "load_recipe",
    "record_evaluation",
    "release",
    "style_recipe",
    "train",
    "train_style",
]
