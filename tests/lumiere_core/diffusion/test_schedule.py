"""Noise schedules, step spacings, noise streams and the network's wrapper."""

import dataclasses
import json

import pytest
import torch
from diffusers import DDPMScheduler

from lumiere_video.lumiere_core.diffusion import (
    BETAS,
    PREDICTIONS,
    SPACINGS,
    NoiseSchedule,
    add_noise,
    augmentation_noise,
    denoiser,
    initial_noise,
    least_denoise,
    noised_start,
    sampler_noise,
    sampling_sigmas,
    training_target,
)

BETA_RANGE = {"squaredcos_cap_v2": {}, "linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}

# Figures of ComfyUI 0.33's own schedulers on the default schedule's table: 5 steps, and 3 steps at denoise 0.6.
COMFYUI = {
    "normal": [20291.169921875, 2.4381420612335205, 1.013968825340271, 0.42637550830841064, 0.006425412837415934, 0.0],
    "sgm_uniform": [
        20291.169921875,
        3.107053518295288,
        1.3925827741622925,
        0.7393160462379456,
        0.3371128737926483,
        0.0,
    ],
    "simple": [20291.169921875, 3.103729724884033, 1.3907513618469238, 0.7378709316253662, 0.3357246518135071, 0.0],
    "kl_optimal": [20280.30078125, 2.424970865249634, 1.0063965320587158, 0.4198562204837799, 0.00642541283741, 0.0],
    "karras": [20291.162109375, 3547.4970703125, 345.873291015625, 10.316750526428223, 0.006425383500754833, 0.0],
}


@pytest.mark.parametrize("name", BETAS)
def test_alphas_equal_diffusers(name):
    extra = dict(zip(("beta_start", "beta_end"), BETA_RANGE[name], strict=False))
    reference = DDPMScheduler(beta_schedule=name, **extra).alphas_cumprod
    assert torch.from_numpy(NoiseSchedule(name).alphas_cumprod).sub(reference).abs().max() < 1e-6


def test_sigmas_ascend_and_agree_with_alphas():
    schedule = NoiseSchedule(shift=1.7)
    abar = torch.from_numpy(schedule.alphas_cumprod)
    assert schedule.sigmas.dtype == torch.float32 and (schedule.sigmas.diff() > 0).all()
    torch.testing.assert_close(1 / (1 + schedule.sigmas.double() ** 2), abar, rtol=1e-6, atol=0)


def test_shift_multiplies_sigma():
    torch.testing.assert_close(NoiseSchedule(shift=2.0).sigmas, 2 * NoiseSchedule().sigmas, rtol=1e-6, atol=0)


def test_timestep_is_the_nearest_in_log_sigma():
    schedule = NoiseSchedule()
    every = torch.arange(1000)
    assert torch.equal(schedule.sigma_to_timestep(schedule.timestep_to_sigma(every)), every)
    middle = (schedule.sigmas[500] * schedule.sigmas[501]).sqrt()
    assert schedule.sigma_to_timestep(middle * torch.tensor([0.9999, 1.0001])).tolist() == [500, 501]
    assert schedule.sigma_to_timestep(torch.tensor([0.0, 1e9])).tolist() == [0, 999]
    assert schedule.sigma_to_timestep(torch.tensor(1.0)).shape == ()


def test_fractional_timestep_interpolates_log_sigma():
    schedule = NoiseSchedule("linear")
    expected = (schedule.sigmas[10] * schedule.sigmas[11]).sqrt()
    torch.testing.assert_close(schedule.timestep_to_sigma(torch.tensor(10.5)), expected)


def test_schedule_survives_json():
    schedule = NoiseSchedule("linear", timesteps=400, shift=2.5)
    assert schedule.sigmas.shape == (400,)
    assert NoiseSchedule(**json.loads(json.dumps(dataclasses.asdict(schedule)))) == schedule


@pytest.mark.parametrize("wrong", [{"name": "cosine"}, {"timesteps": 1}, {"shift": 0.0}, {"shift": float("nan")}])
def test_schedule_rejects(wrong):
    with pytest.raises(ValueError, match=f"NoiseSchedule: {next(iter(wrong))} must be"):
        NoiseSchedule(**wrong)


def test_two_timesteps_are_a_schedule():
    assert NoiseSchedule(timesteps=2).sigmas.shape == (2,)


def test_tables_made_while_sampling_serve_training():
    schedule = NoiseSchedule()
    with torch.inference_mode():
        _ = schedule.sigmas, schedule.log_sigmas
    weight = torch.ones(1000, requires_grad=True)
    (weight * schedule.sigmas * schedule.log_sigmas).sum().backward()


@pytest.mark.parametrize("spacing", COMFYUI)
def test_spacing_equals_comfyui(spacing):
    expected = torch.tensor(COMFYUI[spacing])
    torch.testing.assert_close(sampling_sigmas(NoiseSchedule(), spacing, 5), expected, rtol=1e-6, atol=0)
    partial = sampling_sigmas(NoiseSchedule(), spacing, 3, denoise=0.6)
    torch.testing.assert_close(partial, expected[-4:], rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [1, 7, 50, 100, 1000])
def test_leading_visits_the_timesteps_of_diffusers(steps):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule()
    visited = schedule.sigma_to_timestep(sampling_sigmas(schedule, "leading", steps)[:-1])
    assert visited.tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("denoise", [1.0, 0.5, 0.07])
def test_spacing_has_steps_plus_one_levels_down_to_zero(spacing, denoise):
    for steps in range(1, 70):
        sigmas = sampling_sigmas(NoiseSchedule("scaled_linear"), spacing, steps, denoise)
        assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
        assert (sigmas.diff() <= 0).all() and sigmas[-1] == 0 and sigmas[-2] > 0


@pytest.mark.parametrize("shift", [0.001, 0.0015])  # of all that vanish, and of one alone
def test_normal_spacing_takes_a_vanishing_sigma_for_the_end(shift):
    clean = NoiseSchedule(shift=shift)
    sigmas = sampling_sigmas(clean, "normal", 4)
    assert sigmas.shape == (5,)
    torch.testing.assert_close(sigmas[-1], clean.sigmas[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_least_strength_takes_the_last_of_many_sigmas(spacing):
    sigmas = sampling_sigmas(NoiseSchedule(), spacing, 2, least_denoise(2))
    assert sigmas.shape == (3,) and 0 < sigmas[1] <= sigmas[0] < 0.01 and sigmas[-1] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("cosine", 5), "spacing"),
        (("normal", 0), "steps"),
        (("normal", 5, 0.0), "denoise"),
        (("normal", 25, 1e-9), "denoise must be 0.00025 to 1 with 25 steps; got 1e-09"),
        (("simple", 1000, 0.0099), "denoise must be 0.01 to 1 with 1000 steps; got 0.0099"),
        (("normal", 5, 1.1), "den"),
    ],
)
def test_spacing_rejects(arguments, message):
    with pytest.raises(ValueError, match=f"sampling_sigmas: {message}"):
        sampling_sigmas(NoiseSchedule(), *arguments)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_denoiser_inverts_a_perfect_network(prediction):
    schedule = NoiseSchedule()
    x0, noise, low_res = (initial_noise((2, 3, 4, 5, 6), seed).clamp(-1, 1) for seed in range(3))
    sigma = schedule.sigmas[[300, 900]]
    seen = {}

    def network(x_scaled, timestep, **conditioning):
        seen.update(x=x_scaled, timestep=timestep, **conditioning)
        return training_target(x0, noise, sigma, prediction, low_res)

    x = x0 + sigma.view(2, 1, 1, 1, 1) * noise
    found = denoiser(network, schedule, prediction)(x, sigma, context="c", low_res=low_res)
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen["x"], add_noise(x0, noise, sigma))
    assert seen["timestep"].tolist() == [300.0, 900.0] and seen["context"] == "c"
    assert seen["low_res"] is low_res


