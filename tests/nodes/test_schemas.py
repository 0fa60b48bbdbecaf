"""Released schemas are frozen: saved workflows keep widget values by position, and combo values by their text.

`schemas.json` is what was released. Inputs may be added at a node's end, optional, with the old behaviour as default;
nothing else may change. After a deliberate change: `python tests/nodes/test_schemas.py` writes the file anew.
"""

import json
from pathlib import Path

from lumiere_video.nodes.extension import NODES

RELEASED = Path(__file__).with_name("schemas.json")
FIELDS = ("default", "min", "max", "step", "round", "multiline", "control_after_generate")


def current() -> dict:
    return {schema.node_id: described(schema) for schema in (node.define_schema() for node in NODES)}


def described(schema) -> dict:
    return {
        "inputs": [described_input(spec) for spec in schema.inputs],
        "outputs": [[spec.type, spec.display_name] for spec in schema.outputs],
    }


def described_input(spec) -> dict:
    fields = {name: getattr(spec, name) for name in FIELDS if getattr(spec, name) not in (None, False)}
    if spec.id not in ("checkpoint", "style"):  # lists of files
        fields |= {"options": [described_option(option) for option in spec.options]} if spec.options else {}
    return {"id": spec.id, "type": spec.type, "optional": spec.optional, **fields}


def described_option(option) -> str | list:
    """A choice, or one of a DynamicCombo with the inputs that it brings along."""
    return option if isinstance(option, str) else [option.key, [described_input(spec) for spec in option.inputs]]


def test_schemas_are_those_that_were_released():
    released = json.loads(RELEASED.read_text(encoding="utf-8"))
    assert current() == released, "a released schema changed; see this file's first lines"


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
