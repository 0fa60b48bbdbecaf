"""Samplers: flat functions with one signature, to be compared line by line.

All take `denoise(x, sigma) -> x0`, x of shape (B, C, T, H, W) at noise level sigmas[0], and sigmas (steps + 1,),
descending. They return the video at sigmas[-1]; where that is 0 it is the last x0, bit for bit. After each evaluation
at a step, `callback` gets a dict of i, sigma, sigma_next, x and denoised. `noise_sampler(sigma, sigma_next)` feeds
the stochastic samplers, the others ignore it; without one, noise comes from torch's global CPU generator.

What is written here is a sampler's `steps`: it asks for each x0 by `denoised = yield from ask(x, sigma, step)`, and so
can wait for it. A clip may come in stretches of frames, each with steps of its own (see `streaming`); a step looks at
single pixels, so that it makes no difference.

Steps are written around x0 instead of the derivative (x - x0) / sigma: the same algebra, but no large numbers cancel
in float32 when sigma is 20000, where a cosine schedule starts.

A clip may be as large as the memory that is left. So a step works in place on what it has just made, and lets go of
what the next evaluation does not need; what came in, and what the callback was given, stays as it is. They keep no
gradients from being recorded: call them under `torch.no_grad`, as `sample` does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import update_wrapper
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .learned_variance import step_deviation
from .noise import NoiseSampler

Callback = Callable[[dict[str, Any]], None]


class Step(NamedTuple):
    """Which step an evaluation begins, and where that leads; i counts from 0."""

    i: int
    sigma_next: Tensor


# ask(x, sigma, step) -> x0, to be waited for; step is None for an evaluation within a step (Heun's second).
Ask = Callable[..., Generator[Any, Tensor, Tensor]]
Steps = Generator[Any, Tensor, Tensor]


class Sampler:
    """A sampler of its steps; see above."""

    def __init__(self, steps: Callable[[Ask, Tensor, Tensor, NoiseSampler], Steps]):
        self.steps = steps
        update_wrapper(self, steps)

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        callback: Callback | None = None,
        noise_sampler: NoiseSampler | None = None,
    ) -> Tensor:
        def ask(x: Tensor, sigma: Tensor, step: Step | None = None) -> Steps:
            denoised = denoise(x, sigma)
            if callback is not None and step is not None:
                callback(report(step, x, sigma, denoised))
            return denoised
            yield  # nobody has to wait for anything: this makes it a generator

        run = self.steps(ask, x, sigmas, noise_sampler or _global_noise(x))
        del x  # nobody else may hold it
        return finish(run)


def report(step: Step, x: Tensor, sigma: Tensor, denoised: Tensor) -> dict[str, Any]:
    """What a callback gets; of a network that also says a variance, the video alone."""
    return {**step._asdict(), "sigma": sigma, "x": x, "denoised": denoised[:, : x.shape[1]]}


def finish(run: Steps) -> Tensor:
    """The result of steps that wait for nothing."""
    try:
        next(run)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a sampler waits for an x0 that nobody makes")


@Sampler
def sample_euler(ask: Ask, x: Tensor, sigmas: Tensor, noise_sampler: NoiseSampler) -> Steps:
    """Euler steps (Karras et al. 2022, algorithm 2 without churn); the same as DDIM with eta 0 (Song et al. 2021)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = yield from ask(x, sigma, Step(i, sigma_next))
        if sigma_next == 0:
            return denoised
        x = (x - denoised).mul_(sigma_next / sigma).add_(denoised)
        del denoised
    return x


@Sampler
def sample_euler_ancestral(ask: Ask, x: Tensor, sigmas: Tensor, noise_sampler: NoiseSampler) -> Steps:
    """Ancestral sampling with Euler steps, eta 1 (k-diffusion): step down to sigma_down, then add noise."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = yield from ask(x, sigma, Step(i, sigma_next))
        if sigma_next == 0:
            return denoised
        sigma_down = sigma_next**2 / sigma
        sigma_up = (sigma_next**2 - sigma_down**2).sqrt()
        x = (x - denoised).mul_(sigma_down / sigma).add_(denoised)
        del denoised
        x += sigma_up * noise_sampler(sigma, sigma_next).to(x)
    return x


@Sampler
def sample_heun(ask: Ask, x: Tensor, sigmas: Tensor, noise_sampler: NoiseSampler) -> Steps:
    """Heun steps (Karras et al. 2022, algorithm 2 without churn): two evaluations a step, one in the last."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = yield from ask(x, sigma, Step(i, sigma_next))
        if sigma_next == 0:
            return denoised
        x = (x - denoised).mul_(sigma_next / sigma).add_(denoised)
        # The mean of both slopes, less the first, is (denoised - denoised_2) / (2 * sigma_next).
        again = yield from ask(x, sigma_next)
        x = (again - denoised).mul_((sigma / sigma_next - 1) / 2).add_(x)
        del denoised, again
    return x


@Sampler
def sample_ddpm(ask: Ask, x: Tensor, sigmas: Tensor, noise_sampler: NoiseSampler) -> Steps:
    """DDPM with the fixed small variance (Ho et al. 2020, eq. 7), or with what the network says of it.

    Its posterior, written in sigma space, has mean x0 + (sigma_next / sigma)^2 (x - x0) and variance
    sigma_next^2 (1 - (sigma_next / sigma)^2): the step of Euler ancestral with eta 1. Where denoise returns more
    channels than x has, those behind are a learned variance in its place.
    """
    channels = x.shape[1]
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        prediction = yield from ask(x, sigma, Step(i, sigma_next))
        denoised, said = prediction[:, :channels], prediction[:, channels:]
        if sigma_next == 0:
            return denoised
        sigma_down = sigma_next**2 / sigma
        small = (sigma_next**2 - sigma_down**2).sqrt()
        deviation = step_deviation(sigma, sigma_next, said) if said.shape[1] else small
        x = denoised + sigma_down / sigma * (x - denoised) + deviation * noise_sampler(sigma, sigma_next).to(x)
    return x


@Sampler
def sample_dpmpp_2m(ask: Ask, x: Tensor, sigmas: Tensor, noise_sampler: NoiseSampler) -> Steps:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): first order in the first and the last step."""
    previous, h_last = None, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = yield from ask(x, sigma, Step(i, sigma_next))
        if sigma_next == 0:
            return denoised
        h = sigma.log() - sigma_next.log()
        # h_last is 0 at the first step, and after a sigma that the schedule repeats.
        target = denoised if h_last == 0 else (denoised - previous).mul_(h / (2 * h_last)).add_(denoised)
        previous, h_last = denoised, h
        x = (x - target).mul_(sigma_next / sigma).add_(target)
        del denoised, target
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": sample_euler,
    "euler_ancestral": sample_euler_ancestral,
    "heun": sample_heun,
    "ddpm": sample_ddpm,
    "dpmpp_2m": sample_dpmpp_2m,
}
STOCHASTIC = ("euler_ancestral", "ddpm")  # those that add noise as they go


def _global_noise(x: Tensor) -> NoiseSampler:
    return lambda sigma, sigma_next: torch.randn(x.shape, dtype=torch.float32, device="cpu")