def test_denoiser_spreads_a_scalar_sigma_and_answers_in_float32():
    def network(x_scaled, timestep):
        assert x_scaled.dtype == torch.bfloat16 and timestep.shape == (3,) and timestep.dtype == torch.float32
        return x_scaled

    x = torch.ones(3, 3, 2, 2, 2, dtype=torch.bfloat16)
    assert denoiser(network, NoiseSchedule(), "v")(x, torch.tensor(2.0)).dtype == torch.float32


def test_velocity_target_is_minus_x0_at_full_noise():
    x0, noise = initial_noise((1, 3, 2, 2, 2), 0), initial_noise((1, 3, 2, 2, 2), 1)
    target = training_target(x0, noise, NoiseSchedule().sigmas[-1:], "v")
    torch.testing.assert_close(target, -x0, rtol=0, atol=1e-3)


def test_unknown_prediction_is_named():
    with pytest.raises(ValueError, match="eps, v, residual; got 'x0'"):
        denoiser(lambda x, t: x, NoiseSchedule(), "x0")


def test_noise_streams_are_the_three_seeds():
    shape = (1, 3, 4, 2, 2)

    def stream(seed):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(initial_noise(shape, 7), stream(7))
    assert torch.equal(sampler_noise(shape, 7)(None, None), stream(8))
    assert torch.equal(augmentation_noise(shape, 7), stream(9))
    assert torch.equal(sampler_noise(shape, 2**64 - 1)(None, None), stream(0))


@pytest.fixture
def doubles():
    """Doubles are what torch makes where nothing else is said."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_noise_is_what_it_is_whatever_torch_takes_for_granted(doubles):
    """ComfyUI and other packs may have said where and in what to make tensors."""
    shape = (1, 3, 2, 2, 2)
    with torch.device("meta"):
        drawn = [initial_noise(shape, 7), sampler_noise(shape, 6)(None, None), augmentation_noise(shape, 5)]
    for noise in drawn:  # the three streams of a seed are those of the next three seeds
        assert noise.dtype == torch.float32 and torch.equal(noise, initial_noise(shape, 7))


def test_the_low_32_bits_of_a_seed_count_as_in_comfyui():
    """Clips of saved seeds must stay; ComfyUI's random ones are mostly larger than 32 bits."""
    shape = (1, 3, 4, 2, 2)
    for noise in (initial_noise, augmentation_noise, lambda *of: sampler_noise(*of)(None, None)):
        assert torch.equal(noise(shape, 2**40 + 7), noise(shape, 7))
        assert not torch.equal(noise(shape, 2**31 + 7), noise(shape, 7))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None])
@pytest.mark.parametrize("noise", [initial_noise, sampler_noise, augmentation_noise])
def test_a_seed_is_what_comfyui_takes_for_one(seed, noise):
    with pytest.raises(ValueError, match=f"seed must be a whole number from 0 to 18446744073709551615; got {seed!r}"):
        noise((1,), seed)


def test_sampler_noise_moves_on_at_every_step():
    draw = sampler_noise((2, 2), 0)
    assert not torch.equal(draw(None, None), draw(None, None))


def test_start_from_pure_noise_gives_the_network_unit_noise():
    noise, sigma = initial_noise((1, 3, 4, 8, 8), 0), NoiseSchedule("scaled_linear").sigmas[-1]
    start = noised_start(torch.zeros_like(noise), noise, sigma, from_pure_noise=True)
    torch.testing.assert_close(start / (1 + sigma**2).sqrt(), noise)
    torch.testing.assert_close(noised_start(noise, noise, sigma), noise * (1 + sigma))
