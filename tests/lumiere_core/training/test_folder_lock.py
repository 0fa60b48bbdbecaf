"""Two trainings in one folder: the second is refused, and nobody has to clean up after a killed one."""

import subprocess
import sys

import pytest

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.training.folder_lock import sole_use

pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")

RECIPE = """
name = "tiny"
[[stage]]
name = "words"
kind = "text"
learning_rate = 1e-3
network = {max_tokens = 96, d_model = 16, d_kv = 8, num_heads = 2, num_layers = 1, d_ff = 16, vocab_size = 384}
phase = [{steps = 1, batch = 1}]
"""
HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def train(tmp_path, capsys):
    """`lumiere train`: (exit code, the last line on stderr)."""
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def train(folder):
        code = cli.main(["train", str(tmp_path / "tiny.toml"), "--output", str(folder), "--device", "cpu"])
        return code, capsys.readouterr().err.strip().splitlines()[-1]

    return train


def test_a_second_training_in_a_folder_is_refused_until_the_first_is_killed(train, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder / ".lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        code, line = train(folder)
        assert code == 2 and "out: another process is training in this folder. Wait for its end, or choose" in line
        assert [file.name for file in folder.iterdir()] == [".lock"]
    finally:
        other.kill()
        other.communicate()
    assert train(folder)[0] == 0 and (folder / "words.safetensors").is_file()
    assert not (folder / ".lock").exists()


def test_a_folder_is_held_until_the_end_and_no_longer(tmp_path):
    for _ in range(2):
        with sole_use(tmp_path / "a"):
            with pytest.raises(ValueError, match="a: another process is training in this folder"):
                with sole_use(tmp_path / "a"):
                    pass
            with sole_use(tmp_path / "b"):
                pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with sole_use(folder):
        pass
    assert list(folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError), sole_use(tmp_path / "new" / "deep"):
        (tmp_path / "new" / "deep" / "state").write_text("something")
        raise ZeroDivisionError
    assert [file.name for file in (tmp_path / "new" / "deep").iterdir()] == ["state"]


def test_of_the_processes_of_one_training_the_first_holds_the_folder_for_all(tmp_path, monkeypatch):
    with sole_use(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with sole_use(tmp_path):
            pass


def test_a_file_in_the_folders_place_is_named(train, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, line = train(tmp_path / "out")
    assert code == 2 and "out" in line and (tmp_path / "out").read_text() == "mine"
