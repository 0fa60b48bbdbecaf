"""How an error ends the `lumiere` command: its line on stderr, and its exit code."""

import pytest

from lumiere_video.commands import info
from lumiere_video.commands import main as cli


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
        ("accelerate", "pip install 'lumiere-video[train]'"),
        ("tomli", "pip install 'lumiere-video[train]'"),
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


def test_a_missing_module_that_nobody_can_install_is_an_internal_error(end):
    code, (line,) = end(missing("lumiere_video.gone"))
    assert code == 1 and "internal error: ModuleNotFoundError" in line


def test_ctrl_c_is_130(end):
    assert end(KeyboardInterrupt(), "--debug") == (130, ["lumiere: interrupted"])
