"""From a network to a denoiser, and what the network is trained to say."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .learned_variance import on_video
from .schedule import NoiseSchedule

# denoise(x, sigma, **conditioning) -> x0; x and x0 are (B, C, T, H, W), sigma is a scalar tensor or (B,).
Denoiser = Callable[..., Tensor]

PREDICTIONS = ("eps", "v", "residual")
RESIDUAL_STD = 0.1  # about that of what an enlarged small picture lacks, in [-1, 1]: our choice (unpublished)


def denoiser(network: Callable[..., Tensor], schedule: NoiseSchedule, prediction: str) -> Denoiser:
    """Wrap a network as `denoise(x, sigma, **conditioning) -> x0` in k-diffusion's sigma space.

    network: called as `network(x_scaled, timestep, **conditioning)`; x_scaled = x / sqrt(sigma^2 + 1) of shape
        (B, C, T, H, W) and x's dtype, timestep float32 (B,); returns the prediction, (B, C, T, H, W), or twice the
        channels: what it says of a step's variance then follows x0 as it is, see `learned_variance`.
    schedule: gives the timestep nearest to each sigma.
    prediction: "eps", the noise; "v" (Salimans & Ho 2022, app. D), sqrt(abar) * noise - sqrt(1 - abar) * x0; or, for a
        super-resolution net, "residual", what the enlarged small clip lacks (as SRDiff, Li et al. 2021, models it), in
        units of RESIDUAL_STD. That one needs the conditioning `low_res`, of x's shape.

    The denoiser takes x = x0 + sigma * noise, (B, C, T, H, W), and sigma as a scalar tensor or (B,). It returns x0
    in float32, so that a half-precision network loses nothing at large sigma. Raises ValueError for an unknown
    prediction.
    """
    _check(prediction)

    def denoise(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
        sigma = sigma.to(x.device, torch.float32).expand(x.shape[0])  # (B,)
        level = _per_video(sigma, x)  # (B, 1, 1, 1, 1)
        timestep = schedule.sigma_to_timestep(sigma).to(torch.float32)
        x_scaled = (x.float() / (level**2 + 1).sqrt()).to(x.dtype)
        output = network(x_scaled, timestep, **conditioning).float()
        low_res = conditioning.get("low_res")
        return on_video(lambda o: predicted_x0(x.float(), o, sigma, prediction, low_res), output, x.shape[1])

    return denoise


def predicted_x0(x: Tensor, output: Tensor, sigma: Tensor, prediction: str, low_res: Tensor | None = None) -> Tensor:
    """The clean video that a network's output stands for, in x's dtype (float32 is advised).

    x: x0 + sigma * noise, (B, C, T, H, W); output: the prediction, same shape; sigma: scalar or (B,). low_res: the
    enlarged small clip, for "residual" alone.
    """
    _check(prediction)
    if prediction == "residual":
        return _low_res_of(low_res) + RESIDUAL_STD * output
    sigma = _per_video(sigma, x)
    if prediction == "eps":
        return x - sigma * output
    return x / (sigma**2 + 1) - sigma / (sigma**2 + 1).sqrt() * output


def training_target(x0: Tensor, noise: Tensor, sigma: Tensor, prediction: str, low_res: Tensor | None = None) -> Tensor:
    """What the network should answer: (B, C, T, H, W), for sigma scalar or (B,).

    eps: the noise. v: sqrt(abar) * noise - sqrt(1 - abar) * x0 = (noise - sigma * x0) / sqrt(1 + sigma^2).
    residual: (x0 - low_res) / RESIDUAL_STD.
    """
    _check(prediction)
    if prediction == "eps":
        return noise
    if prediction == "residual":
        return (x0 - _low_res_of(low_res)) / RESIDUAL_STD
    sigma = _per_video(sigma, x0)
    return (noise - sigma * x0) / (sigma**2 + 1).sqrt()


def v_of(x0: Tensor, x_scaled: Tensor, sigma: Tensor) -> Tensor:
    """The v that stands for a clean video x0: (B, C, T, H, W), for sigma scalar or (B,).

    x_scaled: what the network saw, (x0 + sigma * noise) / sqrt(1 + sigma^2).
    """
    sigma = _per_video(sigma, x0)
    return (x_scaled - x0 * (sigma**2 + 1).sqrt()) / sigma


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The network's variance-preserving input, sqrt(abar) * x0 + sqrt(1 - abar) * noise.

    x0, noise: (B, C, T, H, W); sigma: scalar or (B,). Equals (x0 + sigma * noise) / sqrt(1 + sigma^2).
    """
    sigma = _per_video(sigma, x0)
    return (x0 + sigma * noise) / (sigma**2 + 1).sqrt()


def _low_res_of(low_res: Tensor | None) -> Tensor:
    if low_res is None:
        raise ValueError(
            "denoiser: prediction residual needs low_res, the enlarged small clip; got none. It is for SSR networks."
        )
    return low_res


def _per_video(sigma: Tensor, x: Tensor) -> Tensor:
    """Scalar or (B,) -> a shape that broadcasts against (B, C, T, H, W)."""
    return sigma.reshape(-1, *(1,) * (x.ndim - 1)).to(x.device)


def _check(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        raise ValueError(f"denoiser: prediction must be one of {', '.join(PREDICTIONS)}; got {prediction!r}.")
