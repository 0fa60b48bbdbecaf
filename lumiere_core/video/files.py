"""Videos as files: mp4, gif, animated webp, or a folder of PNGs. All writing is atomic.

Frames are (T, H, W, 3) in [0, 1], RGB, a torch tensor or a numpy array; or (T, H, W, 4) with straight alpha.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..runtime.modules import require_modules
from ..runtime.outputs import atomic_path, require_writable

SUFFIXES = (".mp4", ".gif", ".webp")
TRANSPARENT_SUFFIXES = (".webp",)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FRAME_NAME = "frame_{:05d}.png"
PNG_FPS = 16.0  # what a folder of PNGs is read at: it cannot say

# Where ComfyUI looks for what a webp carries: EXIF's Model has the prompt, Make and the tags below it the rest.
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F
_BT709 = 1  # the code that ffmpeg gives the matrix, the primaries and the transfer function of BT.709
_LIMITED_RANGE = 1


def write_video(path: str | Path, frames, fps: float, metadata: Mapping[str, str] | None = None, **options) -> None:
    """Write frames (T, H, W, 3), or with alpha (T, H, W, 4), as the kind of file that the path's suffix names; a
    trailing slash means PNGs.

    metadata: JSON by key, "prompt" and "workflow", stored where ComfyUI looks for them; only mp4 and webp have a place
    for it. options: Pillow's of an animated webp: lossless, quality, method.
    An existing file is replaced once the new one is complete; after an error or Ctrl-C nothing new is left. Raises
    ValueError as `check_output` does.
    """
    frames = to_uint8(frames)
    check_output(path, transparent=frames.shape[-1] == 4)
    if is_folder(path):
        with _atomic_folder(Path(path)) as folder:
            _write_pngs(folder, frames)
        return
    writer = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp}[Path(path).suffix.lower()]
    with atomic_path(path) as temporary:
        writer(temporary, frames, fps, metadata or {}, **options)


def check_output(path: str | Path, transparent: bool = False) -> None:
    """Raise ValueError unless `write_video` can write there: a known suffix, of a kind that can be transparent where
    the frames are, and a folder that takes a new file. Raises ModuleNotFoundError where the package that writes it is
    missing.
    """
    target = Path(path)
    if is_folder(path):
        _require_replaceable(target)
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
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file.")
    if path.is_dir():
        frames, fps = _read_pngs(path), PNG_FPS
    elif path.suffix.lower() in (".gif", ".webp", *IMAGE_SUFFIXES):
        frames, fps = _read_pillow(path)
    else:
        frames, fps = _read_av(path)
    pixels = torch.from_numpy(np.stack(frames))
    return (pixels if pixels.is_floating_point() else pixels.float().div(255)), fps


def resample_fps(frames: torch.Tensor, fps: float, target: float) -> torch.Tensor:
    """The frames (T, H, W, 3) nearest in time to those of a video of `target` frames per second, equally long."""
    count = max(1, round(len(frames) * target / fps))
    times = (torch.arange(count) + 0.5) / target
    return frames[(times * fps).floor().long().clamp(max=len(frames) - 1)] if count != len(frames) else frames


def to_uint8(frames) -> np.ndarray:
    """(T, H, W, 3 or 4) in [0, 1] -> the same in 0..255, rounded."""
    frames = torch.as_tensor(frames)
    if not frames.is_floating_point():
        raise ValueError(f"write_video: frames must be floats, 0 to 1; got {frames.dtype}. Divide 8-bit values by 255.")
    if frames.ndim != 4 or frames.shape[-1] not in (3, 4) or not frames.numel():
        raise ValueError(f"write_video: frames must have shape (T, H, W, 3 or 4); got {tuple(frames.shape)}.")
    return frames.float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8).numpy()


def _write_mp4(path: Path, frames: np.ndarray, fps: float, metadata: Mapping[str, str]) -> None:
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
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _pad_to_even(frames: np.ndarray) -> np.ndarray:
    """4:2:0 halves the colour planes: an odd side gets its border pixels twice."""
    bottom, right = frames.shape[1] % 2, frames.shape[2] % 2
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


def _write_pngs(folder: Path, frames: np.ndarray) -> None:
    from PIL import Image

    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / FRAME_NAME.format(index))


@contextmanager
def _atomic_folder(path: Path):
    """A temporary folder beside `path` that takes its place on success, and is deleted on any error."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)


def _require_replaceable(folder: Path) -> None:
    """A folder is replaced as a whole: refuse where that would delete anything but an earlier video's frames."""
    if folder.is_file():
        raise ValueError(f"{folder}: this is a file, so it cannot become a folder of PNGs. Choose another name.")
    others = [entry.name for entry in folder.glob("*") if not entry.match("frame_*.png")]
    if others:
        raise ValueError(
            f"{folder}: the folder holds other files than a video's frames ({others[0]}). Choose another folder."
        )


def _read_pngs(folder: Path) -> list[np.ndarray]:
    from PIL import Image

    files = sorted(folder.glob("*.png"))
    if not files:
        raise ValueError(f"{folder}: the folder has no PNG files.")
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def _read_pillow(path: Path) -> tuple[list[np.ndarray], float]:
    from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not an image or animation that can be read.") from error
    frames, milliseconds = [], 0
    for frame in ImageSequence.Iterator(image):
        frames.append(np.asarray(ImageOps.exif_transpose(frame).convert("RGB")))
        milliseconds += frame.info.get("duration", 0)
    return frames, 1000 * len(frames) / milliseconds if milliseconds else PNG_FPS


def _read_av(path: Path) -> tuple[list[np.ndarray], float]:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [_decoded(frame) for frame in container.decode(stream)]
            fps = float(stream.average_rate)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path}: not a video that can be read ({error}).") from error
    if not frames:
        raise ValueError(f"{path}: the video has no frames.")
    return frames, fps


def _decoded(frame) -> np.ndarray:
    """(H, W, 3), as ComfyUI decodes it: in float32, where halved colour planes are interpolated, not repeated.

    In other widths than multiples of 32 that conversion reads beyond the picture's edge, so those stay in 8 bits.
    """
    if frame.width % 32:
        return frame.to_ndarray(format="rgb24")
    return frame.to_ndarray(format="gbrpf32le").clip(0, 1)
