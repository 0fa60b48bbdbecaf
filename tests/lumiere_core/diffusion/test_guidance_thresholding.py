"""Classifier-free guidance and dynamic thresholding."""

import pytest
import torch
from diffusers import DDPMScheduler

from lumiere_video.lumiere_core.diffusion import (
    classifier_free_guidance,
    dynamic_threshold,
    initial_noise,
    rescale_to,
    threshold,
)

SHAPE = (2, 3, 4, 8, 8)
SIGMA = torch.tensor(1.0)


class Prompted:
    """A denoiser that answers with its prompt's strength and counts its evaluations."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, sigma, context, **extra):
        self.calls.append((x.shape[0], tuple(sigma.shape), extra))
        return torch.tanh(x) * context.view(-1, 1, 1, 1, 1)


def prompt(strength):
    return {"context": torch.tensor([strength])}


def test_guidance_extrapolates_from_uncond():
    x = initial_noise(SHAPE, 0)
    denoise = Prompted()
    guided = classifier_free_guidance(denoise, prompt(1.0), prompt(0.25), 3.0)(x, SIGMA)
    torch.testing.assert_close(guided, torch.tanh(x) * (0.25 + 3 * 0.75))
    assert [call[0] for call in denoise.calls] == [2, 2]  # one by one, unless batched is asked for


def test_scale_one_skips_uncond():
    denoise, x = Prompted(), initial_noise(SHAPE, 0)
    guided = classifier_free_guidance(denoise, prompt(0.5), None, 1.0)(x, SIGMA, context=None, low_res=3)
    assert torch.equal(guided, torch.tanh(x) * 0.5)
    assert denoise.calls == [(2, (), {"low_res": 3})]


@pytest.mark.parametrize("sigma", [SIGMA, torch.tensor([1.0, 2.0])])
def test_batched_guidance_is_one_evaluation(sigma):
    x, denoise = initial_noise(SHAPE, 0), Prompted()
    cond, uncond = {"context": torch.tensor([1.0, 0.5])}, {"context": torch.tensor([0.2, 0.1])}
    shared = {"level": 250, "low_res": x[:1]}
    apart, together = (
        classifier_free_guidance(denoise, cond, uncond, 5.0, 0.3, batched)(x, sigma, **shared)
        for batched in (False, True)
    )
    torch.testing.assert_close(apart, together)
    assert [call[0] for call in denoise.calls] == [2, 2, 4]
    assert denoise.calls[2][1] == (4,)
    assert denoise.calls[2][2]["level"] == 250 and denoise.calls[2][2]["low_res"].shape == (4, *SHAPE[1:])


def test_rescale_restores_the_deviation_of_cond_per_video():
    x0, cond = initial_noise(SHAPE, 0) * torch.tensor([2.0, 7.0]).view(2, 1, 1, 1, 1), initial_noise(SHAPE, 1)
    torch.testing.assert_close(rescale_to(x0, cond).std(dim=(1, 2, 3, 4)), cond.std(dim=(1, 2, 3, 4)))
    assert torch.equal(rescale_to(torch.zeros(SHAPE), cond), torch.zeros(SHAPE))


def test_rescale_is_the_papers_mix():
    """Lin et al. 2023, eq. 15 and 16: phi * x_cfg * std(x_pos) / std(x_cfg) + (1 - phi) * x_cfg, per video."""
    x = initial_noise(SHAPE, 0) * torch.tensor([0.3, 2.0]).view(2, 1, 1, 1, 1)
    guided = classifier_free_guidance(Prompted(), prompt(1.0), prompt(-0.5), 4.0)(x, SIGMA)
    ours = classifier_free_guidance(Prompted(), prompt(1.0), prompt(-0.5), 4.0, rescale=0.7)(x, SIGMA)
    for video in range(2):
        matched = guided[video] * torch.tanh(x)[video].std() / guided[video].std()
        torch.testing.assert_close(ours[video], 0.7 * matched + 0.3 * guided[video])


def test_guidance_rejects():
    x = initial_noise(SHAPE, 0)
    with pytest.raises(ValueError, match="scale of 2.0 needs uncond"):
        classifier_free_guidance(Prompted(), prompt(1.0), None, 2.0)
    wrong = [({}, "same keys"), ({"context": torch.zeros(1, 7)}, "'context'.*shape"), ({"context": None}, "'context'")]
    for uncond, message in wrong:
        with pytest.raises(ValueError, match=message):
            classifier_free_guidance(Prompted(), prompt(1.0), uncond, 2.0, batched=True)(x, SIGMA)


@pytest.mark.parametrize("percentile", [0.5, 0.95, 0.995])
@pytest.mark.parametrize("maximum", [1.0, 2.0, 100.0])
def test_threshold_equals_diffusers(percentile, maximum):
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=percentile, sample_max_value=maximum)
    x0 = initial_noise((4, *SHAPE[1:]), 0) * torch.tensor([0.2, 0.8, 3.0, 50.0]).view(4, 1, 1, 1, 1)
    ours = threshold(x0, percentile, maximum)
    torch.testing.assert_close(ours, scheduler._threshold_sample(x0), rtol=1e-5, atol=1e-6)
    assert ours.abs().max() <= 1


def test_threshold_is_per_video_not_per_frame():
    x0 = torch.full((2, 3, 4, 2, 2), 0.5)
    x0[0, :, 1] = 3.0  # one bright frame of four scales the whole first video
    bounded = threshold(x0, 0.95, 10.0)
    torch.testing.assert_close(bounded[0, 0, :, 0, 0], torch.tensor([1 / 6, 1, 1 / 6, 1 / 6]))
    assert torch.equal(bounded[1], x0[1])


@pytest.mark.slow
def test_threshold_takes_clips_beyond_the_limit_of_torch_quantile():
    x0 = torch.linspace(0, 3, 2**24 + 3).view(1, 1, -1, 1, 1)
    assert threshold(x0, 0.5, 10.0).flatten()[2**23].item() == pytest.approx(1.0, abs=1e-6)
    assert (threshold(x0, 0.5, 10.0) == 1).sum() == pytest.approx(2**23, abs=3)


def test_dynamic_threshold_wraps_a_denoiser():
    x = initial_noise(SHAPE, 0)
    bounded = dynamic_threshold(lambda x, sigma, gain: gain * x, 0.9, 2.0)(x, SIGMA, gain=4.0)
    assert torch.equal(bounded, threshold(4 * x, 0.9, 2.0))
    clipped = dynamic_threshold(lambda x, sigma: 4 * x, maximum=1.0)(x, SIGMA)
    assert torch.equal(clipped, (4 * x).clamp(-1, 1))


@pytest.mark.parametrize(
    "arguments, message", [((1.0, 1.5), "percentile"), ((95, 1.5), "percentile"), ((0.9, 0.5), "max")]
)
def test_threshold_rejects(arguments, message):
    with pytest.raises(ValueError, match=f"dynamic_threshold: {message}"):
        dynamic_threshold(lambda x, sigma: x, *arguments)
