"""A training recipe is data: a TOML file with one table per stage, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..diffusion.options import KNOBS
from ..diffusion.schedule import NoiseSchedule
from .masks import TASKS

STAGE_KINDS = ("text", "t2i", "base", "style", "ssr_image", "ssr")
OPTIMIZERS = ("adamw", "muon")
CHECKPOINT_SUFFIX = ".safetensors"
# What a stage's network cannot do without, when it starts from nothing.
NETWORK_FIELDS = {
    "text": ("max_tokens", "d_model"),
    "t2i": ("channels", "attention"),
    "ssr_image": ("channels", "attention"),
}
# What a recipe may say of sampling: what a checkpoint says of it that training does not know itself.
INFO_FIELDS = ("prediction", "thresholding", *KNOBS)


@dataclass(frozen=True)
class Phase:
    """A part of a stage with one batch shape: the curriculum goes from short clips to whole ones.

    steps, batch: optimizer steps, clips per step. frames: per clip; whatever their number, they show the whole motion
    once. excerpt_of: where given, they are a run of frames out of a clip of that many. vary: the share of steps with
    clips of other lengths and shapes, at about the same number of pixels. crop: side in pixels of a random crop (SSR),
    None = whole frame.
    """

    steps: int
    batch: int
    frames: int = 1
    excerpt_of: int | None = None
    vary: float = 0.0
    crop: int | None = None

    def __post_init__(self):
        for name in ("steps", "batch", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} of a phase must be at least 1; got {getattr(self, name)}.")
        if not 0 <= self.vary <= 1:
            raise ValueError(f"recipe: vary of a phase must be 0 to 1, a share of its steps; got {self.vary}.")
        if self.excerpt_of is not None and self.excerpt_of < self.frames:
            raise ValueError(
                f"recipe: excerpt_of must be at least the phase's frames, {self.frames}; got {self.excerpt_of}."
            )


@dataclass(frozen=True)
class Stage:
    """One network or one half of it.

    name: file stem of what it writes. kind: text, t2i (stills), base (inflated t2i: the temporal half only, and where
    there are `tasks` the new input channels of <J, C, M>), style (a LoRA of the text-to-image half of its start, from a
    folder of images), ssr_image, ssr (inflated ssr_image, temporal half only). start: stage whose weights it starts
    from, or a .safetensors file.
    network: T5Config or UNetConfig fields; for base and ssr the TemporalConfig fields; for style the LoRA's rank.
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
    in v. optimizer: adamw, or muon (matrices by torch.optim.Muon, the rest by AdamW).
    """

    name: str
    kind: str
    phases: tuple[Phase, ...]
    network: dict
    learning_rate: float
    start: str | None = None
    size: int = 32
    scale: int = 4
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    max_noise_level: int | None = None
    info: dict = field(default_factory=dict)
    warmup: int = 100
    decay: float = 0.3
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    text_dropout: float = 0.1
    two_objects: float = 0.1
    clip_norm: float = 1.0
    timestep_bias: float = 1.0
    min_snr: float | None = None
    optimizer: str = "adamw"
    align_corners: bool = False
    tasks: dict = field(default_factory=dict)
    motions: dict = field(default_factory=dict)
    images: str | None = None
    caption: str = ""
    character: str | None = None
    world_share: float = 0.0

    def __post_init__(self):
        _check_stage(self)

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

    name: str
    stages: tuple[Stage, ...]
    seed: int = 0
    cast: str = "shapes"
    text_encoder: str | None = None

    def __post_init__(self):
        names = []
        for stage in self.stages:
            if stage.name in names:
                raise ValueError(f"recipe: two stages are called {stage.name!r}; each writes a file of its own name.")
            if stage.start is not None and stage.start not in names and not stage.starts_from_file:
                raise ValueError(
                    f"recipe: stage {stage.name!r} starts from {stage.start!r}, which is no earlier stage."
                )
            names.append(stage.name)

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise ValueError(f"recipe: no stage is called {name!r}; stages are {known}.")

    @property
    def text_stage(self) -> Stage:
        return next(stage for stage in self.stages if stage.kind == "text")


def _check_stage(stage: Stage) -> None:
    who = f"recipe: stage {stage.name!r}"
    if stage.kind not in STAGE_KINDS:
        raise ValueError(f"{who} must have a kind out of {', '.join(STAGE_KINDS)}; got {stage.kind!r}.")
    if stage.optimizer not in OPTIMIZERS:
        raise ValueError(f"{who} must have an optimizer out of {', '.join(OPTIMIZERS)}; got {stage.optimizer!r}.")
    if stage.kind in ("base", "style", "ssr") and stage.start is None:
        raise ValueError(f"{who} builds upon another stage; name it in 'start'.")
    if stage.kind == "style":
        if stage.images is None:
            raise ValueError(f"{who} needs the pictures it learns from; name their folder in 'images'.")
        rank = stage.network.get("rank")
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"{who}, network must give the LoRA's rank, at least 1; got {rank!r}.")
    elif stage.character is not None:
        raise ValueError(f"{who}: character is for stages of kind style; this is {stage.kind}.")
    if not 0 <= stage.world_share < 1:
        raise ValueError(f"{who}: world_share must be 0 to below 1, a share of the scenes; got {stage.world_share}.")
    for name in stage.tasks:
        if name not in TASKS:
            raise ValueError(f"{who}, tasks has the unknown name {name!r}; known are {', '.join(TASKS)}.")
    for field_name in ("tasks", "motions"):
        for name, weight in getattr(stage, field_name).items():
            if not weight > 0:
                raise ValueError(f"{who}: {field_name} must have weights above 0; got {name} = {weight}.")
    if stage.tasks and stage.kind != "base":
        raise ValueError(f"{who}: tasks are for stages of kind base; this is {stage.kind}.")
    if stage.min_snr is not None and not (stage.min_snr > 0 and stage.info.get("prediction", "v") == "v"):
        raise ValueError(f"{who}: min_snr must be above 0, and is for networks that predict v; got {stage.min_snr}.")
    if not stage.phases:
        raise ValueError(f"{who} needs at least one phase; write [[stage.phase]].")
    for name in NETWORK_FIELDS.get(stage.kind, ()):
        if stage.start is None and name not in stage.network:
            raise ValueError(f"{who}, network lacks the field {name!r}.")
    for name in stage.info:
        if name not in INFO_FIELDS:
            raise ValueError(f"{who}, info has the unknown field {name!r}; known are {', '.join(INFO_FIELDS)}.")
    if not 1 <= stage.noise_levels <= stage.schedule.timesteps:
        raise ValueError(
            f"{who}: max_noise_level must be 1 to {stage.schedule.timesteps}; got {stage.max_noise_level}."
        )
    if not stage.timestep_bias > 0:
        raise ValueError(f"{who}: timestep_bias must be above 0; got {stage.timestep_bias}.")
    if stage.kind in ("ssr_image", "ssr"):
        for side in (stage.size, *(phase.crop or stage.size for phase in stage.phases)):
            if side % stage.scale or not 0 < side <= stage.size:
                raise ValueError(
                    f"{who}: size and crop must be multiples of scale={stage.scale}, at most {stage.size}; got {side}."
                )


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Unknown fields and unreadable files raise a ValueError that names them."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such recipe file.")
    toml = _toml_reader()
    try:
        data = toml.loads(path.read_text(encoding="utf-8"))
    except toml.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a TOML file: {error}.") from error
    tables = data.pop("stage", [])
    if not isinstance(tables, list):
        raise ValueError(f"{path}: stages are a list; write [[stage]] instead of [stage].")
    stages = tuple(_stage(table) for table in tables)
    if "text_encoder" not in data and not any(stage.kind == "text" for stage in stages):
        raise ValueError(f"{path}: a recipe needs a stage of kind text; got {len(stages)} stages without one.")
    return _build(Recipe, {**data, "stages": stages}, "recipe")


def _stage(table: dict) -> Stage:
    table = dict(table)
    name = table.get("name", "?")
    table["phases"] = tuple(_build(Phase, phase, f"stage {name}, phase") for phase in table.pop("phase", []))
    if "schedule" in table:
        table["schedule"] = _build(NoiseSchedule, table["schedule"], f"stage {name}, schedule")
    return _build(Stage, table, f"stage {name}")


def _build(cls, data: dict, where: str):
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in data:
        if name not in known:
            raise ValueError(f"recipe: {where} has the unknown field {name!r}; known are {', '.join(known)}.")
    for name, f in known.items():
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and name not in data:
            raise ValueError(f"recipe: {where} lacks the field {name!r}.")
    return cls(**data)


def _toml_reader():
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    import tomli

    return tomli
