"""An SSR that predicts what the enlarged small clip lacks, against closed forms."""

import dataclasses

import pytest
import torch

from lumiere_video.lumiere_core.conditioning.low_res import upsample
from lumiere_video.lumiere_core.diffusion import NoiseSchedule, denoiser, predicted_x0, training_target, v_of
from lumiere_video.lumiere_core.diffusion.denoiser import RESIDUAL_STD
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.sampling import plan_sampling, super_resolve

SIGMAS = torch.tensor([0.02, 0.7, 40.0])


def clips(count: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(3, 3, 4, 8, 8, generator=generator) * 2 - 1 for _ in range(count))


def test_a_perfect_answer_gives_the_clip_back():
    x0, noise, low_res = clips(3)
    answer = training_target(x0, noise, SIGMAS, "residual", low_res)
    torch.testing.assert_close(answer * RESIDUAL_STD + low_res, x0)
    torch.testing.assert_close(predicted_x0(noise, answer, SIGMAS, "residual", low_res), x0)


def test_no_answer_is_the_small_clip_enlarged_whatever_the_noise():
    """So that a network that has learned nothing yet makes what bilinear enlargement makes."""
    x0, noise, low_res = clips(3)
    denoise = denoiser(lambda x, timestep, low_res: torch.zeros_like(x), NoiseSchedule(), "residual")
    assert torch.equal(denoise(x0 + 3 * noise, torch.tensor(3.0), low_res=low_res), low_res)


def test_v_of_is_the_v_that_stands_for_a_clip():
    x0, noise, _ = clips(3)
    scale = (SIGMAS.view(-1, 1, 1, 1, 1) ** 2 + 1).sqrt()
    seen = (x0 + SIGMAS.view(-1, 1, 1, 1, 1) * noise) / scale
    torch.testing.assert_close(v_of(x0, seen, SIGMAS), training_target(x0, noise, SIGMAS, "v"), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(
        predicted_x0(seen * scale, v_of(x0, seen, SIGMAS), SIGMAS, "v"), x0, atol=2e-4, rtol=1e-4
    )


@pytest.mark.parametrize("windows", [{}, {"window": 5, "overlap": 2}, {"tile": 16, "tile_overlap": 8}])
def test_windows_and_tiles_each_have_their_part_of_the_small_clip(pipeline_info, windows):
    low_res = torch.rand(1, 3, 9, 6, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plan = plan_sampling(pipeline_info, 9, (24, 32), SamplingOptions(steps=2, noise_level=0, **windows))

    def silent(x, timestep, text, low_res, noise_level):
        return torch.zeros_like(x)

    text = torch.zeros(1, 2, 4)
    made = super_resolve(silent, pipeline_info, plan, low_res, text, text, 0)
    torch.testing.assert_close(made, upsample(low_res, 4, False), atol=0.08, rtol=0)  # level 0 carries a little noise


@pytest.fixture
def pipeline_info(tiny):
    from lumiere_video.lumiere_core.checkpoints.format import load_info

    return dataclasses.replace(load_info(tiny.ssr), prediction="residual", align_corners=False)


def test_it_is_for_ssr_networks_alone():
    x0, noise = clips(2)
    denoise = denoiser(lambda x, timestep: x, NoiseSchedule(), "residual")
    with pytest.raises(ValueError, match="prediction residual needs low_res"):
        denoise(x0, torch.tensor(1.0))
    with pytest.raises(ValueError, match="prediction residual needs low_res"):
        training_target(x0, noise, SIGMAS, "residual")
