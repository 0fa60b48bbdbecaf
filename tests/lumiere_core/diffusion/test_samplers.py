"""Samplers against diffusers' schedulers, step by step, and against a distribution whose answer is known."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from lumiere_video.lumiere_core.diffusion import (
    SAMPLERS,
    SPACINGS,
    NoiseSchedule,
    check_finite,
    finite_callback,
    initial_noise,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
    sampler_noise,
    sampling_sigmas,
)

SHAPE = (2, 3, 4, 4, 4)
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def smooth(x, sigma):
    """A fixed denoiser, non-linear and coupled over time."""
    return torch.tanh((x + 0.3 * x.roll(1, dims=2)) / (1 + sigma**2))


def to_eps(x, sigma):
    return (x - smooth(x, sigma)) / sigma


def states_of(sampler, x, sigmas, **keywords):
    """x before each step, and the result."""
    states = []
    result = sampler(smooth, x, sigmas, callback=lambda step: states.append(step["x"]), **keywords)
    return [*states, result]


def variance_preserving_run(scheduler, sigmas, **keywords):
    """Drive a diffusers scheduler whose samples are x / sqrt(1 + sigma^2); return x of every step."""
    x = initial_noise(SHAPE, 0) * sigmas[0]
    states = [x]
    for t, sigma, sigma_next in zip(scheduler.timesteps, sigmas[:-1], sigmas[1:], strict=True):
        scaled = scheduler.step(to_eps(x, sigma), t, x / (1 + sigma**2).sqrt(), **keywords).prev_sample
        x = scaled * (1 + sigma_next**2).sqrt()
        states.append(x)
    return states


def assert_same_states(ours, theirs, tolerance=1e-5):
    """Equal to `tolerance` of each state's own scale: samples shrink from sigma_max to 1 on the way."""
    assert len(ours) == len(theirs)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a - b).abs().max() <= tolerance * b.abs().max().clamp_min(1), f"step {step}"


def sigmas_at(scheduler):
    abar = scheduler.alphas_cumprod[scheduler.timesteps].double()
    return torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1)]).float()


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("schedule", [SCHEDULE, {"beta_schedule": "squaredcos_cap_v2"}])
def test_euler_equals_ddim(schedule, steps):
    scheduler = DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    sigmas = sigmas_at(scheduler)
    theirs = variance_preserving_run(scheduler, sigmas, eta=0.0)
    assert_same_states(states_of(sample_euler, theirs[0], sigmas), theirs, 5e-5)  # diffusers divides by abar of 2e-9


@pytest.mark.parametrize("karras", [False, True])
def test_euler_equals_diffusers_euler(karras):
    scheduler = EulerDiscreteScheduler(**SCHEDULE, use_karras_sigmas=karras)
    scheduler.set_timesteps(12)
    x = initial_noise(SHAPE, 0) * scheduler.sigmas[0]
    theirs = [x]
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        scheduler.scale_model_input(x, t)
        theirs.append(x := scheduler.step(to_eps(x, sigma), t, x).prev_sample)
    assert_same_states(states_of(sample_euler, theirs[0], scheduler.sigmas), theirs)


def test_heun_equals_diffusers_heun():
    scheduler = HeunDiscreteScheduler(**SCHEDULE)
    scheduler.set_timesteps(10)
    levels = scheduler.sigmas  # every level but the first and the last zero twice: one entry per evaluation
    x = initial_noise(SHAPE, 0) * levels[0]
    theirs = [x]
    for i, t in enumerate(scheduler.timesteps):
        sigma = levels[i] if i % 2 == 0 else levels[i + 1]
        x = scheduler.step(to_eps(x, sigma), t, x).prev_sample
        if i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            theirs.append(x)
    sigmas = torch.cat([levels[0:1], levels[1::2]])
    assert_same_states(states_of(sample_heun, theirs[0], sigmas), theirs)


@pytest.mark.parametrize("steps", [3, 10, 20])  # diffusers treats runs of fewer than 15 steps apart
@pytest.mark.parametrize("karras", [False, True])
def test_dpmpp_2m_equals_diffusers(steps, karras):
    scheduler = DPMSolverMultistepScheduler(
        **SCHEDULE, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", use_karras_sigmas=karras
    )
    scheduler.set_timesteps(steps)
    theirs = variance_preserving_run(scheduler, scheduler.sigmas)
    assert_same_states(states_of(sample_dpmpp_2m, theirs[0], scheduler.sigmas), theirs)


def test_ddpm_equals_diffusers_with_small_variance():
    scheduler = DDPMScheduler(**SCHEDULE, clip_sample=False, variance_type="fixed_small", timestep_spacing="trailing")
    scheduler.set_timesteps(15)
    sigmas = sigmas_at(scheduler)
    theirs = variance_preserving_run(scheduler, sigmas, generator=torch.Generator().manual_seed(8))
    assert_same_states(states_of(sample_ddpm, theirs[0], sigmas, noise_sampler=sampler_noise(SHAPE, 7)), theirs)


