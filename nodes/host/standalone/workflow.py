"""Workflow files: the API format, and the format that ComfyUI's canvas saves, as one plain graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .io import Input, Schema, live_inputs

NOTES = ("Note", "MarkdownNote")  # text on the canvas, nothing to run
MUTED, BYPASSED = 2, 4
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")  # what the canvas saves after a seed's value
UPLOAD_BUTTON = "image"  # and after a file's name, for videos too


class Link(NamedTuple):
    """The output `slot` of the node with that id."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """inputs: values and Links by name; a DynamicCombo's inputs have dotted names."""

    id: str
    type: str
    inputs: dict[str, Any]

    def __str__(self) -> str:
        return f"node {self.id} ({self.type})"


@dataclass(frozen=True)
class Graph:
    """nodes by id. canvas: the canvas's file, or None if there is only the API's."""

    nodes: dict[str, Node]
    canvas: dict | None = None

    def metadata(self) -> dict[str, str]:
        """What written files carry, as core writes it: the API's graph, and the canvas's if there is one."""
        found = {"prompt": json.dumps(self._api())}
        return found if self.canvas is None else {**found, "workflow": json.dumps(self.canvas)}

    def _api(self) -> dict:
        def plain(value):
            return list(value) if isinstance(value, Link) else value

        return {
            node.id: {
                "inputs": {name: plain(value) for name, value in node.inputs.items()},
                "class_type": node.type,
            }
            for node in self.nodes.values()
        }


def read_workflow(path: Path, schemas: Mapping[str, Schema]) -> Graph:
    """Raises ValueError, naming file and node, for what is no workflow or has nodes of other classes than `schemas`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path}: not a JSON file ({error}).") from error
    try:
        if isinstance(data, dict) and isinstance(data.get("nodes"), list):
            return _from_canvas(data, schemas)
        if isinstance(data, dict) and data and all(_is_api_node(node) for node in data.values()):
            return _from_api(data, schemas)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(
        f"{path}: not a workflow. It must hold nodes with class_type and inputs (the API format), or the list `nodes` "
        "(what ComfyUI saves)."
    )


def canvas_widgets(schema: Schema, inputs: Mapping[str, Any]) -> list:
    """The canvas's list of a node's widget values, up to the last that is given; a linked one's is its default."""
    values, given = [], 0
    for name, spec in live_inputs(schema.inputs, inputs):
        if spec.is_widget:
            value = inputs.get(name)
            values.append(default_value(spec) if value is None or isinstance(value, Link) else value)
            values += ["fixed"] if spec.control_after_generate else [UPLOAD_BUTTON] if spec.upload else []
            given = len(values) if name in inputs else given
    return values[:given]


def default_value(spec: Input) -> Any:
    return next(iter(spec.choices), None) if spec.default is None else spec.default


def _is_api_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _from_api(data: dict, schemas: Mapping[str, Schema]) -> Graph:
    nodes = {}
    for id, entry in data.items():
        node = nodes[id] = Node(id, entry["class_type"], dict(entry["inputs"]))
        _require_known(node, schemas)
        for name, value in node.inputs.items():
            if isinstance(value, list):
                node.inputs[name] = _api_link(value, f"{node}: {name}")
    return Graph(nodes)


def _api_link(value: list, where: str) -> Link:
    if len(value) != 2 or not isinstance(value[0], str | int) or type(value[1]) is not int:
        raise ValueError(f'{where} must be a value or a link such as ["4", 0]; got {json.dumps(value)}.')
    return Link(str(value[0]), value[1])


def _from_canvas(data: dict, schemas: Mapping[str, Schema]) -> Graph:
    definitions = data.get("definitions")
    if isinstance(definitions, dict) and definitions.get("subgraphs"):
        raise ValueError("it has subgraphs, which only ComfyUI runs. Unpack them there, or save in the API format.")
    try:
        links = {link[0]: Link(str(link[1]), link[2]) for link in data.get("links") or []}
        entries = [entry for entry in data["nodes"] if entry["type"] not in NOTES]
        nodes = [_canvas_node(entry, links, schemas) for entry in entries]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"it has no nodes and links as ComfyUI saves them, in version 0.4 ({error!r}).") from error
    return Graph({node.id: node for node in nodes}, data)


def _canvas_node(entry: dict, links: dict[int, Link], schemas: Mapping[str, Schema]) -> Node:
    node = Node(str(entry["id"]), entry["type"], {})
    if node.type == "Reroute":
        raise ValueError(f"{node}: reroutes are run by ComfyUI only. Link directly, or save in the API format.")
    if entry.get("mode", 0) in (MUTED, BYPASSED):
        how = "muted" if entry["mode"] == MUTED else "bypassed"
        raise ValueError(f"{node} is {how}, which only ComfyUI runs. Delete the node, or save in the API format.")
    _require_known(node, schemas)
    _fill_widgets(node.inputs, schemas[node.type], entry.get("widgets_values") or [])
    for slot in entry.get("inputs") or []:
        if slot.get("link") is not None:
            if slot["link"] not in links:
                raise ValueError(f"{node}: {slot['name']} has the link {slot['link']}, which is not in the file.")
            node.inputs[slot["name"]] = links[slot["link"]]
    return node


def _fill_widgets(values: dict[str, Any], schema: Schema, saved: list) -> None:
    """Give the canvas's widget values their names; what an older file lacks at its end gets its default."""
    if not isinstance(saved, list):
        raise TypeError("widgets_values must be a list")
    rest = list(saved)
    for name, spec in live_inputs(schema.inputs, values):
        if not spec.is_widget:
            continue
        if rest:
            values[name] = rest.pop(0)
        elif not spec.optional:
            values[name] = default_value(spec)
        extra = AFTER_GENERATE if spec.control_after_generate else (UPLOAD_BUTTON,) if spec.upload else ()
        if rest and rest[0] in extra:
            rest.pop(0)


def _require_known(node: Node, schemas: Mapping[str, Schema]) -> None:
    if node.type not in schemas:
        raise ValueError(f"{node}: only ComfyUI can run this class. Here are {', '.join(sorted(schemas))}.")
