"""Excerpts of videos: found by time, upright, of any rate and size; what is damaged says so."""

import numpy as np
import pytest

from lumiere_video.lumiere_core.video.excerpts import outline_video, read_excerpt
from lumiere_video.lumiere_core.video.files import write_video

FRAMES = 40


def film(file, fps=8.0, size=(48, 64), frames=FRAMES):
    """Frame i is grey of brightness i / 40; its upper left quarter is white."""
    pixels = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None, None, None] / FRAMES, (frames, *size, 3))
    pixels = pixels.copy()
    pixels[:, : size[0] // 2, : size[1] // 2] = 1
    write_video(file, pixels, fps)
    return file


def turned(file, target, degrees):
    """The same pictures, with a note that they are to be turned."""
    import av

    with av.open(str(file)) as source, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    raw = bytearray(target.read_bytes())
    at = raw.index(b"tkhd") + 4 + 4 + 36  # the matrix of the track, nine numbers of 16.16 and 2.30 bits
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    raw[at : at + 36] = np.array(matrix, ">i4").tobytes()
    target.write_bytes(raw)
    return target


def numbers(pixels):
    """Which frame of the film each is, read off its lower right corner."""
    return (pixels[:, -1, -1].astype(float).mean(-1) / 255 * FRAMES).round().astype(int).tolist()


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("fps", [8.0, 20.0])
def test_an_excerpt_shows_what_is_seen_at_its_times(tmp_path, suffix, fps):
    file = film(tmp_path / f"a{suffix}", fps)
    outline = outline_video(file)
    assert outline == (pytest.approx(FRAMES / fps), 48, 64)
    for start, count in ((0.0, 7), (0.7, 5), (outline.seconds - 6 / 16, 6)):
        shown = numbers(read_excerpt(file, start, count, 16, (24, 32)))
        times = start + (np.arange(count) + 0.5) / 16
        near = [{int(fps * (t - 0.004)), int(fps * (t + 0.004))} for t in times]  # where frames change, either will do
        assert all(
            number in {n + d for n in ns for d in (0, *((-1, 1) if suffix == ".gif" else ()))}
            for number, ns in zip(shown, near, strict=True)
        ), (shown, near)


def test_the_whole_video_is_one_excerpt(tmp_path):
    file = film(tmp_path / "a.mp4", 8)
    assert numbers(read_excerpt(file, 0, FRAMES, 8, (48, 64))) == list(range(FRAMES))


@pytest.mark.parametrize("size", [(24, 24), (40, 16), (16, 40), (96, 128)])
def test_the_middle_of_the_frame_is_made_as_large_as_asked(tmp_path, size):
    pixels = read_excerpt(film(tmp_path / "a.mp4"), 0, 1, 8, size)[0]
    assert pixels.shape == (*size, 3) and pixels.dtype == np.uint8
    white = pixels.min(-1) > 128
    assert white[: size[0] // 2 - 1, : size[1] // 2 - 1].all() and white.mean() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_phone_held_upright_films_upright(tmp_path, degrees, corner):
    """The white quarter goes with the turn."""
    file = turned(film(tmp_path / "a.mp4"), tmp_path / "turned.mp4", degrees)
    outline = outline_video(file)
    assert (outline.height, outline.width) == ((48, 64) if degrees == 180 else (64, 48))
    pixels = read_excerpt(file, 0, 1, 8, (32, 24))[0]
    corners = {(i, j): int(pixels[i, j].min()) for i in (0, -1) for j in (0, -1)}
    assert max(corners, key=corners.get) == corner


def test_what_is_cut_off_or_no_video_says_so(tmp_path):
    whole = film(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("half", "text", "empty"):
        with pytest.raises(ValueError, match=rf"{name}\.mp4: not a video that can be read"):
            outline_video(tmp_path / f"{name}.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_download_that_stopped_is_cut_off_though_its_beginning_can_be_read(tmp_path, suffix):
    """What there is to be is said at the beginning of these files."""
    import av

    file = tmp_path / f"stream{suffix}"
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    rng = np.random.default_rng(0)
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream("mpeg4", 8, width=64, height=48)
        for _ in range(FRAMES):
            pixels = rng.integers(255, size=(48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    assert outline_video(file).count_at(8) == FRAMES
    raw = file.read_bytes()
    file.write_bytes(raw[: int(0.6 * len(raw))])
    with pytest.raises(ValueError, match="cut off|not a video that can be read"):
        outline_video(file)


def test_an_excerpt_beyond_the_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it ends after 8 of the 9 frames from 4.00 seconds on"):
        read_excerpt(film(tmp_path / "a.mp4"), 4.0, 9, 8, (8, 8))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "shape"), [("a.avi", "ffv1", "gray", (48, 64)), ("a.mov", "qtrle", "argb", (48, 64, 4))]
)
def test_grey_and_transparent_videos_have_three_channels_too(tmp_path, name, codec, pixels, shape):
    import av

    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, 8, width=64, height=48, pix_fmt=pixels)
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full(shape, 128, np.uint8), pixels)))
        container.mux(stream.encode())
    excerpt = read_excerpt(tmp_path / name, 0, 4, 8, (24, 24))
    assert excerpt.shape == (4, 24, 24, 3) and abs(excerpt.astype(int) - 128).max() <= 3
