"""The `lumiere` command: files made, one clear line and exit code 2 for bad input, nothing half-written."""

import dataclasses
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image, ImageSequence
from safetensors.torch import load_file, save_file

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core.checkpoints import bundled
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, load_info, save_checkpoint
from lumiere_video.lumiere_core.diffusion import SAMPLERS, SPACINGS, WEIGHTS
from lumiere_video.lumiere_core.pipeline import Clip, LumierePipeline
from lumiere_video.lumiere_core.runtime import progress
from lumiere_video.lumiere_core.video import files as video_io
from lumiere_video.lumiere_core.video import frame_folder

PROMPT = "a red circle moving right"


@pytest.fixture
def run(tiny, tmp_path, capsys):
    """Run `lumiere generate` on the tiny checkpoints in a fresh folder: (exit code, lines on stderr, files left)."""
    out = tmp_path / "out"
    out.mkdir()

    def run(*arguments, output="clip.gif"):
        command = ["generate", PROMPT, "--output", f"{out}/{output}", "--device", "cpu", "--dtype", "float32"]
        command += ["--checkpoint", str(tiny.base), "--ssr-checkpoint", str(tiny.ssr)]
        code = cli.main([*command, *map(str, arguments)])
        errors = [line for line in capsys.readouterr().err.splitlines() if line and "\r" not in line]
        return code, errors, sorted(file.relative_to(out).as_posix() for file in out.rglob("*"))

    return run


@pytest.mark.parametrize("output", ["clip.mp4", "clip.gif", "clip.webp"])
def test_generate_writes_one_file(run, output):
    code, _, files = run("--frames", 3, output=output)
    assert (code, files) == (0, [output])


def test_generate_writes_a_folder_of_frames_and_diagnostics_beside_it(run, tmp_path):
    code, _, files = run("--frames", 2, "--size", "10x6", "--diagnostics", output="clip/")
    assert (code, files) == (0, ["clip", "clip.diagnostics.png", "clip/frame_00000.png", "clip/frame_00001.png"])
    assert video_io.read_video(tmp_path / "out" / "clip")[0].shape == (2, 24, 40, 3)


def test_a_transparent_clip_has_no_background(run, tmp_path, monkeypatch):
    frames = torch.full((3, 32, 32, 3), 0.9)
    frames[:, 8:24, 8:24] = 0.1
    frames[:, 8:12, 8:12] = 0.9  # an opaque rectangle would be all that a webp holds, without alpha
    clip = Clip(frames, frames, 16.0)
    monkeypatch.setattr(LumierePipeline, "generate", lambda *_, **__: clip)
    assert run("--transparent", output="clip.webp")[::2] == (0, ["clip.webp"])
    with Image.open(tmp_path / "out" / "clip.webp") as file:
        alpha = torch.tensor(
            [page.convert("RGBA").getpixel(at)[3] for page in ImageSequence.Iterator(file) for at in AT]
        )
    assert alpha.tolist() == [0, 255]  # equal frames are one
    frames[:, :20] = torch.linspace(0, 1, 20).view(1, 20, 1, 1)
    assert_refused(run("--transparent", output="clip/"), "background must be plain", left=["clip.webp"])


def test_a_clip_has_the_frames_and_the_size_asked_for(run, tmp_path):
    code, _, _ = run("--no-ssr", "--frames", 4, "--size", "12x8", output="clip/")
    assert code == 0
    assert video_io.read_video(tmp_path / "out" / "clip")[0].shape == (4, 8, 12, 3)


def test_the_same_command_makes_the_same_file(run, tmp_path):
    made = []
    for name in ("a.gif", "b.gif"):
        assert run("--seed", 5, "--frames", 3, output=name)[0] == 0
        made.append((tmp_path / "out" / name).read_bytes())
    assert made[0] == made[1]


