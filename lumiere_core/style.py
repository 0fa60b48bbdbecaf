"""Styles: W = alpha * W_style + (1 - alpha) * W_orig over a network's spatial tensors (Sec. 5 of the paper).

A style file is a whole fine-tuned network, a difference to one, or a LoRA. Each is read as changes of single tensors;
W_style of a difference or a LoRA is W_orig + delta, so that the equation is the same for all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoints.format import UntoldKind, load_info, load_tensors
from .networks import STUNet
from .networks.inflation import TEMPORAL_PREFIX
from .runtime.notices import warn

LARGEST_ALPHA = 2.0
DEFAULT_ALPHA = 0.5
FIRST_CONV = "conv_in.weight"
IMAGE_CHANNELS, INPUT_CHANNELS = 3, 7  # those of J, the first, of <J, C, M>; the same share of the columns of any patch

PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "unet.")
KOHYA_PREFIX = "lora_unet_"
# The temporal half, by either spelling, and what a LoRA may bring along for its text encoder.
TEMPORAL = (TEMPORAL_PREFIX, TEMPORAL_PREFIX.replace(".", "_"))
TEXT_ENCODER = ("text_encoder", "lora_te")
LORA_NAME = re.compile(
    r"(?P<module>.+?)(?:\.lora_|[._]lora\.|\.lora_linear_layer\.)(?P<half>down|up|A|B)(?:\.default)?\.weight"
)
LORA_HALVES = {"down": "down", "A": "down", "up": "up", "B": "up"}
DIFFERENCE_SUFFIXES = {".diff": "weight", ".diff_b": "bias"}


@dataclass(frozen=True)
class Full:
    """The style's own tensor."""

    tensor: torch.Tensor

    def fits(self, shape: tuple[int, ...]) -> bool:
        return tuple(self.tensor.shape) == shape

    def blend(self, weight: torch.Tensor, alpha: float) -> torch.Tensor:
        """alpha * W_style + (1 - alpha) * weight, for a float32 weight; a new tensor."""
        return (weight * (1 - alpha)).add_(self.tensor.to(weight), alpha=alpha)


@dataclass(frozen=True)
class Difference:
    """W_style - W_orig."""

    delta: torch.Tensor

    def fits(self, shape: tuple[int, ...]) -> bool:
        return tuple(self.delta.shape) == shape

    def blend(self, weight: torch.Tensor, alpha: float) -> torch.Tensor:
        """weight + alpha * delta, for a float32 weight; a new tensor."""
        return torch.add(weight, self.delta.to(weight), alpha=alpha)


@dataclass(frozen=True)
class LowRank:
    """W_style - W_orig = scale * up @ down. up: (out, rank) or (out, rank, 1, 1). down: (rank, in, ...) or flat."""

    up: torch.Tensor
    down: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def fits(self, shape: tuple[int, ...]) -> bool:
        flat = self.down.ndim == 2 and self.down.shape[1] == math.prod(shape[1:])
        return self.up.shape[0] == shape[0] and (flat or tuple(self.down.shape[1:]) == shape[1:])

    def blend(self, weight: torch.Tensor, alpha: float) -> torch.Tensor:
        """weight + alpha * scale * up @ down, for a float32 weight; a new tensor."""
        delta = self.up.to(weight).flatten(1) @ self.down.to(weight).flatten(1)
        return torch.add(weight, delta.reshape(weight.shape), alpha=alpha * self.scale)


Change = Full | Difference | LowRank


@dataclass(frozen=True)
class Style:
    """A style file's changes, under the tensor names of the file without its prefix.

    of_motion: they are of the temporal half, where those of others are of the spatial one.
    character: what prompts call the character that it teaches a network, if it does.
    """

    path: Path
    changes: dict[str, Change]
    character: str | None = None
    of_motion: bool = False


@dataclass(frozen=True)
class StylePlan:
    """What a style does to a certain network: changes by that network's tensor names, every one of which fits.

    A change of conv_in.weight may be of J's columns alone where the tensor has C's and M's too: see `changed_part`.
    notes: what a user should know: that alpha extrapolates, how much of the network a partial file covers.
    """

    changes: dict[str, Change]
    alpha: float
    notes: tuple[str, ...] = ()

    @torch.no_grad()
    def apply(self, network: STUNet) -> STUNet:
        """See `stylize`."""
        if self.alpha == 0:
            return network
        state = network.state_dict()
        for name, change in self.changes.items():
            state[name] = _blend(name, state[name], change, self.alpha)
        stylized = STUNet(network.config, dtype=network.dtype, device="meta")  # no memory for weights to be replaced
        stylized.load_state_dict(state, assign=True)
        return stylized.train(network.training)


