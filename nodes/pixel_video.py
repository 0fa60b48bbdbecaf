"""The bridge to core's samplers: a pixel-space video as a LATENT, without a VAE."""

from __future__ import annotations

import torch

from ..lumiere_core.conditioning.fitting import fit_video
from ..lumiere_core.diffusion.options import LARGEST_SIDE, LONGEST_CLIP
from ..lumiere_core.runtime.memory import require_frames_memory
from ..lumiere_core.video.tensors import video_to_frames
from . import inputs
from .checks import frames_of_images, videos_of_latent
from .host import io
from .running import running


class EmptyPixelVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereEmptyPixelVideo",
            display_name="Empty Pixel Video (Lumiere)",
            category=f"{inputs.CATEGORY}/latent",
            description="An empty clip for core's samplers. A STUNet works on pixels, so this latent has three "
            "channels and the video's own size.",
            search_aliases=["lumiere", "empty latent", "empty video", "new video"],
            inputs=[
                io.Int.Input(
                    "frames", default=80, min=1, max=LONGEST_CLIP, tooltip="Number of frames; any number works."
                ),
                io.Int.Input("width", default=32, min=1, max=LARGEST_SIDE, tooltip="Width of the frames in pixels."),
                io.Int.Input("height", default=32, min=1, max=LARGEST_SIDE, tooltip="Height of the frames in pixels."),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Mid-grey frames, (1, 3, T, H, W).")],
        )

    @classmethod
    @running("Empty Pixel Video")
    def execute(cls, frames, width, height) -> io.NodeOutput:
        require_frames_memory("A clip", frames, height, width)
        return io.NodeOutput({"samples": torch.zeros(1, 3, frames, height, width)})


class FramesToLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereFramesToLatent",
            display_name="Frames to Latent (Lumiere)",
            category=f"{inputs.CATEGORY}/latent",
            description="Frames as a pixel-space LATENT, to start a sampler from a video. Nothing is encoded; "
            "frames that need no resizing come through exactly.",
            search_aliases=["lumiere", "vae encode", "images to latent", "video to latent"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of one clip, in order. An alpha channel is dropped."),
                inputs.side("width", "Width to make the frames, in pixels. 0 leaves it.", optional=True),
                inputs.side("height", "Height to make the frames, in pixels. 0 leaves it.", optional=True),
                inputs.fit(optional=True),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The clip, (1, 3, T, H, W) in -1..1.")],
        )

    @classmethod
    @running("Frames to Latent")
    def execute(cls, images, width=0, height=0, fit="crop") -> io.NodeOutput:
        frames = frames_of_images(images)
        size = height or frames.shape[1], width or frames.shape[2]
        return io.NodeOutput({"samples": fit_video(frames, size, fit)[0]})


class LatentToFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereLatentToFrames",
            display_name="Latent to Frames (Lumiere)",
            category=f"{inputs.CATEGORY}/latent",
            description="A pixel-space LATENT, for example from core's KSampler, as frames. Clips of a batch follow "
            "each other.",
            search_aliases=["lumiere", "vae decode", "latent to images", "latent to video"],
            inputs=[io.Latent.Input("latent", tooltip="A clip from a STUNet or an SSR, (1, 3, T, H, W).")],
            outputs=[io.Image.Output(display_name="images", tooltip="The frames, in order, in 0..1.")],
        )

    @classmethod
    @running("Latent to Frames")
    def execute(cls, latent) -> io.NodeOutput:
        videos = videos_of_latent(latent)
        count, _, frames, height, width = videos.shape
        require_frames_memory("A clip", count * frames, height, width)
        after_another = videos.transpose(0, 1).flatten(1, 2)[None]  # (1, 3, B * T, H, W)
        return io.NodeOutput(video_to_frames(after_another).clamp_(0, 1))
