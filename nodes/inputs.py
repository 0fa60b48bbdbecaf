"""Inputs that several nodes share, so that the same knob has the same name, range and words everywhere."""

from __future__ import annotations

from ..lumiere_core.conditioning.fitting import FITS
from ..lumiere_core.diffusion import SAMPLERS, SPACINGS, WEIGHTS
from .host import io

CATEGORY = "Lumiere"
LARGEST_SEED = 2**64 - 1
LONGEST_CLIP = 16384  # frames; no limit of the method, only of the widget
LARGEST_SIDE = 16384  # pixels
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
        io.Int.Input(
            "steps",
            default=steps,
            min=1,
            max=1000,
            tooltip="Denoising steps. More take longer and change less and less.",
        ),
        io.Float.Input(
            "cfg",
            default=cfg,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Classifier-free guidance: how strongly the video follows the prompt. 1 is none and twice as fast.",
        ),
        io.Combo.Input(
            "sampler",
            options=list(SAMPLERS),
            default="dpmpp_2m",
            tooltip="How a step is taken. dpmpp_2m needs the fewest steps; euler_ancestral and ddpm add noise as they "
            "go.",
        ),
        io.Combo.Input(
            "scheduler",
            options=list(SPACINGS),
            default="normal",
            tooltip="How the steps are spread over the noise levels.",
        ),
    ]


def windows(what: str) -> list:
    """window, overlap, fuse, loop, in this order, all for experts; `what` sees the windows."""
    return [
        io.Int.Input(
            "window",
            default=0,
            min=0,
            max=LONGEST_CLIP,
            advanced=True,
            tooltip=f"Frames that {what} sees at once; a longer clip is made of overlapping windows that are fused at "
            "every step (MultiDiffusion). 0 is what the checkpoint was trained on.",
        ),
        io.Int.Input(
            "overlap",
            default=-1,
            min=-1,
            max=LONGEST_CLIP,
            advanced=True,
            tooltip="Frames that neighbouring windows share at least; must be less than the window. More is smoother "
            "and slower. -1 is the checkpoint's own, or a quarter of the window.",
        ),
        io.Combo.Input(
            "fuse",
            options=list(WEIGHTS),
            default="flat",
            advanced=True,
            tooltip="How much each frame of a window counts where windows overlap: flat is the paper's plain mean, "
            "pyramid and hann trust a window's middle more.",
        ),
        io.Boolean.Input(
            "loop",
            default=False,
            advanced=True,
            tooltip="The last windows wrap around, so that the end of the clip leads into its start.",
        ),
    ]


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
