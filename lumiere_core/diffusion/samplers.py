"""Samplers: flat functions with one signature, to be compared line by line.

All take `denoise(x, sigma) -> x0`, x of shape (B, C, T, H, W) at noise level sigmas[0], and sigmas (steps + 1,),
descending. They return the video at sigmas[-1]; where that is 0 it is the last x0, bit for bit. After each evaluation
at a step, `callback` gets a dict of i, sigma, sigma_next, x and denoised. `noise_sampler(sigma, sigma_next)` feeds
the stochastic samplers, the others ignore it; without one, noise comes from torch's global CPU generator.

Steps are written around x0 instead of the derivative (x - x0) / sigma: the same algebra, but no large numbers cancel
in float32 when sigma is 20000, where a cosine schedule starts.

A clip may be as large as the memory that is left. So a step works in place on what it has just made, and lets go of
what the next evaluation does not need; what came in, and what the callback was given, stays as it is. They keep no
gradients from being recorded: call them under `torch.no_grad`, as `sample` does.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .learned_variance import step_deviation
from .noise import NoiseSampler

Callback = Callable[[dict[str, Any]], None]


def sample_euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Euler steps (Karras et al. 2022, algorithm 2 without churn); the same as DDIM with eta 0 (Song et al. 2021)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        _report(callback, i, sigma, sigma_next, x, denoised)
        if sigma_next == 0:
            return denoised
        x = (x - denoised).mul_(sigma_next / sigma).add_(denoised)
        del denoised
    return x


def sample_euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Ancestral sampling with Euler steps, eta 1 (k-diffusion): step down to sigma_down, then add noise."""
    noise_sampler = noise_sampler or _global_noise(x)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        _report(callback, i, sigma, sigma_next, x, denoised)
        if sigma_next == 0:
            return denoised
        sigma_down = sigma_next**2 / sigma
        sigma_up = (sigma_next**2 - sigma_down**2).sqrt()
        x = (x - denoised).mul_(sigma_down / sigma).add_(denoised)
        del denoised
        x += sigma_up * noise_sampler(sigma, sigma_next).to(x)
    return x


def sample_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Heun steps (Karras et al. 2022, algorithm 2 without churn): two evaluations a step, one in the last."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        _report(callback, i, sigma, sigma_next, x, denoised)
        if sigma_next == 0:
            return denoised
        x = (x - denoised).mul_(sigma_next / sigma).add_(denoised)
        # The mean of both slopes, less the first, is (denoised - denoised_2) / (2 * sigma_next).
        x = (denoise(x, sigma_next) - denoised).mul_((sigma / sigma_next - 1) / 2).add_(x)
        del denoised
    return x


def sample_ddpm(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """DDPM with the fixed small variance (Ho et al. 2020, eq. 7), or with what the network says of it.

    Its posterior, written in sigma space, has mean x0 + (sigma_next / sigma)^2 (x - x0) and variance
    sigma_next^2 (1 - (sigma_next / sigma)^2): the step of Euler ancestral with eta 1. Where denoise returns more
    channels than x has, those behind are a learned variance in its place.
    """
    noise_sampler, channels = noise_sampler or _global_noise(x), x.shape[1]
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        prediction = denoise(x, sigma)
        denoised, said = prediction[:, :channels], prediction[:, channels:]
        _report(callback, i, sigma, sigma_next, x, denoised)
        if sigma_next == 0:
            return denoised
        sigma_down = sigma_next**2 / sigma
        small = (sigma_next**2 - sigma_down**2).sqrt()
        deviation = step_deviation(sigma, sigma_next, said) if said.shape[1] else small
        x = denoised + sigma_down / sigma * (x - denoised) + deviation * noise_sampler(sigma, sigma_next).to(x)
    return x


def sample_dpmpp_2m(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    callback: Callback | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): first order in the first and the last step."""
    previous, h_last = None, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        _report(callback, i, sigma, sigma_next, x, denoised)
        if sigma_next == 0:
            return denoised
        h = sigma.log() - sigma_next.log()
        # h_last is 0 at the first step, and after a sigma that the schedule repeats.
        target = denoised if h_last == 0 else (denoised - previous).mul_(h / (2 * h_last)).add_(denoised)
        previous, h_last = denoised, h
        x = (x - target).mul_(sigma_next / sigma).add_(target)
        del denoised, target
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "euler": sample_euler,
    "euler_ancestral": sample_euler_ancestral,
    "heun": sample_heun,
    "ddpm": sample_ddpm,
    "dpmpp_2m": sample_dpmpp_2m,
}


def _report(callback: Callback | None, i: int, sigma: Tensor, sigma_next: Tensor, x: Tensor, denoised: Tensor) -> None:
    if callback is not None:
        callback({"i": i, "sigma": sigma, "sigma_next": sigma_next, "x": x, "denoised": denoised})


def _global_noise(x: Tensor) -> NoiseSampler:
    return lambda sigma, sigma_next: torch.randn(x.shape, dtype=torch.float32, device="cpu")