def test_a_long_prompt_is_cut_with_one_warning(tiny, tmp_path, capsys):
    arguments = ["generate", "a red circle " * 9, "--output", f"{tmp_path}/a.gif", "--frames", "1"]
    arguments += ["--checkpoint", str(tiny.base), "--ssr-checkpoint", str(tiny.ssr)]
    assert cli.main(arguments) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warned) == 1
    assert re.fullmatch(
        r"lumiere: warning: The prompt has 117 tokens.* reads 32: it was cut after '.*circle a red'.", warned[0]
    )


def test_a_prompt_that_is_not_text_is_refused(tiny, tmp_path, capsys):
    """What the command line gets for bytes that are no UTF-8."""
    arguments = ["generate", "\udcff\udcfe star", "--output", f"{tmp_path}/a.gif", "--no-ssr"]
    code = cli.main([*arguments, "--checkpoint", str(tiny.base)])
    assert_refused((code, capsys.readouterr().err.splitlines(), []), r"prompt must be text .*; got '.udcff.udcfe star'")


def test_an_empty_prompt_is_legal(tiny, tmp_path):
    arguments = ["generate", "", "--output", f"{tmp_path}/a.gif", "--frames", "1", "--no-ssr"]
    assert cli.main([*arguments, "--checkpoint", str(tiny.base)]) == 0


BAD_OPTIONS = [
    ("--frames 0", "frames must be at least 1; got 0"),
    ("--frames -3", "frames must be at least 1; got -3"),
    ("--frames many", "argument --frames: invalid int value: 'many'"),
    ("--size 0", "size must be at least 1 pixel in height and width; got 0 x 0"),
    ("--size -32", "size must be at least 1 pixel in height and width; got -32 x -32"),
    ("--size 8x0", "got 0 x 8"),
    ("--size big", "a size is a number, or width x height such as 64x48; got 'big'"),
    ("--size ²", "a size is a number, or width x height such as 64x48; got '²'"),
    ("--size ٣", "a size is a number, or width x height such as 64x48; got '٣'"),
    ("--size=---8", "a size is a number, or width x height"),
    ("--size 8x8x8", "a size is a number, or width x height"),
    ("--seed=-1", "a seed is a whole number from 0 to 18446744073709551615; got '-1'"),
    ("--seed 18446744073709551616", "a seed is a whole number from 0 to 18446744073709551615"),
    ("--seed 1.5", "a seed is a whole number"),
    ("--seed ²", "a seed is a whole number"),
    ("--negative \udcff", "prompt must be text that UTF-8 can hold; got '.udcff'"),
    ("--size 2000000", "needs about .* GiB of memory on cpu; .* GiB is free. Use a smaller size"),
    ("--frames 2000000000000", "needs about .* GiB of memory on cpu"),
    ("--steps 0", "steps must be 1 to 1000, the schedule's timesteps; got 0"),
    ("--ssr-steps -1", "steps must be 1 to 1000, the schedule's timesteps; got -1"),
    ("--guidance nan", "guidance must be a finite number, 1 for none; got nan"),
    ("--window 4 --overlap 4", "window must be larger than overlap, .* got window 4 and overlap 4. Set window to at"),
    ("--window 0", "window must be larger than overlap"),
    ("--overlap -1", "overlap at least 0"),
    ("--overlap 6", "got window 6 and overlap 6"),
    ("--window 4 --no-ssr", "window belongs to super-resolution, which is off"),
    ("--sampler ddim", "sampler must be one of euler, .*; got 'ddim'"),
    ("--scheduler fast", "scheduler must be one of normal, .*; got 'fast'"),
    ("--fuse mean", "fuse must be one of flat, pyramid, hann; got 'mean'"),
    ("--device tpu9", "device must be auto, cpu, cuda"),
    ("--device cuda:99", "device 'cuda:99' is not available"),
    ("--dtype int8", "dtype must be one of auto, float32"),
    ("--bogus", "unrecognized arguments: --bogus .see lumiere --help"),
    ("--strength 0.5", "strength says how much of an input video is made anew; got no video"),
    ("--mask {mask}", "mask: there is no image or video to use it on"),
    ("--fit pad", "fit: there is no image or video to use it on"),
    ("--image {image} --extend {video}", "only one of first_frame, extend can be given at once"),
    ("--image {image} --input-video {video}", "cannot both be given"),
    ("--image missing.png", "missing.png: no such file"),
    ("--image {image} --mask {mask}", "mask has no effect on first_frame; leave it out"),
    ("--image {image} --last 2", "last has no effect on first_frame"),
    ("--image {image} --grow 2", "grow has no effect on first_frame"),
    ("--keyframe {image}@0 --feather 2", "feather has no effect on keyframes"),
    ("--input-video {video} --mask {mask}", "mask has no effect on an input video; leave it out"),
    ("--input-video {video} --last 2", "last has no effect on an input video"),
    ("--input-video {video} --fit zoom", "fit must be one of crop, pad, stretch; got 'zoom'"),
    ("--image {image} --fit zoom", "fit must be one of crop, pad, stretch; got 'zoom'"),
    ("--inpaint {video}", "inpaint needs a mask"),
    ("--region {image} --mask {video}", "mask must be one for all frames, or one for each of the 12; got 8"),
    ("--keyframe {image}@first", "a keyframe is FILE@INDEX such as end.png@-1; got "),
    ("--keyframe {image}@0 --keyframe {image}@-12", "indices must differ; frame 0 is named twice in 0, -12"),
    ("--extend {video} --frames 8", "extend: the clip of 8 frames starts with 8 given ones"),
    ("--input-video {video} --frames 9", "frames must be at most 8, the input video's; got 9"),
    ("--input-video {video} --strength 1.5", "denoise must be 0, .* to 1"),
    ("--base-window 4 --base-overlap 4", "window must be larger than overlap"),
    ("--alpha 0.5", "alpha says how much of a style; give one with --style"),
    ("--style missing.safetensors", "missing.safetensors: no such file"),
    ("--transparent", "clip.gif: a transparent video's name must end in .webp, or in a slash for a folder of PNGs"),
]


