"""Inputs that several nodes share, so that the same knob has the same name, range and words everywhere."""

from __future__ import annotations

from ..lumiere_core.conditioning.fitting import FITS
from ..lumiere_core.diffusion.noise import LARGEST_SEED
from ..lumiere_core.diffusion.options import KNOBS, LARGEST_SIDE
from .host import io

CATEGORY = "Lumiere"
DTYPES = ("auto", "float32", "bfloat16", "float16")


def positive():
    return io.Conditioning.Input("positive", tooltip="What the video should show: the output of a text encode node.")


def negative():
    return io.Conditioning.Input(
        "negative", tooltip="What guidance leads away from: an encoded text, often an empty one. Unused at cfg 1."
    )


def dtype():
    return io.Combo.Input(
        "dtype",
        options=list(DTYPES),
        default="auto",
        advanced=True,
        tooltip="What the weights are kept in and, where the device can, computed in. auto takes half precision where "
        "the device is fast in it; float32 is exact and slower.",
    )


def sampling(steps: int, cfg: float) -> list:
    """seed, steps, cfg, sampler, scheduler, in this order; steps and cfg are defaults."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="Where the noise comes from. The same seed draws the same noise, whatever the windows and the "
            "device.",
        ),
        knob("steps", default=steps),
        knob("guidance", id="cfg", default=cfg, step=0.1, round=0.01),
        knob("sampler", default="dpmpp_2m"),
        knob("scheduler", default="normal"),
    ]


def windows(what: str) -> list:
    """window, overlap, fuse, loop, in this order, all for experts; `what` sees the windows."""
    return [
        knob("window", 0, "0 is what the checkpoint was trained on.", what, advanced=True),
        knob("overlap", -1, "-1 is the checkpoint's own, or a quarter of the window.", advanced=True),
        knob("fuse", default="flat", advanced=True),
        knob("loop", default=False, advanced=True),
    ]


def knob(option: str, automatic: int | None = None, says: str = "", network: str = "", id: str = "", **fields):
    """The widget of a sampling option, as it is declared. automatic: the value, below all others, that leaves it to the
    checkpoint; `says` what that is. network: who sees the windows. fields: of the widget.
    """
    declared = KNOBS[option]
    tooltip = f"{declared.help.format(network=network)} {says}".strip()
    fields = {"default": automatic, **fields, "tooltip": tooltip}
    if declared.choices:
        return io.Combo.Input(id or option, options=list(declared.choices), **fields)
    if declared.kind is bool:
        return io.Boolean.Input(id or option, **fields)
    kind = io.Float if declared.kind is float else io.Int
    least = declared.least if automatic is None else automatic
    return kind.Input(id or option, min=least, max=declared.most, **fields)


def side(name: str, tooltip: str, default: int = 0, **options):
    return io.Int.Input(name, default=default, min=0, max=LARGEST_SIDE, tooltip=tooltip, **options)


def fit(**options):
    return io.Combo.Input(
        "fit",
        options=list(FITS),
        default="crop",
        tooltip="How images of another shape are made to fit: crop cuts off their sides, pad shows all of them and "
        "adds borders, stretch distorts them.",
        **options,
    )
