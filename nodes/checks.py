"""What comes over a socket, checked before anything is computed; messages say what was expected, and what came."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import torch

from ..lumiere_core.checkpoints.format import CheckpointInfo
from ..lumiere_core.conditioning.given import Condition
from ..lumiere_core.conditioning.vocabulary import Vocabulary
from ..lumiere_core.diffusion.options import SamplingOptions
from ..lumiere_core.runtime.notices import warn
from ..lumiere_core.style import taught_character

GIVEN = (
    "lumiere_given"  # BuildConditioningMask's `Given` on a conditioning: pictures of any size, for the SSR to fit anew
)


@contextmanager
def named(node: str):
    """Put the node's name before the ValueErrors that come from within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{node}: {error}") from error


def chosen(value: int, automatic: int) -> int | None:
    """A widget's value; None, the checkpoint's own, where it stands at `automatic`."""
    return None if value == automatic else value


def sampling_options(cfg: float, window: int, overlap: int, **others) -> SamplingOptions:
    """The values of a sampler's widgets (`inputs.sampling`, `inputs.windows`), as the rest of the pack knows them."""
    return SamplingOptions(guidance=cfg, window=chosen(window, 0), overlap=chosen(overlap, -1), **others)


def frames_of_images(images: torch.Tensor, name: str = "images") -> torch.Tensor:
    """IMAGE (T, H, W, 3 or 4) -> frames (T, H, W, 3); at least one, and finite."""
    if images.ndim != 4 or images.shape[-1] not in (3, 4) or not images.numel():
        raise ValueError(f"{name} must be at least one RGB frame, (T, H, W, 3); got shape {tuple(images.shape)}.")
    if not torch.isfinite(torch.stack(torch.aminmax(images))).all():  # of all it would copy them
        raise ValueError(f"{name} must be finite; got NaN or infinity. Look at the node that made them.")
    return images[..., :3].to(torch.float32)


def videos_of_latent(latent: dict) -> torch.Tensor:
    """LATENT -> clips (B, 3, T, H, W), one or more."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim != 5 or samples.shape[1] != 3 or not samples.numel():
        shape = "several streams" if getattr(samples, "is_nested", False) else tuple(samples.shape)
        raise ValueError(
            f"latent must be a pixel-space clip, (1, 3, T, H, W); got {shape}. Make it with Empty Pixel Video "
            "or Frames to Latent."
        )
    return samples.to(torch.float32)


def video_of_latent(latent: dict) -> torch.Tensor:
    """LATENT -> one clip (1, 3, T, H, W)."""
    videos = videos_of_latent(latent)
    if len(videos) > 1:
        raise ValueError(
            f"latent must be one clip, (1, 3, T, H, W); got a batch of {len(videos)}. Choose one with core's "
            "LatentFromBatch, or give KSampler the batch."
        )
    return videos


def check_conditioning(conditioning: list, info: CheckpointInfo) -> None:
    """Raise unless every text is as wide as the network's text encoder's."""
    expected = info.config["text_dim"]
    if not conditioning:
        raise ValueError("conditioning must hold an encoded text; got an empty list.")
    for text, _ in conditioning:
        if text.ndim != 3 or text.shape[-1] != expected:
            raise ValueError(
                f"conditioning must be text of width {expected}, (1, tokens, {expected}), from the encoder "
                f"that the network was trained with; got {tuple(text.shape)}. Wire the clip output of Load STUNet."
            )


def warn_of_unknown_words(vocabulary: Vocabulary, text: str, styles: Iterable[Path]) -> None:
    """Warn of words that a network never heard. styles: files, of which one may have taught it a character."""
    if vocabulary.check(text) is None:
        return
    characters = [name for path in styles if (name := taught_character(path))]
    if (warning := vocabulary.check(text, characters)) is not None:
        warn(warning)


def with_values(conditioning: list, values: dict) -> list:
    """Conditioning with more values on each entry; the given list stays as it is."""
    return [[text, {**extra, **values}] for text, extra in conditioning]


def known_pixels(conditioning: list) -> Condition | None:
    """The clip and change mask that BuildConditioningMask attached to a conditioning of one text, or None."""
    ((_, extra),) = conditioning
    clip = extra.get("concat_latent_image")
    return None if clip is None else Condition(clip, extra["concat_mask"])


# What core's samplers make of conditioning beyond its text.
CORE_ONLY = ("strength", "mask", "area", "start_percent", "end_percent", "hooks", "control")


def one_text(conditioning: list, name: str) -> torch.Tensor:
    """The one text of a conditioning, (1, L, D), for a network that runs outside core's samplers."""
    if len(conditioning) != 1:
        raise ValueError(
            f"{name} must hold one text; got {len(conditioning)}. Combined conditioning needs ComfyUI's own samplers."
        )
    ((text, extra),) = conditioning
    ignored = [key for key in CORE_ONLY if extra.get(key) is not None]
    if ignored:
        warn(f"{name}: {', '.join(ignored)} of the conditioning has no effect here.")
    return text


def check_model_kind(kind: str, kinds: tuple[str, ...]) -> None:
    """kind: what a MODEL's checkpoint is, or the name of a model that is not this pack's."""
    if kind not in kinds:
        loader = "Load SSR" if "ssr" in kinds else "Load STUNet"
        raise ValueError(f"model must be of kind {' or '.join(kinds)}; got {kind}. Wire {loader}.")
