"""A training recipe is data: stages and their phases as frozen dataclasses, whose fields say what they allow."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_type_hints

from ..diffusion.denoiser import PREDICTIONS
from ..diffusion.options import KNOBS, LARGEST_SIDE, LONGEST_CLIP
from ..diffusion.schedule import NoiseSchedule
from ..runtime.records import Choice, Range
from .files import StageFiles
from .masks import TASKS
from .network_tables import check_network
from .values import Above, Below, FileStem, Items, Weights, check_table

STAGE_KINDS = ("text", "t2i", "base", "style", "ssr_image", "ssr", "motion")
SSR_KINDS = ("ssr_image", "ssr")
OPTIMIZERS = ("adamw", "muon")
CHECKPOINT_SUFFIX = ".safetensors"
LARGEST_SEED = 2**63 - 1  # of torch
VARIED_GRID = 8  # pixels, of the sides of varied shapes

Count = Annotated[int, Range(1, 10**9)]
Frames = Annotated[int, Range(1, LONGEST_CLIP)]
Side = Annotated[int, Range(1, LARGEST_SIDE)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Above(0, 10**12)]
Name = Annotated[str, FileStem()]
Weighed = Annotated[dict, Weights(10**12)]
# What a recipe may say of sampling: what a checkpoint says of it that training does not know itself.
INFO = {"prediction": Annotated[str, Choice(PREDICTIONS)], "thresholding": dict | None} | {
    name: knob.hint for name, knob in KNOBS.items()
}
THRESHOLDING = {
    "percentile": Annotated[float, Range(1e-6, 1 - 1e-6)],
    "maximum": Annotated[float, Range(1, 1000)],
}


@dataclass(frozen=True)
class Phase:
    """A part of a stage with one batch shape: the curriculum goes from short clips to whole ones.

    steps, batch: optimizer steps, clips per step. frames: per clip; whatever their number, they show the whole motion
    once. excerpt_of: where given, they are a run of frames out of a clip of that many. vary: the share of steps with
    clips of other lengths and shapes, at about the same number of pixels. crop: side in pixels of a random crop (SSR),
    None = whole frame.
    """

    steps: Count
    batch: Count
    frames: Frames = 1
    excerpt_of: Frames | None = None
    vary: Share = 0.0
    crop: Side | None = None


@dataclass(frozen=True)
class Stage:
    """One network or one half of it.

    name: file stem of what it writes. kind: text, t2i (stills), base (inflated t2i: the temporal half only, and where
    there are `tasks` the new input channels of <J, C, M>), style (a LoRA of the text-to-image half of its start, from a
    folder of images), ssr_image, ssr (inflated ssr_image, temporal half only), motion (a LoRA of the temporal half of
    its start, from a few clips). start: stage whose weights it starts from, or a .safetensors file.
    network: T5Config or UNetConfig fields; for base and ssr the TemporalConfig fields; for style and motion the rank of
    the LoRA.
    info: sampling defaults. images: folder that a style stage learns from. caption: of the images without a text file.
    character: what captions call the one thing that the images are cut-outs of; they are put into the world's scenes
    then. world_share: of those scenes, how many are the world's own, so that its objects are not forgotten.
    tasks: weight by name of the masks that a base stage draws (see masks.TASKS). motions: how many times as
    often as others a motion is drawn.
    max_noise_level: of the SSR's low-res augmentation; None = the whole schedule.
    size: side in pixels of what the network makes. Learning rate: warm-up, constant, then linearly to zero over the
    last `decay` of the steps. Captions are dropped with text_dropout (Imagen: 10 %). timestep_bias: training timesteps
    are drawn as timesteps * u ** (1 / timestep_bias) with u even in 0..1; above 1 the noisy ones, which decide where
    things are and how they move, come more often. min_snr: gamma of min-SNR weighting (Hang et al. 2023), None = even
    in v. optimizer: adamw, or muon (matrices by Muon, the rest by AdamW). fps: frames a
    second that a user's own videos are brought to; None = as the file that the stage starts from, or 16.
    validate_every: after so many steps the log says the loss on clips that are not trained on; of a user's videos,
    every tenth.
    """

    name: Name
    kind: Annotated[str, Choice(STAGE_KINDS)]
    phases: Annotated[tuple[Phase, ...], Items(1, 1000)]
    network: dict
    learning_rate: Annotated[float, Above(0, 1000)]
    start: str | None = None
    size: Side = 32
    scale: Annotated[int, Range(1, 64)] = 4
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    max_noise_level: int | None = None
    info: dict = field(default_factory=dict)
    warmup: Annotated[int, Range(0, 10**9)] = 100
    decay: Share = 0.3
    weight_decay: Annotated[float, Range(0, 1000)] = 0.01
    ema_decay: Share = 0.999
    text_dropout: Share = 0.1
    two_objects: Share = 0.1
    clip_norm: Positive = 1.0
    timestep_bias: Positive = 1.0
    min_snr: Positive | None = None
    optimizer: Annotated[str, Choice(OPTIMIZERS)] = "adamw"
    align_corners: bool = False
    tasks: Weighed = field(default_factory=dict)
    motions: Weighed = field(default_factory=dict)
    images: str | None = None
    caption: str = ""
    character: str | None = None
    world_share: Annotated[float, Below(0, 1)] = 0.0
    fps: Annotated[float, Above(0, 1000)] | None = None
    validate_every: Count | None = None

    def __post_init__(self):
        check_stage(self)

    @property
    def noise_levels(self) -> int:
        """The SSR's low-res clip is augmented with levels 0 .. noise_levels - 1, drawn evenly (all, as in IF)."""
        return self.schedule.timesteps if self.max_noise_level is None else self.max_noise_level

    @property
    def starts_from_file(self) -> bool:
        return self.start is not None and self.start.endswith(CHECKPOINT_SUFFIX)

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


