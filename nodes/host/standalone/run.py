"""Run a workflow file: check all of it, then execute what its output nodes need."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ....lumiere_core.devices import resolve_device
from ....lumiere_core.video_io import require_writable
from ...extension import NODES
from .core_nodes import CORE_NODES
from .io import ComfyNode, Input, Schema, keywords, live_inputs
from .models import MEDIA, Settings, using
from .workflow import Graph, Link, Node, canvas_widgets, default_value, read_workflow

NodeClass = type[ComfyNode]
# Widgets that have no list of choices: in words, and as Python's types.
KINDS = {
    "INT": ("a whole number", (int,)),
    "FLOAT": ("a number", (int, float)),
    "BOOLEAN": ("true or false", (bool,)),
    "STRING": ("text", (str,)),
}


def run_workflow(
    path: Path, assignments: Sequence[str], settings: Settings, nodes: Sequence[NodeClass] = NODES
) -> list[Path]:
    """Run an API or canvas file, after assignments such as "3.seed=5"; the written files, in order.

    nodes: classes to know beside the core ones. Raises ValueError, naming node, class and input, for what cannot be
    run; nothing has been computed or written then, unless a node itself failed.
    """
    _check_settings(settings)
    require_writable(settings.output / "video")
    with using(settings):
        graph, classes, schemas = _prepare(path, assignments, nodes)
        order = _check(graph, classes, schemas)
    with using(replace(settings, metadata=graph.metadata())), torch.inference_mode():
        return _execute([graph.nodes[id] for id in order], classes, schemas)


def list_settable(
    path: Path, assignments: Sequence[str], settings: Settings, nodes: Sequence[NodeClass] = NODES
) -> str:
    """One line per node, and one per input that can be set: its value, and what it may be."""
    _check_settings(settings)
    with using(settings):
        graph, _, schemas = _prepare(path, assignments, nodes)
        lines = []
        for node in graph.nodes.values():
            lines.append(f"{node.id} {node.type}")
            for name, spec in _settable(node, schemas[node.type]).items():
                value = node.inputs.get(name, default_value(spec))
                lines.append(f"  {node.id}.{name}={_shown(value)}  ({describe(spec)})")
    return "\n".join(lines)


def describe(spec: Input) -> str:
    """What a widget's value may be, in words."""
    if spec.type not in KINDS:
        what = "a file in the input folder, such as" if spec.upload else "one of"
        return f"{what} {', '.join(spec.choices) or '(there is none)'}"
    bounds = [f"from {spec.min}"] * (spec.min is not None) + [f"to {spec.max}"] * (spec.max is not None)
    return " ".join([KINDS[spec.type][0], *bounds])


def _check_settings(settings: Settings) -> None:
    resolve_device(settings.device)
    for name, folder in (("input", settings.input), ("models", settings.models)):
        if folder not in (None, MEDIA) and not folder.is_dir():
            raise ValueError(f"run: the {name} folder {folder} is not there.")


def _prepare(path: Path, assignments: Sequence[str], nodes: Sequence[NodeClass]):
    """The graph with its assignments, and by class name the nodes' classes and schemas."""
    found = [(node_class, node_class.define_schema()) for node_class in (*CORE_NODES, *nodes)]
    classes = {schema.node_id: node_class for node_class, schema in found}
    schemas = {schema.node_id: schema for _, schema in found}
    graph = read_workflow(path, schemas)
    for assignment in assignments:
        _assign(graph, schemas, assignment)
    return graph, classes, schemas


def _assign(graph: Graph, schemas: Mapping[str, Schema], assignment: str) -> None:
    """Set "NODE.INPUT=VALUE", in the canvas's form of the graph too, so that the files written say what was run."""
    target, equals, text = assignment.partition("=")
    id, dot, name = target.partition(".")
    if not (equals and dot):
        raise ValueError(f"--set takes NODE.INPUT=VALUE, such as 3.seed=5; got {assignment!r}.")
    if id not in graph.nodes:
        raise ValueError(f"--set {assignment}: there is no node {id}; nodes are {_listed(graph.nodes.values())}.")
    node = graph.nodes[id]
    settable = _settable(node, schemas[node.type])
    if name not in settable:
        value = node.inputs.get(name)
        problem = f"is linked to node {value.node}" if isinstance(value, Link) else "is nothing that can be set"
        raise ValueError(f"--set {assignment}: {node}: {name} {problem}; {_listed(settable) or 'nothing'} can be.")
    node.inputs[name] = _parse(settable[name], text)
    with _at(node):
        _check_value(name, settable[name], node.inputs[name])
    for entry in graph.canvas["nodes"] if graph.canvas else ():
        if str(entry["id"]) == id:
            entry["widgets_values"] = canvas_widgets(schemas[node.type], node.inputs)


def _settable(node: Node, schema: Schema) -> dict[str, Input]:
    live = live_inputs(schema.inputs, node.inputs)
    return {name: spec for name, spec in live if spec.is_widget and not isinstance(node.inputs.get(name), Link)}


def _parse(spec: Input, text: str) -> Any:
    """Text as the input's type has it; what is no such value stays text, for the check to name."""
    convert = {"INT": int, "FLOAT": float, "BOOLEAN": {"true": True, "false": False}.__getitem__}
    try:
        return convert.get(spec.type, str)(text)
    except (KeyError, ValueError):
        return text


