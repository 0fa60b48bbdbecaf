"""What a checkpoint says of itself, and the one place where that is checked: files come from anywhere."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_type_hints

from ..diffusion.denoiser import PREDICTIONS
from ..diffusion.options import KNOBS, LARGEST_SIDE, LONGEST_CLIP, SamplingOptions
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.thresholding import check_threshold
from ..networks import UNetConfig
from ..runtime.records import Choice, Range, Record, check_values, nesting, shown

METADATA_KEY = "lumiere"
FORMAT = 1
LONGEST_TEXT = 2**22  # characters; the bundled files have 6,000
DEEPEST = 50  # tables and lists within each other; a training record has 7
KINDS = ("t2i", "base", "ssr", "text", "style")
# Input channels of a network of each kind: the clip; <J, C, M>; the clip and the enlarged small one.
CHANNELS = {"t2i": (3, 7), "base": (3, 7), "style": (3, 7), "ssr": (6,)}
OUT_CHANNELS = (3, 6)  # with 6, half of them are a learned variance (DeepFloyd IF)
VARIANCES = ("fixed_small", "learned_range")  # of ddpm's steps
IF_TEXT_TOKENS = 77  # what DeepFloyd IF was trained with
BYTE_LEVEL = "byte-level"  # the tokenizer without a vocabulary file: a token is a UTF-8 byte
BYTE_TOKENS = 384  # that it has
# What of a training record is read again, by name.
RECORD = {"character": str | None, "cast": dict}
CAST = {"name": str, "words": list[list[str]], "phrases": list[str]}


@dataclass(frozen=True)
class CheckpointInfo(Record):
    """What a checkpoint says of itself.

    kind: t2i, base, ssr, text or style. config: of the network (UNetConfig.to_dict, or the T5 config for "text").
    prediction: eps, v or, of an SSR, residual. variance: of ddpm's steps; learned_range is what the network says in
        output channels 3 to 5, as DeepFloyd IF's do.
    thresholding: {"percentile", "maximum"} of dynamic thresholding, or None.
    sampling: defaults, of which steps, guidance, sampler and scheduler are always said.
    fps, frames, size: of the clips it was trained on; size is the frame's side in pixels (SSR: of its output).
    scale: upscaling factor of an SSR. align_corners: how it upsamples the small clip, see `ssr.upsample`.
    text_encoder: name of the text encoder's file (or folder, for a T5) without a path. text_tokens: how many tokens of
         a text the network hears, where an encoder may give more; None is all.
    trained_frames, trained_sides: the least and the most frames that a base network saw at once, and pixels of a
    frame's sides; None where the file does not say.
    training: record: recipe, steps, kind of device, figures; free-form but for the cast and the character.
    Raises ValueError for a field that is of another type or out of range.
    """

    kind: Annotated[str, Choice(KINDS)]
    config: dict
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    prediction: Annotated[str, Choice(PREDICTIONS)] = "eps"
    variance: Annotated[str, Choice(VARIANCES)] = "fixed_small"
    thresholding: dict | None = None
    sampling: SamplingOptions = SamplingOptions(steps=50, guidance=1.0, sampler="dpmpp_2m", scheduler="normal")
    fps: Annotated[float, Range(0.01, 1000)] = 16.0
    frames: Annotated[int, Range(1, LONGEST_CLIP)] = 80
    size: Annotated[int, Range(1, LARGEST_SIDE)] = 64
    scale: Annotated[int, Range(1, 16)] = 1
    align_corners: bool = True
    text_encoder: str | None = None
    text_tokens: Annotated[int, Range(1, 4096)] | None = None
    training: dict = field(default_factory=dict)
    trained_frames: tuple[Annotated[int, Range(1, LONGEST_CLIP)], ...] | None = None
    trained_sides: tuple[Annotated[int, Range(1, LARGEST_SIDE)], ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_span("trained_frames", self.trained_frames)
        _check_span("trained_sides", self.trained_sides)
        check_values("sampling", {name: knob.hint | None for name, knob in KNOBS.items()}, vars(self.sampling))
        _check_thresholding(self.thresholding)
        _check_file_name(self.text_encoder)
        _check_record(self.training)

    def to_json(self) -> str:
        """The options of `sampling` stand beside the other fields, as they did when they were fields."""
        fields = self.to_dict()
        sampling = fields.pop("sampling")
        return json.dumps({"format": FORMAT, **fields, **sampling})

    @classmethod
    def from_json(cls, text: str, path: Path) -> CheckpointInfo:
        try:
            return checked_network(cls.from_dict(_fields(_decoded(text))))
        except ValueError as error:
            reason = str(error).removesuffix(".")
            raise ValueError(
                f"{path}: the metadata key {METADATA_KEY!r} is not what this pack writes: {reason}."
            ) from error


@dataclass(frozen=True)
class T5Shape(Record):
    """T5Config's fields that make an encoder what it is."""

    vocab_size: Annotated[int, Range(1, 2**20)] = 32128
    d_model: Annotated[int, Range(1, 2**14)] = 512
    d_kv: Annotated[int, Range(1, 2**10)] = 64
    d_ff: Annotated[int, Range(1, 2**16)] = 2048
    num_layers: Annotated[int, Range(1, 64)] = 6
    num_heads: Annotated[int, Range(1, 256)] = 8
    feed_forward_proj: Annotated[str, Choice(("relu", "gelu", "silu", "gated-gelu", "gated-silu"))] = "relu"
    dropout_rate: Annotated[float, Range(0, 0.99)] = 0.1
    layer_norm_epsilon: Annotated[float, Range(1e-12, 1e-2)] = 1e-6
    initializer_factor: Annotated[float, Range(0, 100)] = 1.0
    relative_attention_num_buckets: Annotated[int, Range(4, 128)] = 32
    relative_attention_max_distance: Annotated[int, Range(64, 2**14)] = 128


