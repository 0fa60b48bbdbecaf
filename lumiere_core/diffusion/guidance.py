"""Classifier-free guidance: one denoiser out of two sets of conditioning."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .learned_variance import on_video


def classifier_free_guidance(
    denoise: Denoiser,
    cond: Mapping[str, Any],
    uncond: Mapping[str, Any] | None,
    scale: float,
    rescale: float = 0.0,
    batched: bool = False,
) -> Denoiser:
    """Guide `denoise` (Ho & Salimans 2022): x0 = uncond + scale * (cond - uncond).

    cond, uncond: keyword arguments for the denoiser, with and without the prompt.
    scale: the guidance scale; 1.0 evaluates cond alone, and then uncond may be None.
    rescale: in [0, 1], how far the result's standard deviation is pulled back to that of cond (Lin et al. 2023,
        sec. 3.4), taken on x0 over all dimensions but the batch.
    batched: evaluate both in one call with 2B videos. Then cond and uncond must have the same keys, and tensors that
        start with a batch axis of B or 1 and agree in the other axes.

    The result maps x (B, C, T, H, W) and sigma to x0 (B, C, T, H, W); keywords given to it go to both evaluations.
    Raises ValueError where uncond is needed and missing, or cannot be batched with cond.
    """
    if scale == 1:
        return lambda x, sigma, **shared: denoise(x, sigma, **{**shared, **cond})
    if uncond is None:
        raise ValueError(f"classifier_free_guidance: a scale of {scale} needs uncond; give it, or use scale 1.")
    evaluate = _together if batched else _one_by_one

    def guided(x: Tensor, sigma: Tensor, **shared: Any) -> Tensor:
        x0_cond, x0_uncond = evaluate(denoise, x, sigma, {**shared, **cond}, {**shared, **uncond})
        channels = x.shape[1]

        def guide(video_cond: Tensor) -> Tensor:
            video_uncond = x0_uncond[:, :channels]
            x0 = (video_cond - video_uncond).mul_(scale).add_(video_uncond)
            return x0 if rescale == 0 else torch.lerp(x0, rescale_to(x0, video_cond), rescale)

        return on_video(guide, x0_cond, channels)  # a learned variance is that of cond

    return guided


def rescale_to(x0: Tensor, reference: Tensor) -> Tensor:
    """Scale each video of x0 (B, C, T, H, W) to the standard deviation of its reference, same shape."""
    axes = tuple(range(1, x0.ndim))
    deviation = x0.std(dim=axes, keepdim=True).clamp_min(1e-8)  # a constant video stays as it is
    return x0 * (reference.std(dim=axes, keepdim=True) / deviation)


def _one_by_one(
    denoise: Denoiser, x: Tensor, sigma: Tensor, cond: Mapping[str, Any], uncond: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    return denoise(x, sigma, **cond), denoise(x, sigma, **uncond)


def _together(
    denoise: Denoiser, x: Tensor, sigma: Tensor, cond: Mapping[str, Any], uncond: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    if cond.keys() != uncond.keys():
        raise ValueError(
            "classifier_free_guidance: batched=True needs cond and uncond with the same keys; "
            f"got {sorted(cond)} and {sorted(uncond)}."
        )
    both = {key: _stack(key, cond[key], uncond[key], x.shape[0]) for key in cond}
    sigma = sigma.expand(x.shape[0]).repeat(2)  # (2B,)
    x0_cond, x0_uncond = denoise(torch.cat([x, x]), sigma, **both).chunk(2)
    return x0_cond, x0_uncond


def _stack(key: str, cond: Any, uncond: Any, batch: int) -> Any:
    """Two conditioning values as one of 2B videos; anything but tensors must be the same object or equal."""
    if isinstance(cond, Tensor) and cond is uncond and len(cond) == 1:
        return cond.expand(2 * batch, *cond.shape[1:])  # a large clip, for one: not copied at each step
    if isinstance(cond, Tensor) and isinstance(uncond, Tensor) and cond.shape[1:] == uncond.shape[1:]:
        return torch.cat([value.expand(batch, *value.shape[1:]) for value in (cond, uncond)])
    if not isinstance(cond, Tensor) and not isinstance(uncond, Tensor) and (cond is uncond or cond == uncond):
        return cond
    raise ValueError(
        f"classifier_free_guidance: batched=True cannot join cond and uncond {key!r}: {_describe(cond)} and "
        f"{_describe(uncond)}. Give both the same shape, or use batched=False."
    )


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
