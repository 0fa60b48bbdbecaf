"""Known pixels stay what they were, in every sampler."""

import pytest
import torch

from lumiere_video.lumiere_core.diffusion import (
    SAMPLERS,
    NoiseSchedule,
    composite,
    dynamic_threshold,
    initial_noise,
    keep_known,
    multidiffusion,
    noised_start,
    plan_windows,
    sampler_noise,
    sampling_sigmas,
)

SHAPE = (2, 3, 6, 4, 4)


def scene():
    """A known clip in 8-bit steps, its first frame and one corner kept, and the run's noise."""
    pixels = torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(3))
    change = torch.ones(1, 1, *SHAPE[2:])
    change[:, :, 0] = 0
    change[..., :2, :2] = 0
    return pixels / 127.5 - 1, change, initial_noise(SHAPE, 0)


def smooth(x, sigma):
    return torch.tanh((x + 0.3 * x.roll(1, dims=2)) / (1 + sigma**2))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_kept_pixels_are_bit_for_bit_what_was_given(name, strength):
    known, change, noise = scene()
    sigmas = sampling_sigmas(NoiseSchedule(), "normal", 8, strength)
    bounded = dynamic_threshold(multidiffusion(smooth, plan_windows(6, 4, 2)))
    denoise = keep_known(bounded, known, change, noise)
    video = SAMPLERS[name](
        denoise, noised_start(known, noise, sigmas[0]), sigmas, noise_sampler=sampler_noise(SHAPE, 0)
    )
    kept = (change == 0).expand(SHAPE)
    assert torch.equal(video[kept], known[kept])
    assert (video[~kept] - known[~kept]).abs().max() > 0.1
    assert torch.equal(((video + 1) * 127.5).round()[kept], ((known + 1) * 127.5).round()[kept])


@pytest.mark.parametrize("sigma", [torch.tensor(3.0), torch.tensor([3.0, 5.0])])
def test_network_sees_known_pixels_at_its_own_noise_level(sigma):
    known, change, noise = scene()
    seen = {}

    def denoise(x, sigma, context):
        seen.update(x=x, context=context)
        return torch.zeros_like(x)

    x = initial_noise(SHAPE, 9)
    x0 = keep_known(denoise, known, change, noise)(x, sigma, context="c")
    kept = (change == 0).expand(SHAPE)
    expected = known + sigma.view(-1, 1, 1, 1, 1) * noise
    assert torch.equal(seen["x"][kept], expected[kept]) and torch.equal(seen["x"][~kept], x[~kept])
    assert torch.equal(x0[kept], known[kept]) and not x0[~kept].any() and seen["context"] == "c"


def test_equals_comfyui_for_a_feathered_mask():
    """x * m + (known + sigma * noise) * (1 - m) before, x0 * m + known * (1 - m) after."""
    known, _, noise = scene()
    mask = torch.linspace(0, 1, SHAPE[-1]).expand(1, 1, *SHAPE[2:])
    x, sigma = initial_noise(SHAPE, 9), torch.tensor(2.0)
    before = x * mask + (known + sigma * noise) * (1 - mask)
    expected = smooth(before, sigma) * mask + known * (1 - mask)
    torch.testing.assert_close(keep_known(smooth, known, mask, noise)(x, sigma), expected)


def test_a_mask_of_ones_changes_nothing():
    known, _, noise = scene()
    x, sigma = initial_noise(SHAPE, 9), torch.tensor(2.0)
    assert torch.equal(keep_known(smooth, known, torch.ones(1, 1, 1, 1, 1), noise)(x, sigma), smooth(x, sigma))


def test_composite_mixes_only_between_the_ends():
    video, known, mask = torch.tensor([0.1, 0.1, 1.0]), torch.tensor([0.7, 0.7, 0.0]), torch.tensor([0.0, 1.0, 0.5])
    assert torch.equal(composite(video, known, mask), torch.tensor([0.7, 0.1, 0.5]))
