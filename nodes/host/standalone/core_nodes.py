"""The few of ComfyUI's own nodes that bring images and videos in and out, under core's names.

Ids, inputs, their order and outputs are core's (v0.33), so that its workflow files fit; options that this host cannot
carry out are left out of the lists. Videos have no sound here.
"""

from __future__ import annotations

import mimetypes
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ....lumiere_core.checkpoint import atomic_path
from ....lumiere_core.video_io import read_video, to_uint8, write_video
from . import io
from .models import encode_text, settings

WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


@dataclass(frozen=True)
class VideoClip:
    """What goes over a VIDEO socket. frames: (T, H, W, 3) in [0, 1]."""

    frames: torch.Tensor
    fps: float


class LoadImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadImage",
            inputs=[io.Combo.Input("image", options=input_files("image"), upload=True)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image):
        input_path("image", image)
        return True

    @classmethod
    def execute(cls, image) -> io.NodeOutput:
        return io.NodeOutput(*_read_image(input_path("image", image)))


class LoadVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadVideo",
            inputs=[io.Combo.Input("file", options=input_files("video"), upload=True)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def validate_inputs(cls, file):
        input_path("file", file)
        return True

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        path = input_path("file", file)
        clip = VideoClip(*read_video(path))
        if _has_sound(path):
            warnings.warn(f"LoadVideo: the sound of {file} is left out; only ComfyUI keeps it.", stacklevel=2)
        return io.NodeOutput(clip)


class GetVideoComponents(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="GetVideoComponents",
            inputs=[io.Video.Input("video")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
                io.Int.Output(display_name="bit_depth"),
                io.Combo.Output(display_name="color_space"),
            ],
        )

    @classmethod
    def execute(cls, video) -> io.NodeOutput:
        return io.NodeOutput(video.frames, None, video.fps, 8, "sRGB")


class CreateVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CreateVideo",
            inputs=[
                io.Image.Input("images"),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                io.Audio.Input("audio", optional=True),
                io.Int.Input("bit_depth", default=8, min=8, max=8, optional=True),
            ],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, images, fps, audio=None, bit_depth=8) -> io.NodeOutput:
        return io.NodeOutput(VideoClip(images[..., :3], fps))


class _SavesFiles(io.ComfyNode):
    @classmethod
    def validate_inputs(cls, filename_prefix):
        output_path(filename_prefix, "")
        return True


class SaveVideo(_SavesFiles):
    @classmethod
    def define_schema(cls):
        plain = io.DynamicCombo.Option
        encoding = io.DynamicCombo.Input("encoding", options=[plain("auto", [])], optional=True)
        codecs = [plain("auto", []), plain("h264", [encoding])]
        codec = io.DynamicCombo.Input("codec", options=codecs, optional=True)
        return io.Schema(
            node_id="SaveVideo",
            inputs=[
                io.Video.Input("video"),
                io.String.Input("filename_prefix", default="video/ComfyUI"),
                io.DynamicCombo.Input("format", options=[plain("auto", [codec]), plain("mp4", [codec])]),
                codec,
            ],
            outputs=[io.Video.Output("video")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video, filename_prefix, format, codec=None) -> io.NodeOutput:
        path = output_path(filename_prefix, ".mp4")
        write_video(path, video.frames, video.fps, settings().metadata)
        return io.NodeOutput(video, files=[path])


class SaveAnimatedWEBP(_SavesFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveAnimatedWEBP",
            inputs=[
                io.Image.Input("images"),
                io.String.Input("filename_prefix", default="ComfyUI"),
                io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
                io.Boolean.Input("lossless", default=True),
                io.Int.Input("quality", default=80, min=0, max=100),
                io.Combo.Input("method", options=list(WEBP_METHODS), default="default"),
            ],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images, filename_prefix, fps, lossless, quality, method) -> io.NodeOutput:
        path = output_path(filename_prefix, ".webp")
        options = {"lossless": lossless, "quality": quality, "method": WEBP_METHODS[method]}
        write_video(path, images[..., :3], fps, settings().metadata, **options)
        return io.NodeOutput(images, files=[path])


class SaveImage(_SavesFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveImage",
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images, filename_prefix) -> io.NodeOutput:
        return io.NodeOutput(images, files=_write_images(images, filename_prefix))


class PreviewImage(io.ComfyNode):
    """Nobody is looking: the images go to the folder `preview` in the output folder."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PreviewImage",
            inputs=[io.Image.Input("images")],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images) -> io.NodeOutput:
        return io.NodeOutput(images, files=_write_images(images, "preview/ComfyUI"))


class CLIPTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CLIPTextEncode",
            inputs=[io.String.Input("text", default="", multiline=True), io.Clip.Input("clip")],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, text, clip) -> io.NodeOutput:
        if clip is None:
            raise ValueError("clip must be a text encoder; got nothing, so the checkpoint names none.")
        return io.NodeOutput(encode_text(clip, text))


CORE_NODES = (
    LoadImage,
    LoadVideo,
    GetVideoComponents,
    CreateVideo,
    SaveVideo,
    SaveAnimatedWEBP,
    SaveImage,
    PreviewImage,
    CLIPTextEncode,
)


def input_files(kind: str) -> list[str]:
    """Files right in the input folder whose MIME type is of this kind (image or video), as core lists them."""
    folder = settings().input
    files = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    return sorted(name for name in files if (mimetypes.guess_type(name)[0] or "").startswith(f"{kind}/"))


def input_path(input_name: str, name: str) -> Path:
    """The input folder's file of that name. Raises ValueError for one outside, or that is not there."""
    path = _inside(settings().input, name)
    if path is None or not path.is_file():
        problem = "outside it" if path is None else "not there"
        raise ValueError(
            f"{input_name} must be a file in the folder {settings().input}; got {name!r}, which is {problem}."
        )
    return path


def output_path(prefix: str, suffix: str) -> Path:
    """<output>/<prefix>_00001_<suffix>, counted on from the files there. Raises ValueError for one outside."""
    path = _inside(settings().output, prefix)
    if path is None or prefix.endswith(("/", os.sep)) or path == _absolute(settings().output):
        raise ValueError(
            f"filename_prefix must name a file in the folder {settings().output}, such as video/clip; got {prefix!r}."
        )
    taken = re.compile(re.escape(path.name) + r"_(\d+)_")
    numbers = [int(found[1]) for file in path.parent.glob("*") if (found := taken.match(file.name))]
    relative = path.relative_to(_absolute(settings().output)).parent
    return settings().output / relative / f"{path.name}_{max(numbers, default=0) + 1:05}_{suffix}"


def _inside(folder: Path, name: str) -> Path | None:
    path = _absolute(folder / name)
    return path if path.is_relative_to(_absolute(folder)) else None


def _absolute(path: Path) -> Path:
    """Without `..`, but links are followed, as in core: people link their media into the input folder."""
    return Path(os.path.abspath(path))


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


def _has_sound(path: Path) -> bool:
    import av

    with av.open(str(path)) as container:
        return len(container.streams.audio) > 0