def load_style(path: str | Path) -> Style:
    """Read a style file. Raises ValueError where it is no whole safetensors file, or holds something else.

    Its tensors are the text-to-image or video network's under our (diffusers') names, or `<tensor>.diff`, core's
    `<module>.diff` and `<module>.diff_b`, or a LoRA's pairs lora_down/lora_up, lora_A/lora_B or lora.down/lora.up with
    an optional alpha. Names may start with diffusion_model., unet. or, for a LoRA, lora_unet_ with underscores for
    dots. Tensors of a text encoder are left out, and those of the temporal half but of our own files that are a motion.
    """
    path = Path(path)
    tensors = {_without_prefix(name): tensor for name, tensor in load_tensors(path).items()}
    record = _record(path)
    of_motion = record.get("half") == "temporal"
    left_out = TEXT_ENCODER if of_motion else (*TEMPORAL, *TEXT_ENCODER)
    changes: dict[str, Change] = {}
    halves: dict[str, dict[str, torch.Tensor]] = {}  # of the LoRAs by module: down, up and maybe alpha
    for name, tensor in tensors.items():
        if name.startswith(left_out):
            continue
        lora = LORA_NAME.fullmatch(name)
        suffix = next((suffix for suffix in DIFFERENCE_SUFFIXES if name.endswith(suffix)), None)
        if lora is not None:
            halves.setdefault(_plain_module(lora["module"]), {})[LORA_HALVES[lora["half"]]] = tensor
        elif name.endswith(".alpha"):
            halves.setdefault(_plain_module(name.removesuffix(".alpha")), {})["alpha"] = tensor
        elif suffix is not None:
            changes[_difference_target(name.removesuffix(suffix), DIFFERENCE_SUFFIXES[suffix])] = Difference(tensor)
        else:
            changes[name] = Full(tensor)
    changes |= {f"{module}.weight": _low_rank(path, module, **found) for module, found in halves.items()}
    return Style(path, changes, record.get("character"), of_motion)


def taught_character(path: Path) -> str | None:
    """What prompts call the character that a style teaches, None where it teaches none; only our own files say it."""
    return _record(path).get("character")


def _record(path: Path) -> dict:
    """What a file of our own says of its training."""
    try:
        return load_info(path).training
    except UntoldKind:
        return {}


def plan_style(style: Style, tensors: Mapping[str, torch.Tensor], alpha: float) -> StylePlan:
    """Check a style and alpha against a network with these tensors (of any device, meta too); none is touched.

    alpha: 0 (the original) to 1 (the style), up to 2 to extrapolate. Raises ValueError for another alpha; where no
    tensor matches, or any is unknown to the network or has another shape. Only conv_in of a 3-channel style may be
    narrower than the network's.
    """
    if not 0 <= alpha <= LARGEST_ALPHA:
        raise ValueError(
            f"alpha must be 0 (the original) to 1 (the style), or up to {LARGEST_ALPHA:g} to overdo the style; "
            f"got {alpha:g}."
        )
    half = {name: x for name, x in tensors.items() if name.startswith(TEMPORAL_PREFIX) == style.of_motion}
    kind = "temporal" if style.of_motion else "spatial"
    known = {alias: name for name in half for alias in _aliases(name)}
    changes = {known[name]: change for name, change in style.changes.items() if name in known}
    unknown = sorted(style.changes.keys() - known.keys())
    if not changes:
        got = f"{unknown[0]}, one of {len(unknown)}" if unknown else "none"
        raise ValueError(
            f"{style.path}: a style must hold {kind} tensors of the network, such as {FIRST_CONV}, or changes of "
            f"them; got {got}. Choose a style of this network's backbone."
        )
    if unknown:
        raise ValueError(
            f"{style.path}: the style is of another backbone: the network has no tensor {unknown[0]} ({len(unknown)} "
            "such in all). Choose a style of this network's backbone."
        )
    for name, change in changes.items():
        if not change.fits(tuple(changed_part(name, change, half[name]).shape)):
            raise ValueError(
                f"{style.path}: the style is of another backbone: its {name} does not fit the network's, which has "
                f"shape {tuple(half[name].shape)}. Choose a style of this network's backbone."
            )
    notes = (_extrapolation(alpha), None if style.of_motion else _coverage(style.path, changes, half))
    return StylePlan(changes, alpha, tuple(note for note in notes if note is not None))


