"""The documents say what the code has: options, examples, and files that are where they are said to be."""

import argparse
import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from lumiere_video.commands import batch, evaluate, generate
from lumiere_video.commands.main import COMMANDS
from lumiere_video.evaluation.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
CODE = ("commands", "evaluation", "lumiere_core", "nodes", "runner", "world")
FOLDERS = (*CODE, "benchmarks", "docs", "locales", "subgraphs", "tests", "web", "workflows")
OLD_NAMES = "## What moved"  # the part of architecture.md that speaks of files that are no more

# Of the commands that take generate's options, those that they describe themselves.
OWN = {evaluate: {"--seed", "--output"}, batch: {"--output"}}

every_document = pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)


def section(command) -> str:
    """What command_line.md says of a command."""
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.partition(f"\n## {name(command)}\n")[2], flags=re.MULTILINE)[0]


def name(command) -> str:
    return command.__name__.rpartition(".")[2].replace("_", "-")


def helps(command) -> dict[str, str]:
    """What each option says of itself."""
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    return {flag: action.help for action in parser._actions for flag in action.option_strings}


def written_options(command) -> set[str]:
    return set(re.findall(r"`(--?[\w-]+)", section(command)))


@pytest.mark.parametrize("command", COMMANDS, ids=name)
def test_the_reference_lists_the_options_of_a_command(command):
    shared = helps(generate).keys() - OWN[command] if command in OWN else set()
    assert written_options(command) == helps(command).keys() - shared


def test_tasks_are_named_where_they_are_asked_for():
    (row,) = (line for line in section(evaluate).splitlines() if "`--task " in line)
    for text in (row, helps(evaluate)["--task"]):
        assert {"text", *TASKS} <= set(re.findall(r"\w+", text))


@every_document
def test_links_lead_somewhere(file):
    text = file.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in targets:
        path, _, anchor = target.partition("#")
        assert (file.parent / path).exists() if path else anchor in headings, target


@every_document
def test_files_are_where_they_are_said_to_be(file):
    """`lumiere_core/style.py`, `docs/`, `world/cast.py`."""
    text = file.read_text(encoding="utf-8").partition(OLD_NAMES)[0]
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


@every_document
def test_examples_import_what_there_is(file):
    for code in re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
