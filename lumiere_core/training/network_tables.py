"""What the table `network` of a recipe's stage may hold, which depends on the stage's kind."""

from __future__ import annotations

import functools
from typing import Annotated, Any, get_type_hints

from ..networks import TemporalConfig, UNetConfig
from ..networks.operations import ACTIVATIONS
from ..runtime.records import Choice, Range
from .values import Above, Below, Items, check_table

WIDEST = 2**16
MOST_LAYERS, MOST_LEVELS = 32, 8  # as networks/config.py has them
BYTES = 256 + 3  # what the byte-level tokenizer gives: padding, end, unknown, and the bytes
Width = Annotated[int, Range(1, WIDEST)]
Layers = Annotated[int, Range(1, MOST_LAYERS)]
Patch = Annotated[int, Range(1, 64)]
Activation = Annotated[str, Choice(tuple(ACTIVATIONS))]
Positive = Annotated[float, Above(0, 1e6)]
T5_ACTIVATIONS = ("relu", "gelu", "silu", "gated-relu", "gated-gelu", "gated-silu")

# Fields of T5Config; the others decide nothing for an encoder of bytes.
TEXT = {
    "max_tokens": Annotated[int, Range(1, 4096)],
    "vocab_size": Annotated[int, Range(BYTES, WIDEST)],
    "d_model": Width,
    "d_kv": Width,
    "num_heads": Width,
    "num_layers": Layers,
    "d_ff": Width,
    "feed_forward_proj": Annotated[str, Choice(T5_ACTIVATIONS)],
    "dropout_rate": Annotated[float, Below(0, 1)],
    "layer_norm_epsilon": Positive,
    "initializer_factor": Positive,
}
LORA_KINDS = ("style", "motion")
STYLE = {"rank": Annotated[int, Range(1, 4096)]}
# What a network cannot do without, when it starts from nothing.
NEEDED = {
    "text": ("max_tokens", "d_model"),
    "t2i": ("channels", "attention"),
    "ssr_image": ("channels", "attention"),
    "style": ("rank",),
    "motion": ("rank",),
}


@functools.cache
def known_fields(kind: str) -> dict[str, Any]:
    """The fields of a stage's kind, by name, with their types and ranges as `check_table` reads them."""
    if kind == "text":
        return TEXT
    if kind in LORA_KINDS:
        return STYLE
    return _temporal_fields() if kind in ("base", "ssr") else _still_fields()


def _still_fields() -> dict[str, Any]:
    """UNetConfig's, with the levels as lists."""
    fields = _ranged(UNetConfig) | {"activation": Activation, "time_embedding_act": Activation | None, "patch": Patch}
    del fields["levels"], fields["temporal"]
    levels = {
        "channels": Annotated[list[Width], Items(1, MOST_LEVELS)],
        "attention": Annotated[list[bool], Items(1, MOST_LEVELS)],
        "layers": Layers,
    }
    return levels | fields


def _temporal_fields() -> dict[str, Any]:
    """TemporalConfig's; which levels are inflated how is decided by `temporal_config`."""
    fields = _ranged(TemporalConfig) | {"attention_blocks": Layers, "halve": bool}
    del fields["levels"]
    return fields


def _ranged(config: type) -> dict[str, Any]:
    """A config's fields; what is a number there is a width, or a factor above 0."""
    ranges = {int: Width, int | None: Width | None, float: Positive}
    return {name: ranges.get(hint, hint) for name, hint in get_type_hints(config).items()}


def check_network(where: str, kind: str, starts: bool, table: dict) -> None:
    """Raise ValueError for a field that is unknown, missing or wrong. starts: from weights that there are already."""
    check_table(f"{where}, network", known_fields(kind), table)
    for name in NEEDED.get(kind, ()):
        if name not in table and (not starts or kind in LORA_KINDS):
            raise ValueError(f"{where}, network lacks the field {name!r}.")
    counts = [len(table[name]) for name in ("channels", "attention") if name in table]
    if len(set(counts)) > 1:
        raise ValueError(
            f"{where}, network: channels and attention must have one entry per level each; got {counts[0]} and "
            f"{counts[1]}."
        )
