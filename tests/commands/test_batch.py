"""`lumiere batch`: every row once, whatever stops it or kills its workers, and one line for a table that cannot be."""

import csv
import json
import os
import signal

import pytest

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.batch import local
from lumiere_video.lumiere_core.batch.crew import TRIES
from lumiere_video.lumiere_core.batch.folder import ERRORS, RESULTS
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.video.reading import open_video

SMALL = ["--frames", "2", "--steps", "1", "--no-ssr", "--device", "cpu", "--dtype", "float32"]


@pytest.fixture
def batch(tiny, tmp_path, capsys):
    """Run `lumiere batch` on rows: (exit code, lines on stderr). The folder is tmp_path/out."""

    def batch(rows, *arguments, small=SMALL, checkpoint=tiny.base):
        table = rows if isinstance(rows, str) else str(write_csv(tmp_path / "prompts.csv", rows))
        command = ["batch", table, "--output", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
        code = cli.main([*command, *small, *map(str, arguments)])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lumiere: ")]
        return code, errors

    return batch


def write_csv(file, rows):
    with file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return file


def lines(tmp_path, name=RESULTS):
    file = tmp_path / "out" / name
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def prompts(count):
    return [{"prompt": f"a star {number}", "output": f"{number}.gif", "seed": number} for number in range(count)]


def clips(tmp_path):
    return {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("[0-9]*")}


def test_each_row_is_a_clip_and_a_line(batch, tmp_path):
    rows = [
        {"prompt": 'a star, "red"\nand round', "output": "a.gif", "seed": 7},
        {"prompt": "", "frames": 3, "size": "10x6", "--base-window": 2, "base overlap".replace(" ", "_"): 1},
        {"prompt": "é", "output": "c.webp", "sampler": "euler", "loop": "true", "guidance": 2},
    ]
    assert batch(rows) == (0, [])
    first, second, third = lines(tmp_path)
    assert (first["prompt"], first["output"], first["seed"]) == ('a star, "red"\nand round', "a.gif", 7)
    assert [first[name] for name in ("frames", "width", "height", "fps")] == [2, 8, 8, 16.0]
    assert [second[name] for name in ("output", "frames", "width", "height")] == ["00001.mp4", 3, 10, 6]
    assert second["base"] == {"steps": 1, "window": 2, "overlap": 1}
    assert third["base"] == {"steps": 1, "guidance": 2.0, "sampler": "euler", "loop": True}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["00001.mp4", "a.gif", "c.webp", RESULTS]
    assert open_video(tmp_path / "out" / "00001.mp4").read(16.0).shape == (3, 6, 10, 3)


def test_a_row_makes_what_generate_makes(batch, tiny, tmp_path):
    assert batch([{"prompt": "a star", "output": "0.gif", "seed": 5}])[0] == 0
    command = ["generate", "a star", "--seed", "5", "--checkpoint", str(tiny.base), "--output", str(tmp_path / "a.gif")]
    assert cli.main([*command, *SMALL]) == 0
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "out" / "0.gif").read_bytes()


def test_jsonl_says_the_same(batch, tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "a\u2028b", "seed": 3, "loop": True}, {"prompt": "c", "size": None, "steps": 2}]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows), encoding="utf-8")
    assert batch(str(file), "--seed", 9) == (0, [])
    first, second = lines_of(tmp_path)
    assert (first["prompt"], first["seed"], first["base"]) == ("a\u2028b", 3, {"steps": 1, "loop": True})
    assert (second["seed"], second["base"]) == (9, {"steps": 2})