@dataclass(frozen=True, kw_only=True)
class TextConfig(T5Shape):
    """Of a bundled-style text encoder: its shape, its tokenizer, and to how many tokens a prompt is cut."""

    max_tokens: Annotated[int, Range(1, 4096)]
    tokenizer: Annotated[str, Choice((BYTE_LEVEL,))]
    vocab_size: Annotated[int, Range(BYTE_TOKENS, 2**20)] = 32128


T5_FIELDS = get_type_hints(T5Shape, include_extras=True)


def checked_network(info: CheckpointInfo) -> CheckpointInfo:
    """The same with a complete config. Raises ValueError for one that is no network of that kind."""
    try:
        if info.kind == "text":
            TextConfig.from_dict(info.config)
            return info
        config = UNetConfig.from_dict(info.config)
    except ValueError as error:
        raise ValueError(f"config: {error}") from error
    channels = CHANNELS[info.kind]
    if config.in_channels not in channels or config.out_channels not in OUT_CHANNELS:
        raise ValueError(
            f"config: a network of kind {info.kind} must have {' or '.join(map(str, channels))} input channels, and "
            f"{' or '.join(map(str, OUT_CHANNELS))} output channels; got {config.in_channels} and "
            f"{config.out_channels}."
        )
    if info.variance == "learned_range" and config.out_channels != 6:
        raise ValueError(f"variance learned_range needs 6 output channels; got {config.out_channels}.")
    if info.kind != "ssr" and (config.noise_level_embedding or info.prediction == "residual"):
        raise ValueError(f"noise_level_embedding and prediction residual are for kind ssr; got kind {info.kind}.")
    return dataclasses.replace(info, config=config.to_dict())


def _decoded(text: str) -> dict:
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"it must have at most {LONGEST_TEXT} characters; got {len(text)}.")
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("its tables and lists are nested too deeply.") from error
    if not isinstance(data, dict):
        raise ValueError(f"it must be a table of fields; got {shown(data)}.")
    if nesting(data) > DEEPEST:
        raise ValueError(f"its tables and lists must be nested at most {DEEPEST} deep; got {nesting(data)}.")
    return data


def _fields(data: dict) -> dict:
    """The fields of CheckpointInfo out of the file's: the options of `sampling` stand beside the others there."""
    version = data.pop("format", FORMAT)
    if type(version) is not int or version > FORMAT:
        raise ValueError("it was written by a newer version of this pack; update the pack.")
    said = {name: data.pop(name) for name in KNOBS if name in data}
    if "sampling" in data or "schedule" not in data:
        raise ValueError("it must have the field schedule, and none called sampling.")
    return {**data, "sampling": SamplingOptions(**said).over(CheckpointInfo.sampling)}


def _check_thresholding(thresholding: dict | None) -> None:
    if thresholding is None:
        return
    if thresholding.keys() != {"percentile", "maximum"}:
        raise ValueError(f"thresholding must be null or have percentile and maximum; got {shown(thresholding)}.")
    check_values("thresholding", {"percentile": float, "maximum": float}, thresholding)
    check_threshold(**thresholding)


def _check_span(name: str, span: tuple[int, ...] | None) -> None:
    if span is not None and not (len(span) == 2 and span[0] <= span[1]):
        raise ValueError(f"{name} must be null or two numbers, the least and the most; got {shown(list(span))}.")


def _check_file_name(name: str | None) -> None:
    """Of a text encoder; a path could lead anywhere on this machine."""
    if name is not None and (name in ("", ".", "..") or len(name) > 200 or set(name) & set("/\\\0")):
        raise ValueError(f"text_encoder must be a file's name without a path, or null; got {shown(name)}.")


def _check_record(training: dict) -> None:
    check_values("training", RECORD, training)
    cast = training.get("cast", {})
    check_values("training: cast", CAST, cast)
    if not all(cast.get("words", [])):
        raise ValueError("training: cast: words must have a name for each thing; got an empty list.")
