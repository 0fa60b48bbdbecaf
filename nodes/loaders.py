"""Nodes that load networks from the model folder."""

from __future__ import annotations

from . import host, inputs
from .host import io
from .running import running

BASE_KINDS, SSR_KINDS = ("base", "t2i"), ("ssr",)


class LoadSTUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereLoadSTUNet",
            display_name="Load STUNet (Lumiere)",
            category=f"{inputs.CATEGORY}/loaders",
            description="Loads a space-time U-Net, the network that makes all frames of a clip at once, and the text "
            "encoder that it was trained with. Files are looked for in models/lumiere; the bundled toy-base is always "
            "there.",
            search_aliases=["lumiere", "video model", "load video model", "text to video", "space-time unet"],
            inputs=[
                _checkpoint(BASE_KINDS, "A base network: a .safetensors file in models/lumiere, or the bundled one."),
                inputs.dtype(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The network. Core's samplers and patches take it too."),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="The text encoder that the checkpoint names, for TextEncode or CLIPTextEncode; nothing if "
                    "it names none: wire a T5 loader then.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint, dtype):
        return _modified(checkpoint)

    @classmethod
    @running("Load STUNet")
    def execute(cls, checkpoint, dtype) -> io.NodeOutput:
        path = host.checkpoint_path(checkpoint)
        return io.NodeOutput(host.load_model(path, BASE_KINDS, dtype), host.load_text_encoder(path))


class LoadSSR(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereLoadSSR",
            display_name="Load SSR (Lumiere)",
            category=f"{inputs.CATEGORY}/loaders",
            description="Loads a spatial super-resolution network, which makes a video larger. Files are looked for in "
            "models/lumiere; the bundled toy-ssr is always there.",
            search_aliases=["lumiere", "upscale model", "video upscaler", "super resolution"],
            inputs=[
                _checkpoint(SSR_KINDS, "An SSR: a .safetensors file in models/lumiere, or the bundled one."),
                inputs.dtype(),
            ],
            outputs=[io.Model.Output(display_name="ssr", tooltip="The network, for TemporalMultiDiffusionSSR.")],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint, dtype):
        return _modified(checkpoint)

    @classmethod
    @running("Load SSR")
    def execute(cls, checkpoint, dtype) -> io.NodeOutput:
        return io.NodeOutput(host.load_model(host.checkpoint_path(checkpoint), SSR_KINDS, dtype))


def _modified(checkpoint: str) -> int:
    """Changes when the file does: training writes checkpoints anew under their old names."""
    return host.checkpoint_path(checkpoint).stat().st_mtime_ns


def _checkpoint(kinds: tuple[str, ...], tooltip: str):
    return io.Combo.Input("checkpoint", options=host.checkpoint_names(kinds), tooltip=tooltip)
