"""Clips with nothing behind them."""

from __future__ import annotations

from ..lumiere_core.video.transparency import TOLERANCE, key_out
from . import inputs
from .checks import frames_of_images
from .host import io
from .running import running


class RemovePlainBackground(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereRemovePlainBackground",
            display_name="Remove Plain Background (Lumiere)",
            category=f"{inputs.CATEGORY}/video",
            description="Makes a clip's plain background transparent, for stickers and overlays. Only what the border "
            "leads to is removed: a white eye on a white background stays.",
            search_aliases=["lumiere", "transparent", "alpha", "rgba", "chroma key", "sticker", "cut out"],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The frames of a clip on a background of one colour. An alpha channel is dropped."
                ),
                io.Float.Input(
                    "tolerance",
                    default=TOLERANCE,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.01,
                    tooltip="How far from the background's colour a pixel may be and still belong to it. Raise it "
                    "where specks are left, lower it where an object has holes.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="The frames with alpha (RGBA), for Save Animated WEBP or Save Image."
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="1 where nothing is left, as Load Image and Join Image with Alpha have it.",
                ),
            ],
        )

    @classmethod
    @running("Remove Plain Background")
    def execute(cls, images, tolerance) -> io.NodeOutput:
        frames = key_out(frames_of_images(images), tolerance)
        return io.NodeOutput(frames, 1 - frames[..., 3])
