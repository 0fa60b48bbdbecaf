"""The tokenizer without a vocabulary file: a token is a byte of UTF-8 (ByT5, Xue et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PADDING, END, UNKNOWN = 0, 1, 2
FIRST_BYTE = 3
BYTES = 256


class Tokens(NamedTuple):
    """input_ids: the tokens of a text, with the end token; named as by transformers' tokenizers."""

    input_ids: list[int]


class ByteTokenizer:
    """What `TextEncoder` asks of a tokenizer. No text is a token by its name: "</s>" is four bytes, as written."""

    pad_token_id = PADDING

    def __call__(self, text: str, truncation: bool = False, verbose: bool = False) -> Tokens:
        return Tokens([FIRST_BYTE + byte for byte in text.encode()] + [END])

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of tokens; those that are no bytes, or only part of a letter, are left out."""
        found = (int(id) - FIRST_BYTE for id in ids)
        return bytes(byte for byte in found if 0 <= byte < BYTES).decode(errors="ignore")
