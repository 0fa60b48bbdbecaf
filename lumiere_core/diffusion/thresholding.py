"""Dynamic thresholding: keep x0 within the range of pixels without flattening its highlights."""

import math
from typing import Any

from torch import Tensor

from .denoiser import Denoiser
from .learned_variance import on_video


def dynamic_threshold(denoise: Denoiser, percentile: float = 0.95, maximum: float = 1.5) -> Denoiser:
    """Bound a denoiser's x0 to [-1, 1] (Imagen, Saharia et al. 2022, sec. 2.3; figures are DeepFloyd IF stage I's).

    percentile: in (0, 1); s is this quantile of |x0|, one value for each whole video (over C, T, H, W), so that
        brightness cannot flicker between frames.
    maximum: s is kept within [1, maximum]; x0 is clamped to [-s, s] and divided by s. 1.0 is plain clipping.

    Not linear: it belongs after window fusion and after guidance. Raises ValueError for figures out of range.
    """
    check_threshold(percentile, maximum)

    def bounded(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
        x0 = denoise(x, sigma, **conditioning)
        return on_video(lambda video: threshold(video, percentile, maximum), x0, x.shape[1])

    return bounded


def check_threshold(percentile: float, maximum: float) -> None:
    """Raise ValueError for figures out of range; see `dynamic_threshold`."""
    if not 0 < percentile < 1:
        raise ValueError(f"dynamic_threshold: percentile must be between 0 and 1, as 0.95; got {percentile}.")
    if not maximum >= 1:
        raise ValueError(f"dynamic_threshold: maximum must be at least 1; got {maximum}.")


def is_local_threshold(percentile: float, maximum: float) -> bool:
    """Whether these figures look at one pixel at a time: plain clipping."""
    return maximum == 1


def threshold(x0: Tensor, percentile: float, maximum: float) -> Tensor:
    """x0 (B, C, T, H, W), any range -> the same shape in [-1, 1]; see `dynamic_threshold`."""
    if maximum == 1:
        return x0.clamp(-1, 1)
    s = _quantile(x0.abs().flatten(1), percentile).clamp(1, maximum)  # (B,)
    s = s.reshape(-1, *(1,) * (x0.ndim - 1))
    return x0.clamp(-s, s) / s


def _quantile(values: Tensor, q: float) -> Tensor:
    """The exact linear-interpolated quantile of each row, (B, N) -> (B,).

    By topk, which every device has: torch.quantile refuses N above 2^24, and kthvalue is not everywhere.
    """
    rank = q * (values.shape[1] - 1)
    top = values.topk(values.shape[1] - math.floor(rank), dim=1).values
    below, above = top[:, -1], top[:, -2:][:, 0]
    return below.lerp(above, rank % 1)
