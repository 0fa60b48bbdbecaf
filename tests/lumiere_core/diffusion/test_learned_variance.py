"""A DDPM step whose noise the network has its say about, against diffusers' "learned_range"."""

import pytest
import torch
from diffusers import DDPMScheduler

from lumiere_video.lumiere_core.diffusion import (
    NoiseSchedule,
    classifier_free_guidance,
    denoiser,
    dynamic_threshold,
    keep_known,
    multidiffusion,
    plan_windows,
    sample_ddpm,
    sampling_sigmas,
)
from lumiere_video.lumiere_core.diffusion.learned_variance import step_deviation


@pytest.mark.parametrize("steps", [5, 50])
@pytest.mark.parametrize("said", [-1.0, -0.3, 0.6, 1.0])
def test_the_deviation_is_that_of_diffusers(steps, said):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
    scheduler.set_timesteps(steps)
    sigmas = sampling_sigmas(NoiseSchedule(), "leading", steps)
    for index, timestep in enumerate(scheduler.timesteps[:-1]):
        log_variance = scheduler._get_variance(timestep, torch.tensor(said))
        # there x = sqrt(abar) x0 + ..., here x0 + sigma * noise
        expected = (log_variance / 2).exp() * (1 + sigmas[index + 1] ** 2).sqrt()
        found = step_deviation(sigmas[index], sigmas[index + 1], torch.tensor(said))
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


def test_the_smallest_is_the_fixed_one():
    """To rounding, as a logarithm goes between."""
    sigmas = sampling_sigmas(NoiseSchedule(), "leading", 6)
    noise = torch.randn(7, 1, 3, 2, 4, 4)

    def run(channels):
        def denoise(x, sigma):
            return torch.cat([x / (1 + sigma), torch.full_like(x, -1.0)], dim=1)[:, :channels]

        draws = iter(noise)
        return sample_ddpm(denoise, sigmas[0] * next(draws), sigmas, noise_sampler=lambda *_: next(draws))

    torch.testing.assert_close(run(6), run(3), rtol=1e-4, atol=1e-4)


def network(x, timestep, **conditioning):
    """Says x as noise, and 10 times its text as the variance."""
    said = conditioning["text"].expand_as(x)
    return torch.cat([x + said, 10 * said], dim=1)


@pytest.mark.parametrize("window", [3, 12])
@pytest.mark.parametrize("batched", [False, True])
def test_only_the_video_is_guided_bounded_and_held(window, batched):
    """Of one window or several: the variance is that of the prompt."""
    x, sigma = torch.randn(1, 3, 12, 4, 4), torch.tensor(2.0)
    prompt, none = ({"text": torch.full((1, 1, 1, 1, 1), value)} for value in (0.05, 0.01))
    known, mask = torch.full_like(x, 0.25), torch.ones_like(x)
    mask[:, :, 0] = 0

    def run(network):
        fused = multidiffusion(denoiser(network, NoiseSchedule(), "eps"), plan_windows(12, window, 1))
        bounded = dynamic_threshold(classifier_free_guidance(fused, prompt, none, 7.0, batched=batched))
        return keep_known(bounded, known, mask, torch.zeros_like(x))(x, sigma)

    both, alone = run(network), run(lambda *inputs, **conditioning: network(*inputs, **conditioning)[:, :3])
    assert both.shape == (1, 6, 12, 4, 4) and torch.equal(both[:, :3], alone)
    torch.testing.assert_close(both[:, 3:], torch.full_like(x, 0.5))