@pytest.fixture
def media(tmp_path):
    """Paths of a 32 x 32 image, a mask with a hole, and a video of 8 frames; by name."""
    paths = {name: tmp_path / f"{name}{suffix}" for name, suffix in MEDIA.items()}
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (8, 32, 32, 3), generator=generator) / 255
    mask = torch.zeros(32, 32, 3)
    mask[8:24, 8:24] = 1
    for name, image in (("image", frames[0]), ("mask", mask)):
        Image.fromarray((image * 255).round().to(torch.uint8).numpy()).save(paths[name])
    video_io.write_video(paths["video"], frames, 16)
    return paths


AT = ((2, 2), (16, 16))  # a corner and the middle
HALF_LEVEL = 0.5 / 255 + 1e-6  # a decoded video's values lie between the levels that a PNG can hold
MEDIA = {"image": ".png", "mask": ".png", "video": ".mp4"}


def written(tmp_path):
    return video_io.read_video(tmp_path / "out" / "clip")[0]


def test_an_image_is_the_first_frame_to_the_bit(run, tmp_path, media):
    assert run("--image", media["image"], output="clip/")[0] == 0
    assert torch.equal(written(tmp_path)[0], video_io.read_video(media["image"])[0][0])


def test_keyframes_of_any_size_are_the_frames_they_are_said_to_be(run, tmp_path, media):
    small = tmp_path / "small.png"
    Image.open(media["image"]).crop((0, 0, 16, 16)).save(small)
    assert run("--keyframe", f"{media['image']}@0", "--keyframe", f"{small}@-1", output="clip/")[0] == 0
    frames = written(tmp_path)
    assert torch.equal(frames[0], video_io.read_video(media["image"])[0][0])
    assert (frames[-1] - frames[0]).abs().mean() > 0.05


