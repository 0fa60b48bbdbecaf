"""How a network samples a clip: every knob is declared here, once, with its range, its unit and its help.

The pipeline, the command line, the nodes, evaluation and a checkpoint's own defaults all take their knobs from here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from ..runtime.records import Choice, Range
from .multidiffusion import WEIGHTS
from .samplers import SAMPLERS
from .spacing import SPACINGS

LONGEST_CLIP = 16384  # frames; no limit of the method, only of the knob
LARGEST_SIDE = 16384  # pixels
MOST_STEPS = 1000  # the timesteps of every schedule that checkpoints have


class Knob(NamedTuple):
    """kind: of the values, int, float, str or bool. least, most: of numbers. choices: of strings. help: a sentence."""

    kind: type
    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def hint(self) -> Any:
        """The annotation of a record's field that holds such a value."""
        if self.choices:
            return Annotated[str, Choice(self.choices)]
        return self.kind if self.least is None else Annotated[self.kind, Range(self.least, self.most)]


def _knob(*args) -> Any:
    return field(default=None, metadata={"knob": Knob(*args)})


@dataclass(frozen=True)
class SamplingOptions:
    """What a user may say of sampling; None leaves it to the checkpoint, which holds the same class as its defaults."""

    steps: int | None = _knob(int, "Denoising steps. More take longer and change less and less.", 1, MOST_STEPS)
    guidance: float | None = _knob(
        float,
        "Classifier-free guidance: how strongly the video follows the prompt. 1 is none and twice as fast.",
        0.0,
        100.0,
    )
    sampler: str | None = _knob(
        str,
        "How a step is taken. dpmpp_2m needs the fewest steps; euler_ancestral and ddpm add noise as they go.",
        None,
        None,
        tuple(SAMPLERS),
    )
    scheduler: str | None = _knob(str, "How the steps are spread over the noise levels.", None, None, tuple(SPACINGS))
    window: int | None = _knob(
        int,
        "Frames that {network} sees at once; a longer clip is made of overlapping windows that are fused at every step "
        "(MultiDiffusion).",
        1,
        LONGEST_CLIP,
    )
    overlap: int | None = _knob(
        int,
        "Frames that neighbouring windows share at least; must be less than the window. More is smoother and slower.",
        0,
        LONGEST_CLIP,
    )
    fuse: str | None = _knob(
        str,
        "How much each frame of a window counts where windows overlap: flat is the paper's plain mean, pyramid and "
        "hann trust a window's middle more.",
        None,
        None,
        tuple(WEIGHTS),
    )
    loop: bool | None = _knob(bool, "The last windows wrap around, so that the end of the clip leads into its start.")
    noise_level: int | None = _knob(
        int,
        "Noise added to the small video first, as a timestep of the SSR's schedule: more lets the SSR invent more "
        "detail.",
        0,
        MOST_STEPS - 1,
    )
    tile: int | None = _knob(
        int,
        "Side in pixels, of the large video, of spatial tiles, fused like the windows: for frames too large for the "
        "memory.",
        1,
        LARGEST_SIDE,
    )
    tile_overlap: int | None = _knob(
        int, "Pixels that neighbouring tiles share at least; must be less than the tile.", 0, LARGEST_SIDE
    )

    def over(self, defaults: SamplingOptions) -> SamplingOptions:
        """These, and where nothing is said the defaults."""
        return dataclasses.replace(defaults, **self.said())

    def said(self) -> dict[str, Any]:
        """What is not None, by name."""
        return {name: value for name in KNOBS if (value := getattr(self, name)) is not None}


KNOBS: dict[str, Knob] = {field.name: field.metadata["knob"] for field in dataclasses.fields(SamplingOptions)}
UNSAID = SamplingOptions()  # everything is the checkpoint's own
