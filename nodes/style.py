"""Another look for the same motion: a fine-tuned style blended into the spatial weights."""

from __future__ import annotations

from ..lumiere_core.style import DEFAULT_ALPHA, LARGEST_ALPHA, load_style
from . import host, inputs
from .host import io
from .running import running

NETWORK_KINDS = ("t2i", "base")


class StyleWeightInterpolate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LumiereStyleWeightInterpolate",
            display_name="Style Weight Interpolate (Lumiere)",
            category=f"{inputs.CATEGORY}/style",
            description="Gives a model the look of a style: its spatial weights become alpha x style + (1 - alpha) x "
            "original, its temporal weights, which move things, stay. The model that comes in is left as it is.",
            search_aliases=["lumiere", "style", "lora", "model merge", "stylized", "finetune"],
            inputs=[
                io.Model.Input("model", tooltip="A STUNet from LoadSTUNet, with LoRAs patched onto it or not."),
                io.Combo.Input(
                    "style",
                    options=_style_names(),
                    tooltip="A style of the model's backbone, in models/lumiere or bundled: a fine-tuned "
                    "text-to-image network, a difference to one, or a LoRA. lumiere train-style makes one from a "
                    "folder of images.",
                ),
                io.Float.Input(
                    "alpha",
                    default=DEFAULT_ALPHA,
                    min=0.0,
                    max=LARGEST_ALPHA,
                    step=0.05,
                    round=0.01,
                    tooltip="How much of the style: 0 is the original model, 1 the style. Between 0.5 and 1 most "
                    "styles show while motion stays; above 1 the style is overdone.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model in the style, for STUNetSampler.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model, style, alpha):
        return host.checkpoint_path(style).stat().st_mtime_ns

    @classmethod
    @running("Style Weight Interpolate")
    def execute(cls, model, style, alpha) -> io.NodeOutput:
        host.model_info(model, NETWORK_KINDS)
        return io.NodeOutput(host.apply_style(model, load_style(host.checkpoint_path(style)), alpha))


def _style_names() -> list[str]:
    """Files made to be styles first, so that a fresh node shows one, then whole networks."""
    return list(dict.fromkeys(host.checkpoint_names(("style",)) + host.checkpoint_names(NETWORK_KINDS)))
