"""Frames out of files, decoded as ComfyUI's core does it, so that both hosts see the same pixels.

That is by FFmpeg, for pictures too: 16 bits a channel stay, halved colour planes are interpolated and not repeated, and
what was filmed or photographed with the camera on its side stands upright. Grey and BGR of 8 bits are exact here; in
core they are up to a level darker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from ..runtime.notices import warn

# A function that makes a frame's pixels: (H, W, 3), or (H, W, 4) with alpha, uint8 or float32 in [0, 1]. Not all frames
# of a file are needed, and to make their pixels takes longer than to decode them.
Frame = Callable[[], np.ndarray]

# Full-range YUV that FFmpeg converts to RGB of 8 bits, as in JPEGs, and the formats that are that already.
_EIGHT_BIT_FORMATS = ("yuvj420p", "yuvj422p", "yuvj444p", "gray", "ya8", "monob", "monow", "pal8")
# FFmpeg's numbers for how brightness is coded, in core's words; whatever else there is core takes for sRGB.
_COLOR_SPACES = {16: "HDR PQ", 18: "HDR"}
_ALIGNMENT = 32  # pixels in a row: the conversion to float reads beyond the edge of other widths


@contextmanager
def open_container(path: Path) -> Iterator:
    """(container, its video stream). Raises ValueError for a file that is no video, also where that is found later."""
    import av

    with _named(path), av.open(str(path), metadata_errors="replace") as container:
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise ValueError(f"{path}: a video is needed; the file holds no pictures, but {kinds}.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{path}: the video's codec is not known here. Convert it, to H.264 for one.")
        yield container, stream


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """FFmpeg's errors as ValueErrors that name the file."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise ValueError(f"{path}: not a video that can be read ({error.strerror}).") from error


def depth_and_color(stream) -> tuple[int, str]:
    """Bits a channel, and "sRGB", "HDR" or "HDR PQ", of a video stream."""
    components = stream.format.components if stream.format else ()
    return max((component.bits for component in components), default=8), _COLOR_SPACES.get(stream.color_trc, "sRGB")


def decode_video(path: Path) -> Iterator[Frame]:
    """One frame at a time.

    Damaged packets are left out, with a warning, as players do it. Raises ValueError as `open_container` does.
    """
    import av

    damaged, made = 0, False
    with open_container(path) as (container, stream):
        align = _Alignment(stream.time_base)
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                damaged += 1
                continue
            for frame in frames:
                if frame.pts is None or frame.pts >= 0:  # before 0 is what decoding begins with, not to be seen
                    made = True
                    yield partial(_to_array, frame, align, path)
    if damaged and made:
        warn(f"{path}: {damaged} damaged packets were left out; frames are missing.")


def _to_array(frame, align: _Alignment, path: Path) -> np.ndarray:
    name, components = frame.format.name, frame.format.components
    has_alpha = name == "pal8" or any(component.is_alpha for component in components)
    has_eight_bits = max(component.bits for component in components) <= 8
    with _named(path):
        if name in _EIGHT_BIT_FORMATS or (frame.format.is_rgb and has_eight_bits) or not align.can(frame):
            pixels = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
        else:
            pixels = align(frame, "gbrapf32le" if has_alpha else "gbrpf32le").clip(0, 1)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90)) if frame.rotation else pixels


class _Alignment:
    """Converts frames after padding them, with their border's pixels, to a width that the conversion can deal with.

    `can`: padding cannot more than double a side, and loses the last column of an odd width with halved colour planes.
    Core fails there, or has a black edge; here these are read in 8 bits.
    """

    def __init__(self, time_base):
        self.time_base = time_base
        self.made_for, self.source, self.sink = None, None, None

    def can(self, frame) -> bool:
        halves = [64 // part for part in (frame.format.chroma_width(64), frame.format.chroma_height(64))]
        is_whole = frame.width % halves[0] == 0 and frame.height % halves[1] == 0
        return frame.width % _ALIGNMENT == 0 or (is_whole and 2 * frame.width >= _ALIGNMENT)

    def __call__(self, frame, target: str) -> np.ndarray:
        if frame.width % _ALIGNMENT == 0:
            return frame.to_ndarray(format=target)
        kind = (frame.width, frame.height, frame.format.name)
        if kind != self.made_for:
            self._make(*kind)
        self.source.push(frame)
        padded = self.sink.pull().to_ndarray(format=target)
        return np.ascontiguousarray(padded[: frame.height, : frame.width])

    def _make(self, width: int, height: int, name: str) -> None:
        import av

        right, bottom = -width % _ALIGNMENT, -height % _ALIGNMENT
        if bottom > height:  # core pads this side, too, which does not matter
            bottom = 0
        graph = av.filter.Graph()
        self.source = graph.add_buffer(width=width, height=height, format=name, time_base=self.time_base)
        pad = graph.add("pad", f"{width + right}:{height + bottom}:0:0")
        fill = graph.add("fillborders", f"left=0:right={right}:top=0:bottom={bottom}:mode=smear")
        self.sink = graph.add("buffersink")
        for first, second in ((self.source, pad), (pad, fill), (fill, self.sink)):
            first.link_to(second)
        graph.configure()
        self.graph, self.made_for = graph, (width, height, name)