def test_a_video_is_extended(run, tmp_path, media):
    assert run("--extend", media["video"], "--last", 3, output="clip/")[0] == 0
    frames, given = written(tmp_path), video_io.read_video(media["video"])[0]
    assert len(frames) == 12 and (frames[:3] - given[5:]).abs().max() <= HALF_LEVEL


@pytest.fixture
def long_video(tmp_path):
    """40 frames of 48 x 64, larger than any clip here, that get lighter."""
    levels = torch.linspace(0, 0.8, 40).view(-1, 1, 1, 1)
    video_io.write_video(tmp_path / "long.mp4", levels.expand(40, 48, 64, 3), 16)
    return tmp_path / "long.mp4"


def test_of_a_longer_and_larger_video_the_first_frames_are_inpainted(run, tmp_path, media, long_video):
    mask = Image.new("L", (64, 48))
    mask.paste(255, (32, 0, 64, 48))
    mask.save(tmp_path / "half.png")
    options = ("--mask", tmp_path / "half.png", "--fit", "stretch", "--frames", 5)
    code, said, _ = run("--inpaint", long_video, *options, output="clip/")
    assert code == 0 and "long.mp4: the video has 40 frames; the first 5 are used" in "".join(said)
    frames, given = written(tmp_path), video_io.read_video(long_video)[0]
    assert frames.shape == (5, 32, 32, 3)
    assert (frames[:, 0, 0] - given[:5, 0, 0]).abs().max() <= HALF_LEVEL


def test_a_longer_and_larger_video_is_extended(run, tmp_path, long_video):
    assert run("--extend", long_video, "--last", 2, "--fit", "stretch", "--frames", 4, output="clip/")[0] == 0
    frames, given = written(tmp_path), video_io.read_video(long_video)[0]
    assert (frames[:2, 0, 0] - given[-2:, 0, 0]).abs().max() <= HALF_LEVEL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--extend {long}", "extend: the clip of 12 frames starts with 40 given ones, which leaves none"),
        ("--extend {long} --frames 40", "extend: the clip of 40 frames starts with 40 given ones"),
        ("--extend {long} --last -1", "last and feather must be at least 0; got -1"),
        ("--inpaint {long} --mask {mask} --frames 0", "frames must be at least 1; got 0"),
        ("--input-video {long} --frames -2", "frames must be at least 1; got -2"),
        ("--image {image} --size 0", "size must be at least 1 pixel"),
        ("--image {image} --size -3", "size must be at least 1 pixel"),
    ],
)
def test_bad_numbers_beside_files_are_named_as_without_them(run, media, long_video, options, message):
    assert_refused(run(*options.format(long=long_video, **media).split()), message)


def test_outside_the_mask_a_video_stays(run, tmp_path, media):
    assert run("--inpaint", media["video"], "--mask", media["mask"], output="clip/")[0] == 0
    frames, given = written(tmp_path), video_io.read_video(media["video"])[0]
    hole = video_io.read_video(media["mask"])[0][0, ..., 0] == 1
    assert frames.shape == given.shape and (frames - given)[:, ~hole].abs().max() <= HALF_LEVEL
    assert (frames - given)[:, hole].abs().mean() > 0.05


def test_outside_its_region_a_cinemagraph_stands_still(run, tmp_path, media):
    assert run("--region", media["image"], "--mask", media["mask"], "--feather", 1, output="clip/")[0] == 0
    frames = written(tmp_path)
    corner = frames[:, :2, :2]
    assert torch.equal(corner, corner[:1].expand_as(corner)) and frames[1:, 16, 16].std() > 0


def test_a_video_is_made_something_else_of(run, tmp_path, media):
    assert run("--input-video", media["video"], "--strength", 0.3, "--no-ssr", output="clip/")[0] == 0
    assert written(tmp_path).shape == (8, 8, 8, 3)