def lines_of(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out" / RESULTS).read_text(encoding="utf-8").split("\n") if line]


def test_what_is_there_is_not_made_again(batch, tmp_path, monkeypatch):
    """Not after a kill in the middle of a line either; a changed row, a lost file and a failed clip are."""
    rows = prompts(5)
    assert batch(rows)[0] == 0
    before = clips(tmp_path)
    with monkeypatch.context() as none:
        none.setattr(LumierePipeline, "load", lambda *_, **__: pytest.fail("nothing was to be made"))
        assert batch(rows) == (0, [])
    results = tmp_path / "out" / RESULTS
    text = results.read_text()
    results.write_text(text[: text.index("4.gif") + 3])
    (tmp_path / "out" / "1.gif").unlink()
    rows[2]["seed"] = 99
    assert batch(rows) == (0, [])
    after = clips(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"1.gif", "2.gif", "4.gif"}
    assert sorted(line["output"] for line in lines(tmp_path)) == [f"{number}.gif" for number in range(5)]
    assert {line["output"]: line["seed"] for line in lines(tmp_path)}["2.gif"] == 99


def test_a_clip_that_fails_is_recorded_beside(batch, tmp_path):
    rows = prompts(3)
    rows[1]["base-window"] = 4
    rows[1]["base-overlap"] = 9
    code, (error,) = batch(rows)
    assert code == 2 and f"1 of 3 clips were not made; {tmp_path / 'out' / ERRORS} says why" in error
    assert [line["output"] for line in lines(tmp_path)] == ["0.gif", "2.gif"]
    (line,) = lines(tmp_path, ERRORS)
    assert line["output"] == "1.gif" and "window must be larger than overlap" in line["error"]
    del rows[1]["base-overlap"]
    assert batch(rows) == (0, [])
    assert len(lines(tmp_path)) == 3 and lines(tmp_path, ERRORS) == []


def test_warnings_are_in_a_clip_s_line(batch, tmp_path):
    assert batch([{"prompt": "x" * 99, "output": "0.gif"}])[0] == 0
    assert "it was cut after" in lines(tmp_path)[0]["warnings"][0]


class KilledWorker(local.HereWorker):
    """Lost at its second job, as a process that is killed."""

    made = 0

    def outcome(self):
        self.made += self.job is not None
        if self.made == 2:
            raise local.WorkerLost("killed")
        return super().outcome()


def test_the_clip_of_a_lost_worker_is_made_by_another(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "HereWorker", KilledWorker)
    assert batch(prompts(4)) == (0, [])
    assert sorted(line["output"] for line in lines(tmp_path)) == [f"{number}.gif" for number in range(4)]


def test_a_clip_that_loses_every_worker_is_given_up(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(KilledWorker, "made", 1)
    monkeypatch.setattr(local, "HereWorker", KilledWorker)
    assert batch(prompts(1))[0] == 2
    assert lines(tmp_path, ERRORS)[0]["error"] == f"its worker was lost {TRIES} times: killed."


def test_several_processes_and_one_is_killed(batch, tmp_path, monkeypatch):
    """Each clip once, and the same as one process makes."""
    assert batch(prompts(6), "--output", tmp_path / "alone")[0] == 0
    outcome, killed = local.ProcessWorker.outcome, []

    def kill_the_first(worker):
        result = outcome(worker)
        if result is not None and not killed:
            killed.append(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join()
        return result

    monkeypatch.setattr(local.ProcessWorker, "outcome", kill_the_first)
    assert batch(prompts(6), "--workers", 2) == (0, [])
    assert killed and sorted(line["output"] for line in lines(tmp_path)) == [f"{number}.gif" for number in range(6)]
    for number in range(6):
        alone = (tmp_path / "alone" / f"{number}.gif").read_bytes()
        assert (tmp_path / "out" / f"{number}.gif").read_bytes() == alone


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "a"}], "a column prompt is needed; got text"),
        ([{"prompt": "a", "stpes": 3}], "unknown column 'stpes'; known are prompt, output, negative, seed, frames"),
        ([], "no rows"),
        ([{"prompt": "a", "seed": "-1"}], "row 2: argument --seed: a seed is a whole number"),
        ([{"prompt": "a", "steps": "many"}], "row 2: argument --steps: invalid int value"),
        ([{"prompt": "a", "loop": "perhaps"}], "row 2: loop must be true or false; got 'perhaps'"),
        ([{"prompt": "a", "output": "../a.mp4"}], "row 2: output must be a file's name that ends in .mp4, .gif"),
        ([{"prompt": "a", "output": "a.png"}], "row 2: output must be a file's name"),
        (
            [{"prompt": "a", "output": "a.gif"}, {"prompt": "b", "output": "A.gif"}],
            "row 3: output 'A.gif' is that of row 2",
        ),
    ],
)
def test_a_table_that_cannot_be(rows, words, batch, tmp_path):
    code, errors = batch(rows)
    assert code == 2 and len(errors) == 1 and words in errors[0], errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.csv", None, "no such file"),
        ("a.txt", "prompt\n", "a table is a .csv or a .jsonl file; got .txt"),
        ("a.csv", "prompt,seed\na,1,2\n", "row 2: it must have 2 values"),
        ("a.csv", 'prompt\n"a', "is not CSV"),
        ("a.csv", "prompt,prompt\na,b\n", "each column may be there once"),
        ("a.csv", b"prompt\n\xff\n", "not text in UTF-8"),
        ("a.jsonl", '{"prompt": "a"}\nb\n', "row 2: not JSON"),
        ("a.jsonl", '{"prompt": ["a"]}\n', "row 1: a table of plain values is needed"),
        ("a.jsonl", '{"seed": 1}\n', "row 1: a column prompt is needed; got seed"),
    ],
)
def test_a_file_that_is_no_table(name, text, words, batch, tmp_path):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    code, errors = batch(str(tmp_path / name))
    assert code == 2 and len(errors) == 1 and words in errors[0], errors


def test_networks_that_cannot_be_loaded_are_one_line(batch, tmp_path):
    code, errors = batch(prompts(3), checkpoint=tmp_path / "none.safetensors")
    assert code == 2 and len(errors) == 1 and "no such file" in errors[0]
    assert batch(prompts(3), "--workers", 0)[1] == ["lumiere: error: workers must be at least 1; got 0."]


def test_without_ray(batch, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    code, errors = batch(prompts(1), "--ray")
    assert code == 2 and len(errors) == 1 and "pip install ray" in errors[0]
    assert not (tmp_path / "out").exists()
