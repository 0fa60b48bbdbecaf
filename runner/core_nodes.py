"""The few of ComfyUI's own nodes that bring images and videos in and out, under core's names.

Ids, inputs, their order and outputs are core's (v0.33), so that its workflow files fit; options that this host cannot
carry out are left out of the lists. Videos have no sound here.
"""

from __future__ import annotations

import mimetypes
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch

from ..lumiere_core.runtime.memory import require_frames_memory
from ..lumiere_core.runtime.outputs import write_new
from ..lumiere_core.video.files import to_uint8, write_video
from ..lumiere_core.video.reading import open_video
from ..lumiere_core.video.sound import Sound, read_sound
from ..nodes.audio import audio_of, sound_of
from ..nodes.host.standalone import io
from ..nodes.host.standalone.models import encode_text, input_file, inside, settings

_IMAGES = io.Image.Input("images")
# Packages that nodes import when they run: found missing before any does.
NEEDS = dict.fromkeys(("LoadImage", "SaveAnimatedWEBP", "SaveImage", "PreviewImage"), ("PIL",))
NEEDS |= {"LoadVideo": ("av",), "SaveVideo": ("av",), "LumiereSampleMedia": ("av", "PIL")}
NEEDS |= {"LumiereVideoDiagnostics": ("cv2", "PIL")}
WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


class VideoClip(NamedTuple):
    """What goes over a VIDEO socket. frames: (T, H, W, 3) in [0, 1]; bit_depth, color_space: of the file it is from."""

    frames: torch.Tensor
    fps: float
    sound: Sound | None = None
    bit_depth: int = 8
    color_space: str = "sRGB"


CORE_NODES: list[type[io.ComfyNode]] = []


def _core_node(*inputs: io.Input, outputs: Sequence[io.Type], writes: bool = False):
    """Make the decorated function the `execute` of core's node of that name. Upload inputs get their options here."""

    def register(execute):
        def define_schema():
            specs = [replace(spec, options=_input_files(spec.upload)) if spec.upload else spec for spec in inputs]
            return io.Schema(name, inputs=specs, outputs=[kind.Output() for kind in outputs], is_output_node=writes)

        name = execute.__name__
        methods = {"define_schema": staticmethod(define_schema), "execute": staticmethod(execute)}
        CORE_NODES.append(type(name, (io.ComfyNode,), methods))
        return CORE_NODES[-1]

    return register


@_core_node(io.Combo.Input("image", upload="image"), outputs=[io.Image, io.Mask])
def LoadImage(image):
    return io.NodeOutput(*_read_image(input_file(image, "image")))


@_core_node(io.Combo.Input("file", upload="video"), outputs=[io.Video])
def LoadVideo(file):
    path = input_file(file)
    video = open_video(path)
    frames, sound = video.read()[..., :3], read_sound(path)
    return io.NodeOutput(VideoClip(frames, video.fps, sound, video.bit_depth, video.color_space))


@_core_node(io.Video.Input("video"), outputs=[io.Image, io.Audio, io.Float, io.Int, io.Combo])
def GetVideoComponents(video):
    return io.NodeOutput(video.frames, audio_of(video.sound), video.fps, video.bit_depth, video.color_space)


@_core_node(
    _IMAGES,
    io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
    io.Audio.Input("audio", optional=True),
    io.Int.Input("bit_depth", default=8, min=8, max=8, optional=True),
    outputs=[io.Video],
)
def CreateVideo(images, fps, audio=None, bit_depth=8):
    if bit_depth != 8:  # as GetVideoComponents may say it
        warnings.warn(f"CreateVideo: videos are written with 8 bits a channel here, not {bit_depth}.", stacklevel=2)
    return io.NodeOutput(VideoClip(images[..., :3], fps, sound_of(audio)))


_ENCODING = io.DynamicCombo.Input("encoding", options=[io.Option("auto")], optional=True)
_CODECS = [io.Option("auto"), io.Option("h264", [_ENCODING])]
_CODEC = io.DynamicCombo.Input("codec", options=_CODECS, optional=True)


@_core_node(
    io.Video.Input("video"),
    io.String.Input("filename_prefix", default="video/ComfyUI"),
    io.DynamicCombo.Input("format", options=[io.Option("auto", [_CODEC]), io.Option("mp4", [_CODEC])]),
    _CODEC,  # where older files have it
    outputs=[io.Video],
    writes=True,
)
def SaveVideo(video, filename_prefix, format, codec=None):
    names = numbered_paths(filename_prefix, ".mp4")
    written = {"metadata": settings().metadata, "sound": video.sound}
    files = _write(names, lambda path: write_video(path, video.frames, video.fps, **written))
    return io.NodeOutput(video, files=files)


@_core_node(
    _IMAGES,
    io.String.Input("filename_prefix", default="ComfyUI"),
    io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
    io.Boolean.Input("lossless", default=True),
    io.Int.Input("quality", default=80, min=0, max=100),
    io.Combo.Input("method", options=list(WEBP_METHODS), default="default"),
    outputs=[io.Image],
    writes=True,
)
def SaveAnimatedWEBP(images, filename_prefix, fps, lossless, quality, method):
    names = numbered_paths(filename_prefix, ".webp")
    options = {"lossless": lossless, "quality": quality, "method": WEBP_METHODS[method]}
    files = _write(names, lambda path: write_video(path, images, fps, settings().metadata, **options))
    return io.NodeOutput(images, files=files)