def test_a_video_of_another_shape_is_fitted_as_asked(run, tmp_path, media):
    clips = {}
    for fit in ("crop", "pad"):
        options = ["--input-video", media["video"], "--strength", 0, "--size", "8x16", "--no-ssr", "--fit", fit]
        assert run(*options, output="clip/")[0] == 0
        clips[fit] = written(tmp_path)
    assert (clips["pad"][:, :4] - 0.5).abs().max() < 0.01 < (clips["crop"][:, :4] - 0.5).abs().max()  # mid-grey borders


def test_a_long_clip_that_loops(run, tmp_path):
    options = "--frames 20 --base-window 8 --base-overlap 4 --loop --no-ssr"
    assert run(*options.split(), output="clip/")[0] == 0
    assert written(tmp_path).shape == (20, 8, 8, 3)


def test_a_style_changes_the_clip(run, tiny, tmp_path):
    clips = []
    for alpha in (0, 0.5):
        assert run("--style", tiny.restyled, "--alpha", alpha, "--no-ssr", output="clip/")[0] == 0
        clips.append(written(tmp_path))
    assert not torch.equal(*clips)


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=[options for options, _ in BAD_OPTIONS])
def test_bad_options(run, options, message, media):
    assert_refused(run(*options.format(**media).split()), message)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("clip.avi", "must end in .mp4, .gif, .webp, or in a slash"),
        ("file/clip.mp4", "cannot write into .*file .*Choose another folder"),
        ("file/clip/", "cannot write into .*file .*Choose another folder"),
    ],
)
def test_bad_outputs_are_found_before_anything_is_loaded(run, tmp_path, output, message, monkeypatch):
    (tmp_path / "out" / "file").write_text("in the way")
    monkeypatch.setattr("lumiere_video.lumiere_core.pipeline.LumierePipeline.load", None)
    assert_refused(run(output=output), message, left=["file"])


def damaged_checkpoints(tiny, folder):
    """Option, file and expected message for every way in which a checkpoint can be wrong."""
    truncated = folder / "truncated.safetensors"
    truncated.write_bytes(tiny.base.read_bytes()[:-100])
    header = folder / "header.safetensors"
    header.write_bytes(tiny.base.read_bytes()[:100])
    garbage = folder / "garbage.safetensors"
    garbage.write_text("not a safetensors file at all")
    pickle = folder / "model.ckpt"
    torch.save({}, pickle)
    foreign = folder / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    info, tensors = load_checkpoint(tiny.base)
    name = "conv_in.weight"
    lacking, extra, reshaped = (folder / f"{kind}.safetensors" for kind in ("lacking", "extra", "reshaped"))
    save_checkpoint(lacking, {k: v for k, v in tensors.items() if k != name}, info)
    save_checkpoint(extra, {**tensors, "surplus": torch.zeros(1)}, info)
    save_checkpoint(reshaped, {**tensors, name: torch.zeros(4, 3, 3, 3)}, info)
    unknown = folder / "unknown.safetensors"
    save_file(load_file(tiny.base), unknown, metadata={"lumiere": '{"kind": "base", "surprise": 1}'})
    orphan = folder / "orphan.safetensors"
    save_checkpoint(orphan, tensors, info)  # its text encoder is neither beside it nor bundled
    return [
        ("--checkpoint", folder / "none.safetensors", "none.safetensors: no such file"),
        ("--checkpoint", folder, "only .safetensors files are read"),
        ("--checkpoint", truncated, "not a whole safetensors file"),
        ("--checkpoint", header, "not a whole safetensors file"),
        ("--checkpoint", garbage, "not a whole safetensors file"),
        ("--checkpoint", pickle, "only .safetensors files are read; got .ckpt"),
        (
            "--checkpoint",
            foreign,
            "neither metadata of this pack nor a DeepFloyd IF U-Net: tensor conv_in.weight is missing",
        ),
        ("--checkpoint", lacking, "the file lacks tensor conv_in.weight"),
        ("--checkpoint", extra, "the file has the unexpected tensor surplus"),
        ("--checkpoint", reshaped, r"tensor conv_in.weight must have shape \(8, 3, 3, 3\); got \(4, 3, 3, 3\)"),
        ("--checkpoint", unknown, "the metadata key 'lumiere' is not what this pack writes"),
        ("--checkpoint", orphan, r"its text encoder text.safetensors was not found; searched .* and .*weights"),
        ("--checkpoint", tiny.ssr, "a checkpoint of kind base or t2i is needed here; this file is ssr"),
        ("--checkpoint", tiny.text, "a checkpoint of kind base or t2i is needed here; this file is text"),
        ("--ssr-checkpoint", tiny.base, "a checkpoint of kind ssr is needed here; this file is base"),
        ("--text-encoder", tiny.base, "a checkpoint of kind text is needed here; this file is base"),
        ("--text-encoder", folder / "none.safetensors", "none.safetensors: no such file"),
    ]


