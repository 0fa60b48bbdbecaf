"""Good pictures and videos with random faults: each is read, or refused in one line that names it."""

import random
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from odd_files import encoded, png16
from PIL import Image

from lumiere_video.lumiere_core.runtime import memory
from lumiere_video.lumiere_core.video.files import read_video

CASES = 12  # of each file
EDGES = [bytes.fromhex(text) for text in ("00000000", "ffffffff", "7fffffff", "80000000", "00010000", "00000001")]

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 14, 3), dtype=np.uint8))
ANIMATION = {"save_all": True, "append_images": [IMAGE.rotate(180)], "duration": 50}
FRAMES = np.stack([np.array(IMAGE.resize((32, 16)))] * 3)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # on its side

FILES = {
    "rgb.png": lambda path: IMAGE.save(path, exif=EXIF),
    "palette.png": lambda path: IMAGE.convert("P").save(path, transparency=1),
    "16_bits.png": lambda path: path.write_bytes(png16(4)),
    "animated.png": lambda path: IMAGE.save(path, **ANIMATION),
    "baseline.jpg": lambda path: IMAGE.save(path, exif=EXIF),
    "progressive.jpg": lambda path: IMAGE.save(path, progressive=True),
    "animated.gif": lambda path: IMAGE.save(path, **ANIMATION),
    "lossy.webp": lambda path: IMAGE.save(path),
    "transparent.webp": lambda path: IMAGE.convert("RGBA").save(path, lossless=True),
    "animated.webp": lambda path: IMAGE.save(path, **ANIMATION),
    "rgb.tif": lambda path: IMAGE.save(path, exif=EXIF),
    "pages.tif": lambda path: IMAGE.save(path, compression="tiff_lzw", **ANIMATION),
    "rgb.bmp": lambda path: IMAGE.save(path),
    "palette.bmp": lambda path: IMAGE.convert("P").save(path),
    "h264.mp4": lambda path: encoded(path, FRAMES),
    "h264.mkv": lambda path: encoded(path, FRAMES),
    "vp9.webm": lambda path: encoded(path, FRAMES, "libvpx-vp9"),
    "jpegs.avi": lambda path: encoded(path, FRAMES, "mjpeg", "yuvj420p"),
    "lossless.mkv": lambda path: encoded(path, FRAMES, "ffv1"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The contents of each file, whole."""
    folder = tmp_path_factory.mktemp("good")
    for name, make in FILES.items():
        make(folder / name)
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(("name", "seed"), list(product(FILES, range(CASES))))
def test_a_file_with_faults_is_read_or_refused_in_a_line(good, tmp_path, monkeypatch, name, seed):
    monkeypatch.setattr(memory, "available_bytes", lambda _: 2**28)
    path = tmp_path / name
    path.write_bytes(mutated(good[name], random.Random(f"{name} {seed}")))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            frames, fps = read_video(path)
        except ValueError as error:
            said = [*said, error]
        else:
            assert frames.ndim == 4 and frames.shape[-1] == 3 and frames.numel() and frames.dtype == torch.float32
            assert 0 <= frames.min() and frames.max() <= 1 and 0 < fps < 1e9
    for line in (str(getattr(entry, "message", entry)) for entry in said):
        assert line.startswith(f"{path}: ") and "\n" not in line
    assert [file.name for file in tmp_path.iterdir()] == [name]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, lost, doubled or new, often near the beginning, where sizes and counts are."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(data) if chance.random() < 0.6 else min(len(data), 128))
        few = chance.choice([1, 2, 4, 8, 32])
        match chance.randrange(7):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2:
                del data[at + 1 :]
            case 3:
                del data[at + 1 : at + 1 + few]
            case 4:
                data[at:at] = data[at : at + few]
            case 5:
                data[at : at + 4] = chance.choice(EDGES)[:: chance.choice([1, -1])]
            case 6:
                data[at:at] = chance.randbytes(few)
    return bytes(data)
