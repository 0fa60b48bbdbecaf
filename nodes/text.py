"""From a prompt to conditioning."""

from __future__ import annotations

from . import host, inputs
from .host import io
from .running import running


class TextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereTextEncode",
            display_name="Text Encode (Lumiere)",
            category=f"{inputs.CATEGORY}/conditioning",
            description="Encodes a prompt for a STUNet or an SSR. Core's CLIPTextEncode does the same; this one says "
            "what to wire when no text encoder came with the checkpoint.",
            search_aliases=["lumiere", "prompt", "text", "clip text encode"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder: LoadSTUNet's second output, or core's CLIPLoader with a T5 (type ltxv "
                    "or mochi for DeepFloyd IF).",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip='The prompt, for example "a red circle moving right on a gray background". Empty is legal. '
                    'Parentheses weigh words: "(red:1.4)". Words that the network never heard are named below.',
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="The encoded text, for a positive or negative input."
                )
            ],
        )

    @classmethod
    @running("Text Encode")
    def execute(cls, text, clip=None) -> io.NodeOutput:
        if clip is None:
            raise ValueError(
                "clip must be a text encoder; got nothing: the checkpoint names none, or its file was not found. Wire "
                "core's CLIPLoader with the T5 that the network was trained with (type ltxv or mochi for DeepFloyd IF)."
            )
        return io.NodeOutput(host.encode_text(clip, text))
