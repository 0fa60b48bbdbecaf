"""Text to conditioning: one wrapper over T5 encoders, the bundled tiny one and, by transformers, T5 v1.1-XXL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..checkpoints.format import CheckpointInfo, check_tensors, load_checkpoint, load_exactly, require_kind
from ..checkpoints.metadata import BYTE_LEVEL, IF_TEXT_TOKENS, T5_FIELDS, T5Shape
from ..runtime.notices import warn
from ..runtime.records import check_values, is_text, read_table, shown
from .byte_level import ByteTokenizer
from .prompts import plain, weighted_parts
from .t5 import T5Encoder

NOT_WHOLE = "not a whole T5 folder with .safetensors weights"
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")  # one tensor under two names


class TextEncoder:
    """A frozen T5 encoder and its tokenizer.

    Output is (B, max_tokens, dim): a fixed length, padded. Padding is masked inside T5 and not zeroed after it, as
    DeepFloyd IF has it.
    """

    def __init__(self, model, tokenizer, max_tokens: int):
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @property
    def dim(self) -> int:
        return self.model.config.d_model

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Prompts, with weights in parentheses -> (B, max_tokens, dim) on the encoder's device.

        A longer prompt is cut, with a warning. Raises ValueError for one that UTF-8 cannot hold, such as the bytes of
        another encoding.
        """
        ids, weights = map(torch.stack, zip(*(self.read(prompt) for prompt in prompts), strict=True))
        text = self._heard(ids)
        return weighed(text, weights, lambda: self._heard(self.tokenize([""])[0]))

    def read(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """One prompt's token ids, int64, and what each counts, float32, both (max_tokens,); see `weighted_parts`."""
        pieces = [(self._ids(text)[:-1], weight) for text, weight in weighted_parts(prompt)]  # without end tokens
        ids = [id for piece, _ in pieces for id in piece] + self._ids("")
        weights = [weight for piece, weight in pieces for _ in piece] + [1.0]
        self._warn_if_cut(ids)
        ids, weights = self._fitted(ids, ids[-1], self.padding), self._fitted(weights, 1.0, 1.0)
        return torch.tensor(ids), torch.tensor(weights)

    def tokenize(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, both (B, max_tokens) int64 on the CPU; each row ends with the end token.

        Parentheses are what they are: captions have no weights.
        """
        rows = [self._ids(plain(text)) for text in texts]
        for row in rows:
            self._warn_if_cut(row)
        ids = torch.tensor([self._fitted(row, row[-1], self.padding) for row in rows])
        return ids, (ids != self.padding).long()

    @property
    def padding(self) -> int:
        """The id of the token that fills up a short prompt."""
        return self.tokenizer.pad_token_id

    def _heard(self, ids: torch.Tensor) -> torch.Tensor:
        ids = ids.to(next(self.model.parameters()).device)
        return self.model(input_ids=ids, attention_mask=(ids != self.padding).long()).last_hidden_state

    def _ids(self, text: str) -> list[int]:
        """All tokens of a text, with the end token."""
        if not is_text(text):
            raise ValueError(f"prompt must be text that UTF-8 can hold; got {shown(text)}.")
        return self.tokenizer(text, truncation=False, verbose=False).input_ids

    def _fitted(self, row: list, last, filling) -> list:
        """A row of max_tokens: cut, so that it ends with `last`, or filled up."""
        if len(row) > self.max_tokens:
            return [*row[: self.max_tokens - 1], last]
        return row + [filling] * (self.max_tokens - len(row))

    def _warn_if_cut(self, ids: list[int]) -> None:
        if len(ids) <= self.max_tokens:
            return
        kept = self.tokenizer.decode(ids[: self.max_tokens - 1], skip_special_tokens=True)
        warn(
            f"The prompt has {len(ids)} tokens, the text encoder reads {self.max_tokens}: "
            f"it was cut after {kept[-24:]!r}."
        )


def weighed(text: torch.Tensor, weights: torch.Tensor, empty: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Encoded texts (B, L, D) of which tokens count as weights (B, L) say, as in ComfyUI: so many times as far from the
    empty text, which `empty` encodes, (1, L, D), where there are weights at all.
    """
    if bool((weights == 1).all()):
        return text
    nothing = empty()
    return nothing + (text - nothing) * weights[..., None].to(text)


def build_text_encoder(config: dict, max_tokens: int) -> TextEncoder:
    """A T5 encoder with random weights and the byte-level tokenizer; `config` holds T5Shape's fields."""
    return TextEncoder(T5Encoder(T5Shape.from_dict(config)).eval(), ByteTokenizer(), max_tokens)


def load_text_encoder(path: str | Path, device="cpu", dtype: torch.dtype = torch.float32) -> TextEncoder:
    """From a bundled-style safetensors file of kind text, or a folder with a T5 encoder and tokenizer (T5 v1.1-XXL)."""
    path = Path(path)
    encoder = _load_folder(path, dtype) if path.is_dir() else _load_file(path)
    encoder.model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return encoder


def _load_file(path: Path) -> TextEncoder:
    info, tensors = load_checkpoint(path)
    require_kind(info, ("text",), path)
    config = {name: value for name, value in info.config.items() if name not in ("tokenizer", "max_tokens")}
    # T5 ties its embedding under two names; the file holds it once.
    if "shared.weight" in tensors:
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"]
    with torch.device("meta"):  # what the metadata say should not cost memory before the tensors agree
        check_tensors(build_text_encoder(config, 1).model.state_dict(), tensors, path)
    encoder = build_text_encoder(config, info.config["max_tokens"])
    load_exactly(encoder.model, tensors, path)
    return encoder


def _load_folder(path: Path, dtype: torch.dtype) -> TextEncoder:
    from transformers import AutoTokenizer, T5EncoderModel

    model_path = path / "text_encoder" if (path / "text_encoder").is_dir() else path
    tokenizer_path = path / "tokenizer" if (path / "tokenizer").is_dir() else path
    config = _t5_config(path, _read_table(path, model_path / "config.json"))
    _read_table(path, tokenizer_path / "tokenizer_config.json")
    with torch.device("meta"):
        _check_shapes(T5EncoderModel(config).state_dict(), _tensors_in(model_path, path), path)
    local = {"local_files_only": True}
    try:
        kinds = {"torch_dtype": dtype, "use_safetensors": True}
        model = T5EncoderModel.from_pretrained(model_path, config=config, **kinds, **local)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_path, **local)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path}: {NOT_WHOLE}: {error}") from error
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer must fit the model: it has {len(tokenizer)} tokens, the model {config.vocab_size}."
        )
    return TextEncoder(model, tokenizer, IF_TEXT_TOKENS)


