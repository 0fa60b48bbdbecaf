"""Video files: colours survive, nothing is ever half-written, and what cannot be written is refused beforehand."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lumiere_video.lumiere_core.video import diagnostics, frame_folder
from lumiere_video.lumiere_core.video import files as video_io
from lumiere_video.lumiere_core.video.files import check_output, read_video, write_video

COLORS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0.5, 0.5, 0.5), (0.5, 0, 0.5), (1, 0.5, 0), (1, 1, 1)]
FORMATS = ["clip.mp4", "clip.gif", "clip.webp", "clip/"]


@pytest.fixture(scope="module")
def bars():
    """Colour bars, 8 pixels each, under which a white line moves: (12, 32, 64, 3)."""
    frames = torch.tensor(COLORS).repeat_interleave(8, dim=0).expand(12, 32, 64, 3).clone()
    for t in range(12):
        frames[t, 24:, 5 * t : 5 * t + 4] = 1
    return frames


@pytest.mark.parametrize("name", FORMATS)
def test_frames_count_rate_and_colours_survive(tmp_path, bars, name):
    path = f"{tmp_path}/{name}"
    write_video(path, bars, 16.0)
    frames, fps = read_video(path)
    assert frames.shape == bars.shape and frames.dtype == torch.float32
    assert fps == pytest.approx(16.0, abs=0.2)
    inside = (slice(None), slice(4, 20), slice(3, None, 8))  # away from edges, where 4:2:0 mixes colours
    assert (frames[inside] - bars[inside]).abs().max() < 0.03


def test_mp4_is_tagged_bt709_in_limited_range(tmp_path, bars):
    import av

    write_video(tmp_path / "clip.mp4", bars, 16.0)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        luma = next(container.decode(video=0)).to_ndarray(format="yuv420p")[:32]
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert tags == (1, 1, 1, 1)
        assert abs(int(luma[8, 3]) - 63) <= 2  # red by BT.709; BT.601 would have 81


def test_odd_sizes_are_padded_by_the_border(tmp_path):
    write_video(tmp_path / "odd.mp4", torch.full((1, 5, 7, 3), 0.5), 16.0)
    frames, _ = read_video(tmp_path / "odd.mp4")
    assert frames.shape == (1, 6, 8, 3)
    assert (frames - 0.5).abs().max() < 0.03


def test_durations_add_up():
    assert sum(video_io._durations(80, 6.25)) == 500
    assert set(video_io._durations(80, 62.5)) == {62, 63}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full"), ValueError("broken")])
def test_an_earlier_video_survives_a_broken_write(tmp_path, bars, monkeypatch, name, error):
    path = f"{tmp_path}/{name}"
    write_video(path, bars, 16.0)
    before = snapshot(tmp_path)

    def breaks(target, *_, **__):
        target = Path(target)
        (target / "half.png" if target.is_dir() else target).write_bytes(b"half")
        raise error

    for writer in ("_write_mp4", "_write_gif", "_write_webp"):
        monkeypatch.setattr(video_io, writer, breaks)
    monkeypatch.setattr(frame_folder, "_write_pngs", breaks)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_video(path, bars[:3], 16.0)
    assert snapshot(tmp_path) == before


def test_a_folder_of_frames_is_replaced_as_a_whole(tmp_path, bars):
    path = f"{tmp_path}/frames/"
    write_video(path, bars, 16.0)
    write_video(path, bars[:5], 16.0)
    assert list(snapshot(tmp_path)) == ["frames", *(f"frames/frame_{i:05d}.png" for i in range(5))]


def users_picture(path):
    Image.new("RGB", (4, 4)).save(path, format="PNG")


USERS_FRAMES = {
    "frame_00000.png": users_picture,
    "frame_00007.png": lambda path: path.write_text("notes"),
    "frame_x.png": users_picture,
    "frame_00009.png": lambda path: path.mkdir(),
    ".hidden": users_picture,
}


@pytest.mark.parametrize("name", USERS_FRAMES)
@pytest.mark.parametrize("frames_before", [0, 12])
def test_only_frames_that_were_written_here_are_replaced(tmp_path, bars, name, frames_before):
    path = tmp_path / "frames"
    path.mkdir()
    if frames_before:
        write_video(f"{path}/", bars[:frames_before], 16.0)
        (path / name).unlink(missing_ok=True)
    USERS_FRAMES[name](path / name)
    before = snapshot(tmp_path)
    for attempt in (check_output, lambda path: write_video(path, bars, 16.0)):
        with pytest.raises(ValueError, match=rf"frames/?: .* \({re.escape(name)}\). Choose another"):
            attempt(f"{path}/")
    assert snapshot(tmp_path) == before


def test_what_comes_into_the_folder_during_the_writing_stays(tmp_path, bars, monkeypatch):
    path = f"{tmp_path}/frames/"
    write_video(path, bars, 16.0)

    def saves(*given, save=Image.Image.save, **options):
        (tmp_path / "frames" / "notes.txt").write_text("of the user")
        save(*given, **options)

    monkeypatch.setattr(Image.Image, "save", saves)
    with pytest.raises(ValueError, match="notes.txt"):
        write_video(path, bars[:3], 16.0)
    assert len(snapshot(tmp_path)) == 1 + 12 + 1


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
def test_a_linked_folder_is_written_where_it_lies(tmp_path, bars):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "frames")  # which is not there yet
    for count in (4, 2):
        write_video(f"{tmp_path}/link/", bars[:count], 16.0)
        assert len(list((tmp_path / "disk" / "frames").iterdir())) == count and (tmp_path / "link").is_symlink()


def test_missing_folders_are_made(tmp_path, bars):
    write_video(tmp_path / "a" / "b" / "clip.gif", bars, 16.0)
    assert (tmp_path / "a" / "b" / "clip.gif").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip.avi", r"must end in .mp4, .gif, .webp, or in a slash for a folder of PNGs; got .avi"),
        ("clip", "got no suffix"),
        ("file/clip.mp4", "cannot write into"),
        ("file/frames/", "cannot write into"),
        ("file/", "this is a file"),
        ("folder.mp4", "this is a folder. End the name in a slash"),
        ("folder.mp4/", r"holds more than frames that this pack wrote \(keep.txt\)"),
    ],
)
def test_a_bad_destination_is_refused_and_left_as_it_was(tmp_path, name, message):
    (tmp_path / "file").write_text("file")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "keep.txt").write_text("keep")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=message):
        check_output(f"{tmp_path}/{name}")
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root can write")
def test_a_read_only_folder_is_refused():
    with pytest.raises(ValueError, match="/proc/1/clip.mp4: cannot write into /proc/1"):
        check_output("/proc/1/clip.mp4")


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (4, 4, 3), (2, 4, 4, 5)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"frames must have shape \(T, H, W, 3 or 4\)"):
        write_video(tmp_path / "clip.mp4", torch.zeros(shape), 16.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "missing.mp4", "empty/"])
def test_unreadable_videos_are_refused(tmp_path, name):
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    elif name != "missing.mp4":
        (tmp_path / name).write_bytes(b"not a video")
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_video(tmp_path / name)


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (3, 40, 9, 3), (80, 16, 16, 3)])
def test_diagnostics_are_one_picture_beside_the_video(tmp_path, shape):
    path = diagnostics.diagnostics_path(tmp_path / "clip.mp4")
    assert path == tmp_path / "clip.diagnostics.png" == diagnostics.diagnostics_path(f"{tmp_path}/clip/")
    diagnostics.write_diagnostics(path, torch.rand(shape), 16.0)
    assert Image.open(path).width == diagnostics.WIDTH + 2 * diagnostics.MARGIN


def test_a_difference_curve_peaks_at_the_cut():
    pixels = np.zeros((20, 8, 8, 3), np.uint8)
    pixels[10:] = 255
    curve = np.asarray(diagnostics.difference_curve(pixels))
    blue = (curve == (0x10, 0x40, 0xA0)).all(-1)
    highest = np.flatnonzero(blue[: blue.shape[0] // 2].any(0)).mean() / curve.shape[1]
    assert highest == pytest.approx(9 / 18, abs=0.02)


def test_an_xt_slice_shows_one_row_over_time():
    pixels = np.zeros((4, 3, 2, 3), np.uint8)
    pixels[2, 1] = 255
    rows = np.asarray(diagnostics.xt_slice(pixels, 1, width=2))
    assert np.flatnonzero(rows[:, 0, 0]).tolist() == list(range(120, 180))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() if f.is_file() else b"" for f in sorted(folder.rglob("*"))}
