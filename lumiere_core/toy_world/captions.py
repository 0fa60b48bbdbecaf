"""Captions for toy scenes, with paraphrases, and the class labels each caption states."""

from typing import NamedTuple

import numpy as np

from .scene import MovingObject, Scene, pick
from .vocabulary import BACKGROUNDS, COLORS, MOTIONS, SHAPES

UNSTATED, NONE = "unstated", "none"
LONGEST_CAPTION = 95  # bytes, which are ASCII characters: with the end token 96 of the byte-level text encoder

SHAPE_CLASSES = (*SHAPES, NONE)
COLOR_CLASSES = (*COLORS, NONE)
MOTION_CLASSES = (*MOTIONS, UNSTATED, NONE)
BACKGROUND_CLASSES = (*BACKGROUNDS, UNSTATED)
LABEL_CLASSES = {
    "shape": SHAPE_CLASSES,
    "color": COLOR_CLASSES,
    "motion": MOTION_CLASSES,
    "background": BACKGROUND_CLASSES,
    "second_shape": SHAPE_CLASSES,
    "second_color": COLOR_CLASSES,
    "second_motion": MOTION_CLASSES,
}


class SceneLabels(NamedTuple):
    """What a text says, as indices into LABEL_CLASSES; the first object is the one named first."""

    shape: int
    color: int
    motion: int
    background: int
    second_shape: int
    second_color: int
    second_motion: int


class Caption(NamedTuple):
    """A text and the labels of what that text states."""

    text: str
    labels: SceneLabels


class Phrases(NamedTuple):
    """Ways to say a motion: after a noun ("a ball ..."), and as a predicate ("the ball ...", "a ball that ...")."""

    participles: tuple[str, ...]
    predicates: tuple[str, ...]


def linear_phrases(direction: str, *others: str) -> Phrases:
    """Phrases for a straight motion; `direction` is the words after "moving"."""
    participles = tuple(f"{verb} {direction}" for verb in ("moving", "going")) + others
    return Phrases(participles, (f"is moving {direction}", f"moves {direction}", f"goes {direction}"))


def merge(*phrases: Phrases) -> Phrases:
    """All the phrases of several sets."""
    return Phrases(sum((p.participles for p in phrases), ()), sum((p.predicates for p in phrases), ()))


# The first participle of each is the canonical one: the motion's own name.
MOTION_PHRASES = {
    "moving left": merge(linear_phrases("left"), linear_phrases("to the left")),
    "moving right": merge(linear_phrases("right"), linear_phrases("to the right")),
    "moving up": merge(linear_phrases("up", "rising"), linear_phrases("upward")),
    "moving down": merge(linear_phrases("down", "falling"), linear_phrases("downward")),
    "bouncing": Phrases(("bouncing", "bouncing up and down"), ("is bouncing", "bounces", "bounces up and down")),
    "orbiting": Phrases(
        ("orbiting", "going around in a circle", "circling"), ("is orbiting", "orbits", "goes around in a circle")
    ),
    "growing": Phrases(("growing", "getting bigger"), ("is growing", "grows", "gets bigger")),
    "shrinking": Phrases(("shrinking", "getting smaller"), ("is shrinking", "shrinks", "gets smaller")),
    "spinning": Phrases(("spinning", "rotating"), ("is spinning", "spins", "rotates")),
    "staying still": Phrases(("staying still", "standing still", "not moving"), ("stays still", "is not moving")),
}


def canonical_caption(scene: Scene) -> Caption:
    """The plainest caption: "a red circle moving right and a blue star bouncing on a gray background"."""
    objects = [f"{noun_phrase('a', o)} {MOTION_PHRASES[o.motion].participles[0]}" for o in scene.objects]
    return Caption(f"{' and '.join(objects)} on a {scene.background} background", scene_labels(scene))


def caption(scene: Scene, rng: np.random.Generator, background_probability: float = 0.7) -> Caption:
    """A paraphrase that states every object and motion, and the background this often; at most 95 ASCII bytes."""
    objects = " and ".join(object_clause(o, rng) for o in scene.objects)
    states_background = rng.random() < background_probability
    text = add_background(objects, scene.background, rng) if states_background else objects
    if len(text) > LONGEST_CAPTION:
        return canonical_caption(scene)
    return Caption(text, scene_labels(scene, states_background))


def still_caption(scene: Scene, rng: np.random.Generator, background_probability: float = 0.7) -> Caption:
    """A caption for a single frame: half of the time it names no motion."""
    if rng.random() < 0.5:
        return caption(scene, rng, background_probability)
    objects = " and ".join(motionless_clause(o, rng) for o in scene.objects)
    states_background = rng.random() < background_probability
    text = add_background(objects, scene.background, rng) if states_background else objects
    return Caption(text, scene_labels(scene, states_background, text_mentions_motion=False))


def scene_labels(scene: Scene, text_mentions_background: bool = True, text_mentions_motion: bool = True) -> SceneLabels:
    """The class indices of what a text about the scene states."""
    stated = [(o.shape, o.color, o.motion if text_mentions_motion else UNSTATED) for o in scene.objects]
    first, second = (*stated, (NONE, NONE, NONE))[:2]
    background = scene.background if text_mentions_background else UNSTATED
    words = (*first, background, *second)
    return SceneLabels(*(classes.index(word) for classes, word in zip(LABEL_CLASSES.values(), words, strict=True)))


def object_clause(moving: MovingObject, rng: np.random.Generator) -> str:
    """One object with its motion, in one of four sentence shapes."""
    phrases = MOTION_PHRASES[moving.motion]
    form = rng.random()
    if form < 0.55:
        return f"{noun_phrase(pick(rng, ('a', 'a', 'the', '')), moving)} {pick(rng, phrases.participles)}"
    predicate = pick(rng, phrases.predicates)
    if form < 0.75:
        return f"{noun_phrase(pick(rng, ('a', 'the')), moving)} {predicate}"
    if form < 0.9:
        return f"{noun_phrase(pick(rng, ('a', 'the')), moving)} that {predicate}"
    return f"{pick(rng, ('a', 'the'))} {moving.shape} that is {moving.color} {predicate}"


def motionless_clause(moving: MovingObject, rng: np.random.Generator) -> str:
    """One object without its motion."""
    if rng.random() < 0.85:
        return noun_phrase(pick(rng, ("a", "a", "the", "")), moving)
    return f"a {moving.shape} that is {moving.color}"


def noun_phrase(article: str, moving: MovingObject) -> str:
    """ "a red circle", "an orange star", "the blue square", or "green square" without an article."""
    if article == "a" and moving.color[0] in "aeiou":
        article = "an"
    return f"{article} {moving.color} {moving.shape}".lstrip()


def add_background(objects: str, background: str, rng: np.random.Generator) -> str:
    """The objects' text with the background before or after it."""
    # Both spellings, because users write both.
    background = "grey" if background == "gray" and rng.random() < 0.2 else background
    template = pick(rng, BACKGROUND_TEMPLATES)
    return template.format(objects=objects, background=background)


BACKGROUND_TEMPLATES = (
    "{objects} on a {background} background",
    "{objects} on a {background} background",
    "{objects}, {background} background",
    "{objects} against a {background} background",
    "on a {background} background, {objects}",
)