def stylize(network: STUNet, style: Style, alpha: float) -> STUNet:
    """A network with W = alpha * W_style + (1 - alpha) * W_orig; the given one stays as it is.

    It shares every tensor that the style does not change, so only the changed ones take memory. alpha 0 is the network
    itself. Raises ValueError, before anything is computed, for an alpha outside 0..2 and a style that does not fit;
    warns above alpha 1 and of a style that covers a part of the network.
    """
    plan = plan_style(style, network.state_dict(), alpha)
    for note in plan.notes:
        warn(note)
    return plan.apply(network)


def changed_part(name: str, change: Change, weight: torch.Tensor) -> torch.Tensor:
    """The view of a network's tensor that a change belongs to: mostly all of it.

    A 3-channel style knows nothing of C and M: where the network's conv_in has them, W_style has W_orig's columns.
    """
    wider = name == FIRST_CONV and weight.shape[1] % INPUT_CHANNELS == 0 and not change.fits(tuple(weight.shape))
    return weight[:, : weight.shape[1] * IMAGE_CHANNELS // INPUT_CHANNELS] if wider else weight


def _blend(name: str, weight: torch.Tensor, change: Change, alpha: float) -> torch.Tensor:
    """In float32, back in the weight's dtype and memory layout."""
    part = changed_part(name, change, weight)
    blended = change.blend(part.float(), alpha).to(weight.dtype)
    return blended if part is weight else torch.cat([blended, weight[:, part.shape[1] :]], dim=1)


def _without_prefix(name: str) -> str:
    for prefix in (*PREFIXES, KOHYA_PREFIX):
        name = name.removeprefix(prefix)
    return name


def _plain_module(name: str) -> str:
    """A LoRA's module name, without what diffusers' attention processors put into it; the temporal half is ours."""
    if name.startswith(TEMPORAL):
        return name
    name = name.replace(".processor.", ".")
    return f"{name}.0" if name.endswith(".to_out") else name


def _difference_target(name: str, kind: str) -> str:
    """The tensor of `<module>.diff`, `<module>.diff_b` or `<tensor>.diff`."""
    whole = name.endswith((".weight", ".bias", ".positional_embedding"))
    return name if whole else f"{name}.{kind}"


def _low_rank(path: Path, module: str, down=None, up=None, alpha=None) -> LowRank:
    """From what a file holds for one module; scale = alpha / rank, 1 where there is no alpha."""
    if down is None or up is None:
        missing = "down" if down is None else "up"
        raise ValueError(f"{path}: the LoRA of {module} must have a down and an up half; got no {missing} half.")
    if min(up.ndim, down.ndim) < 2 or up.flatten(1).shape[1] != down.shape[0]:
        raise ValueError(
            f"{path}: the LoRA of {module} must have the same rank in both halves; got down {tuple(down.shape)} and "
            f"up {tuple(up.shape)}."
        )
    return LowRank(up, down, 1.0 if alpha is None else float(alpha) / down.shape[0])


def _aliases(name: str) -> tuple[str, str]:
    """How a file may call a tensor: by its name, or a LoRA's module with underscores for dots."""
    module, _, kind = name.rpartition(".")
    return name, f"{module.replace('.', '_')}.{kind}"


def _extrapolation(alpha: float) -> str | None:
    return f"alpha {alpha:g} is above 1: the style is extrapolated, and motion may suffer." if alpha > 1 else None


def _coverage(path: Path, changes: dict[str, Change], spatial: Mapping[str, torch.Tensor]) -> str | None:
    """A LoRA can cover the weights of layers (it may well leave out conv_in, whose width varies), other files all."""
    kind, coverable = "", set(spatial)
    if all(isinstance(change, LowRank) for change in changes.values()):
        layers = {name for name, tensor in spatial.items() if tensor.ndim > 1 and name.endswith(".weight")}
        kind, coverable = " that a LoRA can change", layers - {FIRST_CONV}
    covered = len(coverable & changes.keys())
    if covered == len(coverable):
        return None
    return f"{path.name} covers {covered} of {len(coverable)} spatial tensors{kind}; the others stay as they are."
