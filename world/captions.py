"""Captions of scenes: words in many orders, and the classes that each caption states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .backgrounds import BACKGROUNDS, GRADIENTS, PLAIN
from .cast import Cast
from .motions import MOTIONS, PACES, TUMBLING
from .scene import Actor, Scene, pick

UNSTATED, NONE = "unstated", "none"
LONGEST_CAPTION = 95  # bytes: with the end token the 96 tokens of the byte-level text encoder


class Caption(NamedTuple):
    """A text, and what it says as indices into `label_classes`, in their order."""

    text: str
    labels: tuple[int, ...]


class Phrases(NamedTuple):
    """Ways to say a motion: after a noun ("a fox ..."), and as a predicate ("the fox ...", "a fox that ...")."""

    participles: tuple[str, ...]
    predicates: tuple[str, ...]


def linear(*directions: str) -> Phrases:
    participles = [f"{verb} {way}" for way in directions for verb in ("moving", "going")]
    predicates = [f"{verb} {way}" for way in directions for verb in ("is moving", "moves", "goes")]
    return Phrases(tuple(participles), tuple(predicates))


# The first participle of each is the canonical one: the motion's own name.
MOTION_PHRASES = {
    "moving left": linear("left", "to the left"),
    "moving right": linear("right", "to the right"),
    "moving up": linear("up", "upward"),
    "moving down": linear("down", "downward"),
    "bouncing": Phrases(("bouncing", "bouncing up and down"), ("is bouncing", "bounces", "bounces up and down")),
    "jumping": Phrases(("jumping", "hopping"), ("is jumping", "jumps", "hops")),
    "orbiting": Phrases(
        ("orbiting", "circling", "going around in a circle"), ("is orbiting", "circles", "goes around in a circle")
    ),
    "growing": Phrases(("growing", "getting bigger"), ("is growing", "grows", "gets bigger")),
    "shrinking": Phrases(("shrinking", "getting smaller"), ("is shrinking", "shrinks", "gets smaller")),
    "spinning": Phrases(("spinning", "rotating", "turning around"), ("is spinning", "spins", "rotates")),
    "swinging": Phrases(("swinging", "swaying"), ("is swinging", "swings", "sways")),
    "shaking": Phrases(("shaking", "trembling"), ("is shaking", "shakes", "trembles")),
    "falling": Phrases(("falling", "falling down", "tumbling down"), ("is falling", "falls down", "tumbles down")),
    "staying still": Phrases(("staying still", "standing still", "not moving"), ("stays still", "is not moving")),
}
SCENE_PHRASES = {
    "meadow": ("on a meadow", "on a green meadow", "on the grass"),
    "beach": ("on a beach", "at the beach", "on the sand of a beach"),
    "sea": ("on the sea", "at sea", "over the ocean"),
    "night sky": ("on a night sky", "in the night sky", "under the stars"),
    "snow": ("in the snow", "on snow", "in a snowy place"),
    "desert": ("in a desert", "in the desert", "on desert dunes"),
    "sunset": ("at sunset", "in front of a sunset", "on a sunset"),
    "room": ("in a room", "indoors", "inside a room"),
}
# Which nouns take "a", "an" or no article. Most plurals end in s, and hardly anything else ends in an s but these do.
SINGULAR_ENDINGS = ("ss", "us", "is", "as")
BARE_NOUNS = (
    "bananas,lightning,soft ice,coffee,popcorn,bread,corn,maize,broccoli,green broccoli,cheese,ramen,sushi,rain,"
    "glitter,confetti,heartbreak,tennis,table tennis,ping pong,golf,bowling,hands clapping,hands in a heart,dice,money,"
    "wool,yarn,santa claus,santa,father christmas,saturn,dracula,count dracula"
).split(",")
AN_NOUNS = ("umbrella", "hourglass")  # besides those that begin with a vowel other than u
DETERMINERS = ("a", "an", "the", "my", "our", "your", "his", "her", "its", "their", "this", "that")
ADVERBS = {"slow": ("slowly", "slowly", "gently"), "quick": ("quickly", "quickly", "fast")}


def label_classes(cast: Cast) -> dict[str, tuple[str, ...]]:
    """The classes of each label of a caption. The first object is the one named first."""
    nouns, motions = (*cast.names, NONE), (*MOTIONS, UNSTATED, NONE)
    return {
        "noun": nouns,
        "motion": motions,
        "pace": PACES,
        "background": (*BACKGROUNDS, UNSTATED),
        "second noun": nouns,
        "second motion": motions,
        "second pace": PACES,
    }


class Captioner:
    """Writes captions of a cast's scenes."""

    def __init__(self, cast: Cast):
        self.cast = cast
        self.index = {key: {word: i for i, word in enumerate(words)} for key, words in label_classes(cast).items()}
        self.words = {member.name: member.spoken_words for member in cast.members}

    def canonical(self, scene: Scene) -> Caption:
        """The plainest: "a fox moving right and an owl slowly bouncing on a meadow". Where that is too long for the
        text encoder it leaves out the background, then the motions.
        """
        nouns = [noun_phrase("a", self.words[actor.name][0]) for actor in scene.actors]
        moving = " and ".join(
            f"{noun} {canonical_motion(actor)}" for noun, actor in zip(nouns, scene.actors, strict=True)
        )
        text = f"{moving} {background_phrases(scene.background)[0]}"
        if fits(text):
            return Caption(text, self._labels(scene, True, True))
        if fits(moving):
            return Caption(moving, self._labels(scene, False, True))
        return Caption(" and ".join(nouns), self._labels(scene, False, False))

    def moving(self, scene: Scene, rng: np.random.Generator, background: float = 0.85) -> Caption:
        """A paraphrase that states every object, motion and pace, and the background this often."""
        return self._write(scene, rng, [self._clause(actor, rng) for actor in scene.actors], background, True)

    def still(self, scene: Scene, rng: np.random.Generator, background: float = 0.85) -> Caption:
        """A caption of a single frame: half of the time it names no motion, unless that may show things upside down."""
        if rng.random() < 0.5 or any(actor.moves in TUMBLING for actor in scene.actors):
            return self.moving(scene, rng, background)
        clauses = [noun_phrase(pick(rng, ("a", "a", "the", "")), self._noun(actor, rng)) for actor in scene.actors]
        return self._write(scene, rng, clauses, background, False)

    def _write(self, scene: Scene, rng, clauses: list[str], background: float, states_motion: bool) -> Caption:
        text, states_background = " and ".join(clauses), rng.random() < background
        if states_background:
            text = add_background(text, pick(rng, background_phrases(scene.background)), rng)
        if rng.random() < 0.15:
            text = text[0].upper() + text[1:]
        if rng.random() < 0.15:
            text += "."
        if not fits(text):
            return self.canonical(scene)
        return Caption(text, self._labels(scene, states_background, states_motion))

    def _noun(self, actor: Actor, rng) -> str:
        """The name half of the time, else any of its words."""
        words = self.words[actor.name]
        return words[0] if rng.random() < 0.5 else pick(rng, words)

    def _clause(self, actor: Actor, rng) -> str:
        phrases, noun = MOTION_PHRASES[actor.moves], self._noun(actor, rng)
        if rng.random() < 0.65:
            motion = with_adverb(pick(rng, phrases.participles), actor.pace, rng)
            return f"{noun_phrase(pick(rng, ('a', 'a', 'the', '')), noun)} {motion}"
        predicate = with_adverb(pick(rng, phrases.predicates), actor.pace, rng, first=False)
        link = " that" if rng.random() < 0.4 else ""
        return f"{noun_phrase(pick(rng, ('a', 'the')), noun)}{link} {predicate}"

    def _labels(self, scene: Scene, states_background: bool, states_motion: bool) -> tuple[int, ...]:
        stated = [
            (actor.name, actor.moves, actor.pace) if states_motion else (actor.name, UNSTATED, "normal")
            for actor in scene.actors
        ]
        first, second = (*stated, (NONE, NONE, "normal"))[:2]
        words = (*first, scene.background if states_background else UNSTATED, *second)
        return tuple(index[word] for index, word in zip(self.index.values(), words, strict=True))


