"""Videos and pictures, opened to be read as far as they are needed: frame by frame, within the free memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..runtime.memory import require_memory
from .decoding import Frame, decode_video, depth_and_color, open_container
from .pictures import decode_by_pillow, inspect_picture, require_picture_memory

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
T = TypeVar("T")
MICROSECONDS = 10**6  # what FFmpeg counts a file's duration in
STILL_FPS = 16.0  # what pictures and folders of PNGs are read at: they cannot say


@dataclass(frozen=True)
class VideoFile:
    """A video, a picture, which is one frame, or a folder of PNGs.

    count: how many frames the file says that it has; 0 where it does not. decode: gives them one at a time. is_still: a
    picture, which has no rate and stays one frame. bit_depth, color_space: as the file has them; see `depth_and_color`.
    """

    path: Path
    fps: float
    count: int
    decode: Callable[[], Iterator[Frame]]
    is_still: bool = False
    bit_depth: int = 8
    color_space: str = "sRGB"

    def count_at(self, fps: float) -> int:
        """The frames that there should be at another rate."""
        return self.count if self.is_still else round(self.count * fps / self.fps)

    def read(
        self,
        fps: float | None = None,
        first: int | None = None,
        last: int | None = None,
        prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Frames (T, H, W, 3 or 4) float32 in [0, 1].

        fps: the rate to bring them to, by repeating and leaving out. first, last: at most so many from the beginning,
        or to the end; what is not needed is not decoded, or not kept. prepare: (1, H, W, C) -> (1, h, w, C), applied to
        each frame as it comes. Raises ValueError for a file that cannot be read, has frames of several sizes or none,
        or does not fit the memory.
        """
        with closing(self.decode()) as decoded:
            frames = decoded if fps is None or self.is_still else resample(decoded, self.fps, fps)
            frames = map(_to_tensor, islice(frames, first))
            if prepare is not None:
                frames = map(prepare, frames)
            expected = min(self.count_at(fps or self.fps), first or math.inf, last or math.inf)
            return _gather(deque(frames, last) if last else frames, max(1, int(expected)), self.path)


def open_video(path: str | Path) -> VideoFile:
    """Raises ValueError for what is no such file, or not there."""
    if not str(path):
        raise ValueError("the path of a video or a picture must not be empty.")
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file.")
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _open_picture(path)
    with open_container(path) as (container, stream):
        require_picture_memory(path, stream.codec_context.width, stream.codec_context.height)
        fps = float(stream.average_rate or 1)
        seconds = (container.duration or 0) / MICROSECONDS
        count, (bit_depth, color_space) = max(0, stream.frames or round(seconds * fps)), depth_and_color(stream)
        decode = partial(decode_video, path)
        return VideoFile(path, fps, count, decode, bit_depth=bit_depth, color_space=color_space)


def resample(frames: Iterable[T], fps: float, target: float) -> Iterator[T]:
    """Of a video's frames those nearest in time to the frames of one with `target` frames per second, equally long."""
    made, frame = 0, None
    for index, frame in enumerate(frames):
        while (made + 0.5) * fps / target < index + 1:
            made += 1
            yield frame
    if frame is not None and not made:
        yield frame


def _open_picture(path: Path) -> VideoFile:
    picture = inspect_picture(path)
    fps = 1000 * picture.frames / picture.milliseconds if picture.milliseconds else STILL_FPS
    # FFmpeg does not know how WebP moves, nor that a picture is to be mirrored.
    by_pillow = picture.mirrored or (picture.format == "WEBP" and picture.frames > 1)
    decode = partial(decode_by_pillow if by_pillow else decode_video, path)
    return VideoFile(path, fps, picture.frames, decode, is_still=picture.frames == 1)


def _open_folder(folder: Path) -> VideoFile:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise ValueError(f"{folder}: the folder has no PNG files.")
    return VideoFile(folder, STILL_FPS, len(files), partial(_decode_stills, files))


def _decode_stills(files: list[Path]) -> Iterator[Frame]:
    """The first frame of each, without alpha. Raises ValueError that names the first one of another size."""
    size = None
    for file in files:
        pixels = _open_picture(file).read(first=1)[0, ..., :3].numpy()
        size = size or pixels.shape
        if pixels.shape != size:
            raise ValueError(
                f"{file}: all pictures of a folder must have one size; got {_size(*pixels.shape[:2])}, and "
                f"{_size(*size[:2])} before it."
            )
        yield partial(np.asarray, pixels)


def _to_tensor(frame: Frame) -> torch.Tensor:
    """(1, H, W, C) float32 in [0, 1]."""
    pixels = torch.from_numpy(frame())[None]
    return pixels if pixels.is_floating_point() else pixels.float().div(255)


def _gather(frames: Iterable[torch.Tensor], expected: int, path: Path) -> torch.Tensor:
    """Frames (1, H, W, C) -> (T, H, W, C), never held twice unless there are more than expected."""
    together, count = None, 0
    for frame in frames:
        if together is None:
            together = _room(expected, frame, path)
        if frame.shape[1:] != together.shape[1:]:
            sizes = _size(*frame.shape[1:3]), _size(*together.shape[1:3])
            raise ValueError(f"{path}: all frames must have one size; frame {count} is {sizes[0]}, others {sizes[1]}.")
        if count == len(together):
            shorter, together = together, _room(2 * count, frame, path)
            together[:count] = shorter
        together[count] = frame[0]
        count += 1
    if together is None:
        raise ValueError(f"{path}: no frame in it can be read; its codec or kind of pixels is not known here.")
    return together[:count]


def _room(count: int, frame: torch.Tensor, path: Path) -> torch.Tensor:
    """Memory for so many more frames. Raises ValueError where there is not that much."""
    size = _size(*frame.shape[1:3])
    needed = count * frame.numel() * frame.element_size()
    require_memory(f"{path}: reading {count} frames of {size} pixels", {frame.device: needed})
    return frame.new_empty(count, *frame.shape[1:])


def _size(height: int, width: int) -> str:
    return f"{width} x {height}"
