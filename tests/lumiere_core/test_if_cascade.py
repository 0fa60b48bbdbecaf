"""DeepFloyd IF in small, both stages: one frame of ours against diffusers' pipelines on the same noise."""

import dataclasses

import pytest
import torch
from diffusers import IFPipeline, IFSuperResolutionPipeline
from tiny_if import SCHEDULER, STAGE_ONE, STAGE_TWO_PUBLISHED, random_unet, save_pipeline, scheduler

from lumiere_video.lumiere_core.checkpoints.format import load_stunet
from lumiere_video.lumiere_core.checkpoints.inflating import Inflation, open_still, plan_inflation, write_inflated
from lumiere_video.lumiere_core.diffusion import augmentation_noise, initial_noise, sampler_noise
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.sampling import network_call, plan_sampling, sample_base, super_resolve

SMALL, LARGE, SEED = (1, 3, 1, 16, 16), (1, 3, 1, 64, 64), 7
STEPS = 10
TWO_LEVELS = 2 / 127.5  # 2/255 of the range, which is from -1 to 1 here
VARIANCES = ("learned_range", "fixed_small")
PARTS = dict.fromkeys(("tokenizer", "text_encoder", "safety_checker", "feature_extractor", "watermarker"))


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    """Of both stages: diffusers' U-Net, and (info, network) of ours, inflated from its files.

    Quieter than random ones, which make of the last bit of their input another picture, with diffusers as with ours.
    """
    folder, stages = tmp_path_factory.mktemp("cascade"), []
    for number, fields in enumerate((STAGE_ONE, STAGE_TWO_PUBLISHED)):
        unet, path = random_unet(fields, seed=number), folder / f"{number}.safetensors"
        torch.nn.init.normal_(unet.conv_out.weight, std=0.02)
        write_inflated(plan_inflation(open_still(save_pipeline(folder / f"IF-{number}", unet)), Inflation()), path)
        stages.append((unet, load_stunet(path, ("base", "ssr"))))
    return stages


@pytest.fixture(scope="module")
def texts():
    """With and without the prompt, (1, 77, 32) each."""
    return torch.randn(2, 1, 77, 32, generator=torch.Generator().manual_seed(1)).unbind()


def draws(shape, *first):
    """Noise of ours, (1, 3, H, W) each: of the beginning, then of every step."""
    yield from (noise[:, :, 0] for noise in first)
    step = sampler_noise(shape, SEED)
    while True:
        yield step(None, None)[:, :, 0]


def diffusers_pipeline(kind, unet, variance, noise, monkeypatch):
    """One that draws this noise."""
    for module in (kind.__module__, "diffusers.schedulers.scheduling_ddpm"):
        monkeypatch.setattr(f"{module}.randn_tensor", lambda shape, **_: next(noise).reshape(shape))
    stage_two = kind is IFSuperResolutionPipeline
    parts = PARTS | ({"image_noising_scheduler": scheduler(True)} if stage_two else {})
    steps = scheduler(stage_two)
    steps = steps.from_config(steps.config, variance_type=variance)
    pipeline = kind(unet=unet, scheduler=steps, requires_safety_checker=False, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(cascade, texts, variance, monkeypatch):
    """Both stages' pictures, in [-1, 1]."""
    (one, _), (two, _) = cascade
    said = {"prompt_embeds": texts[0], "negative_prompt_embeds": texts[1], "num_inference_steps": STEPS}
    noise = draws(SMALL, initial_noise(SMALL, SEED))
    pipeline = diffusers_pipeline(IFPipeline, one, variance, noise, monkeypatch)
    small = pipeline(height=16, width=16, guidance_scale=7.0, output_type="pt", **said).images
    noise = draws(LARGE, initial_noise(LARGE, SEED), augmentation_noise(LARGE, SEED))
    pipeline = diffusers_pipeline(IFSuperResolutionPipeline, two, variance, noise, monkeypatch)
    large = pipeline(image=small, height=64, width=64, guidance_scale=4.0, output_type="pt", **said).images
    return small, large


def ours(cascade, texts, variance):
    options, stages = SamplingOptions(steps=STEPS), []
    for (_, (info, network)), shape in zip(cascade, (SMALL, LARGE), strict=True):
        info = dataclasses.replace(info, variance=variance)
        call = network_call(network, torch.device("cpu"), torch.float32)
        stages.append((call, info, plan_sampling(info, 1, shape[3:], options)))
    small = sample_base(*stages[0], *texts, SEED)
    return small, super_resolve(*stages[1], small, *texts, SEED)


@pytest.mark.parametrize("variance", VARIANCES)
@torch.no_grad()
def test_the_cascade_is_that_of_diffusers(variance, cascade, texts, monkeypatch):
    expected, found = theirs(cascade, texts, variance, monkeypatch), ours(cascade, texts, variance)
    for picture, other in zip(found, expected, strict=True):
        assert 0.2 < other.std() and (other.abs() < 0.9).float().mean() > 0.3  # no black and white
        assert (picture[:, :, 0] - other).abs().max() <= TWO_LEVELS


@torch.no_grad()
def test_the_variance_that_is_learned_is_another(cascade, texts):
    learned, fixed = (ours(cascade, texts, variance)[1] for variance in VARIANCES)
    assert (learned - fixed).abs().max() > 10 * TWO_LEVELS


@torch.no_grad()
def test_longer_texts_are_cut(cascade, texts):
    """As ComfyUI's own text encoders pad them to 128 tokens or 256."""
    (_, (info, _)), _ = cascade
    padded = [torch.cat([text, torch.randn(1, 51, 32)], dim=1) for text in texts]
    assert info.text_tokens == 77 and SCHEDULER["thresholding"]
    for picture, other in zip(ours(cascade, padded, "fixed_small"), ours(cascade, texts, "fixed_small"), strict=True):
        assert torch.equal(picture, other)
