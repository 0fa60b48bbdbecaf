"""The toy world's closed vocabulary: shapes, colours, backgrounds, motions, and which combinations are held out."""

from itertools import product

SHAPES = ("circle", "square", "triangle", "star")

# RGB in [0, 1]. Objects are bright and saturated, backgrounds dark, so that blue and purple stay apart from
# navy, and red and orange from brown, after blur, noise and a generator's colour drift.
COLOR_RGB = {
    "red": (0.92, 0.10, 0.12),
    "green": (0.10, 0.80, 0.20),
    "blue": (0.12, 0.42, 1.00),
    "yellow": (1.00, 0.92, 0.10),
    "purple": (0.72, 0.18, 0.90),
    "orange": (1.00, 0.52, 0.04),
    "white": (0.97, 0.97, 0.97),
}
BACKGROUND_RGB = {
    "black": (0.02, 0.02, 0.02),
    "gray": (0.40, 0.40, 0.40),
    "navy": (0.04, 0.06, 0.30),
    "brown": (0.32, 0.19, 0.08),
}
COLORS = tuple(COLOR_RGB)
BACKGROUNDS = tuple(BACKGROUND_RGB)

MOTIONS = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "bouncing",
    "orbiting",
    "growing",
    "shrinking",
    "spinning",
    "staying still",
)


def is_legal(shape: str, motion: str) -> bool:
    """A spinning circle looks like one staying still, so the world has none."""
    return not (shape == "circle" and motion == "spinning")


def is_held_out(shape: str, color: str, motion: str) -> bool:
    """Whether training never shows this combination (our choice: unpublished).

    The rule is a Latin square over motions: each (shape, colour) pair loses at most one of its motions, so every
    single value and every pair of values still occurs in training.
    """
    diagonal = 3 * SHAPES.index(shape) + COLORS.index(color) + MOTIONS.index(motion)
    return is_legal(shape, motion) and diagonal % len(MOTIONS) == HELD_OUT_DIAGONAL


HELD_OUT_DIAGONAL = 5
COMBINATIONS = tuple(c for c in product(SHAPES, COLORS, MOTIONS) if is_legal(c[0], c[2]))
HELD_OUT_COMBINATIONS = tuple(c for c in COMBINATIONS if is_held_out(*c))
TRAINING_COMBINATIONS = tuple(c for c in COMBINATIONS if not is_held_out(*c))
COMBINATIONS_BY_SPLIT = {"train": TRAINING_COMBINATIONS, "held_out": HELD_OUT_COMBINATIONS, "all": COMBINATIONS}
