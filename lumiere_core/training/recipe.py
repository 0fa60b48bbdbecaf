"""A training recipe is data: a TOML file with one table per stage, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..diffusion.schedule import NoiseSchedule
from ..toy_world import MOTIONS
from .masks import TASKS

STAGE_KINDS = ("text", "t2i", "base", "conditional", "style", "ssr_image", "ssr")
CHECKPOINT_SUFFIX = ".safetensors"
# What a stage's network cannot do without, when it starts from nothing.
NETWORK_FIELDS = {
    "text": ("max_tokens", "d_model"),
    "t2i": ("channels", "attention"),
    "ssr_image": ("channels", "attention"),
}
# What a recipe may say of sampling: the fields of CheckpointInfo that training does not know itself.
INFO_FIELDS = (
    "prediction",
    "thresholding",
    "guidance",
    "steps",
    "sampler",
    "scheduler",
    "window",
    "overlap",
    "noise_level",
)


@dataclass(frozen=True)
class Phase:
    """A part of a stage with one batch shape: the curriculum goes from short clips to whole ones.

    steps, batch: optimizer steps, clips per step. frames: per clip. stride: every how many frames of the 16 fps clip
    one is taken, so that a short clip shows the whole motion. crop: side in pixels of a
    random crop (SSR), None = whole frame.
    """

    steps: int
    batch: int
    frames: int = 1
    stride: int = 1
    crop: int | None = None

    def __post_init__(self):
        for name in ("steps", "batch", "frames", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} of a phase must be at least 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class Stage:
    """One network or one half of it.

    name: file stem of what it writes. kind: text, t2i (stills), base (inflated t2i, temporal half only), conditional
    (base with the input <J, C, M>, temporal half and new input channels only), style (a LoRA of the text-to-image half
    of its start, from a folder of images), ssr_image, ssr (inflated ssr_image, temporal half only). start: stage whose
    weights it starts from, or a .safetensors file.
    network: T5Config or UNetConfig fields; for base and ssr the TemporalConfig fields; for style the LoRA's rank.
    info: sampling defaults. images: folder that a style stage learns from. caption: of the images without a text file.
    tasks: weight by name of the masks that a conditional stage draws (see masks.TASKS). motions: how many times as
    often as others a motion is drawn.
    max_noise_level: of the SSR's low-res augmentation; None = the whole schedule.
    size: side in pixels of what the network makes. Learning rate: warm-up, constant, then linearly to zero over the
    last `decay` of the steps. Captions are dropped with text_dropout (Imagen: 10 %). timestep_bias: training timesteps
    are drawn as timesteps * u ** (1 / timestep_bias) with u even in 0..1; above 1 the noisy ones, which decide where
    things are and how they move, come more often.
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
    tasks: dict = field(default_factory=dict)
    motions: dict = field(default_factory=dict)
    images: str | None = None
    caption: str = ""

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
    """text_encoder: a file of kind text or a T5 folder, for a recipe without a text stage of its own."""

    name: str
    stages: tuple[Stage, ...]
    seed: int = 0
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
    if stage.kind in ("base", "conditional", "style", "ssr") and stage.start is None:
        raise ValueError(f"{who} builds upon another stage; name it in 'start'.")
    if stage.kind == "conditional" and not stage.tasks:
        raise ValueError(f"{who} needs the masks it learns from; write [stage.tasks].")
    if stage.kind == "style":
        if stage.images is None:
            raise ValueError(f"{who} needs the pictures it learns from; name their folder in 'images'.")
        rank = stage.network.get("rank")
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"{who}, network must give the LoRA's rank, at least 1; got {rank!r}.")
    for field_name, known in (("tasks", TASKS), ("motions", MOTIONS)):
        for name, weight in getattr(stage, field_name).items():
            if name not in known:
                raise ValueError(f"{who}, {field_name} has the unknown name {name!r}; known are {', '.join(known)}.")
            if not weight > 0:
                raise ValueError(f"{who}: {field_name} must have weights above 0; got {name} = {weight}.")
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
