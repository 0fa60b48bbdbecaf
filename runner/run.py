"""Run a workflow file: check all of it, then execute what its output nodes need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import torch

from ..lumiere_core.runtime.devices import resolve_device
from ..lumiere_core.runtime.modules import require_modules
from ..lumiere_core.runtime.outputs import require_writable
from ..lumiere_core.runtime.records import is_text, shown
from ..nodes.extension import NODES
from ..nodes.host.standalone.io import Input, keywords
from ..nodes.host.standalone.models import MEDIA, Settings, input_file, using
from .core_nodes import CORE_NODES, NEEDS, output_path
from .workflow import Graph, Link, Node, canvas_widgets, default_value, read_workflow

CLASSES = (*CORE_NODES, *NODES)
# Widgets that have no list of choices: in words, as Python's types, and how text becomes one.
KINDS = {
    "INT": ("a whole number", (int,), int),
    "FLOAT": ("a number", (int, float), float),
    "BOOLEAN": ("true or false", (bool,), {"true": True, "false": False}.__getitem__),
    "STRING": ("text", (str,), str),
}


def run_workflow(path: Path, assignments: Sequence[str], settings: Settings) -> list[Path]:
    """Run an API or canvas file, after assignments such as "3.seed=5"; the written files, in order.

    Raises ValueError, naming node, class and input, for what cannot be run; nothing has been computed or written then,
    unless a node itself failed.
    """
    _check_settings(settings)
    require_writable(settings.output / "video")
    with using(settings):
        graph = _read(path, assignments)
        order = _check(graph)
    with using(replace(settings, metadata=graph.metadata())), torch.inference_mode():
        return _execute(order)


def list_settable(path: Path, assignments: Sequence[str], settings: Settings) -> str:
    """One line per node, and one per input that can be set: its value, and what it may be."""
    _check_settings(settings)
    lines = []
    with using(settings):
        for node in _read(path, assignments).nodes.values():
            lines.append(f"{node.id} {node.schema.node_id}")
            for name, spec in _settable(node).items():
                value = node.inputs.get(name, default_value(spec))
                lines.append(f"  {node.id}.{name}={_shown(value)}  ({describe(spec)})")
    return "\n".join(lines)


def describe(spec: Input) -> str:
    """What an input's value may be, in words."""
    if not spec.is_widget:
        return f"a link to an output of type {spec.type}"
    if spec.type not in KINDS:
        what = "a file in the input folder, such as" if spec.upload else "one of"
        return f"{what} {', '.join(spec.choices) or '(there is none)'}"
    words, _, _ = KINDS[spec.type]
    bounds = [f"from {spec.min}"] * (spec.min is not None) + [f"to {spec.max}"] * (spec.max is not None)
    return " ".join([words, *bounds])


def _check_settings(settings: Settings) -> None:
    resolve_device(settings.device)
    for name, folder in (("input", settings.input), ("models", settings.models)):
        if folder not in (None, MEDIA) and not folder.is_dir():
            raise ValueError(f"run: the {name} folder {folder} is not there.")


def _read(path: Path, assignments: Sequence[str]) -> Graph:
    graph = read_workflow(path, CLASSES)
    for assignment in assignments:
        _assign(graph, assignment)
    return graph


def _assign(graph: Graph, assignment: str) -> None:
    """Set "NODE.INPUT=VALUE", in the canvas's form of the graph too, so that the files written say what was run."""
    target, equals, text = assignment.partition("=")
    id, dot, name = target.partition(".")
    if not (equals and dot):
        raise ValueError(f"--set takes NODE.INPUT=VALUE, such as 3.seed=5; got {assignment!r}.")
    if id not in graph.nodes:
        raise ValueError(f"--set {assignment}: there is no node {id}; nodes are {_listed(graph.nodes.values())}.")
    node = graph.nodes[id]
    settable, value = _settable(node), node.inputs.get(name)
    if name not in settable:
        problem = f"is linked to node {value.node}" if isinstance(value, Link) else "is nothing that can be set"
        raise ValueError(f"--set {assignment}: {node}: {name} {problem}; {_listed(settable) or 'nothing'} can be.")
    node.inputs[name] = _parse(settable[name], text)
    with _at(node):
        _check_value(name, settable[name], node.inputs[name])
    for entry in graph.canvas["nodes"] if graph.canvas else ():
        if str(entry["id"]) == id:
            entry["widgets_values"] = canvas_widgets(node)
            entry.pop("widgets_values_named", None)  # newer canvases save, and may prefer, these too


def _settable(node: Node) -> dict[str, Input]:
    links = [name for name, value in node.inputs.items() if isinstance(value, Link)]
    return {name: spec for name, spec in node.live().items() if spec.is_widget and name not in links}


def _parse(spec: Input, text: str) -> Any:
    """Text as the input's type has it; what is no such value stays text, for the check to name."""
    _, _, parse = KINDS.get(spec.type, KINDS["STRING"])
    try:
        return parse(text)
    except (KeyError, ValueError):
        return text


