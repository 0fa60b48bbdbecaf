"""Pictures and videos that come with the pack, so that every workflow runs before a user has loaded a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from ..lumiere_core.video.reading import open_video
from ..lumiere_core.video.sound import read_sound
from . import host, inputs
from .audio import audio_of
from .host import io
from .running import running

MEDIA = Path(__file__).parents[1] / "workflows" / "media"


class Sample(NamedTuple):
    """file: of MEDIA; what is transparent in it is the mask, or in the picture `mask`."""

    file: str
    mask: str | None = None


# By what they are for: the names are frozen, what is shown may change with the bundled weights.
SAMPLES = {
    "picture": Sample("yellow_star_128.png"),
    "first picture": Sample("red_circle_first_128.png"),
    "last picture": Sample("red_circle_last_128.png"),
    "picture with a region": Sample("two_shapes_128.png"),
    "video": Sample("blue_square_bouncing_128.mp4"),
    "video with a hole": Sample("orange_circle_moving_up_128.mp4", mask="hole_128.png"),
    "video with a motion": Sample("green_triangle_moving_left_128.mp4"),
    "small video": Sample("yellow_star_orbiting_32.mp4"),
}


class SampleMedia(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereSampleMedia",
            display_name="Sample Media (Lumiere)",
            category=f"{inputs.CATEGORY}/loaders",
            description="Pictures and videos that come with this pack. To use your own, name a file, or put LoadImage "
            "here, or LoadVideo and GetVideoComponents, and wire their outputs in place of these.",
            search_aliases=["lumiere", "example image", "example video", "sample image", "sample video"],
            inputs=[
                io.Combo.Input(
                    "sample",
                    options=list(SAMPLES),
                    tooltip="What to take: each is named after what a workflow needs it for.",
                ),
                io.String.Input(
                    "file",
                    default="",
                    optional=True,
                    tooltip="A picture or a video of yours in the input folder, taken in place of the sample. Empty: "
                    "none.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The picture, or the video's frames in order."),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="1 where something is to be made anew, or may move: the region, or the hole; else 0.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second of a video."),
                io.Audio.Output(display_name="audio", tooltip="The sound of a video of yours, where it has one."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, sample, file=""):
        return host.input_file(file).stat().st_mtime_ns if file else sample

    @classmethod
    @running("Sample Media")
    def execute(cls, sample, file="") -> io.NodeOutput:
        sound = None
        if file:
            path = host.input_file(file)
            (frames, mask, fps), sound = _read(path), read_sound(path)
        else:
            picture, hole = SAMPLES[sample]
            frames, mask, fps = _read(_medium(picture))
            mask = mask if hole is None else _read(_medium(hole))[1]
        return io.NodeOutput(frames, mask, fps, audio_of(sound), **host.shown_clip(frames, fps))


def _medium(name: str) -> Path:
    path = MEDIA / name
    if not path.is_file():
        raise ValueError(f"{name} is missing from this pack's workflows/media. Install the pack again.")
    return path


def _read(path: Path) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Frames (T, H, W, 3), a mask, 1 where they are transparent, (T or 1, H, W), and their rate."""
    video = open_video(path)
    pixels = video.read()
    frames = pixels[..., :3].contiguous()
    mask = 1 - pixels[..., 3] if pixels.shape[-1] == 4 else frames.new_zeros(1, *frames.shape[1:3])
    return frames, mask, video.fps