@dataclass(frozen=True)
class Recipe:
    """cast: who is in the world, "shapes" or the name of a cast that is given as a folder. text_encoder: a file of kind
    text or a T5 folder, for a recipe without a text stage of its own.
    """

    name: Name
    stages: tuple[Stage, ...]
    seed: Annotated[int, Range(0, LARGEST_SEED)] = 0
    cast: Name = "shapes"
    text_encoder: str | None = None

    def __post_init__(self):
        check_table("recipe", hints_of(Recipe), vars(self))
        _check_names(self.stages)
        _check_starts(self.stages)

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise ValueError(f"recipe: no stage is called {name!r}; stages are {known}.")

    @property
    def text_stage(self) -> Stage:
        for stage in self.stages:
            if stage.kind == "text":
                return stage
        raise ValueError(f"recipe {self.name}: it needs a stage of kind text, or a text_encoder; it has neither.")


@functools.cache
def hints_of(cls: type) -> dict:
    return get_type_hints(cls, include_extras=True)


def _check_names(stages: tuple[Stage, ...]) -> None:
    writers: dict[Path, str] = {}
    for stage in stages:
        for file in StageFiles.of(Path(), stage.name.lower()):  # some file systems tell no case
            if file in writers:
                raise ValueError(
                    f"recipe: two stages are called {writers[file]!r} and {stage.name!r}; each writes files of its own "
                    "name. Rename one."
                )
            writers[file] = stage.name


def _check_starts(stages: tuple[Stage, ...]) -> None:
    earlier: dict[str, str] = {}
    for stage in stages:
        if stage.start is not None and not stage.starts_from_file and earlier.get(stage.start, "text") == "text":
            what = "a text encoder" if stage.start in earlier else "no earlier stage"
            raise ValueError(f"recipe: stage {stage.name!r} starts from {stage.start!r}, which is {what}.")
        earlier[stage.name] = stage.kind


def check_stage(stage: Stage) -> None:
    """Raise a ValueError that names the first field which is wrong, by itself or beside the others."""
    where = f"recipe: stage {stage.name!r}"
    check_table(where, hints_of(Stage), vars(stage))
    for number, phase in enumerate(stage.phases, start=1):
        _check_phase(f"{where}, phase {number}", phase)
    check_table(f"{where}, info", INFO, stage.info)
    check_table(f"{where}, info, thresholding", THRESHOLDING, stage.info.get("thresholding") or {})
    _check_kind(where, stage)
    check_network(where, stage.kind, stage.start is not None, stage.network)
    _check_data(where, stage)
    _check_losses(where, stage)
    if stage.kind in SSR_KINDS:
        _check_crops(where, stage)


def _check_phase(where: str, phase: Phase) -> None:
    check_table(where, hints_of(Phase), vars(phase))
    if phase.excerpt_of is not None and phase.excerpt_of < phase.frames:
        raise ValueError(
            f"{where}: excerpt_of must be at least the phase's frames, {phase.frames}; got {phase.excerpt_of}."
        )


def _check_kind(where: str, stage: Stage) -> None:
    """Fields that a kind of stage needs, and those that only some kinds have."""
    if stage.kind in ("base", "style", "ssr", "motion") and stage.start is None:
        raise ValueError(f"{where} builds upon another stage; name it in 'start'.")
    if stage.kind == "text" and stage.start is not None:
        raise ValueError(f"{where}: a text encoder starts from nothing; leave 'start' out.")
    if stage.kind == "style" and stage.images is None:
        raise ValueError(f"{where} needs the pictures it learns from; name their folder in 'images'.")
    for name in ("images", "character"):
        if stage.kind != "style" and getattr(stage, name) is not None:
            raise ValueError(f"{where}: {name} is for stages of kind style; this is {stage.kind}.")
    if stage.tasks and stage.kind not in ("base", "motion"):
        raise ValueError(f"{where}: tasks are for stages of kind base and motion; this is {stage.kind}.")


def _check_data(where: str, stage: Stage) -> None:
    for name in stage.tasks:
        if name not in TASKS:
            raise ValueError(f"{where}, tasks has the unknown name {name!r}; known are {', '.join(TASKS)}.")
    if any(phase.vary for phase in stage.phases) and stage.size < VARIED_GRID:
        raise ValueError(f"{where}: size must be at least {VARIED_GRID} where phases vary; got {stage.size}.")


def _check_losses(where: str, stage: Stage) -> None:
    prediction, levels = stage.info.get("prediction", "v"), stage.schedule.timesteps
    if stage.min_snr is not None and prediction != "v":
        raise ValueError(f"{where}: min_snr is for networks that predict v; this predicts {prediction}.")
    if prediction == "residual" and stage.kind not in SSR_KINDS:
        raise ValueError(f"{where}: the prediction residual is for stages of kind ssr; this is {stage.kind}.")
    if not 1 <= stage.noise_levels <= levels:
        raise ValueError(f"{where}: max_noise_level must be 1 to {levels}; got {stage.max_noise_level}.")


def _check_crops(where: str, stage: Stage) -> None:
    for side in (stage.size, *(phase.crop or stage.size for phase in stage.phases)):
        if side % stage.scale or side > stage.size:
            raise ValueError(
                f"{where}: size and crop must be multiples of scale={stage.scale}, at most {stage.size}; got {side}."
            )
    if any(phase.vary for phase in stage.phases) and VARIED_GRID % stage.scale:
        raise ValueError(
            f"{where}: scale must divide {VARIED_GRID} where phases vary, as its sides are multiples of that; got "
            f"{stage.scale}."
        )
