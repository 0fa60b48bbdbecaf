"""A clip's faults at a glance."""

from __future__ import annotations

import numpy as np
import torch

from ..lumiere_core.video.diagnostics import diagnostics_image, figures_text
from . import inputs
from .checks import frames_of_images
from .host import io
from .running import running


class VideoDiagnostics(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereVideoDiagnostics",
            display_name="Video Diagnostics (Lumiere)",
            category=f"{inputs.CATEGORY}/video",
            description="Draws a clip's contact sheet, an X-T slice (one row of pixels over time, where smooth motion "
            "is smooth lines) and the difference of adjacent frames, where a seam or a cut is a spike.",
            search_aliases=["lumiere", "contact sheet", "x-t slice", "flicker", "seams", "compare videos"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of the clip to look at, in order."),
                io.Image.Input("other", optional=True, tooltip="A second clip, of any size, to compare it with."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture, for Preview Image or Save Image."),
                io.String.Output(display_name="figures", tooltip="The figures as text, one line a clip."),
            ],
        )

    @classmethod
    @running("Video Diagnostics")
    def execute(cls, images, other=None) -> io.NodeOutput:
        clips = [frames_of_images(images)]
        if other is not None:
            clips.append(frames_of_images(other, "other"))
        picture = np.asarray(diagnostics_image(clips[0], other=clips[1] if len(clips) > 1 else None))
        image = torch.from_numpy(picture.astype(np.float32) / 255)[None]
        return io.NodeOutput(image, "\n".join(figures_text(clip) for clip in clips))
