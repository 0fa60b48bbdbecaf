"""Videos as files: mp4, gif, animated webp, or a folder of PNGs. All writing is atomic.

Frames are (T, H, W, 3) in [0, 1], RGB, a torch tensor or a numpy array; or (T, H, W, 4) with straight alpha.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..runtime.modules import require_modules
from ..runtime.outputs import atomic_path, require_writable
from .frame_folder import require_replaceable, write_frames
from .reading import open_video
from .sound import Sound, add_sound_stream, write_sound

SUFFIXES = (".mp4", ".gif", ".webp")
TRANSPARENT_SUFFIXES = (".webp",)

# Where ComfyUI looks for what a webp carries: EXIF's Model has the prompt, Make and the tags below it the rest.
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F
_BT709 = 1  # the code that ffmpeg gives the matrix, the primaries and the transfer function of BT.709
_LIMITED_RANGE = 1


def write_video(path: str | Path, frames, fps: float, metadata: Mapping[str, str] | None = None, **options) -> None:
    """Write frames (T, H, W, 3), or with alpha (T, H, W, 4), as the kind of file that the path's suffix names; a
    trailing slash means PNGs.

    metadata: JSON by key, "prompt" and "workflow", stored where ComfyUI looks for them; only mp4 and webp have a place
    for it. options: of an mp4 `sound`, a Sound or None, which ends with the frames; of an animated webp Pillow's:
    lossless, quality, method.
    An existing file is replaced once the new one is complete; after an error or Ctrl-C nothing new is left. Raises
    ValueError as `check_output` does.
    """
    frames = to_uint8(frames)
    check_output(path, transparent=frames.shape[-1] == 4)
    if is_folder(path):
        write_frames(Path(path), frames)
        return
    writer = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp}[Path(path).suffix.lower()]
    with atomic_path(path) as temporary:
        writer(temporary, frames, fps, metadata or {}, **options)


def check_output(path: str | Path, transparent: bool = False) -> None:
    """Raise ValueError unless `write_video` can write there: a known suffix, of a kind that can be transparent where
    the frames are, and a folder that takes a new file. Raises ModuleNotFoundError where the package that writes it is
    missing.
    """
    if not str(path):
        raise ValueError("the path of a video must not be empty.")
    target = Path(path)
    if is_folder(path):
        target = target.resolve()
        require_replaceable(target)
    elif target.is_dir():
        raise ValueError(f"{path}: this is a folder. End the name in a slash for a folder of PNGs.")
    elif target.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: a video's name must end in {', '.join(SUFFIXES)}, or in a slash for a folder of PNGs; "
            f"got {target.suffix or 'no suffix'}."
        )
    elif transparent and target.suffix.lower() not in TRANSPARENT_SUFFIXES:
        raise ValueError(
            f"{path}: a transparent video's name must end in {', '.join(TRANSPARENT_SUFFIXES)}, or in a slash for a "
            f"folder of PNGs; got {target.suffix}."
        )
    require_modules("av" if target.suffix.lower() == ".mp4" and not is_folder(path) else "PIL")
    require_writable(target)


def is_folder(path: str | Path) -> bool:
    """Whether an output path means a folder of PNGs: it ends in a slash (a Path object cannot)."""
    return str(path).endswith(("/", os.sep))


def read_video(path: str | Path) -> tuple[torch.Tensor, float]:
    """Frames (T, H, W, 3) float32 in [0, 1], and frames per second, of a video or an image, which is one frame.

    An alpha channel is dropped. In gif and webp, equal neighbours are stored, and come back, as one longer frame.
    Raises ValueError as `VideoFile.read` does. To read only what is needed, see `open_video`.
    """
    video = open_video(path)
    return video.read()[..., :3], video.fps


def to_uint8(frames) -> np.ndarray:
    """(T, H, W, 3 or 4) in [0, 1] -> the same in 0..255, rounded."""
    frames = torch.as_tensor(frames)
    if not frames.is_floating_point():
        raise ValueError(f"write_video: frames must be floats, 0 to 1; got {frames.dtype}. Divide 8-bit values by 255.")
    if frames.ndim != 4 or frames.shape[-1] not in (3, 4) or not frames.numel():
        raise ValueError(f"write_video: frames must have shape (T, H, W, 3 or 4); got {tuple(frames.shape)}.")
    levels = torch.empty(frames.shape, dtype=torch.uint8)
    for level, frame in zip(levels, frames, strict=True):  # one by one: floats of a long clip are large
        level.copy_(frame.float().clamp(0, 1).mul(255).round())
    return levels.numpy()


def _write_mp4(
    path: Path, frames: np.ndarray, fps: float, metadata: Mapping[str, str], sound: Sound | None = None
) -> None:
    """H.264, 4:2:0, BT.709 in limited range, and tagged so: players that guess would shift the colours."""
    import av

    frames = _pad_to_even(frames)
    movflags = "faststart+use_metadata_tags" if metadata else "faststart"  # tags of any name, not only mp4's own
    with av.open(str(path), "w", format="mp4", options={"movflags": movflags}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        sound_stream = sound and add_sound_stream(container, sound)
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound_stream:
            write_sound(container, sound_stream, sound.first(len(frames) / fps))


def _pad_to_even(frames: np.ndarray) -> np.ndarray:
    """4:2:0 halves the colour planes: an odd side gets its border pixels twice."""
    bottom, right = frames.shape[1] % 2, frames.shape[2] % 2
    if not bottom and not right:
        return frames
    return np.pad(frames, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")


def _write_gif(path: Path, frames: np.ndarray, fps: float, _metadata: Mapping[str, str]) -> None:
    """One palette for the whole clip and no dithering: still pixels stay still."""
    from PIL import Image

    sampled = frames[np.linspace(0, len(frames) - 1, min(len(frames), 16)).round().astype(int)]
    palette = Image.fromarray(sampled.reshape(-1, sampled.shape[2], 3)).quantize(256, dither=Image.Dither.NONE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    _save_animation(path, images, [10 * d for d in _durations(len(frames), 100 / fps)], optimize=False)


def _write_webp(path: Path, frames: np.ndarray, fps: float, metadata: Mapping[str, str], **options) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    options = {"quality": 90, "method": 4, **options}
    if metadata:
        options["exif"] = exif = Image.Exif()
        others = [key for key in metadata if key != "prompt"]
        for key, text in metadata.items():
            exif[_EXIF_MODEL if key == "prompt" else _EXIF_MAKE - others.index(key)] = f"{key}:{text}"
    _save_animation(path, images, _durations(len(frames), 1000 / fps), **options)


def _save_animation(path: Path, images: list, durations_ms: list[int], **options) -> None:
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations_ms, loop=0, **options)


def _durations(count: int, exact: float) -> list[int]:
    """Whole units whose running sum never strays from the exact one by more than a half: 62.5 -> 62, 63, 62..."""
    ends = np.round(np.arange(count + 1) * exact).astype(int)
    return np.diff(ends).tolist()
