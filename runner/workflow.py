"""Workflow files: the API format, and the format that ComfyUI's canvas saves, as one plain graph."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..lumiere_core.runtime.records import nesting, shown
from ..nodes.host.standalone.io import ComfyNode, Input, Schema, live_inputs

NOTES = ("Note", "MarkdownNote")  # text on the canvas, nothing to run
NOT_RUN = {2: "muted", 4: "bypassed"}  # the canvas's modes
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")  # what the canvas saves after a seed's value
UPLOAD_BUTTON = ("image",)  # and after a file's name, for videos too

DEEPEST = 100  # tables and lists within each other; what ComfyUI saves has about ten

NodeClass = type[ComfyNode]
Known = Mapping[str, tuple[NodeClass, Schema]]


class Link(NamedTuple):
    """The output `slot` of the node with that id."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """inputs: values and Links by name; a DynamicCombo's inputs have dotted names."""

    id: str
    node_class: NodeClass
    schema: Schema
    inputs: dict[str, Any]

    def __str__(self) -> str:
        return f"node {self.id} ({self.schema.node_id})"

    def live(self) -> dict[str, Input]:
        """Its inputs by name, given or not; of a DynamicCombo those of the chosen option."""
        return dict(live_inputs(self.schema.inputs, self.inputs))

    def given(self) -> dict[str, Any]:
        return {name: self.inputs[name] for name in self.live() if name in self.inputs}

    def links(self) -> list[Link]:
        return [value for value in self.given().values() if isinstance(value, Link)]


@dataclass(frozen=True)
class Graph:
    """nodes by id. canvas: the canvas's file, or None if there is only the API's."""

    nodes: dict[str, Node]
    canvas: dict | None = None

    def metadata(self) -> dict[str, str]:
        """What written files carry, as core writes it: the API's graph, and the canvas's if there is one."""
        nodes = self.nodes.values()
        prompt = {node.id: {"inputs": node.inputs, "class_type": node.schema.node_id} for node in nodes}
        found = {"prompt": prompt} if self.canvas is None else {"prompt": prompt, "workflow": self.canvas}
        return {key: json.dumps(value) for key, value in found.items()}


def read_workflow(path: Path, classes: Iterable[NodeClass]) -> Graph:
    """Raises ValueError, naming file and node, for what is no workflow or has nodes of other classes than these."""
    schemas = [(node_class, node_class.define_schema()) for node_class in classes]
    known = {schema.node_id: (node_class, schema) for node_class, schema in schemas}
    data = _decoded(path)
    try:
        if isinstance(data, dict) and isinstance(data.get("nodes"), list):
            return _from_canvas(data, known)
        if isinstance(data, dict) and data and all(_is_api_node(node) for node in data.values()):
            return Graph({id: _api_node(id, entry, known) for id, entry in data.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(
        f"{path}: not a workflow. It must hold nodes with class_type and inputs (the API format), or the list `nodes` "
        "(what ComfyUI saves)."
    )


def _decoded(path: Path) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_table)
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path}: not a JSON file ({error}).") from error
    if nesting(data) > DEEPEST:  # deeper than what writes it into files would follow
        raise ValueError(f"{path}: its tables and lists must be nested at most {DEEPEST} deep; got {nesting(data)}.")
    return data


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is there twice, the first value would be gone without a word."""
    table = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {shown(key)} is there twice")
        table[key] = value
    return table


def canvas_widgets(node: Node) -> list:
    """The canvas's list of a node's widget values; one that is linked or not given has its default."""
    values = []
    for name, spec in node.live().items():
        if spec.is_widget:
            value = node.inputs.get(name)
            values.append(default_value(spec) if value is None or isinstance(value, Link) else value)
            values += _button(spec)[:1]
    return values


def default_value(spec: Input) -> Any:
    return next(iter(spec.choices), None) if spec.default is None else spec.default


def _button(spec: Input) -> tuple[str, ...]:
    """What the canvas may have saved after a widget's value."""
    return AFTER_GENERATE if spec.control_after_generate else UPLOAD_BUTTON if spec.upload else ()


def _node(id: Any, type: str, known: Known) -> Node:
    if type not in known:
        raise ValueError(f"node {id} ({type}): only ComfyUI can run this class. Here are {', '.join(sorted(known))}.")
    return Node(str(id), *known[type], {})


def _is_api_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _api_node(id: str, entry: dict, known: Known) -> Node:
    node = _node(id, entry["class_type"], known)
    for name, value in entry["inputs"].items():
        if isinstance(value, list):
            if len(value) != 2 or not isinstance(value[0], str | int) or type(value[1]) is not int:
                raise ValueError(f'{node}: {name} must be a value or a link such as ["4", 0]; got {json.dumps(value)}.')
            value = Link(str(value[0]), value[1])
        node.inputs[name] = value
    return node


def _from_canvas(data: dict, known: Known) -> Graph:
    try:
        if (data.get("definitions") or {}).get("subgraphs"):
            raise ValueError("it has subgraphs, which only ComfyUI runs. Unpack them there, or save in the API format.")
        links = _canvas_links(data.get("links") or [])
        nodes = [_canvas_node(entry, links, known) for entry in data["nodes"] if entry["type"] not in NOTES]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"it has no nodes and links as ComfyUI saves them, in version 0.4 ({error!r}).") from error
    counts = Counter(node.id for node in nodes)
    for id, count in counts.items():
        if count > 1:
            raise ValueError(f"two nodes have the id {shown(id)[1:-1]}. Give each an id of its own.")
    return Graph({node.id: node for node in nodes}, data)


def _canvas_links(entries: list) -> dict[Any, Link]:
    """By their ids: links are [id, from node, from output, to node, to input, type]."""
    links = {}
    for entry in entries:
        id, node, slot = entry[0], entry[1], entry[2]
        if type(slot) is not int:
            raise ValueError(f"link {shown(id)} must come from a numbered output of a node; got output {shown(slot)}.")
        if id in links:
            raise ValueError(f"two links have the id {shown(id)}. Give each an id of its own.")
        links[id] = Link(str(node), slot)
    return links


def _canvas_node(entry: dict, links: dict[int, Link], known: Known) -> Node:
    where = f"node {entry['id']} ({entry['type']})"
    if entry["type"] == "Reroute":
        raise ValueError(f"{where}: reroutes are run by ComfyUI only. Link directly, or save in the API format.")
    if how := NOT_RUN.get(entry.get("mode")):
        raise ValueError(f"{where} is {how}, which only ComfyUI runs. Delete the node, or save in the API format.")
    node = _node(entry["id"], entry["type"], known)
    _fill_widgets(node, entry.get("widgets_values") or [])
    for slot in entry.get("inputs") or []:
        if slot.get("link") is not None:
            if slot["link"] not in links:
                raise ValueError(f"{where}: {slot['name']} has the link {slot['link']}, which is not in the file.")
            node.inputs[slot["name"]] = links[slot["link"]]
    return node


def _fill_widgets(node: Node, saved: list) -> None:
    """Give the canvas's widget values their names; what an older file lacks at its end gets its default."""
    if not isinstance(saved, list):
        raise TypeError("widgets_values must be a list")
    rest = list(saved)
    for name, spec in live_inputs(node.schema.inputs, node.inputs):  # a value brings the next inputs
        if spec.is_widget and (rest or not spec.optional):
            node.inputs[name] = rest.pop(0) if rest else default_value(spec)
            if rest and rest[0] in _button(spec):
                rest.pop(0)