def _check(graph: Graph) -> list[Node]:
    """The nodes that are to run, in order. Raises ValueError for the first thing that is wrong with them."""
    waiting = [node for node in graph.nodes.values() if node.schema.is_output_node]
    if not waiting:
        raise ValueError("the workflow has no node that writes a file. Add SaveVideo, for one.")
    sources: dict[str, list[str]] = {}
    while waiting:
        node = waiting.pop(0)
        if node.id not in sources:
            with _at(node):
                _check_node(node, graph.nodes)
            require_modules(*NEEDS.get(node.schema.node_id, ()))
            sources[node.id] = [link.node for link in node.links()]
            waiting += [graph.nodes[id] for id in sources[node.id]]
    try:
        return [graph.nodes[id] for id in TopologicalSorter(sources).static_order()]
    except CycleError as error:
        circle = " -> ".join(str(graph.nodes[id]) for id in error.args[1])
        raise ValueError(f"the workflow has a cycle: {circle}. Remove one of its links.") from error


def _check_node(node: Node, nodes: Mapping[str, Node]) -> None:
    for name, spec in node.live().items():
        value = node.inputs.get(name)
        if isinstance(value, Link):
            _check_link(name, spec, value, nodes)
        elif name in node.inputs:
            _check_value(name, spec, value)
        elif not spec.optional:
            raise ValueError(f"{name} is missing; give {describe(spec)}.")


def _check_link(name: str, spec: Input, link: Link, nodes: Mapping[str, Node]) -> None:
    if link.node not in nodes:
        raise ValueError(f"{name} is linked to node {link.node}, which is not in the file.")
    source = nodes[link.node]
    types = [output.type for output in source.schema.outputs]
    if not 0 <= link.slot < len(types):
        raise ValueError(
            f"{name} is linked to output {link.slot} of {source}, whose outputs are 0 to {len(types) - 1}."
        )
    if types[link.slot] != spec.type:
        raise ValueError(f"{name} must be {spec.type}; got {types[link.slot]} from {source}.")


def _check_value(name: str, spec: Input, value: Any) -> None:
    if spec.upload and isinstance(value, str):
        input_file(value, name)
    elif not _fits(spec, value):
        raise ValueError(f"{name} must be {describe(spec)}; got {shown(value)}.")
    elif spec.type == "STRING" and not is_text(value):
        raise ValueError(f"{name} must be text that UTF-8 can hold; got {shown(value)}.")
    elif name == "filename_prefix":
        output_path(value)


def _fits(spec: Input, value: Any) -> bool:
    if spec.type not in KINDS:
        return isinstance(value, str) and value in spec.choices
    _, types, _ = KINDS[spec.type]
    return type(value) in types and (spec.min is None or value >= spec.min) and (spec.max is None or value <= spec.max)


def _execute(order: Sequence[Node]) -> list[Path]:
    """Results stay for as long as a node is to read them: a large clip is large."""
    needed = _needed_by_checks(order)
    order = sorted(order, key=lambda node: node.id not in needed)  # sources stay before their readers
    last_reader = {link.node: node.id for node in order for link in node.links()}
    results, written = {}, []
    for number, node in enumerate(order):
        if number == len(needed):
            _check_lazy(order, results)
        results[node.id], files = _execute_node(node, results)
        written += files
        results = {id: values for id, values in results.items() if last_reader.get(id, node.id) != node.id}
    return written


def _lazy(node: Node) -> list[str]:
    """Names of the inputs whose sources run after the node's check."""
    return [name for name, spec in node.live().items() if spec.lazy and isinstance(node.inputs.get(name), Link)]


def _needed_by_checks(order: Sequence[Node]) -> set[str]:
    """Of nodes with lazy inputs, what their other inputs come from, and what that comes from in turn."""
    needed: set[str] = set()
    for node in reversed(order):
        lazy = _lazy(node)
        if node.id in needed:
            needed |= {link.node for link in node.links()}
        elif lazy:
            needed |= {
                value.node for name, value in node.given().items() if isinstance(value, Link) and name not in lazy
            }
    return needed


def _check_lazy(order: Sequence[Node], results: Mapping[str, tuple]) -> None:
    """What a node finds wrong by itself is found before what its lazy inputs wait for is computed."""
    for node in order:
        lazy = _lazy(node)
        if lazy and node.id not in results:
            values = {name: None if name in lazy else _value(value, results) for name, value in node.given().items()}
            with _at(node):
                node.node_class.check_lazy_status(**keywords(node.schema.inputs, values))


def _value(value: Any, results: Mapping[str, tuple]) -> Any:
    return results[value.node][value.slot] if isinstance(value, Link) else value


def _execute_node(node: Node, results: Mapping[str, tuple]) -> tuple[tuple, Iterable[Path]]:
    values = {name: _value(value, results) for name, value in node.given().items()}
    with _at(node):
        output = node.node_class.execute(**keywords(node.schema.inputs, values))
    return output.args, output.files


@contextmanager
def _at(node: Node) -> Iterator[None]:
    """What goes wrong inside is said of this node."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{node}: {error}") from error


def _listed(names: Iterable) -> str:
    return ", ".join(map(str, names))


def _shown(value: Any) -> str:
    """A value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
