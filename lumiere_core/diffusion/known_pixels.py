"""Known pixels: hold a part of the video to what was given while the rest is generated."""

from typing import Any

from torch import Tensor

from .denoiser import Denoiser
from .learned_variance import on_video


def keep_known(denoise: Denoiser, known: Tensor, change_mask: Tensor, noise: Tensor) -> Denoiser:
    """Replace known pixels before and after each evaluation, as ComfyUI does for a noise mask.

    Before, they become known + sigma * noise, so that the network sees them at the level of noise it expects; after,
    known itself.

    known: (B, C, T, H, W) in [-1, 1]. change_mask: broadcastable to it, in [0, 1], 1 where pixels are generated and 0
    where they are kept (ComfyUI's polarity, the inverse of the paper's M); in between, the two are mixed. noise: the
    run's initial noise, (B, C, T, H, W).

    The result maps x and sigma, scalar or (B,), to x0. It belongs outermost, after guidance and thresholding: a
    sampler that ends at sigma 0 then returns the known pixels bit for bit.
    """

    def kept(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
        level = sigma.reshape(-1, *(1,) * (x.ndim - 1)).to(x)
        x = composite(x, known.to(x) + level * noise.to(x), change_mask)
        x0 = denoise(x, sigma, **conditioning)
        return on_video(lambda video: composite(video, known, change_mask), x0, x.shape[1])

    return kept


def composite(video: Tensor, known: Tensor, change_mask: Tensor) -> Tensor:
    """video where change_mask is 1, known where it is 0, both bit for bit; a mix in between.

    video, known: (B, C, T, H, W), finite; change_mask: broadcastable to them, in [0, 1]. Result as video.
    """
    mask = change_mask.to(video)
    return (video * mask).add_(known.to(video) * (1 - mask))
