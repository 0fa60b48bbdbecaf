"""Training: a recipe and a source of captioned clips become networks, stage by stage."""

from .recipe import Recipe
from .recipe_file import load_recipe
from .release import record_evaluation, release
from .run import train
from .style import style_recipe, train_style

__all__ = [
    "Recipe",
    "load_recipe",
    "record_evaluation",
    "release",
    "style_recipe",
    "train",
    "train_style",
]
