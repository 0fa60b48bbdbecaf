"""How an error ends the `lumiere` command: its line on stderr, and its exit code."""

import json
import re
import sys
from pathlib import Path

import pytest

from lumiere_video.commands import info
from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.pipeline import LumierePipeline

if sys.version_info >= (3, 11):
    import tomllib as toml
else:
    import tomli as toml


@pytest.fixture
def end(monkeypatch, capsys):
    """Run `lumiere info` with an error in it: (exit code, lines on stderr)."""

    def end(error: BaseException, *before: str):
        def run(_):
            raise error

        monkeypatch.setattr(info, "run", run)
        return cli.main([*before, "info", "a.safetensors"]), capsys.readouterr().err.splitlines()

    return end


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_line_has_an_end(end):
    code, (line,) = end(ValueError(f"begun {'a' * 10**6} ended"))
    assert code == 2 and len(line) < 1300 and line.startswith("lumiere: error: begun a") and line.endswith("a ended")


@pytest.mark.parametrize("before", [(), ("--debug",)])
@pytest.mark.parametrize("error", [ValueError("a: no such\n  file."), OSError("a: no such file.")])
def test_bad_input_is_one_line_with_and_without_debug(end, error, before):
    assert end(error, *before) == (2, ["lumiere: error: a: no such file."])


def test_an_internal_error_is_one_line_that_names_debug(end):
    code, (line,) = end(RuntimeError("shapes differ"))
    assert code == 1
    assert line.startswith("lumiere: internal error: RuntimeError: shapes differ; run with --debug to see where")


def test_debug_says_where_an_internal_error_arose(end):
    code, lines = end(RuntimeError("shapes differ"), "--debug")
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):" and any("raise error" in line for line in lines)
    assert lines[-1] == "lumiere: internal error: RuntimeError: shapes differ"


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("accelerate", "pip install accelerate"),
        ("tomli", "pip install tomli"),
        ("psutil", "pip install psutil"),
        ("av", "pip install av"),
        ("av.video", "pip install av"),
        ("cv2", "pip install opencv-python"),
        ("PIL", "pip install pillow"),
        ("torch", "pip install torch"),
    ],
)
def test_a_missing_module_names_what_to_install(end, module, remedy):
    assert end(missing(module)) == (
        2,
        [f"lumiere: error: No module named {module!r}; this command needs it: {remedy}"],
    )


def test_every_dependency_has_a_remedy_that_names_it():
    """By the name under which it can be installed; this pack is in no registry, so no extra of it is named."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    project = toml.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in ("train", "ray") for name in project["optional-dependencies"][extra]),
    ]
    assert set(cli.PACKAGES.values()) == {re.match(r"[\w-]+", name).group() for name in wanted}


@pytest.mark.parametrize("output", ["clip.mp4", "clip.gif", "clip.webp", "clip/"])
def test_what_writing_needs_is_missed_before_anything_is_loaded(output, tmp_path, monkeypatch, capsys):
    module = "av" if output.endswith("mp4") else "PIL"
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(LumierePipeline, "load", None)
    assert cli.main(["generate", "a star", "--output", f"{tmp_path}/{output}"]) == 2
    assert f"this command needs it: pip install {cli.PACKAGES[module]}" in capsys.readouterr().err


def test_what_diagnostics_need_is_missed_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(LumierePipeline, "load", None)
    assert cli.main(["generate", "a star", "--output", f"{tmp_path}/a.gif", "--diagnostics"]) == 2
    assert "pip install opencv-python" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("evaluate --task bird", "PIL"),
        ("train none", "accelerate"),
        ("train-style none --output none.safetensors", "accelerate"),
    ],
)
def test_what_a_command_needs_is_missed_before_its_input_is_read(command, module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(command.split()) == 2
    assert f"this command needs it: pip install {cli.PACKAGES[module]}" in capsys.readouterr().err


NODES_THAT_NEED = {
    "av": {"2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}}},
    "cv2": {"2": {"class_type": "LumiereVideoDiagnostics", "inputs": {"images": ["1", 0]}}},
}
ENDS = {
    "av": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "a", "format": "auto"}},
    "cv2": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}},
}


@pytest.mark.parametrize("module", NODES_THAT_NEED)
def test_what_a_graphs_last_node_needs_is_missed_before_its_first_runs(module, tmp_path, monkeypatch, capsys):
    first = {"class_type": "LoadImage", "inputs": {"image": "two_shapes_128.png"}}
    graph = {"1": first, **NODES_THAT_NEED[module], "3": ENDS[module]}
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("lumiere_video.runner.run._execute", None)
    assert cli.main(["run", f"{tmp_path}/graph.json", "--output", str(tmp_path), "--device", "cpu"]) == 2
    assert f"pip install {cli.PACKAGES[module]}" in capsys.readouterr().err


def test_a_missing_module_that_nobody_can_install_is_an_internal_error(end):
    code, (line,) = end(missing("lumiere_video.gone"))
    assert code == 1 and "internal error: ModuleNotFoundError" in line


def test_ctrl_c_is_130(end):
    assert end(KeyboardInterrupt(), "--debug") == (130, ["lumiere: interrupted"])