@_core_node(_IMAGES, io.String.Input("filename_prefix", default="ComfyUI"), outputs=[io.Image], writes=True)
def SaveImage(images, filename_prefix):
    return io.NodeOutput(images, files=_write_images(images, filename_prefix))


@_core_node(_IMAGES, outputs=[io.Image], writes=True)
def PreviewImage(images):
    """Nobody is looking: the images go to the folder `preview` in the output folder."""
    return io.NodeOutput(images, files=_write_images(images, "preview/ComfyUI"))


@_core_node(
    io.Image.Input("image1"),
    io.Combo.Input("direction", options=["right", "down", "left", "up"], default="right"),
    io.Boolean.Input("match_image_size", default=True),
    io.Int.Input("spacing_width", default=0, min=0, max=1024, step=2),
    io.Combo.Input("spacing_color", options=["white", "black"], default="white"),
    io.Image.Input("image2", optional=True),
    outputs=[io.Image],
)
def ImageStitch(image1, direction, match_image_size, spacing_width, spacing_color, image2=None):
    """Frame by frame; images of other sizes are left to ComfyUI."""
    if image2 is None:
        return io.NodeOutput(image1)
    axis = 2 if direction in ("right", "left") else 1
    across = 3 - axis
    if image1.shape[across] != image2.shape[across]:
        raise ValueError(
            f"image1 and image2 must be equally {'high' if axis == 2 else 'wide'} here; got {tuple(image1.shape)} and "
            f"{tuple(image2.shape)}. ComfyUI resizes them."
        )
    count = max(len(image1), len(image2))
    size = [count, *image1.shape[1:3]]
    size[axis] += spacing_width + image2.shape[axis]
    require_frames_memory("A stitched image", *size, copies=2)
    first, second = (torch.cat([x, x[-1:].repeat(count - len(x), 1, 1, 1)]) for x in (image1, image2))
    space = list(first.shape)
    space[axis] = spacing_width
    between = torch.full(space, 1.0 if spacing_color == "white" else 0.0)
    parts = [first, between, second] if direction in ("right", "down") else [second, between, first]
    return io.NodeOutput(torch.cat(parts, dim=axis))


@_core_node(io.String.Input("text", default="", multiline=True), io.Clip.Input("clip"), outputs=[io.Conditioning])
def CLIPTextEncode(text, clip):
    if clip is None:
        raise ValueError("clip must be a text encoder; got nothing: the checkpoint names none, or it was not found.")
    return io.NodeOutput(encode_text(clip, text))


def output_path(prefix: str) -> Path:
    """<output>/<prefix>, which names of files begin with. Raises ValueError for one outside."""
    folder = settings().output
    path = inside(folder, prefix)
    if path is None or prefix.endswith(("/", os.sep)):
        raise ValueError(
            f"filename_prefix must name a file in the folder {folder}, such as video/clip; got {prefix!r}."
        )
    return path


def numbered_paths(prefix: str, suffix: str) -> Iterator[Path]:
    """<output>/<prefix>_00001_<suffix> and so on, counted on from the files there. Raises as `output_path` does."""
    path = output_path(prefix)
    taken = re.compile(re.escape(path.name) + r"_(\d+)_")
    numbers = [int(found[1]) for file in path.parent.glob("*") if (found := taken.match(file.name))]
    return (path.with_name(f"{path.name}_{number:05}_{suffix}") for number in count(max(numbers, default=0) + 1))


def _input_files(kind: str) -> list[str]:
    """Files right in the input folder whose MIME type is of this kind (image or video), as core lists them."""
    names = (file.name for file in settings().input.glob("*") if file.is_file())
    return sorted(name for name in names if (mimetypes.guess_type(name)[0] or "").startswith(f"{kind}/"))


def _read_image(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE (T, H, W, 3), of an animation all frames, and MASK: what its alpha leaves out, or zeros (T, 64, 64)."""
    pixels = open_video(path).read()
    mask = 1 - pixels[..., 3] if pixels.shape[-1] == 4 else torch.zeros(len(pixels), 64, 64)
    return pixels[..., :3].contiguous(), mask


def _write(names: Iterator[Path], write: Callable[[Path], None]) -> list[Path]:
    """The file written; of several processes that run the workflow, by the one that leads."""
    return [write_new(names, write)] if settings().leads else []


def _write_images(images: torch.Tensor, prefix: str) -> list[Path]:
    from PIL import Image, PngImagePlugin

    metadata = PngImagePlugin.PngInfo()
    for key, text in settings().metadata.items():
        metadata.add_text(key, text)
    names, pictures = numbered_paths(prefix, ".png"), map(Image.fromarray, to_uint8(images))
    return [file for picture in pictures for file in _write(names, partial(picture.save, pnginfo=metadata))]
