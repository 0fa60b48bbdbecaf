"""Captions as the text encoder gives them, in a folder, so that it need not be in memory while a network trains."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..conditioning.text import load_text_encoder
from ..runtime.outputs import atomic_path, clear_write_errors
from .settings import digest_of

FOLDER = "captions"


class CaptionCache:
    """<folder>/captions/<digest of the encoder>/<digest of the caption>.safetensors: text, (max_tokens, dim) float16.

    Called as a tokenizer is, with texts; gives them as the encoder does: text, (B, max_tokens, dim) float32.
    """

    def __init__(self, folder: Path, encoder: Path):
        self.encoder = encoder
        self.folder = folder / FOLDER / digest_of(encoder)[:16]

    def __call__(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"text": torch.stack([self._load(self.file(text)) for text in texts]).float()}

    def file(self, text: str) -> Path:
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def fill(self, texts: Sequence[str], device: torch.device) -> None:
        """Encode those that are not there yet; the encoder is only loaded for them, and dropped afterwards."""
        missing = [text for text in texts if not self.file(text).is_file()]
        if not missing:
            return
        with torch.random.fork_rng():  # what is drawn next does not depend on what there was already
            encoder = load_text_encoder(self.encoder, device)
        for text in missing:
            ids, mask = (x.to(device) for x in encoder.tokenize([text]))
            with torch.no_grad():
                heard = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state[0]
            file = self.file(text)
            with clear_write_errors(file), atomic_path(file) as path:
                save_file({"text": heard.half().cpu().contiguous()}, str(path))

    def _load(self, file: Path) -> torch.Tensor:
        try:
            return load_file(file)["text"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(
                f"{file}: a caption's text as the encoder gave it cannot be read ({error}). Delete it, and start again."
            ) from error
