"""Files are whole or not there, and a name that somebody else takes meanwhile is left to them."""

import os
import threading
from itertools import count

import pytest

from lumiere_video.lumiere_core.runtime.outputs import atomic_path, write_new


def no_hard_links(*_):
    raise PermissionError("no hard links on this drive")


@pytest.mark.parametrize("hard_links", [True, False])
def test_files_written_at_once_have_a_name_each(tmp_path, monkeypatch, hard_links):
    if not hard_links:
        monkeypatch.setattr(os, "link", no_hard_links)
    together, written = threading.Barrier(8), []

    def write_some(worker):
        together.wait(timeout=30)
        for number in range(20):
            names = (tmp_path / f"clip_{n}.bin" for n in count(1))
            written.append((write_new(names, lambda path, n=number: path.write_text(f"{worker} {n}")), worker, number))

    workers = [threading.Thread(target=write_some, args=[worker]) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {path.name for path, *_ in written} == {file.name for file in tmp_path.iterdir()}
    assert len(written) == 160 and all(path.read_text() == f"{worker} {n}" for path, worker, n in written)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_error_leaves_nothing(tmp_path, error):
    def breaks(path):
        path.write_bytes(b"half")
        raise error

    with pytest.raises(error):
        write_new(iter([tmp_path / "a.bin"]), breaks)
    with pytest.raises(error), atomic_path(tmp_path / "b.bin") as temporary:
        breaks(temporary)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="file modes")
def test_others_may_read_what_a_careful_writer_makes(tmp_path):
    with atomic_path(tmp_path / "a.bin") as temporary:
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    (tmp_path / "b.bin").touch()
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode
