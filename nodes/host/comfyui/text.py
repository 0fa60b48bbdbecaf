"""The text encoder as a real core CLIP, so that core's text nodes take it too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import comfy.model_management as management
import comfy.sd
import folder_paths
import torch

from ....lumiere_core.checkpoints.bundled import find_text_encoder
from ....lumiere_core.checkpoints.format import load_info
from ....lumiere_core.checkpoints.metadata import IF_TEXT_TOKENS
from ....lumiere_core.conditioning.text import TextEncoder, weighed
from ....lumiere_core.conditioning.text import load_text_encoder as load_encoder
from ....lumiere_core.conditioning.vocabulary import Vocabulary
from ....lumiere_core.runtime.notices import warn
from ...checks import warn_of_unknown_words
from .files import FOLDER, checkpoint_names, checkpoint_path
from .notices import noticing

TOKENS = "lumiere"
NO_WORDS = Vocabulary()
T5_PADDING, T5_END = 0, 1


class LumiereTokenizer:
    """Core's tokenizer interface over TextEncoder's: a fixed number of (token, weight) pairs."""

    def __init__(self, encoder: TextEncoder, vocabulary: Vocabulary):
        self.encoder, self.vocabulary = encoder, vocabulary

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_) -> dict:
        with noticing("Lumiere text encoder"):
            warn_of_unknown_words(self.vocabulary, text, map(checkpoint_path, checkpoint_names(("style",))))
            ids, weights = self.encoder.read(text)
        extra = (0,) if return_word_ids else ()
        return {TOKENS: [[(*pair, *extra) for pair in zip(ids.tolist(), weights.tolist(), strict=True)]]}

    def untokenize(self, pairs: list) -> list:
        return [(pair, self.encoder.tokenizer.decode([pair[0]])) for pair in pairs]

    def state_dict(self) -> dict:
        return {}


class LumiereTextModel(torch.nn.Module):
    """Core's text model interface over a T5 encoder of transformers."""

    disable_offload = True  # plain torch layers: moved as a whole, not cast layer by layer

    def __init__(self, encoder: TextEncoder, dtype, device):
        super().__init__()
        self.t5 = encoder.model.to(device)
        self.padding = encoder.padding
        self.nothing = encoder.tokenize([""])[0]
        self.dtypes = {dtype}
        self.execution_device = None

    def set_clip_options(self, options: dict) -> None:
        self.execution_device = options.get("execution_device", self.execution_device)

    def reset_clip_options(self) -> None:
        self.execution_device = None

    def encode_token_weights(self, tokens: dict) -> tuple[torch.Tensor, None]:
        """-> (1, L, D) and no pooled output; padding is masked inside T5, as DeepFloyd IF has it."""
        device = self.execution_device or next(self.t5.parameters()).device
        self.t5.to(device)  # core leaves plain layers behind where there is little room
        ids, weights = (torch.tensor([[pair[i] for pair in row] for row in tokens[TOKENS]]) for i in (0, 1))
        text = weighed(self._heard(ids.to(device)), weights, lambda: self._heard(self.nothing.to(device)))
        return text.to(management.intermediate_device(), torch.float32), None

    def _heard(self, ids: torch.Tensor) -> torch.Tensor:
        return self.t5(input_ids=ids, attention_mask=(ids != self.padding).long()).last_hidden_state

    def load_sd(self, state: dict):
        return self.t5.load_state_dict(state, strict=False)


def load_text_encoder(checkpoint: Path):
    """The CLIP that a checkpoint names; None, with a warning, where it names none or the file is not there."""
    info = load_info(checkpoint)
    source = _text_encoder_source(info.text_encoder, checkpoint)
    if source is None:
        warn(f"no text encoder was found for {checkpoint}; wire one to Text Encode.")
        return None
    return text_encoder_clip(source, Vocabulary.of(info.training))


def _text_encoder_source(name: str | None, checkpoint: Path) -> Path | None:
    """Beside the checkpoint, among the bundled files, or elsewhere in the model folder."""
    try:
        return find_text_encoder(name, checkpoint)
    except ValueError:
        known = folder_paths.get_full_path(FOLDER, name) if name else None
        return Path(known) if known else None


def text_encoder_clip(source: Path, vocabulary: Vocabulary = NO_WORDS) -> comfy.sd.CLIP:
    """A core CLIP of a text file or a T5 folder. vocabulary: the words that the network knows which it came with."""
    # The bundled one, of a few hundred KB, exactly; a T5-XXL halved where it is fast, and never float16: it overflows.
    halve = source.is_dir() and management.should_use_bf16(management.text_encoder_device())
    dtype = torch.bfloat16 if halve else torch.float32
    encoder = load_encoder(source, dtype=dtype)
    target = SimpleNamespace(
        params={},
        clip=lambda dtype, device, model_options: LumiereTextModel(encoder, dtype, device),
        tokenizer=lambda **_: LumiereTokenizer(encoder, vocabulary),
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": dtype})
    clip.patcher.cached_patcher_init = (_text_encoder_patcher, (source,))
    return clip


def _text_encoder_patcher(source: Path, disable_dynamic: bool = False):
    return text_encoder_clip(source).patcher


def encode_text(clip, text: str) -> list:
    """CONDITIONING of one text; of a T5 that core loaded, of as many tokens as DeepFloyd IF heard."""
    tokens = clip.tokenize(text)
    if TOKENS not in tokens:
        tokens = {name: [cut_tokens(row) for row in rows] for name, rows in tokens.items()}
    return clip.encode_from_tokens_scheduled(tokens)


def cut_tokens(row: list[tuple]) -> list[tuple]:
    """At most IF_TEXT_TOKENS of core's (token, weight) pairs, and the end token last of a longer text."""
    last = row[IF_TEXT_TOKENS - 1 : IF_TEXT_TOKENS]
    if len(row) > IF_TEXT_TOKENS and last[0][0] != T5_PADDING:
        last = [(T5_END, 1.0, *last[0][2:])]
    return row[: IF_TEXT_TOKENS - 1] + last