def test_bad_files(run, tiny, tmp_path):
    for option, path, message in damaged_checkpoints(tiny, tmp_path):
        assert_refused(run(option, path), message)


def test_missing_bundled_weights_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "nowhere")
    code = cli.main(["generate", PROMPT, "--output", f"{tmp_path}/a.gif"])
    assert code == 2 and not (tmp_path / "a.gif").exists()


def test_ctrl_c_while_sampling_leaves_nothing(run, monkeypatch):
    def press(bars, stage, done, total):
        if stage == "super-resolution":
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.StageBars, "__call__", press)
    assert run() == (130, ["lumiere: interrupted"], [])


@pytest.mark.parametrize("output", ["clip.mp4", "clip/"])
def test_ctrl_c_while_writing_leaves_nothing(run, monkeypatch, output):
    def press(path, *_):
        (path / "half.png" if path.is_dir() else path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(video_io, "_write_mp4", press)
    monkeypatch.setattr(frame_folder, "_write_pngs", press)
    code, errors, files = run("--frames", 2, output=output)
    assert (code, errors[-1:], files) == (130, ["lumiere: interrupted"], [])


# The command as a process that hears Ctrl-C even where its parent does not: children of nohup inherit its deafness.
HEARING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('lumiere_video.commands', run_name='__main__')"
)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_real_interrupt_ends_the_command(tiny, tmp_path):
    command = [sys.executable, "-c", HEARING, "generate", PROMPT, "--output", f"{tmp_path}/a.mp4", "--no-ssr"]
    command += ["--checkpoint", str(tiny.base), "--steps", "1000", "--size", "48"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            seen = b""
            while b"base:" not in seen:
                piece = process.stderr.read(1)
                assert piece, seen
                seen += piece
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)  # the machine may be busy
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "lumiere: interrupted"
    assert not out and not list(tmp_path.iterdir())


def test_info_says_what_a_file_is(tiny, capsys):
    assert cli.main(["info", str(tiny.base)]) == 0
    text = capsys.readouterr().out
    total = sum(tensor.numel() for tensor in load_file(tiny.base).values())
    assert text.startswith(f"{tiny.base}: base\n\nparameters: {total:,} (")
    for line in ("  guidance: 2.0", "  text_encoder: text.safetensors", "  recipe: test", "  norm_groups: 4"):
        assert line in text.splitlines()
    assert cli.main(["info", str(tiny.text)]) == 0
    assert "  tokenizer: byte-level" in capsys.readouterr().out.splitlines()


