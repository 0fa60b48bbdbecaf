"""A stand-in for the part of `comfy_api.latest.io` that this pack's schemas are written in, with core's type names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO)  # what a value can be typed in for


class Option(NamedTuple):
    """A choice of a DynamicCombo, and the inputs that it brings along."""

    key: str
    inputs: Sequence[Input] = ()


@dataclass(frozen=True)
class Input:
    """An input of a node; which fields mean anything depends on its type.

    upload: the kind of files to choose from. lazy: what is wired to it runs after `check_lazy_status`.
    """

    type: str
    id: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    advanced: bool = False
    default: Any = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    round: float | None = None
    options: Sequence[str | Option] = ()
    multiline: bool = False
    dynamic_prompts: bool = False
    control_after_generate: bool = False
    upload: str | None = None
    lazy: bool = False

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGETS

    @property
    def choices(self) -> list[str]:
        return [option if isinstance(option, str) else option.key for option in self.options]

    def chosen(self, value: Any) -> Sequence[Input]:
        """The inputs that a DynamicCombo's value brings along; none for other types."""
        options = self.options if self.type == DYNAMIC_COMBO else ()
        return next((inputs for key, inputs in options if key == value), ())


class Output(NamedTuple):
    type: str
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None


class Type(NamedTuple):
    name: str
    Option = Option  # of DynamicCombo

    def Input(self, id: str, **options) -> Input:
        return Input(self.name, id, **options)

    def Output(self, id: str | None = None, **options) -> Output:
        return Output(self.name, id, **options)


Int, Float, String, Boolean, Combo, DynamicCombo = map(Type, WIDGETS)
Image, Mask, Latent, Conditioning = map(Type, ("IMAGE", "MASK", "LATENT", "CONDITIONING"))
Model, Clip, Video, Audio = map(Type, ("MODEL", "CLIP", "VIDEO", "AUDIO"))


class Schema(NamedTuple):
    node_id: str
    display_name: str | None = None
    category: str = ""
    inputs: Sequence[Input] = ()
    outputs: Sequence[Output] = ()
    description: str = ""
    search_aliases: Sequence[str] = ()
    is_output_node: bool = False


class NodeOutput:
    """What a node gives: args, one value per output, and files, what it wrote (of this host's own nodes)."""

    def __init__(self, *args, files: Iterable = ()):
        self.args, self.files = args, files


class ComfyNode:
    """Base of node classes, whose `define_schema` and `execute` need no instance."""


class ComfyExtension:
    async def on_load(self) -> None:
        pass


def live_inputs(inputs: Iterable[Input], values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Input]]:
    """(name, input) of all that a node with these values has, in the order in which ComfyUI saves widgets.

    A DynamicCombo's value brings more inputs, with dotted names. `values` may be filled in while this goes on.
    """
    for spec in sorted(inputs, key=lambda spec: spec.optional):
        yield prefix + spec.id, spec
        yield from live_inputs(spec.chosen(values.get(prefix + spec.id)), values, f"{prefix}{spec.id}.")


def keywords(inputs: Iterable[Input], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Arguments of `execute`: those values that are there; a DynamicCombo as {its id: key, and its inputs}."""
    found = {}
    for spec in inputs:
        name = prefix + spec.id
        if name in values:
            nested = keywords(spec.chosen(values[name]), values, f"{name}.")
            found[spec.id] = {spec.id: values[name], **nested} if spec.type == DYNAMIC_COMBO else values[name]
    return found
