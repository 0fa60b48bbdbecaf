"""The checkpoint format: one safetensors file is one network.

The metadata key `lumiere` holds JSON, the fields of `CheckpointInfo`. Files without it (DeepFloyd IF U-Nets from
diffusers) get their config from the tensors' shapes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..diffusion.options import KNOBS, SamplingOptions
from ..diffusion.schedule import NoiseSchedule
from ..networks import STUNet, UNetConfig
from ..networks.inference import infer_config
from ..runtime.outputs import atomic_path, clear_write_errors

METADATA_KEY = "lumiere"
FORMAT = 1
# What DeepFloyd samples its own networks with.
IF_STAGE_ONE = SamplingOptions(steps=100, guidance=7.0)
IF_STAGE_TWO = SamplingOptions(steps=50, guidance=4.0, noise_level=250)
KINDS = ("t2i", "base", "ssr", "text", "style")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    kind: t2i, base, ssr, text or style. config: of the network (UNetConfig.to_dict, or the T5 config for "text").
    prediction: eps or v. thresholding: {"percentile", "maximum"} of dynamic thresholding, or None.
    sampling: defaults, of which steps, guidance, sampler and scheduler are always said.
    fps, frames, size: of the clips it was trained on; size is the frame's side in pixels (SSR: of its output).
    scale: upscaling factor of an SSR. align_corners: how it upsamples the small clip, see `ssr.upsample`.
    text_encoder: file name of the text encoder it hears.
    training: free-form record: recipe, steps, kind of device, figures.
    """

    kind: str
    config: dict
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    prediction: str = "eps"
    thresholding: dict | None = None
    sampling: SamplingOptions = SamplingOptions(steps=50, guidance=1.0, sampler="dpmpp_2m", scheduler="normal")
    fps: float = 16.0
    frames: int = 80
    size: int = 64
    scale: int = 1
    align_corners: bool = True
    text_encoder: str | None = None
    training: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """The options of `sampling` stand beside the other fields, as they did when they were fields."""
        fields = dataclasses.asdict(self)
        sampling = fields.pop("sampling")
        return json.dumps({"format": FORMAT, **fields, **sampling})

    @classmethod
    def from_json(cls, text: str, path: Path) -> CheckpointInfo:
        try:
            data = dict(json.loads(text))
            if data.pop("format", FORMAT) > FORMAT:
                raise ValueError("it was written by a newer version of this pack; update the pack")
            data["schedule"] = NoiseSchedule(**data["schedule"])
            said = SamplingOptions(**{name: data.pop(name) for name in KNOBS if name in data})
            info = cls(**data, sampling=said.over(cls.sampling))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: the metadata key {METADATA_KEY!r} is not what this pack writes: {error}."
            ) from error
        if info.kind not in KINDS:
            raise ValueError(f"{path}: kind must be one of {', '.join(KINDS)}; got {info.kind!r}.")
        return info


def save_checkpoint(path: str | Path, tensors: dict[str, torch.Tensor], info: CheckpointInfo) -> None:
    """Write one network, atomically: an old file stays whole until the new one is complete."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with clear_write_errors(Path(path)), atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata={METADATA_KEY: info.to_json()})


def load_info(path: str | Path) -> CheckpointInfo:
    """Metadata of a checkpoint, without its tensors; inferred from shapes when the file carries none."""
    path = Path(path)
    with _open(path) as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        if text is not None:
            return CheckpointInfo.from_json(text, path)
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return _inferred_info(path, shapes)


def load_checkpoint(path: str | Path) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    """Metadata and tensors (on the CPU, in the file's dtype). Raises ValueError for anything but a whole file."""
    return load_info(path), load_tensors(path)


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, whatever they are, on the CPU; pages are read when they are needed."""
    path = Path(path)
    with _open(path) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path}: the file is damaged ({error}). Download or copy it again.") from error


def load_stunet(
    path: str | Path, kinds: tuple[str, ...], dtype: torch.dtype = torch.float32, device="cpu"
) -> tuple[CheckpointInfo, STUNet]:
    """A U-Net whose kind is one of `kinds`, in eval mode. Missing, unexpected or misshapen tensors are an error."""
    info, tensors = load_checkpoint(path)
    require_kind(info, kinds, path)
    network = STUNet(network_config(info, path), dtype=dtype, device="meta")  # no memory for weights to be overwritten
    check_tensors(network.state_dict(), tensors, path)
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    return info, network.to(device=device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]


def network_config(info: CheckpointInfo, path: str | Path) -> UNetConfig:
    try:
        return UNetConfig.from_dict(info.config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the network's config is not one that this pack knows: {error}") from error


def require_kind(info: CheckpointInfo, kinds: tuple[str, ...], path: str | Path) -> None:
    if info.kind not in kinds:
        raise ValueError(f"{path}: a checkpoint of kind {' or '.join(kinds)} is needed here; this file is {info.kind}.")


def load_exactly(network: torch.nn.Module, tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    """Copy tensors into the network, which must have exactly these; see `check_tensors`."""
    expected = network.state_dict()
    check_tensors(expected, tensors, path)
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


def check_tensors(expected: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    """Raise a ValueError that names the first tensor that is missing, unexpected or misshapen."""
    for problem, names in (
        ("lacks", sorted(expected.keys() - tensors.keys())),
        ("has the unexpected", sorted(tensors.keys() - expected.keys())),
    ):
        if names:
            raise ValueError(f"{path}: the file {problem} tensor {names[0]} ({len(names)} such in all).")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: tensor {name} must have shape {tuple(expected[name].shape)}; got {tuple(tensor.shape)}."
            )


def _open(path: Path):
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: only .safetensors files are read; got {path.suffix or 'no suffix'}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        return safe_open(str(path), framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}). Download or copy it again.") from error


def _inferred_info(path: Path, shapes: dict[str, tuple[int, ...]]) -> CheckpointInfo:
    try:
        config = infer_config(shapes)
    except ValueError as error:
        raise ValueError(f"{path}: neither metadata of this pack nor a DeepFloyd IF U-Net: {error}") from error
    stage_two = config.noise_level_embedding
    return CheckpointInfo(
        kind="ssr" if stage_two else "t2i",
        config=config.to_dict(),
        thresholding={"percentile": 0.95, "maximum": 1.0 if stage_two else 1.5},
        sampling=(IF_STAGE_TWO if stage_two else IF_STAGE_ONE).over(CheckpointInfo.sampling),
        frames=1,
        size=256 if stage_two else 64,
        scale=4 if stage_two else 1,
    )