def gaussian(deviation):
    """The exact denoiser of pixels drawn from N(0, deviation^2)."""
    return lambda x, sigma: x * deviation**2 / (deviation**2 + sigma**2)


@pytest.mark.parametrize("name, factor", [("euler", 1.7), ("heun", 3.0), ("dpmpp_2m", 3.0)])
def test_error_falls_with_the_order(name, factor):
    """First order halves the error when steps double, second order quarters it, towards the ODE's exact solution."""
    x = 50 * torch.ones(1, 1, 1, 1, 1)
    exact = x * 0.5 / (0.5**2 + 50**2) ** 0.5

    def error(steps):
        sigmas = torch.cat([torch.logspace(1.69897, -3, steps, dtype=torch.float64).float(), torch.zeros(1)])
        return (SAMPLERS[name](gaussian(0.5), x, sigmas) - exact).abs().item()

    assert error(20) > factor * error(40) > factor * factor * error(80)


@pytest.mark.parametrize("name", ["euler_ancestral", "ddpm"])
def test_stochastic_samplers_reach_the_distribution(name):
    shape = (1, 1, 1, 200, 200)
    sigmas = torch.cat([torch.logspace(1.5, -2, 120), torch.zeros(1)])
    x = SAMPLERS[name](
        gaussian(0.5), initial_noise(shape, 0) * sigmas[0], sigmas, noise_sampler=sampler_noise(shape, 0)
    )
    assert x.mean().abs() < 0.01
    assert x.std() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_sampling_from_the_cosine_schedules_end_keeps_float32_accuracy(name, spacing):
    """sigma starts at 20291; a step written with (x - x0) / sigma loses a tenth of Heun's result there."""
    sigmas = sampling_sigmas(NoiseSchedule(), spacing, 20)
    start = initial_noise(SHAPE, 0) * sigmas[0]
    single, double = (
        SAMPLERS[name](smooth, start.to(dtype), sigmas.to(dtype), noise_sampler=sampler_noise(SHAPE, 0))
        for dtype in (torch.float32, torch.float64)
    )
    assert (single - double).abs().max() < 2e-5


@pytest.mark.parametrize("name", SAMPLERS)
def test_final_step_returns_x0_bit_for_bit(name):
    seen = []
    sigmas = sampling_sigmas(NoiseSchedule(), "normal", 6)
    result = SAMPLERS[name](smooth, initial_noise(SHAPE, 0) * sigmas[0], sigmas, callback=seen.append)
    assert torch.equal(result, seen[-1]["denoised"]) and result.data_ptr() == seen[-1]["denoised"].data_ptr()
    assert [step["i"] for step in seen] == list(range(6))
    assert torch.equal(torch.stack([step["sigma"] for step in seen]), sigmas[:-1])
    assert torch.equal(torch.stack([step["sigma_next"] for step in seen]), sigmas[1:])


@pytest.mark.parametrize("name", SAMPLERS)
def test_run_may_stop_above_zero_or_repeat_a_sigma(name):
    sigmas = torch.tensor([5.0, 2.0, 2.0, 1.0])
    result = SAMPLERS[name](smooth, initial_noise(SHAPE, 0) * 5, sigmas, noise_sampler=sampler_noise(SHAPE, 0))
    assert torch.isfinite(result).all()


def test_stochastic_sampler_follows_its_noise():
    sigmas, x = torch.tensor([5.0, 2.0, 0.0]), initial_noise(SHAPE, 0) * 5
    first, again, other = (sample_ddpm(smooth, x, sigmas, noise_sampler=sampler_noise(SHAPE, s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(0)
    assert torch.isfinite(sample_ddpm(smooth, x, sigmas)).all()


def test_nan_stops_the_run_and_names_the_step():
    def breaks(x, sigma):
        return smooth(x, sigma) if sigma > 1.5 else torch.full_like(x, torch.nan)

    seen = []
    with pytest.raises(ValueError, match=r"after step 3; got NaN or infinity \(torch.float16, cpu\)"):
        sample_euler(
            breaks,
            initial_noise(SHAPE, 0) * 5,
            torch.tensor([5.0, 2, 1, 0]),
            finite_callback(seen.append, torch.float16),
        )
    assert len(seen) == 2
    check_finite(torch.zeros(2), 0)
    with pytest.raises(ValueError, match="float32, cpu"):
        check_finite(torch.tensor([torch.inf]), 0)


@pytest.mark.parametrize(("dtype", "advised"), [(torch.float16, True), (torch.bfloat16, False), (torch.float32, False)])
def test_another_dtype_is_advised_where_half_precision_may_be_the_cause(dtype, advised):
    broken = torch.tensor([torch.nan])
    for check in (lambda: check_finite(broken, 0, dtype), lambda: check_finite(broken.to(dtype), 0)):
        with pytest.raises(ValueError, match=f"after step 1; got NaN or infinity .{dtype}, cpu") as refused:
            check()
        assert str(refused.value).endswith("Load the model in float32 or bfloat16.") == advised
