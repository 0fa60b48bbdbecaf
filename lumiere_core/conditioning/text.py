"""Text to conditioning: one wrapper over transformers' T5 encoder, for the bundled tiny one and for T5 v1.1-XXL."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError

from ..checkpoints.format import CheckpointInfo, check_tensors, load_checkpoint, load_exactly, require_kind
from ..checkpoints.metadata import BYTE_LEVEL

IF_MAX_TOKENS = 77  # what DeepFloyd IF was trained with


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
        """Prompts -> (B, max_tokens, dim) on the encoder's device. A longer prompt is cut, with a warning."""
        ids, mask = (tokens.to(self.model.device) for tokens in self.tokenize(prompts))
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    def tokenize(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, both (B, max_tokens) int64 on the CPU; each row ends with the end token."""
        for prompt in prompts:
            self._warn_if_cut(prompt)
        tokens = self.tokenizer(
            prompts, padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        )
        return tokens.input_ids, tokens.attention_mask

    def _warn_if_cut(self, prompt: str) -> None:
        ids = self.tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) <= self.max_tokens:
            return
        kept = self.tokenizer.decode(ids[: self.max_tokens - 1], skip_special_tokens=True)
        warnings.warn(
            f"The prompt has {len(ids)} tokens, the text encoder reads {self.max_tokens}: "
            f"it was cut after {kept[-24:]!r}.",
            stacklevel=4,
        )


def build_text_encoder(config: dict, max_tokens: int) -> TextEncoder:
    """A T5 encoder with random weights and the byte-level tokenizer; `config` holds T5Config's fields."""
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    model = T5EncoderModel(T5Config(**config)).eval()
    return TextEncoder(model, ByT5Tokenizer(), max_tokens)


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

    for name in ("config.json", "tokenizer_config.json"):
        if not any((folder / name).is_file() for folder in (path, path / "text_encoder", path / "tokenizer")):
            raise ValueError(f"{path}: a T5 folder needs {name}; it is not there. Give a folder saved by transformers.")
    model_path = path / "text_encoder" if (path / "text_encoder").is_dir() else path
    tokenizer_path = path / "tokenizer" if (path / "tokenizer").is_dir() else path
    try:
        local = {"local_files_only": True}
        model = T5EncoderModel.from_pretrained(model_path, torch_dtype=dtype, use_safetensors=True, **local)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_path, **local)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole T5 folder with .safetensors weights: {error}") from error
    return TextEncoder(model, tokenizer, IF_MAX_TOKENS)


def text_tensors(encoder: TextEncoder) -> dict[str, torch.Tensor]:
    """The tensors of a text checkpoint: the encoder's, each once."""
    tensors = encoder.model.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}


def text_info(config: dict, max_tokens: int, training: dict) -> CheckpointInfo:
    return CheckpointInfo(
        kind="text", config={**config, "max_tokens": max_tokens, "tokenizer": BYTE_LEVEL}, training=training
    )
