"""The blueprints of the node library: whole graphs, of nodes and inputs that there are."""

import json
from pathlib import Path

import pytest

from lumiere_video.nodes.extension import NODES

FILES = sorted((Path(__file__).parents[2] / "subgraphs").glob("*.json"))
OURS = {node.define_schema().node_id: node.define_schema() for node in NODES}
INSIDE, OUTSIDE = -10, -20  # the nodes that stand for the blueprint's own inputs and outputs


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def blueprint(request) -> tuple[dict, dict]:
    """The node that is placed, and the graph within it."""
    data = json.loads(request.param.read_text(encoding="utf-8"))
    (node,), (graph,) = data["nodes"], data["definitions"]["subgraphs"]
    assert node["type"] == graph["id"] and node["title"] == graph["name"] == request.param.stem
    return node, graph


def test_every_wire_ends_at_a_slot_of_its_type(blueprint):
    _, graph = blueprint
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link in graph["links"]:
        source = graph["inputs"] if link["origin_id"] == INSIDE else nodes[link["origin_id"]]["outputs"]
        target = graph["outputs"] if link["target_id"] == OUTSIDE else nodes[link["target_id"]]["inputs"]
        ends = source[link["origin_slot"]], target[link["target_slot"]]
        assert {end["type"] for end in ends} == {link["type"]}
        assert all(link["id"] in (end.get("links") or end.get("linkIds") or [end.get("link")]) for end in ends)


def test_its_inputs_are_those_of_nodes_that_there_are(blueprint):
    node, graph = blueprint
    assert [entry["name"] for entry in node["inputs"]] == [entry["name"] for entry in graph["inputs"]]
    assert all(entry["linkIds"] for entry in graph["inputs"])
    for inner in graph["nodes"]:
        if inner["type"].startswith("Lumiere"):
            known = {entry.id for entry in OURS[inner["type"]].inputs}
            assert {entry["name"].split(".")[0] for entry in inner["inputs"]} <= known


def test_it_makes_a_video_and_says_how(blueprint):
    _, graph = blueprint
    assert [output["type"] for output in graph["outputs"]] == ["VIDEO"]
    assert graph["description"].endswith(".") and graph["category"].startswith("Video generation and editing/")
    assert not [inner["type"] for inner in graph["nodes"] if inner["type"] in ("MarkdownNote", "SaveVideo")]
