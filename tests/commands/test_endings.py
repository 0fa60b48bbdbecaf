"""However a command ends or its readers leave: the job is done, or nothing is left of it and the exit code says so."""

import io
import os
import signal
import subprocess
import sys

import pytest

from lumiere_video.commands import info
from lumiere_video.commands import main as cli
from lumiere_video.commands.signals import heard_signals

# A command that writes a file, and a folder, for as long as nothing ends it.
WRITING = """
import pathlib, signal, sys, time

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may be deaf to it
from lumiere_video.commands import info, main
from lumiere_video.lumiere_core.runtime.outputs import atomic_path
from lumiere_video.lumiere_core.video import frame_folder

def run(options):
    here = pathlib.Path.cwd()
    with atomic_path(here / "clip.out") as file, frame_folder._atomic_folder(here / "frames") as folder:
        file.write_text("half")
        (folder / "half").write_text("half")
        print("writing", flush=True)
        time.sleep(60)

info.run = run
sys.exit(main.main(["info", "x"]))
"""


def started(program, folder, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_while_writing_leaves_nothing(tmp_path, name):
    number = signal.Signals[name]
    with started(WRITING, tmp_path) as process:
        assert process.stdout.readline() == "writing\n", process.stderr.read()
        process.send_signal(number)
        process.send_signal(number)  # as a shell does that repeats to its jobs what the terminal sent them
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, f"lumiere: ended by {name}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_nohup_stays_deaf():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with heard_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# A command with a bar and a warning, that writes a file and says so.
TALKING = """
import pathlib, sys, warnings
from lumiere_video.commands import info, main
from lumiere_video.lumiere_core.runtime.progress import StageBars

def run(options):
    sys.stdin.readline()
    with StageBars() as bars:
        for done in range(3):
            warnings.warn(f"warning {done}")
            bars("stage", done, 2)
    pathlib.Path("clip.out").write_text("whole")
    print("clip.out: whole")

info.run = run
sys.exit(main.main(["info", "x"]))
"""


ALONE = {"marks": pytest.mark.slow}  # what closing both goes through as well


@pytest.mark.parametrize(
    "gone", [pytest.param(("stdout",), **ALONE), pytest.param(("stderr",), **ALONE), ("stdout", "stderr")]
)
def test_readers_that_leave_do_not_end_the_job(tmp_path, gone):
    with started(TALKING, tmp_path, stdin=subprocess.PIPE) as process:
        for name in gone:
            getattr(process, name).close()
        process.stdin.write("go on\n")
        process.stdin.close()
        said = {name: getattr(process, name).read() for name in ("stdout", "stderr") if name not in gone}
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "clip.out").read_text() == "whole"
    assert said.get("stdout", "clip.out: whole\n") == "clip.out: whole\n"
    assert "Traceback" not in said.get("stderr", "") and "warning 2" in said.get("stderr", "warning 2")


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize("closed", [pytest.param(">&-", **ALONE), pytest.param("2>&-", **ALONE), ">&- 2>&-"])
def test_streams_that_are_closed_from_the_start_do_not_end_the_job(tmp_path, closed):
    command = f'exec "{sys.executable}" -c "$1" {closed}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["sh", "-c", command, "sh", TALKING], cwd=tmp_path, env=environment, input=b"\n", capture_output=True
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done
    assert (tmp_path / "clip.out").read_text() == "whole"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_said(monkeypatch, capsys):
    monkeypatch.setattr(info, "run", lambda _: print("clip.out"))
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["info", "x"]) == 2
        monkeypatch.undo()
    assert "standard output: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"caf\\xe9 \\u732b.mp4\n"), ("latin-1", b"caf\xe9 \\u732b.mp4\n")]
)
def test_a_path_that_the_terminal_has_no_letters_for_is_still_said(monkeypatch, encoding, shown):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(info, "run", lambda _: print("café 猫.mp4"))
    assert cli.main(["info", "x"]) == 0
    assert written.getvalue() == shown


def test_nothing_that_is_said_moves_the_cursor(monkeypatch, capsys):
    evil = "a\x1b[2Jb\x9b1mc\x07d\re"

    def run(_):
        print(evil, "f\tg")
        raise ValueError(evil)

    monkeypatch.setattr(info, "run", run)
    assert cli.main(["info", "x"]) == 2
    said = capsys.readouterr()
    assert said.out == "a\\x1b[2Jb\\x9b1mc\\x07d\\x0de f\tg\n"
    assert said.err == "lumiere: error: a\\x1b[2Jb\\x9b1mc\\x07d e\n"