def words_beside_nouns() -> list[str]:
    """Every word of captions that names no object, in lower case, by the alphabet."""
    phrases = [phrase for motion in MOTION_PHRASES.values() for ways in motion for phrase in ways]
    phrases += [phrase for background in BACKGROUNDS for phrase in background_phrases(background)]
    phrases += [*ADVERBS["slow"], *ADVERBS["quick"], "a an the and that"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def fits(text: str) -> bool:
    return len(text.encode()) <= LONGEST_CAPTION


def canonical_motion(actor: Actor) -> str:
    """ "moving right", "slowly bouncing"."""
    participle = MOTION_PHRASES[actor.moves].participles[0]
    return participle if actor.pace == "normal" else f"{ADVERBS[actor.pace][0]} {participle}"


def with_adverb(phrase: str, pace: str, rng: np.random.Generator, first: bool = True) -> str:
    """ "slowly bouncing" or "bouncing slowly"; only after it where `first` is not."""
    if pace == "normal":
        return phrase
    adverb = pick(rng, ADVERBS[pace])
    before = first and adverb != "fast" and rng.random() < 0.6
    return f"{adverb} {phrase}" if before else f"{phrase} {adverb}"


def noun_phrase(article: str, noun: str) -> str:
    """ "a fox", "an owl", "the fox", or "fox" without an article; "my mascot" has one of its own."""
    if noun.split()[0].lower() in DETERMINERS:
        return noun
    if article == "a":
        vowel = noun[0].lower() in "aeio" or noun in AN_NOUNS
        article = "" if is_bare(noun) else "an" if vowel else "a"
    return f"{article} {noun}".lstrip()


def is_bare(noun: str) -> bool:
    """Whether a noun stands without "a": "cherries", "coffee", "santa"; not "a pair of socks"."""
    head = noun.split(" of ")[0].split(" with ")[0]
    return noun in BARE_NOUNS or head.endswith("s") and not head.endswith(SINGULAR_ENDINGS)


def background_phrases(background: str) -> tuple[str, ...]:
    """Ways to say where it happens, the canonical one first."""
    if background in PLAIN:
        colors = (background, "grey") if background == "gray" else (background,)
        return tuple(
            phrase
            for color in colors
            for phrase in (f"on a {color} background", f"against a {color} background", f"with a {color} background")
        )
    if background in GRADIENTS:
        both = background.removesuffix(" gradient").replace(" to ", " and ")
        return (f"on a {background}", f"on a {background} background", f"on a {both} gradient")
    return SCENE_PHRASES[background]


def add_background(objects: str, place: str, rng: np.random.Generator) -> str:
    form = rng.random()
    if form < 0.7:
        return f"{objects} {place}"
    return f"{objects}, {place}" if form < 0.85 else f"{place}, {objects}"