def _read_table(path: Path, file: Path) -> dict:
    """A JSON file of a T5 folder `path`."""
    if not file.is_file():
        raise ValueError(
            f"{path}: a T5 folder needs {file.name}; it is not there. Give a folder saved by transformers."
        )
    return read_table(file)


def _t5_config(path: Path, fields: dict):
    """The T5Config of what a folder's config says of the encoder's shape."""
    from transformers import T5Config

    if fields.get("model_type", "t5") != "t5":
        raise ValueError(f"{path}: a T5 folder is needed; this one has a model of type {shown(fields['model_type'])}.")
    check_values(f"{path}: config.json", T5_FIELDS, fields)
    return T5Config(**{name: fields[name] for name in T5_FIELDS if name in fields})


def _tensors_in(folder: Path, path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of all safetensors files in a folder, by name; T5's tied embedding under both names."""
    shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: {NOT_WHOLE}: {file.name}: {error}") from error
    for name, other in (EMBEDDINGS, EMBEDDINGS[::-1]):
        if other in shapes:
            shapes.setdefault(name, shapes[other])
    return shapes


def _check_shapes(expected: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Raise ValueError where the files are not the encoder's that config.json describes: transformers would go on with
    random weights in the place of what is missing. A decoder may be there, too.
    """
    for name in sorted(expected.keys() | {name for name in shapes if name.startswith("encoder.")}):
        wanted, given = expected.get(name), shapes.get(name)
        if wanted is None or given != tuple(wanted.shape):
            wanted = "no such tensor" if wanted is None else f"shape {tuple(wanted.shape)}"
            raise ValueError(
                f"{path}: {NOT_WHOLE}: of {name}, config.json asks for {wanted}; the files have {given or 'none'}."
            )


def text_tensors(encoder: TextEncoder) -> dict[str, torch.Tensor]:
    """The tensors of a text checkpoint: the encoder's, each once."""
    tensors = encoder.model.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}


def text_info(config: dict, max_tokens: int, training: dict) -> CheckpointInfo:
    return CheckpointInfo(
        kind="text", config={**config, "max_tokens": max_tokens, "tokenizer": BYTE_LEVEL}, training=training
    )
