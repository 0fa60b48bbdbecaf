"""Parts of videos, as training draws them: found by time, and small before they are pixels in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .decoding import open_container

LEAST_MISSING = 0.5  # seconds: so much less than a file says may be its way of counting


class Outline(NamedTuple):
    """What there is of a video. seconds: that it is seen for. height, width: as it stands upright."""

    seconds: float
    height: int
    width: int

    def count_at(self, fps: float) -> int:
        """Its frames at a rate."""
        return int(self.seconds * fps + 1e-6)


def outline_video(path: Path) -> Outline:
    """Read a video through, without decoding more than its first frame.

    Raises ValueError for what is no video, and for one that ends before it should.
    """
    with open_container(path) as (container, stream):
        frame = next(iter(container.decode(stream)), None)
        if frame is None:
            raise ValueError(f"{path}: no frame in it can be read.")
        container.seek(0)
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        first = min(packet.pts for packet in packets)
        end = max(packet.pts + _length(packet, stream) for packet in packets)
        outline = Outline(float((end - first) * stream.time_base), *_upright(frame))
        if len(packets) < stream.frames or outline.seconds < _promised(container, stream) - LEAST_MISSING:
            raise ValueError(f"{path}: it is cut off: it ends after {outline.seconds:.1f} seconds.")
    return outline


def read_excerpt(path: Path, start: float, count: int, fps: float, size: tuple[int, int]) -> np.ndarray:
    """`count` frames from `start` seconds on, as a video of `fps` has them: (count, height, width, 3) uint8.

    The middle of the frame, of the size's shape, made as large as `size`, (height, width). Raises ValueError for a file
    that is damaged or ends too early.
    """
    with open_container(path) as (container, stream):
        pixels, last = [], None
        for frame in islice(_at_rate(_timed(container, stream, start), start, fps), count):
            pixels.append(pixels[-1] if frame is last else _fitted(frame, size))
            last = frame
    if len(pixels) < count:
        raise ValueError(f"{path}: it ends after {len(pixels)} of the {count} frames from {start:.2f} seconds on.")
    return np.stack(pixels)


def _timed(container, stream, start: float) -> Iterator[tuple[float, object]]:
    """(seconds from the beginning, frame), from the last place before `start` that decoding can begin at."""
    first = stream.start_time or 0
    if start > 0:
        container.seek(first + int(start / stream.time_base), stream=stream)
    last = None
    for frame in container.decode(stream):
        if frame.pts is not None and frame.pts >= 0:
            last = float((frame.pts - first) * stream.time_base), frame
            yield last
    if last is not None:  # the last frame is seen for as long as it says, or as any is
        seconds, frame = last
        yield seconds + float((frame.duration or 0) * stream.time_base or 1 / (stream.average_rate or 1)), None


def _at_rate(timed: Iterator[tuple[float, object]], start: float, fps: float) -> Iterator[object]:
    """What is seen in the middle of each frame of a video of this rate."""
    made, seen = 0, None
    for seconds, frame in timed:
        while seen is not None and start + (made + 0.5) / fps < seconds:
            made += 1
            yield seen
        seen = frame


def _fitted(frame, size: tuple[int, int]) -> np.ndarray:
    """The middle of a frame, upright: (height, width, 3) uint8."""
    turns = frame.rotation // 90 % 4
    height, width = size if turns % 2 == 0 else size[::-1]  # as the frame lies
    scale = max(height / frame.height, width / frame.width)
    whole = max(height, round(frame.height * scale)), max(width, round(frame.width * scale))
    pixels = frame.to_ndarray(format="rgb24", height=whole[0], width=whole[1], interpolation="AREA")
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    return np.rot90(pixels[top : top + height, left : left + width], turns)


def _upright(frame) -> tuple[int, int]:
    lies = frame.rotation // 90 % 2
    return (frame.width, frame.height) if lies else (frame.height, frame.width)


def _length(packet, stream) -> int:
    """How long a packet's frame is seen, in the stream's units."""
    return packet.duration or round(1 / ((stream.average_rate or 1) * stream.time_base))


def _promised(container, stream) -> float:
    """The seconds that a file says it has; sound may go on for longer than the pictures."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    return container.duration / 10**6 if alone and container.duration else 0.0
