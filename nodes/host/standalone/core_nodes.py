"""The few of ComfyUI's own nodes that bring images and videos in and out, under core's names.

Ids, inputs, their order and outputs are core's (v0.33), so that its workflow files fit; options that this host cannot
carry out are left out of the lists. Videos have no sound here.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ....lumiere_core.checkpoint import atomic_path
from ....lumiere_core.video_io import read_video, to_uint8, write_video
from . import io
from .models import encode_text, inside, settings

WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


class VideoClip(NamedTuple):
    """What goes over a VIDEO socket. frames: (T, H, W, 3) in [0, 1]."""

    frames: torch.Tensor
    fps: float


class _CoreNode(io.ComfyNode):
    """The node of that name, its schema as class attributes. An upload input's options are the input folder's files."""

    inputs: Sequence[io.Input]
    outputs: Sequence[io.Type]
    is_output_node = False

    @classmethod
    def define_schema(cls):
        inputs = [replace(spec, options=_input_files(spec.upload)) if spec.upload else spec for spec in cls.inputs]
        outputs = [type.Output() for type in cls.outputs]
        return io.Schema(cls.__name__, inputs=inputs, outputs=outputs, is_output_node=cls.is_output_node)


class LoadImage(_CoreNode):
    inputs = [io.Combo.Input("image", upload="image")]
    outputs = [io.Image, io.Mask]

    @staticmethod
    def execute(image):
        return io.NodeOutput(*_read_image(input_path("image", image)))


class LoadVideo(_CoreNode):
    inputs = [io.Combo.Input("file", upload="video")]
    outputs = [io.Video]

    @staticmethod
    def execute(file):
        return io.NodeOutput(VideoClip(*read_video(input_path("file", file))))


class GetVideoComponents(_CoreNode):
    inputs = [io.Video.Input("video")]
    outputs = [io.Image, io.Audio, io.Float, io.Int, io.Combo]

    @staticmethod
    def execute(video):
        return io.NodeOutput(video.frames, None, video.fps, 8, "sRGB")


class CreateVideo(_CoreNode):
    inputs = [
        io.Image.Input("images"),
        io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
        io.Audio.Input("audio", optional=True),
        io.Int.Input("bit_depth", default=8, min=8, max=8, optional=True),
    ]
    outputs = [io.Video]

    @staticmethod
    def execute(images, fps, audio=None, bit_depth=8):
        return io.NodeOutput(VideoClip(images[..., :3], fps))


class SaveVideo(_CoreNode):
    _encoding = io.DynamicCombo.Input("encoding", options=[io.Option("auto")], optional=True)
    _codecs = [io.Option("auto"), io.Option("h264", [_encoding])]
    _codec = io.DynamicCombo.Input("codec", options=_codecs, optional=True)
    inputs = [
        io.Video.Input("video"),
        io.String.Input("filename_prefix", default="video/ComfyUI"),
        io.DynamicCombo.Input("format", options=[io.Option("auto", [_codec]), io.Option("mp4", [_codec])]),
        _codec,  # core's older form
    ]
    outputs = [io.Video]
    is_output_node = True

    @staticmethod
    def execute(video, filename_prefix, format, codec=None):
        path = output_path(filename_prefix, ".mp4")
        write_video(path, video.frames, video.fps, settings().metadata)
        return io.NodeOutput(video, files=[path])


class SaveAnimatedWEBP(_CoreNode):
    inputs = [
        io.Image.Input("images"),
        io.String.Input("filename_prefix", default="ComfyUI"),
        io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
        io.Boolean.Input("lossless", default=True),
        io.Int.Input("quality", default=80, min=0, max=100),
        io.Combo.Input("method", options=list(WEBP_METHODS), default="default"),
    ]
    outputs = [io.Image]
    is_output_node = True

    @staticmethod
    def execute(images, filename_prefix, fps, lossless, quality, method):
        path = output_path(filename_prefix, ".webp")
        options = {"lossless": lossless, "quality": quality, "method": WEBP_METHODS[method]}
        write_video(path, images[..., :3], fps, settings().metadata, **options)
        return io.NodeOutput(images, files=[path])


class SaveImage(_CoreNode):
    inputs = [io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")]
    outputs = [io.Image]
    is_output_node = True

    @staticmethod
    def execute(images, filename_prefix):
        return io.NodeOutput(images, files=_write_images(images, filename_prefix))


class PreviewImage(_CoreNode):
    """Nobody is looking: the images go to the folder `preview` in the output folder."""

    inputs = [io.Image.Input("images")]
    outputs = [io.Image]
    is_output_node = True

    @staticmethod
    def execute(images):
        return io.NodeOutput(images, files=_write_images(images, "preview/ComfyUI"))


class CLIPTextEncode(_CoreNode):
    inputs = [io.String.Input("text", default="", multiline=True), io.Clip.Input("clip")]
    outputs = [io.Conditioning]

    @staticmethod
    def execute(text, clip):
        if clip is None:
            raise ValueError("clip must be a text encoder; got nothing, so the checkpoint's was not found.")
        return io.NodeOutput(encode_text(clip, text))


CORE_NODES = (LoadImage, LoadVideo, GetVideoComponents, CreateVideo, CLIPTextEncode)
CORE_NODES += (SaveVideo, SaveAnimatedWEBP, SaveImage, PreviewImage)


def input_path(input_name: str, name: str) -> Path:
    """The input folder's file of that name. Raises ValueError for one outside, or that is not there."""
    folder = settings().input
    path = inside(folder, name)
    if path is None or not path.is_file():
        problem = "outside it" if path is None else "not there"
        raise ValueError(f"{input_name} must be a file in the folder {folder}; got {name!r}, which is {problem}.")
    return path


