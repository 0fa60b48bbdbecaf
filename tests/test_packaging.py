"""The pack as a package: dependency lists, walls between its parts, what importing it costs, what a wheel holds."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CODE_FOLDERS = ("lumiere_core", "world", "evaluation", "nodes", "runner", "commands")
HOST = "nodes/host/"
# What each room may import: the method stands alone, and nobody imports the commands.
BELOW = {
    "lumiere_core": (),
    "world": ("lumiere_core",),
    "evaluation": ("lumiere_core", "world"),
    "nodes": ("lumiere_core",),
    "runner": ("lumiere_core", "nodes"),
    "commands": ("lumiere_core", "world", "evaluation", "nodes", "runner"),
}


def sources() -> list[Path]:
    files = [ROOT / "__init__.py"]
    return files + [file for folder in CODE_FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def module_name(file: Path) -> str:
    """The dotted name inside the package: lumiere_core.text, nodes, "" for the root."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, at_import_time_only: bool = False) -> set[str]:
    """What a file imports: relative imports as names inside the package, others with a leading slash."""
    package = file.relative_to(ROOT).parent.parts
    found = set()
    for node in _nodes(ast.parse(file.read_text(encoding="utf-8")), at_import_time_only):
        if isinstance(node, ast.Import):
            found |= {"/" + alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            parent = package[: len(package) - node.level + 1]
            target = ".".join([*parent, *(node.module or "").split(".")]).strip(".")
            found |= {target} | {f"{target}.{alias.name}".strip(".") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("/" + node.module)
    return found


def _nodes(tree: ast.AST, at_import_time_only: bool):
    """All nodes, or those that run when the module is imported: not in functions, not under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy |= isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not (lazy and at_import_time_only):
            yield node
            yield from _nodes(node, at_import_time_only)


def test_requirements_are_the_dependencies_without_torch_and_numpy():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    dependencies = PROJECT["project"]["dependencies"]
    assert listed == [name for name in dependencies if not name.startswith(("torch", "numpy"))]


def test_the_readme_gives_a_reason_for_every_dependency():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    names = {re.match(r"[\w-]+", name).group() for group in groups for name in group}
    assert [name for name in sorted(names) if f"| {name} |" not in readme] == []


def test_every_package_on_disk_is_listed():
    on_disk = {"lumiere_video"}
    for folder in CODE_FOLDERS:
        for file in (ROOT / folder).rglob("__init__.py"):
            on_disk.add(f"lumiere_video.{module_name(file)}")
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(on_disk)


def test_every_folder_of_modules_is_a_package():
    for folder in CODE_FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_walls(file):
    """Each room knows only those below it; only nodes/host touches ComfyUI's runtime."""
    path, found = file.relative_to(ROOT).as_posix(), imports(file)
    room = path.split("/")[0]
    if room in CODE_FOLDERS:
        assert {name.split(".")[0] for name in found} & set(CODE_FOLDERS) <= {room, *BELOW[room]}
    if not path.startswith(HOST):
        runtime = {name for name in found if name.startswith(("/comfy", "/folder_paths"))}
        assert {name for name in runtime if path.startswith("lumiere_core/") or not is_schema(name)} == set()
    absolute = {name for name in found if name.startswith(("/lumiere_video", "/lumiere_core", "/nodes"))}
    assert not absolute, "inside ComfyUI the folder has another name: import relatively"


def is_schema(name: str) -> bool:
    """comfy_api is the node schema, which nodes are written in; comfy and folder_paths are the runtime."""
    return name.startswith("/comfy_api")


def test_there_are_no_import_cycles():
    files = {module_name(file): file for file in sources()}
    graph = {
        name: {target for target in imports(file, at_import_time_only=True) if target in files and target != name}
        for name, file in files.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]):
        assert name not in trail, f"import cycle: {' -> '.join([*trail[trail.index(name) :], name])}"
        if name not in finished:
            for target in sorted(graph[name]):
                # A module that imports a sibling from its own package's __init__ is caught by Python itself.
                visit(target, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


MEASURE = """
import json, sys
from time import process_time
import torch
before, start = set(sys.modules), process_time()
import lumiere_video, lumiere_video.lumiere_core
if sys.argv[1] == "pipeline":
    from lumiere_video.lumiere_core import LumierePipeline
print(json.dumps([process_time() - start, sorted(set(sys.modules) - before)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["package", "pipeline"])
def test_importing_is_cheap(what):
    """At most 0.3 s of CPU time beyond torch (best of three), and none of the heavy packages."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = []
    for _ in range(3):
        command = [sys.executable, "-c", MEASURE, what]
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        runs.append(json.loads(result.stdout))
        if runs[-1][0] <= 0.3:
            break
    seconds, modules = min(runs)
    assert seconds <= 0.3
    assert not {"transformers", "av", "cv2", "diffusers", "accelerate"} & set(modules)


def test_loading_the_bundled_networks_imports_nothing_heavy():
    """Not transformers, and not torch's compiler, which drawing random numbers on the meta device imports."""
    code = (
        "import sys; from lumiere_video.lumiere_core import LumierePipeline;"
        "LumierePipeline.load(device='cpu').base.encoder.encode(['a red circle', '']);"
        "print(*{'transformers', 'torch._dynamo', 'sympy', 'av', 'cv2'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_lazy_names_are_there():
    import lumiere_video.lumiere_core as core

    assert all(getattr(core, name) is not None for name in core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'LumierePipelin'"):
        _ = core.LumierePipelin


FLOW = "lumiere_core.video.flow"  # the one place of diagnostics that needs OpenCV, when a picture is drawn


def reached(start: str, files: dict[str, Path]) -> set[str]:
    """The package's modules that a module leads to, by imports at the top and in functions."""
    found, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in files and name not in found:
            found.add(name)
            waiting += [*imports(files[name]), name.rpartition(".")[0]]
    return found


@pytest.mark.parametrize("start", ["commands.generate", "runner.run", "nodes.extension"])
def test_generating_does_not_need_opencv(start):
    """By command, workflow or node; neither when it is imported nor later. Pictures of the flow alone do."""
    files = {module_name(file): file for file in sources()}
    found = reached(start, files)
    assert {"lumiere_core.sampling", "lumiere_core.diffusion.samplers", "lumiere_core.video.files"} <= found
    users = {name for name in found if any(target.split(".")[0] == "/cv2" for target in imports(files[name]))}
    assert users == {FLOW} and "/cv2" not in imports(files[FLOW], at_import_time_only=True)
    assert {name for name in found if FLOW in imports(files[name])} == {"lumiere_core.video.diagnostics"}


def test_the_readme_has_one_line_to_run_a_graph_and_one_to_test():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if "pip install" in line and "&&" in line]
    assert [("pytest" in line, "lumiere run workflows/text_to_video.json" in line) for line in installs] == [
        (False, True),
        (True, False),
    ]


def test_version_and_changelog_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## Unreleased" in changelog or f"## {PROJECT['project']['version']}" in changelog