def test_info_keeps_what_a_file_says_of_itself_on_its_lines(tiny, tmp_path, capsys):
    info, tensors = load_checkpoint(tiny.base)
    record = {"recipe": "a\nkind: ssr\x1b[2J", "b\n  c": 1, "café": "猫"}
    save_checkpoint(tmp_path / "a.safetensors", tensors, dataclasses.replace(info, training=record))
    assert cli.main(["info", str(tmp_path / "a.safetensors")]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        r'  recipe: "a\nkind: ssr\u001b[2J"',
        r'  "b\n  c": 1',
        "  café: 猫",
    ]


def test_evaluate_writes_a_report_and_prints_the_table(tiny, tmp_path, capsys):
    arguments = ["evaluate", "--prompts", "4", "--ssr-prompts", "0", "--output", f"{tmp_path}/report"]
    assert cli.main([*arguments, "--checkpoint", str(tiny.base), "--ssr-checkpoint", str(tiny.ssr)]) == 0
    assert (tmp_path / "report" / "evaluation.json").is_file()
    assert "| noun |" in capsys.readouterr().out


@pytest.fixture
def stickers(tmp_path):
    """A folder of cut-outs with their table: a blue box and a taller one, called crate and tower."""
    folder = tmp_path / "stickers"
    folder.mkdir()
    for name, box in (("crate", (8, 8, 24, 24)), ("tower", (12, 4, 20, 28))):
        picture = Image.new("RGBA", (32, 32))
        picture.paste((0, 80, 255, 255), box)
        picture.save(folder / f"{name}.png")
    (folder / "boxes.csv").write_text("name,synonyms,file\ncrate,box,crate.png\ntower,,tower.png\n")
    return folder


@pytest.fixture
def called(monkeypatch):
    """What the evaluation was called with; nothing is computed."""
    calls = []
    for name in ("text.evaluate_text", "loop.evaluate_task"):
        monkeypatch.setattr(f"lumiere_video.evaluation.tasks.{name}", lambda *given, **_: calls.append(given) or {})
    for name in ("report.text_report.text_table", "tasks.loop.describe"):
        monkeypatch.setattr(f"lumiere_video.evaluation.{name}", lambda _: "")
    return calls


def test_evaluate_is_of_the_cast_that_the_checkpoint_draws(tiny, tmp_path, stickers, called, capsys):
    """The drawn shapes where the checkpoint says nothing else, and the given one where it does."""
    info, tensors = load_checkpoint(tiny.base)
    trained = tmp_path / "trained.safetensors"
    save_checkpoint(trained, tensors, dataclasses.replace(info, training={"cast": {"name": "boxes"}}))
    command = ["evaluate", "--task", "text,inpaint", "--output", f"{tmp_path}/report", "--no-ssr"]
    assert cli.main([*command, "--checkpoint", str(tiny.base)]) == 0
    of_trained = [*command, "--checkpoint", str(trained), "--text-encoder", str(tiny.text)]
    assert cli.main([*of_trained, "--cast", str(stickers)]) == 0
    assert [cast.name for _, cast, *_ in called] == ["shapes", "shapes", "boxes", "boxes"]
    assert cli.main(of_trained) == 2 and len(called) == 4
    assert "the checkpoint draws boxes; give the folder of their pictures (--cast DIR)" in capsys.readouterr().err


def test_stills_are_of_the_given_cast(tmp_path, stickers, capsys):
    arguments = ["stills", f"{tmp_path}/out", "--count", "4", "--size", "8", "--cast", str(stickers)]
    assert cli.main(arguments) == 0 and capsys.readouterr().out.strip() == f"{tmp_path}/out"
    captions = [file.read_text().lower() for file in (tmp_path / "out").glob("*.txt")]
    assert len(captions) == 4 and all(re.search("crate|box|tower", caption) for caption in captions)


RECIPE = """
name = "tiny"
[[stage]]
name = "words"
kind = "text"
learning_rate = 1e-3
[stage.network]
max_tokens = 64
vocab_size = 384
d_model = 16
d_kv = 8
num_heads = 2
num_layers = 1
d_ff = 16
[[stage.phase]]
steps = 2
batch = 2
"""


