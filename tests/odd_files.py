"""Pictures and videos that cameras, phones and other programs make, and Pillow does not."""

import struct
import zlib
from fractions import Fraction

import av
import numpy as np

HEIGHT, WIDTH = 21, 30
RAMP = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)


def png(width, height, bits, color, rows=b""):
    """A PNG that Pillow does not write: of 16 bits and several channels, or with a header that promises too much."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png16(channels):
    pixels = np.stack([RAMP] * channels, -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(WIDTH, HEIGHT, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


def encoded(path, frames, codec="libx264", pixels="yuv420p", fps=10, transfer=None):
    """A video of frames (T, H, W, 3) uint8. transfer: FFmpeg's number for how brightness is coded."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    return path


def plainly_encoded(path, height, width, pixels, level=200):
    """A grey video, uncompressed, of any size: FFmpeg's own way to its pixels reads beyond the edge of small frames."""
    like = av.VideoFrame.from_ndarray(plain(64, 64, 1, level)[0], format="rgb24").reformat(format=pixels)
    frame = av.VideoFrame(width, height, pixels)
    for plane, model in zip(frame.planes, like.planes, strict=True):
        sample = bytes(model)[: 2 if pixels.endswith("le") else 1]
        plane.update(sample * (plane.buffer_size // len(sample)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        for _ in range(2):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain(height, width, frames=2, level=200):
    return np.full((frames, height, width, 3), level, np.uint8)


def turned(path, degrees):
    """The same mp4 with the note that a phone on its side leaves in it: how it is to be turned, clockwise."""
    data = bytearray(path.read_bytes())
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value << 16 for value in matrix)
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
