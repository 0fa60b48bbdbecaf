"""Whether the weights know a prompt's words: small networks draw the things they were shown, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from .prompts import weighted_parts

# Words that name nothing: nobody expects to see them.
FUNCTION_WORDS = frozenset(
    "a an the this that these those some one two my our your his her its their it and or with without of in on at to "
    "from by for as over under is are be being was very while there".split()
)
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
NEAREST = 4
LEAST_SIMILAR = 0.4  # below it a noun is not worth naming
SHARED_PREFIX = 0.15  # what a letter that both begin with adds, up to three


@dataclass(frozen=True)
class Vocabulary:
    """The words that weights know, of their training record: see `check_prompt`."""

    nouns: tuple[tuple[str, ...], ...] = ()
    phrases: tuple[str, ...] = ()

    @classmethod
    def of(cls, training: dict) -> Vocabulary:
        cast = training.get("cast", {})
        return cls(tuple(map(tuple, cast.get("words", ()))), tuple(cast.get("phrases", ())))

    def by_kind(self) -> dict[str, list[str]]:
        """What to list: the things that the weights draw, other names for them, and all other words."""
        synonyms = [name for names in self.nouns for name in names[1:]]
        things = {"things": [names[0] for names in self.nouns], "also called": synonyms, "other words": [*self.phrases]}
        return {kind: names for kind, names in things.items() if names}

    def check(self, prompt: str, taught: Iterable[str] = ()) -> str | None:
        """A warning of the prompt's unknown words, or None. taught: names of more things, which styles may draw."""
        return check_prompt(prompt, self.nouns, (*self.phrases, *taught))


def check_prompt(prompt: str, nouns: Sequence[Sequence[str]], phrases: Iterable[str]) -> str | None:
    """A warning that names words which the weights do not know, and the nearest things that they draw; None where they
    know all.

    nouns: names and synonyms of each thing that the weights draw; phrases: the other words of their captions. Both as a
    checkpoint's training record has them; without either nothing is known of the weights, and there is no warning.
    """
    text = "".join(part.text for part in weighted_parts(prompt) if part.weight)
    unknown = unknown_words(text, nouns, phrases) if nouns and phrases else []
    if not unknown:
        return None
    near = nearest_nouns(unknown, nouns) or [names[0] for names in nouns[:NEAREST]]
    quoted, be = ", ".join(repr(word) for word in unknown), "is" if len(unknown) == 1 else "are"
    return f"The prompt's {quoted} {be} not among the words these weights know; they can draw: {', '.join(near)}, ..."


def unknown_words(prompt: str, nouns: Sequence[Sequence[str]], phrases: Iterable[str]) -> list[str]:
    """Words of the prompt, each once, that neither the nouns nor the other phrases have, in any number."""
    known = set(words_of(" ".join([*phrases, *(name for names in nouns for name in names)]))) | FUNCTION_WORDS
    singulars = known | {singular for word in known for singular in singular_forms(word)}
    unknown = [word for word in words_of(prompt) if not {word, *singular_forms(word)} & singulars]
    return list(dict.fromkeys(unknown))


def known_words(text: str, nouns: Sequence[Sequence[str]], phrases: Iterable[str]) -> bool:
    """Whether the weights know all of a text's words; never where nothing is known of the weights."""
    return bool(nouns) and not unknown_words(text, nouns, phrases)


def taught(training: dict, name: str) -> dict:
    """A training record of weights that draw one thing more."""
    cast = training.get("cast", {})
    return {**training, "cast": {**cast, "words": [*cast.get("words", []), [name]]}}


def nearest_nouns(unknown: Sequence[str], nouns: Sequence[Sequence[str]]) -> list[str]:
    """Names of the things with the words most similar to any of these, the most similar first; none that is far."""
    ratings = [(max(similarity(word, other) for word in unknown for other in names), names[0]) for names in nouns]
    near = sorted((-rating, name) for rating, name in ratings if rating >= LEAST_SIMILAR)
    return [name for _, name in near[:NEAREST]]


def similarity(word: str, other: str) -> float:
    """0 to about 1.5: letters in common (difflib's ratio), and more where both begin alike."""
    prefix = next((i for i, (a, b) in enumerate(zip(word, other)) if a != b), min(len(word), len(other)))  # noqa: B905
    return SequenceMatcher(None, word, other).ratio() + SHARED_PREFIX * min(prefix, 3)


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def singular_forms(word: str) -> list[str]:
    """What a word may be the plural of: "foxes" -> foxe, fox; "cherries" -> cherrie, cherri, cherry."""
    endings = (("s", ""), ("es", ""), ("ies", "y"))
    forms = [word.removesuffix(ending) + other for ending, other in endings if word.endswith(ending)]
    return [form for form in forms if len(form) > 1]
