"""Where a run's files are, and networks loaded from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import reduce
from pathlib import Path

import torch

from ....lumiere_core.checkpoints import bundled
from ....lumiere_core.checkpoints.format import UNTOLD, CheckpointInfo, kind_to_list, load_info, load_stunet
from ....lumiere_core.conditioning import text as text_encoders
from ....lumiere_core.conditioning.vocabulary import Vocabulary
from ....lumiere_core.diffusion import Share
from ....lumiere_core.networks import STUNet
from ....lumiere_core.runtime.devices import resolve_device, resolve_dtype
from ....lumiere_core.runtime.notices import warn
from ....lumiere_core.style import Style, StylePlan, plan_style
from ...checks import check_model_kind, warn_of_unknown_words

MEDIA = Path(__file__).parents[3] / "workflows" / "media"


@dataclass(frozen=True)
class Settings:
    """Of one run. device: as `resolve_device` takes it. models: a folder searched before the bundled weights.

    input, output: folders. metadata: what written files carry, JSON by key ("prompt", "workflow").
    share: of several processes that run the same workflow, this one's. leads: whether it writes the files and shows
    progress; one of them does.
    """

    device: str = "auto"
    models: Path | None = None
    input: Path = MEDIA
    output: Path = Path("output")
    metadata: dict[str, str] = field(default_factory=dict)
    share: Share | None = None
    leads: bool = True


# Schemas and nodes are class methods that get no handle of their run. A context variable tells them; unlike a module's
# variable it ends with the run, and runs in other threads do not see it.
_CURRENT: ContextVar[Settings] = ContextVar("lumiere_settings")


def settings() -> Settings:
    return _CURRENT.get(Settings())


@contextmanager
def using(chosen: Settings) -> Iterator[None]:
    token = _CURRENT.set(chosen)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@dataclass(frozen=True)
class Model:
    """What goes over a MODEL socket. styles: in the order in which they are applied, when the network is needed."""

    info: CheckpointInfo
    network: STUNet
    device: torch.device
    dtype: torch.dtype
    styles: tuple[StylePlan, ...] = ()

    def stylized(self) -> STUNet:
        """The network with its styles; it shares with `network` what they do not change."""
        return reduce(lambda network, style: style.apply(network), self.styles, self.network)


def register_model_folder() -> None:
    """Nothing to make known: folders come with the settings."""


def serve(path: str, answer) -> None:
    """Nothing to answer: there is no front end."""


def checkpoint_names(kinds: tuple[str, ...]) -> list[str]:
    """Names of the files of these kinds, and of those whose kind cannot be told, sorted; "sub/file" in subfolders.

    Files that cannot be used are left out, with a warning.
    """
    names = {file.relative_to(folder).as_posix() for folder in _folders() for file in _checkpoints(folder)}
    files = {name: path for name in names if (path := _find(name)) is not None}
    return sorted(name for name, path in files.items() if kind_to_list(path) in (*kinds, UNTOLD))


def _checkpoints(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and below. Links are followed, but not back to a folder that they lie in: two such links
    would have more paths than anyone can read.
    """
    here = os.path.realpath(folder)
    if here in above or not os.access(folder, os.R_OK | os.X_OK):
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield from _checkpoints(path, (*above, here))
        elif fnmatch(path.name, "[!.]*.safetensors"):
            yield path


def checkpoint_path(name: str) -> Path:
    """Where a checkpoint lies; the folder given by hand comes first. Raises ValueError where it is in none."""
    path = _find(name)
    if path is not None:
        return path
    searched = " and ".join(map(str, _folders()))
    raise ValueError(f"checkpoint {name!r} was not found; searched {searched}. Name a file in one of them.")


def inside(folder: Path, name: str) -> Path | None:
    """<folder>/<name> without `..`, or None where that is not in the folder.

    Links are followed, as in core: people link their media and models into their folders.
    """
    path = Path(os.path.normpath(folder / name))
    return path if Path(os.path.abspath(folder)) in Path(os.path.abspath(path)).parents else None


def input_file(name: str, of: str = "file") -> Path:
    """The input folder's file of that name, for an input `of`. Raises ValueError for one outside, or not there."""
    folder = settings().input
    path = inside(folder, name)
    if path is None or not path.is_file():
        problem = "outside it" if path is None else "not there"
        raise ValueError(f"{of} must be a file in the folder {folder}; got {name!r}, which is {problem}.")
    return path


def load_model(path: Path, kinds: tuple[str, ...], dtype: str) -> Model:
    """Raises ValueError for a file that is damaged or of another kind."""
    device = resolve_device(settings().device)
    compute_dtype = resolve_dtype(dtype, device)
    info, network = load_stunet(path, kinds, compute_dtype, device)
    return Model(info, network, device, compute_dtype)


@dataclass(frozen=True)
class Clip:
    """What goes over a CLIP socket. vocabulary: the words that the network knows which came with the encoder."""

    encoder: text_encoders.TextEncoder
    vocabulary: Vocabulary = Vocabulary()


def load_text_encoder(path: Path) -> Clip | None:
    """The encoder that a checkpoint names; None where it names none or, with a warning, that is not there."""
    info = load_info(path)
    if info.text_encoder is None:
        return None
    try:
        source = bundled.find_text_encoder(info.text_encoder, path)
    except ValueError as error:
        warn(str(error))
        return None
    device = resolve_device(settings().device)
    # A folder is a T5-XXL: half precision where the device is fast in it, and bfloat16, as float16 overflows in T5.
    halve = source.is_dir() and resolve_dtype("auto", device) != torch.float32
    encoder = text_encoders.load_text_encoder(source, device, torch.bfloat16 if halve else torch.float32)
    return Clip(encoder, Vocabulary.of(info.training))


def encode_text(clip: Clip, text: str) -> list:
    """CONDITIONING of one text: [[(1, L, D) float32 on the CPU, {}]]. Warns of words that the network never heard."""
    warn_of_unknown_words(clip.vocabulary, text, map(checkpoint_path, checkpoint_names(("style",))))
    return [[clip.encoder.encode([text]).to("cpu", torch.float32), {}]]


def apply_style(model: Model, style: Style, alpha: float) -> Model:
    """The MODEL with one more style; the given one stays as it is. Raises ValueError as `plan_style` does."""
    plan = plan_style(style, model.network.state_dict(), alpha)
    for note in plan.notes:
        warn(note)
    return replace(model, styles=(*model.styles, plan))


def model_info(model: Model, kinds: tuple[str, ...]) -> CheckpointInfo:
    check_model_kind(model.info.kind, kinds)
    return model.info


def _folders() -> list[Path]:
    return [folder for folder in (settings().models, bundled.WEIGHTS) if folder is not None]


def _find(name: str) -> Path | None:
    """The first file of that name in the folders."""
    paths = (inside(folder, name) for folder in _folders())
    return next((path for path in paths if path is not None and path.is_file()), None)
