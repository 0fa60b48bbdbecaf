"""One's own videos: lists, what cannot be used, excerpts, a whole training from them, and its resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.checkpoints.format import load_info, load_stunet
from lumiere_video.lumiere_core.style import load_style, stylize
from lumiere_video.lumiere_core.training import train
from lumiere_video.lumiere_core.training.batches import Share, stage_batches
from lumiere_video.lumiere_core.training.footage import footage_sources
from lumiere_video.lumiere_core.training.footage_list import list_videos
from lumiere_video.lumiere_core.training.recipe import Phase, Recipe, Stage
from lumiere_video.lumiere_core.training.run import StageRun
from lumiere_video.lumiere_core.training.source import Request
from lumiere_video.lumiere_core.video.files import write_video

GOOD = 12
KINDS = ((48, 64, 8.0), (64, 48, 12.5), (48, 48, 24.0), (30, 53, 16.0), (54, 30, 10.0))  # height, width, fps


def film(file, height, width, fps, seconds=3.0, shade=0.5):
    frames = np.full((round(seconds * fps), height, width, 3), shade, np.float32)
    frames[:, :, : width // 2, 0] = np.linspace(0, 1, len(frames), dtype=np.float32)[:, None, None]
    write_video(file, frames, fps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """12 good videos of several sizes, rates and kinds, and 4 bad ones."""
    folder = tmp_path_factory.mktemp("footage")
    for i in range(GOOD):
        name = f"{i:02}.gif" if i % 6 == 5 else f"{i:02}.mp4"
        film(folder / name, *KINDS[i % len(KINDS)], shade=(i + 1) / 13)
        (folder / f"{i:02}.txt").write_text(f"clip number {i}\n")
    whole = (folder / "00.mp4").read_bytes()
    for name, raw in (("cut", whole[: len(whole) // 2]), ("text", b"no video at all")):
        (folder / f"{name}.mp4").write_bytes(raw)
        (folder / f"{name}.txt").write_text(name)
    film(folder / "untold.mp4", 48, 64, 8)
    film(folder / "short.mp4", 48, 64, 8, seconds=0.25)
    (folder / "short.txt").write_text("short")
    return folder


BAD = {"cut.mp4": "not a video", "text.mp4": "not a video", "untold.mp4": "no caption", "short.mp4": "too short"}


def stage(tiny, steps=4, batch=3, frames=6, vary=0.0, **fields) -> Stage:
    phase = Phase(steps, batch, frames, vary=vary)
    options = {"warmup": 0, "size": 16, "info": {"prediction": "v"}, **fields}
    return Stage("moves", "base", (phase,), {}, 1e-3, start=str(tiny.base), **options)


def recipe(tiny, **fields) -> Recipe:
    return Recipe("mine", (stage(tiny, **fields),), seed=5, text_encoder=str(tiny.text))


def skipped(run) -> dict:
    lines = [json.loads(line) for line in (run / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["file"] for line in lines})
    return {line["file"]: line["why"] for line in lines}


def source_of(folder, stage, run=None):
    return footage_sources(folder, run)(stage)


def test_all_good_videos_are_used_and_all_bad_ones_listed(folder, tiny, tmp_path):
    source = source_of(folder, stage(tiny), tmp_path)
    assert sorted(source.all_captions()) == sorted(f"clip number {i}" for i in range(GOOD))
    found = skipped(tmp_path)
    assert found.keys() == BAD.keys() and all(BAD[name] in why for name, why in found.items())
    rng = np.random.default_rng(0)
    seen = {caption for _ in range(60) for caption in source.clips(Request(3, 1, 8, 8), rng).captions}
    assert len(seen) == GOOD


def test_a_clip_is_an_excerpt_in_its_own_time_whatever_its_rate(folder, tiny):
    """Red grows by a third a second in all of them."""
    source = source_of(folder, stage(tiny))
    assert source.fps == 16
    clips = source.clips(Request(12, 24, 16, 16), np.random.default_rng(1))
    assert clips.video.shape == (12, 3, 24, 16, 16) and clips.video.abs().max() <= 1
    red = clips.video[:, 0, :, :, 2:6].mean((-1, -2)) / 2 + 0.5  # the mean: a .gif has few colours
    growth = (red[:, -1] - red[:, 0]) / (23 / 16)
    torch.testing.assert_close(growth, torch.full((12,), 1 / 3), atol=0.07, rtol=0)
    assert red[:, 0].std() > 0.1  # they begin anywhere


def test_a_stage_may_have_a_rate_of_its_own(folder, tiny):
    clips = source_of(folder, stage(tiny, fps=4)).clips(Request(6, 8, 8, 8), np.random.default_rng(1))
    red = clips.video[:, 0, :, 4, 2] / 2 + 0.5
    torch.testing.assert_close((red[:, -1] - red[:, 0]) / (7 / 4), torch.full((6,), 1 / 3), atol=0.07, rtol=0)


def test_varied_steps_show_videos_of_their_shape_and_only_such_lengths_as_there_are(folder, tiny):
    varied = stage(tiny, steps=30, batch=2, vary=1.0)
    source = source_of(folder, varied)
    dataset = stage_batches(varied, lambda texts: {"texts": texts}, 0, source)
    shapes, of = set(), {video.listed.caption: video.shape for video in source.videos}
    for step in range(30):
        batch = dataset[step]
        frames, height, width = batch["video"].shape[2:]
        assert frames in (8, 16, 24, 40)  # of 3 seconds
        shapes.add((height, width))
        heard = [of[text] for text in batch["texts"] if text and height != width]
        assert all((height > width) == (shape[0] > shape[1]) for shape in heard)
    assert len(shapes) >= 3


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_shares_of_several_processes_are_the_batch_of_one(folder, tiny, ranks):
    source, dataset = source_of(folder, stage(tiny)), {}
    for share in [Share(), *(Share(rank, ranks) for rank in range(ranks))]:
        tokens = lambda texts: (torch.tensor([[len(text)] for text in texts]),) * 2  # noqa: E731
        masked = stage(tiny, tasks={"box": 1.0})
        dataset[share] = stage_batches(masked, tokens, 0, source, share)[2]
    whole = dataset.pop(Share())
    parts = [part for part in dataset.values() if part["weight"] > 0]
    for name in whole:
        assert torch.equal(torch.cat([part[name] for part in parts]), whole[name]), name
    weights = sum(part["weight"] for part in dataset.values()) / ranks
    assert weights == pytest.approx(1)
    means = sum(part["video"].mean() * part["weight"] for part in dataset.values()) / ranks
    torch.testing.assert_close(means, whole["video"].mean())


def run(recipe, videos, folder, **options):
    options = {"device": "cpu", "precision": "no", **options}
    return train(recipe, folder, sources=footage_sources(videos, folder), **options)


class Killed(BaseException):
    """Stands for a signal."""


def test_a_killed_training_goes_on_as_if_nothing_had_been(folder, tiny, tmp_path, monkeypatch):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    mine = recipe(tiny, steps=5, batch=2)
    (whole,) = run(mine, folder, tmp_path / "whole")
    original = StageRun.train_step

    def until(run, batch):
        if run.step == 3:
            raise Killed
        return original(run, batch)

    monkeypatch.setattr(StageRun, "train_step", until)
    with pytest.raises(Killed):
        run(mine, folder, tmp_path / "cut", save_every_seconds=0)
    monkeypatch.undo()
    (resumed,) = run(mine, folder, tmp_path / "cut")
    whole, resumed = load_file(whole), load_file(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = load_file(tiny.base)
    assert all(torch.equal(start[name], whole[name]) for name in start if not name.startswith("temporal."))
    assert any(not torch.equal(start[name], whole[name]) for name in start if name.startswith("temporal."))


def test_the_text_encoder_is_loaded_for_new_captions_only(folder, tiny, tmp_path, monkeypatch):
    """And not kept: what the network hears is what the encoder would have said."""
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    from lumiere_video.lumiere_core.conditioning.text import load_text_encoder
    from lumiere_video.lumiere_core.training import caption_cache

    mine, source = recipe(tiny), source_of(folder, stage(tiny))
    first = StageRun(mine, mine.stages[0], tmp_path, source, "cpu", "no", False, 0)
    assert first.objective.t5 is None and not any("t5" in name for name, _ in first.objective.named_modules())
    said = first.tokenize(["clip number 3", ""])["text"]
    expected = load_text_encoder(tiny.text).encode(["clip number 3", ""])
    torch.testing.assert_close(said, expected, atol=2e-3, rtol=2e-3)
    monkeypatch.setattr(caption_cache, "load_text_encoder", lambda *_: pytest.fail("the text encoder was loaded"))
    StageRun(mine, mine.stages[0], tmp_path, source, "cpu", "no", False, 0)


def test_a_video_that_is_damaged_inside_gives_way_to_another(folder, tiny, tmp_path, monkeypatch):
    from lumiere_video.lumiere_core.training import footage

    original = footage.read_excerpt

    def read(path, *rest):
        if path.name == "03.mp4":
            raise ValueError(f"{path}: damaged inside.")
        return original(path, *rest)

    monkeypatch.setattr(footage, "read_excerpt", read)
    source = source_of(folder, stage(tiny), tmp_path)
    drawn = [source.clips(Request(9, 2, 8, 8), np.random.default_rng(seed)).captions for seed in (0, 1, 2, 3, 0)]
    assert "clip number 3" not in {caption for captions in drawn for caption in captions}
    assert drawn[0] == drawn[-1]
    assert "damaged inside" in skipped(tmp_path)["03.mp4"]


def test_a_tenth_of_the_videos_is_kept_to_validate_with(folder, tiny, tmp_path):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    mine = recipe(tiny, steps=4, batch=2, validate_every=2)
    source = source_of(folder, mine.stages[0])
    trained, kept = ({video.listed.name for video in each.videos} for each in (source, source.held_out()))
    assert len(kept) == 2 and len(trained) == GOOD - 2 and not trained & kept
    weights = [load_file(run(mine, folder, tmp_path / name)[0]) for name in ("a", "b")]
    entries = [json.loads(line) for line in (tmp_path / "a" / "moves.log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4]
    assert all(0 < entry["validation"] < 10 for entry in entries)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("start", ["base", "conditional"])
def test_a_motion_is_a_lora_of_the_temporal_half(folder, tiny, tmp_path, start):
    """It is read as styles are, and changes a network as the training had it."""
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    tasks = {"text": 1.0, "first_frame": 1.0} if start == "conditional" else {}
    phase = (Phase(3, 2, 6),)
    options = {"size": 16, "warmup": 0, "info": {"prediction": "v"}, "tasks": tasks, "ema_decay": 0.0}
    lora = Stage("turn", "motion", phase, {"rank": 2}, 0.05, start=str(getattr(tiny, start)), **options)
    mine = Recipe("mine", (lora,), text_encoder=str(tiny.text))
    (file,) = run(mine, folder, tmp_path, save_every_seconds=1e9)
    style, (_, network) = load_style(file), load_stunet(getattr(tiny, start), ("base",))
    assert style.of_motion and load_info(file).kind == "style"
    changed = stylize(network, style, 1.0)
    moved = {name for name, x in changed.state_dict().items() if not torch.equal(x, network.state_dict()[name])}
    assert moved and all(name.startswith("temporal.") for name in moved)
    assert moved == style.changes.keys()
    layers = {name for name, x in network.state_dict().items() if x.ndim > 1 and name.endswith(".weight")}
    assert moved == {name for name in layers if name.startswith("temporal.")}


def test_a_motion_needs_a_network_that_moves(folder, tiny, tmp_path):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    lora = Stage("turn", "motion", (Phase(1, 1, 2),), {"rank": 2}, 0.01, start=str(tiny.t2i), size=16)
    with pytest.raises(ValueError, match="stage 'turn' cannot be built: a motion is learned by the temporal half"):
        run(Recipe("mine", (lora,), text_encoder=str(tiny.text)), folder, tmp_path)


def test_one_video_is_too_few_to_validate(folder, tiny, tmp_path):
    (tmp_path / "one.csv").write_text(f"file,caption\n{folder / '00.mp4'},one\n")
    with pytest.raises(ValueError, match="to validate, at least 2 usable videos are needed; got 1"):
        source_of(tmp_path / "one.csv", stage(tiny, validate_every=1))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_names_files_and_captions(folder, tmp_path, suffix):
    rows = [{"file": str(folder / "00.mp4"), "caption": "one,\ntwo"}, {"file": "gone.mp4", "caption": "gone"}]
    table = tmp_path / f"clips{suffix}"
    if suffix == ".csv":
        table.write_text(f'file,caption\n{rows[0]["file"]},"one,\ntwo"\ngone.mp4,gone\n', encoding="utf-8")
    else:
        table.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    assert [(video.file, video.caption) for video in list_videos(table)] == [
        (folder / "00.mp4", "one, two"),
        (tmp_path / "gone.mp4", "gone"),
    ]


def test_a_parquet_table_is_read_as_the_others(folder, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = pyarrow.table({"video": [str(folder / "00.mp4"), "b.mp4"], "text": ["one", None]})
    parquet.write_table(rows, tmp_path / "clips.parquet")
    assert [video.caption for video in list_videos(tmp_path / "clips.parquet")] == ["one", ""]


RECIPE = """
name = "mine"
text_encoder = "{text}"
[[stage]]
name = "moves"
kind = "base"
start = "{base}"
size = 16
learning_rate = 1e-3
network = {{}}
phase = [{{steps = 2, batch = 2, frames = {frames}}}]
"""


@pytest.fixture
def command(tiny, tmp_path):
    def run(videos, *options, frames=6, text=RECIPE):
        file = tmp_path / "mine.toml"
        paths = {name: Path(getattr(tiny, name)).as_posix() for name in ("text", "base")}
        file.write_text(text.format(frames=frames, **paths), encoding="utf-8")
        options = ("--output", str(tmp_path / "out"), "--device", "cpu", *options)
        return cli.main(["train", str(file), "--videos", str(videos), *options])

    return run


@pytest.mark.slow
def test_the_command_trains_with_workers_and_says_what_it_wrote(command, folder, tmp_path, capsys):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    assert command(folder, "--workers", "1") == 0
    written = capsys.readouterr().out.splitlines()
    assert written == [str(tmp_path / "out" / "moves.safetensors"), str(tmp_path / "out/release/moves.safetensors")]
    assert skipped(tmp_path / "out").keys() == BAD.keys()


TEXT_STAGE = """
name = "mine"
[[stage]]
name = "words"
kind = "text"
learning_rate = 1e-3
network = {{max_tokens = 64, d_model = 16, d_kv = 8, num_heads = 2, num_layers = 1, d_ff = 16, vocab_size = 384}}
phase = [{{steps = {frames}, batch = 1}}]
"""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "the folder must hold videos"),
        ({"a.mp4": "no video", "a.txt": "words"}, r"none of its 1 videos can be used\. The first: .*: not a video"),
        ({"a.mp4": "no video"}, r"none of its 1 videos can be used\. The first: .*a\.mp4: it has no caption"),
        ({"a.csv": "file,words\na.mp4,one\n"}, "row 1: a column caption is needed .or text, prompt.; got file, wo"),
        ({"a.csv": "file,caption\n"}, "the table has no rows"),
        ({"a.jsonl": "[1]\n"}, "line 1: an object such as"),
        ({"a.jsonl": "{\n"}, "line 1: not JSON"),
        ({"a.jsonl": '{"file": 3, "caption": "a"}\n'}, "row 1: it names no file"),
        ({"a.xlsx": ""}, r"videos are a folder or a table \(.csv, .jsonl, .parquet\); got .xlsx"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(command, tmp_path, capsys, files, message):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, text in files.items():
        (videos / name).write_text(text, encoding="utf-8")
    table = next((videos / name for name in files if Path(name).suffix in (".csv", ".jsonl", ".xlsx")), videos)
    assert command(table) == 2
    expect_one_line(capsys, message)


def expect_one_line(capsys, message):
    import re

    error = capsys.readouterr().err.strip()
    assert error.startswith("lumiere: error: ") and "\n" not in error and re.search(message, error), error


def test_videos_that_are_all_too_short_are_one_clear_line(command, folder, tmp_path, capsys):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    assert command(folder, frames=80) == 2
    expect_one_line(capsys, "none of its 16 videos can be used. The first: .*00.mp4: it is too short: at 16 frames a "
                    "second it has 48 of the 80 frames needed")  # fmt: skip


def test_videos_train_no_text_encoder_and_are_no_cast(command, folder, capsys):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install lumiere-video[train]")
    assert command(folder, text=TEXT_STAGE) == 2
    expect_one_line(capsys, "stage 'words' trains a text encoder, which videos cannot; name one in 'text_encoder'")
    assert command(folder, "--cast", "pictures") == 2
    expect_one_line(capsys, "give one of them")


def test_a_parquet_table_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="pip install pyarrow"):
        list_videos(tmp_path / "a.parquet")


def test_another_list_is_no_list_to_go_on_with(folder, tiny, tmp_path):
    from lumiere_video.lumiere_core.training.settings import require_same, save_settings, stage_settings

    mine = recipe(tiny)
    settings = [stage_settings(mine, mine.stages[0], tmp_path, source_of(folder, mine.stages[0]))]
    (tmp_path / "clips.csv").write_text(f"file,caption\n{folder / '00.mp4'},another caption\n")
    settings.append(stage_settings(mine, mine.stages[0], tmp_path, source_of(tmp_path / "clips.csv", mine.stages[0])))
    save_settings(tmp_path / "moves.settings.json", settings[0])
    require_same(tmp_path / "moves.settings.json", settings[0], tmp_path, 1)
    with pytest.raises(ValueError, match="the pictures or captions that it learns from are others"):
        require_same(tmp_path / "moves.settings.json", settings[1], tmp_path, 1)