def test_train_runs_a_recipe_and_prints_what_it_wrote(tmp_path, capsys):
    pytest.importorskip("accelerate")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    arguments = ["train", f"{tmp_path}/tiny.toml", "--output", f"{tmp_path}/runs"]
    assert cli.main([*arguments, "--device", "cpu", "--precision", "no"]) == 0
    assert str(tmp_path / "runs" / "words.safetensors") in capsys.readouterr().out.splitlines()
    info = load_info(tmp_path / "runs" / "words.safetensors")
    assert (info.kind, info.training["cast"]["name"]) == ("text", "shapes")


def test_train_takes_a_cast(tmp_path, stickers, capsys):
    pytest.importorskip("accelerate")
    (tmp_path / "tiny.toml").write_text('cast = "boxes"\n' + RECIPE)
    arguments = [
        "train",
        f"{tmp_path}/tiny.toml",
        "--output",
        f"{tmp_path}/runs",
        "--device",
        "cpu",
        "--precision",
        "no",
    ]
    assert cli.main(arguments) == 2
    assert "it shows boxes; give the folder of their pictures (--cast DIR)" in capsys.readouterr().err
    assert cli.main([*arguments, "--cast", str(stickers), "--stages", "nonsense"]) == 2
    assert "no stage is called 'nonsense'; stages are words" in capsys.readouterr().err
    assert cli.main([*arguments, "--cast", str(stickers)]) == 0
    cast = load_info(tmp_path / "runs" / "words.safetensors").training["cast"]
    assert (cast["name"], cast["words"]) == ("boxes", [["crate", "box"], ["tower"]]) and "bouncing" in cast["phrases"]


def test_a_missing_package_is_named(tiny, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "lumiere_video.lumiere_core.checkpoints.summary", raising=False)
    assert cli.main(["info", str(tiny.base)]) == 2
    assert "pip install safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("info none.safetensors", "none.safetensors: no such file"),
        ("train none", "none: no such recipe file, and no bundled recipe of that name; bundled are .*stickers"),
        ("train stickers --cast CAST --output OUT", "CAST: no such folder. A cast is a folder"),
        ("train stickers --precision int4", "argument --precision: invalid choice: 'int4'"),
        ("evaluate --output /dev/null/x", "cannot write into"),
        ("info EMPTY", "argument FILE: a path is needed here; got an empty text"),
        ("generate prompt --output EMPTY", "the path of a video must not be empty"),
        ("generate prompt --output OUT/a.gif --image EMPTY", "argument --image: a path is needed here"),
        ("generate prompt --output OUT/a.gif --keyframe @0", "a keyframe is FILE@INDEX such as end.png@-1; got '@0'"),
        ("generate prompt --output OUT/a.gif --checkpoint EMPTY", "argument --checkpoint: a path is needed here"),
        ("run w.json --output EMPTY", "argument --output: a path is needed here"),
        ("stills EMPTY", "argument FOLDER: a path is needed here"),
        ("dance", "invalid choice: 'dance'"),
        ("", "the following arguments are required: COMMAND"),
        ("generate prompt", "the following arguments are required: --output"),
    ],
)
def test_bad_commands(command, message, capsys, tmp_path):
    words = command.replace("OUT", str(tmp_path)).split()
    code = cli.main(["" if word == "EMPTY" else word for word in words])
    assert_refused((code, capsys.readouterr().err.splitlines(), list(tmp_path.iterdir())), message)


def test_help_names_every_choice(capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main(["generate", "--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for table in (SAMPLERS, SPACINGS, WEIGHTS) for name in table)


def assert_refused(result, message, left=()):
    code, errors, files = result
    assert code == 2
    assert len(errors) == 1, errors
    assert errors[0].startswith("lumiere: error: ") and re.search(message, errors[0]), errors[0]
    assert files == list(left)