def output_path(prefix: str, suffix: str) -> Path:
    """<output>/<prefix>_00001_<suffix>, counted on from the files there. Raises ValueError for one outside."""
    folder = settings().output
    path = inside(folder, prefix)
    if path is None or prefix.endswith(("/", os.sep)):
        raise ValueError(f"filename_prefix must name a file in the folder {folder}, such as video/clip; got {prefix!r}.")
    taken = re.compile(re.escape(path.name) + r"_(\d+)_")
    numbers = [int(found[1]) for file in path.parent.glob("*") if (found := taken.match(file.name))]
    return path.with_name(f"{path.name}_{max(numbers, default=0) + 1:05}_{suffix}")


def _input_files(kind: str) -> list[str]:
    """Files right in the input folder whose MIME type is of this kind (image or video), as core lists them."""
    names = (file.name for file in settings().input.glob("*") if file.is_file())
    return sorted(name for name in names if (mimetypes.guess_type(name)[0] or "").startswith(f"{kind}/"))


def _read_image(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE (T, H, W, 3), of an animation all frames, and MASK: what its alpha leaves out, or zeros (T, 64, 64)."""
    from PIL import Image, ImageOps, ImageSequence

    try:
        with Image.open(path) as file:
            pages = [ImageOps.exif_transpose(page) for page in ImageSequence.Iterator(file)]
            frames = np.stack([np.asarray(page.convert("RGBA")) for page in pages])  # (T, H, W, 4)
            has_alpha = any(page.has_transparency_data for page in pages)
    except OSError as error:
        raise ValueError(f"{path}: not an image that can be read ({error}).") from error
    pixels = torch.from_numpy(frames).float().div(255)
    mask = 1 - pixels[..., 3] if has_alpha else torch.zeros(len(pixels), 64, 64)
    return pixels[..., :3].contiguous(), mask


def _write_images(images: torch.Tensor, prefix: str) -> list[Path]:
    from PIL import Image, PngImagePlugin

    metadata = PngImagePlugin.PngInfo()
    for key, text in settings().metadata.items():
        metadata.add_text(key, text)
    files = []
    for pixels in to_uint8(images[..., :3]):
        files.append(output_path(prefix, ".png"))
        with atomic_path(files[-1]) as temporary:
            Image.fromarray(pixels).save(temporary, pnginfo=metadata)
    return files