def _check(graph: Graph, classes: Mapping[str, NodeClass], schemas: Mapping[str, Schema]) -> list[str]:
    """Raise ValueError for the first thing that is wrong with what is to be run; else its ids, in order."""
    waiting = [id for id, node in graph.nodes.items() if schemas[node.type].is_output_node]
    if not waiting:
        raise ValueError("the workflow has no node that writes a file. Add SaveVideo, for one.")
    sources: dict[str, set[str]] = {}
    while waiting:
        node = graph.nodes[waiting.pop(0)]
        if node.id not in sources:
            with _at(node):
                _check_node(node, graph, classes[node.type], schemas)
            sources[node.id] = {link.node for link in _links(node, schemas[node.type])}
            waiting += sorted(sources[node.id])
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        circle = " -> ".join(str(graph.nodes[id]) for id in error.args[1])
        raise ValueError(f"the workflow has a cycle: {circle}. Remove one of its links.") from error


def _check_node(node: Node, graph: Graph, node_class: NodeClass, schemas: Mapping[str, Schema]) -> None:
    for name, spec in live_inputs(schemas[node.type].inputs, node.inputs):
        value = node.inputs.get(name)
        if name not in node.inputs:
            if not spec.optional:
                raise ValueError(f"{name} is missing; give {_expected(spec)}.")
        elif isinstance(value, Link):
            _check_link(name, spec, value, graph, schemas)
        elif not spec.is_widget:
            raise ValueError(f"{name} must be {_expected(spec)}; got {value!r}.")
        else:
            _check_value(name, spec, value)
    check = getattr(node_class, "validate_inputs", None)
    values = [node.inputs.get(name) for name in signature(check).parameters] if check else []
    if check and not any(value is None or isinstance(value, Link) for value in values):
        answer = check(*values)
        if answer is not True:
            raise ValueError(answer)


def _check_link(name: str, spec: Input, link: Link, graph: Graph, schemas: Mapping[str, Schema]) -> None:
    if link.node not in graph.nodes:
        raise ValueError(f"{name} is linked to node {link.node}, which is not in the file.")
    source = graph.nodes[link.node]
    outputs = schemas[source.type].outputs
    if not 0 <= link.slot < len(outputs):
        raise ValueError(
            f"{name} is linked to output {link.slot} of {source}, whose outputs are 0 to {len(outputs) - 1}."
        )
    if outputs[link.slot].type != spec.type:
        raise ValueError(f"{name} must be {spec.type}; got {outputs[link.slot].type} from {source}.")


def _check_value(name: str, spec: Input, value: Any) -> None:
    if spec.upload and isinstance(value, str):
        return  # the node itself looks for the file
    if spec.type in KINDS:
        fits = type(value) in KINDS[spec.type][1]
    else:
        fits = isinstance(value, str) and value in spec.choices
    if fits and spec.type in ("INT", "FLOAT"):
        largest = sys.float_info.max
        fits = (-largest if spec.min is None else spec.min) <= value <= (largest if spec.max is None else spec.max)
    if not fits:
        raise ValueError(f"{name} must be {describe(spec)}; got {value!r}.")


def _expected(spec: Input) -> str:
    return describe(spec) if spec.is_widget else f"a link to an output of type {spec.type}"


def _links(node: Node, schema: Schema) -> list[Link]:
    values = (node.inputs.get(name) for name, _ in live_inputs(schema.inputs, node.inputs))
    return [value for value in values if isinstance(value, Link)]


@dataclass(frozen=True)
class _Results:
    """Outputs of nodes for as long as another node is to read them: a large clip is large."""

    values: dict[str, tuple]
    readers: Counter

    def take(self, value: Any) -> Any:
        return self.values[value.node][value.slot] if isinstance(value, Link) else value

    def add(self, id: str, values: tuple) -> None:
        if self.readers[id]:
            self.values[id] = values

    def release(self, links: list[Link]) -> None:
        for link in links:
            self.readers[link.node] -= 1
            if not self.readers[link.node]:
                del self.values[link.node]


def _execute(order: list[Node], classes: Mapping[str, NodeClass], schemas: Mapping[str, Schema]) -> list[Path]:
    links = {node.id: _links(node, schemas[node.type]) for node in order}
    results = _Results({}, Counter(link.node for found in links.values() for link in found))
    written = []
    for node in order:
        written += _execute_node(node, classes[node.type], schemas[node.type], results)
        results.release(links[node.id])
    return written


def _execute_node(node: Node, node_class: NodeClass, schema: Schema, results: _Results) -> list[Path]:
    live = [name for name, _ in live_inputs(schema.inputs, node.inputs) if name in node.inputs]
    values = {name: results.take(node.inputs[name]) for name in live}
    with _at(node):
        output = node_class.execute(**keywords(schema.inputs, values))
    results.add(node.id, output.args)
    return output.files


@contextmanager
def _at(node: Node) -> Iterator[None]:
    """What goes wrong inside is said of this node."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{node}: {error}") from error


def _listed(names) -> str:
    return ", ".join(map(str, names))


def _shown(value: Any) -> str:
    """A value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
