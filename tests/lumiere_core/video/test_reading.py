"""Reading videos and pictures: the right pixels of odd files, no more than needed, one line for what cannot be read."""

import struct
import warnings
from itertools import count

import av
import numpy as np
import pytest
import torch
from odd_files import HEIGHT, RAMP, WIDTH, encoded, plain, plainly_encoded, png, png16, turned
from PIL import Image, ImageOps

from lumiere_video.lumiere_core.conditioning.fitting import fit_video, shrink_to_cover
from lumiere_video.lumiere_core.runtime import memory
from lumiere_video.lumiere_core.video.files import read_video, write_video
from lumiere_video.lumiere_core.video.reading import VideoFile, open_video, resample

ORIENTATION = 0x0112


# The right pixels


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_grey(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f"a{suffix}")
    pixels = read_video(tmp_path / f"a{suffix}")[0][0, ..., 0]
    assert np.abs(pixels.numpy() - RAMP / 65535).max() < 1e-4  # and not rounded to 8 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_stay(tmp_path, channels):
    (tmp_path / "a.png").write_bytes(png16(channels))
    pixels = open_video(tmp_path / "a.png").read()[0]
    assert pixels.shape == (HEIGHT, WIDTH, 3 if channels % 2 else 4)
    assert np.abs(pixels.numpy() - RAMP[..., None] / 65535).max() < 1e-4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_8_bits_are_exact(tmp_path, mode, suffix):
    random = torch.randint(0, 256, (HEIGHT, WIDTH, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(random.numpy()).convert(mode)
    if suffix in (".bmp", ".gif") and mode in ("RGB", "LA", "RGBA"):
        image = image.convert("L" if suffix == ".gif" else "RGB")
    image.save(tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as file:
        expected = torch.from_numpy(np.array(file.convert("RGBA"))).div(255)
    pixels = open_video(tmp_path / f"a{suffix}").read()[0]
    assert torch.equal(pixels[..., :3], expected[..., :3])
    assert pixels.shape[-1] == 3 or torch.equal(pixels[..., 3], expected[..., 3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_stand_as_the_camera_was_held(tmp_path, orientation, suffix):
    image = Image.fromarray(np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3).astype(np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(tmp_path / f"a{suffix}", exif=exif)
    with Image.open(tmp_path / f"a{suffix}") as file:
        expected = np.array(ImageOps.exif_transpose(file))
    assert np.array_equal(read_video(tmp_path / f"a{suffix}")[0][0].mul(255).round().byte().numpy(), expected)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_videos_stand_as_the_phone_was_held(tmp_path, degrees):
    frames = plain(48, 64, level=40)
    frames[:, :24, :32] = 220  # the corner at the top left
    path = turned(encoded(tmp_path / "a.mp4", frames), degrees)
    shown, _ = read_video(path)
    expected = torch.from_numpy(np.rot90(frames, -degrees // 90, axes=(1, 2)).copy()).div(255)
    assert shown.shape == expected.shape and (shown - expected).abs().max() < 0.05


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(("height", "width"), [(50, 62), (33, 17), (6, 8), (7, 100), (6, 34), (2, 64), (1, 1)])
def test_videos_of_any_size_keep_their_edges(tmp_path, height, width, pixels):
    path = plainly_encoded(tmp_path / "a.nut", height, width, pixels)
    frames, _ = read_video(path)
    assert frames.shape == (2, height, width, 3)
    assert (frames - 200 / 255).abs().max() < 0.01


def test_halved_colour_planes_are_interpolated_whatever_the_width(tmp_path):
    for width in (64, 62):
        frames = plain(48, width, 1, level=0)
        frames[..., width // 2 :, 0] = 255
        read, _ = read_video(encoded(tmp_path / f"{width}.nut", frames, "rawvideo"))
        levels = read[0, 24, :, 0].mul(255)
        assert (levels - levels.round()).abs().max() > 0.01  # floats, not 8 bits


def test_of_a_tiff_of_several_pages_the_first_is_used_and_that_is_said(tmp_path):
    pages = [Image.fromarray(plain(8, 12, 1, level)[0]) for level in (50, 150)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=[pages[1].resize((4, 4))])
    with pytest.warns(UserWarning, match="a.tif: of its 2 pages the first is used"):
        frames, _ = read_video(tmp_path / "a.tif")
    assert torch.equal(frames, torch.full((1, 8, 12, 3), 50 / 255))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_have_all_their_frames_and_their_rate(tmp_path, suffix):
    pages = [Image.fromarray(plain(8, 12, 1, level)[0]) for level in (50, 150, 250)]
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:], duration=50, lossless=True)
    frames, fps = read_video(tmp_path / f"a{suffix}")
    assert (fps, frames.mul(255).round()[:, 4, 4, 0].tolist()) == (20, [50, 150, 250])


# One line for what cannot be read


def small_png():
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return png(WIDTH, HEIGHT, 8, 2, b"".join(b"\0" + row.tobytes() for row in pixels))


def sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


UNREADABLE = {
    "bomb.png": (png(20000, 20000, 8, 2), "bomb.png: a picture must have at most 178 million pixels. Make it smaller"),
    "bomb.tif": (None, "bomb.tif: a picture must have at most 178 million pixels"),
    "truncated.png": (small_png()[:900], "truncated.png: not a whole picture .*truncated"),
    "torn.png": (small_png()[:60], "torn.png: not a whole picture"),
    "empty.png": (b"", "empty.png: not a whole picture of a kind that is read"),
    "empty.mp4": (b"", "empty.mp4: not a video that can be read"),
    "text.png": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "text.png: not a whole picture of a kind that is read",
    ),
    "sound.mp4": (sound, "sound.mp4: a video is needed; the file holds no pictures, but audio"),
    "float.tif": (None, "float.tif: no frame in it can be read; its codec or kind of pixels is not known here"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_line(tmp_path, name):
    content, message = UNREADABLE[name]
    path = tmp_path / name
    if content is None:
        Image.new("F", (4, 4)).save(path)
        if name.startswith("bomb"):  # its header's width and height, longs of one value
            data = path.read_bytes()
            for tag in (256, 257):
                at = data.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in data else None
                at = data.index(struct.pack("<HHI", tag, 3, 1)) if at is None else at
                data = data[:at] + struct.pack("<HHII", tag, 4, 1, 20000) + data[at + 12 :]
            path.write_bytes(data)
    elif callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message) as raised:
        warnings.simplefilter("error")
        read_video(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["", "missing.png"])
def test_a_path_that_names_nothing_is_refused(path):
    with pytest.raises(ValueError, match="must not be empty" if not path else "missing.png: no such file"):
        read_video(path)


def test_a_folder_has_pictures_of_one_size_and_names_the_other(tmp_path):
    for name, side in (("a", 8), ("b", 8), ("c", 6)):
        Image.new("RGB", (12, side)).save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="c.png: all pictures of a folder must have one size; got 12 x 6, and 12 x 8"):
        read_video(tmp_path)


def test_non_ascii_tags_do_not_matter(tmp_path):
    path = encoded(tmp_path / "a.mkv", plain(16, 16))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert len(read_video(path)[0]) == 2


# No more than needed


def frames_that_count(made):
    for index in count():
        yield lambda index=index: made.append(index) or np.full((2, 2, 3), index % 256, np.uint8)


def test_what_is_not_needed_is_not_made():
    made = []
    video = VideoFile("endless", 30.0, 10**9, lambda: frames_that_count(made))
    frames = video.read(fps=10, first=3)
    assert made == [1, 4, 7] and frames[:, 0, 0, 0].mul(255).tolist() == made


def test_the_last_frames_are_kept_as_they_are_prepared(tmp_path):
    path = encoded(tmp_path / "a.mp4", np.concatenate([plain(48, 64, 1, level) for level in range(0, 250, 25)]))
    frames = open_video(path).read(last=3, prepare=lambda frame: frame[:, :2, :2])
    assert frames.shape == (3, 2, 2, 3)
    assert frames[:, 0, 0, 0].mul(255).tolist() == pytest.approx([175, 200, 225], abs=3)


@pytest.mark.parametrize("said", [0, 1, 3, 5, 1000])
def test_a_wrong_number_of_frames_in_the_header_does_not_matter(said):
    def decode():
        return (lambda index=index: np.full((2, 2, 3), index, np.uint8) for index in range(5))

    frames = VideoFile("a", 16.0, said, decode).read()
    assert frames[:, 0, 0, 0].mul(255).round().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fps", [0.1, 16, 90])
def test_a_picture_is_one_frame_at_any_rate(tmp_path, fps):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    picture = open_video(tmp_path / "a.png")
    assert len(picture.read(fps=fps)) == picture.count_at(fps) == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_files_say_how_long_they_are(tmp_path, suffix):
    video = open_video(encoded(tmp_path / f"a.{suffix}", plain(16, 16, 30)))
    assert abs(video.count - 30) <= 1 and video.count_at(20) == 2 * video.count


@pytest.mark.parametrize(("fps", "target"), [(30, 16), (16, 16), (16, 30), (24, 1), (1, 24), (29.97, 10), (7, 0.1)])
@pytest.mark.parametrize("frames", [1, 2, 9, 50])
def test_resampling_takes_the_frame_that_is_shown_at_the_time(fps, target, frames):
    made = list(resample(range(frames), fps, target))
    times = (np.arange(10 * frames * max(1, int(target / fps) + 1)) + 0.5) / target
    expected = [int(time * fps) for time in times if time * fps < frames] or [frames - 1]
    assert made == expected
    assert abs(len(made) - max(1, frames * target / fps)) <= 0.5 + 1e-9


def test_a_video_that_does_not_fit_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = encoded(tmp_path / "a.mp4", plain(48, 64, 50))
    whole = 50 * 48 * 64 * 3 * 4
    monkeypatch.setattr(memory, "available_bytes", lambda _: whole - 1)
    with pytest.raises(ValueError, match="a.mp4: reading 50 frames of 64 x 48 pixels needs about .* is free"):
        read_video(path)
    assert len(open_video(path).read(first=10)) == 10
    monkeypatch.setattr(memory, "available_bytes", lambda _: whole)
    assert len(read_video(path)[0]) == 50


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(48, 80), (30, 30), (20, 64), (90, 160), (200, 30)])
def test_a_shrunk_video_fits_as_the_large_one_does(size, fit):
    smooth = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    frames = torch.nn.functional.interpolate(smooth, (90, 160), mode="bicubic").clamp(0, 1).movedim(1, -1)
    small = shrink_to_cover(frames, size)
    assert all(given <= before for given, before in zip(small.shape[1:3], (90, 160), strict=True))
    covered = [wanted <= before for wanted, before in zip(size, (90, 160), strict=True)]
    assert [given >= wanted for given, wanted in zip(small.shape[1:3], size, strict=True)] == covered
    assert small.shape[2] / small.shape[1] == pytest.approx(160 / 90, rel=0.03)
    for wanted, tolerance in ((size, 0.03), ((size[0] // 2, size[1] // 2), 0.1)):  # of 2; crops are of whole pixels
        before, after = (fit_video(given, wanted, fit)[0] for given in (frames, small))
        assert (before - after).abs().mean() < tolerance


def test_what_is_written_is_read(tmp_path):
    frames = torch.rand(3, 10, 14, 3, generator=torch.Generator().manual_seed(0)).mul(255).round().div(255)
    for name in ("a/", "a.webp"):
        write_video(f"{tmp_path}/{name}", frames, 16, **({"lossless": True} if name == "a.webp" else {}))
        assert torch.equal(read_video(f"{tmp_path}/{name}")[0], frames)
