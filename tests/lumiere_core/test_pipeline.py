"""The pipeline from prompt to frames, on tiny random networks."""

import dataclasses

import pytest
import torch

from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.lumiere_core.conditioning.given import Given
from lumiere_video.lumiere_core.conditioning.low_res import upsample
from lumiere_video.lumiere_core.diffusion import NoiseSchedule, augmentation_noise, initial_noise
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.networks import LevelConfig, UNetConfig
from lumiere_video.lumiere_core.pipeline import LumierePipeline, Model
from lumiere_video.lumiere_core.runtime import devices, memory
from lumiere_video.lumiere_core.sampling import plan_sampling


@pytest.fixture(scope="module")
def pipeline(tiny):
    return LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")


@pytest.mark.parametrize("frames", [1, 7, 80])
def test_frames_out_are_frames_asked_for(pipeline, frames):
    clip = pipeline.generate("a red circle", frames=frames, base=SamplingOptions(steps=1), ssr=SamplingOptions(steps=1))
    assert clip.frames.shape == (frames, 32, 32, 3)
    assert clip.low_res.shape == (frames, 8, 8, 3)
    assert clip.fps == 16
    for video in (clip.frames, clip.low_res):
        assert video.dtype == torch.float32 and video.min() >= 0 and video.max() <= 1
        assert not video.is_inference()


def test_what_is_not_given_comes_from_the_checkpoints(pipeline):
    stages = []
    clip = pipeline.generate("", progress=lambda *step: stages.append(step))
    assert clip.frames.shape == (12, 32, 32, 3)
    evaluations = {"base": 2 * 2, "super-resolution": 2 * 1 * 3}  # steps x (1 or 2 for guidance) x windows
    expected = [(stage, i, total) for stage, total in evaluations.items() for i in range(total + 1)]
    assert stages == expected


def test_size_is_height_and_width_of_the_base_clip(pipeline):
    clip = pipeline.generate("", frames=3, size=(7, 10))
    assert clip.low_res.shape == (3, 7, 10, 3)
    assert clip.frames.shape == (3, 28, 40, 3)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m"])
def test_same_seed_same_video(pipeline, sampler):
    first, again, other = (
        pipeline.generate("a star", seed=seed, base=SamplingOptions(sampler=sampler, steps=3)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.low_res, other.low_res)


def test_a_length_that_the_base_does_not_know_is_named(pipeline):
    info = dataclasses.replace(pipeline.base.info, trained_frames=(8, 12))
    knowing = LumierePipeline(dataclasses.replace(pipeline.base, info=info), None, pipeline.device, torch.float32)
    with pytest.warns(UserWarning, match="sees 3 frames at once, and was trained on 8 to 12"):
        knowing.generate("", frames=3)


def test_a_seed_beyond_32_bits_names_the_one_that_it_equals(pipeline):
    with pytest.warns(UserWarning, match=f"seed {2**32 + 3} draws what 3 draws"):
        large = pipeline.generate("a star", seed=2**32 + 3, super_resolution=False)
    assert torch.equal(large.frames, pipeline.generate("a star", seed=3, super_resolution=False).frames)
    with pytest.warns(UserWarning, match="only the low 32 bits count"):
        pipeline.upscale(large.low_res, "a star", seed=2**32)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused_before_anything_is_computed(pipeline, seed):
    seen, small = [], torch.zeros(1, 8, 8, 3)
    for make, first in ((pipeline.generate, ()), (pipeline.upscale, (small,))):
        with pytest.raises(ValueError, match="seed must be a whole number from 0"):
            make(*first, "a star", seed=seed, progress=lambda *step: seen.append(step))
    assert seen == []


def test_prompt_negative_and_guidance_reach_the_network(pipeline):
    def low_res(*prompts, **options):
        return pipeline.generate(*prompts, super_resolution=False, **options).low_res

    plain = low_res("a red circle")
    assert not torch.allclose(plain, low_res("a blue square"), atol=1e-4)
    assert not torch.allclose(plain, low_res("a red circle", "blurry"), atol=1e-4)
    assert not torch.allclose(plain, low_res("a red circle", base=SamplingOptions(guidance=7.0)), atol=1e-4)
    unguided = {"base": SamplingOptions(guidance=1.0)}
    assert torch.equal(low_res("a red circle", **unguided), low_res("a red circle", "blurry", **unguided))


def test_super_resolution_can_be_left_out(tiny, pipeline):
    without = LumierePipeline.load(tiny.base, device="cpu", dtype="float32", super_resolution=False)
    clip = without.generate("a star", seed=3)
    assert clip.frames is clip.low_res and clip.frames.shape == (12, 8, 8, 3)
    assert torch.equal(clip.frames, pipeline.generate("a star", seed=3).low_res)
    with pytest.raises(ValueError, match="without an SSR"):
        without.generate("a star", super_resolution=True)
    with pytest.raises(ValueError, match="window belongs to super-resolution"):
        pipeline.generate("a star", super_resolution=False, ssr=SamplingOptions(window=4))


def test_upscale_repeats_the_second_stage(pipeline):
    clip = pipeline.generate("a star", seed=5, frames=9)
    again = pipeline.upscale(clip.low_res, "a star", seed=5)
    torch.testing.assert_close(again, clip.frames, atol=2e-3, rtol=0)


def test_upscale_takes_frames_as_floats_without_alpha(pipeline):
    for frames in (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 8, 8, 4), torch.zeros(8, 8, 3)):
        with pytest.raises(ValueError, match="low_res must "):
            pipeline.upscale(frames, "a star")


def test_text_to_image_checkpoints_make_images(tiny):
    images = LumierePipeline.load(tiny.t2i, device="cpu", dtype="float32", super_resolution=False)
    assert images.generate("a star").frames.shape == (1, 8, 8, 3)


@pytest.mark.filterwarnings("ignore:this network was not trained on conditions")
@pytest.mark.parametrize("given", [None, Given("first_frame", torch.full((1, 8, 8, 3), 0.5))], ids=["text", "given"])
def test_the_seed_decides_both_stages(pipeline, given):
    """Whatever else is given, and each stage alone."""
    options = {"frames": 3, "given": given}
    first, other = (pipeline.generate("a star", seed=seed, **options) for seed in (1, 2))
    assert (first.low_res[1:] - other.low_res[1:]).abs().mean() > 0.01
    upscaled = [pipeline.upscale(first.low_res, "a star", seed=seed, given=given) for seed in (1, 2)]
    assert (upscaled[0][1:] - upscaled[1][1:]).abs().mean() > 0.01
    torch.testing.assert_close(upscaled[0], first.frames, atol=2e-3, rtol=0)


@pytest.mark.parametrize("windows", [{}, {"window": 12}, {"window": 6, "overlap": 0}, {"window": 5, "overlap": 4}])
@pytest.mark.parametrize("fuse", ["flat", "hann"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_an_ssr_that_only_upsamples_does_so_for_every_window_layout(pipeline, windows, fuse, align_corners):
    info = dataclasses.replace(pipeline.ssr.info, align_corners=align_corners)
    ssr = Model(info, Upsampler(), pipeline.ssr.encoder).with_defaults(
        SamplingOptions(scheduler="simple", noise_level=0)
    )
    upsampling = LumierePipeline(pipeline.base, ssr, pipeline.device, pipeline.dtype)
    options = SamplingOptions(steps=3, fuse=fuse, **windows)
    clip = upsampling.generate("a star", frames=20, ssr=options)
    expected, other = (
        upsample(clip.low_res.permute(3, 0, 1, 2)[None], 4, corners)[0].permute(1, 2, 3, 0)
        for corners in (align_corners, not align_corners)
    )
    torch.testing.assert_close(clip.frames, expected, atol=0.03, rtol=0)
    assert (clip.frames - other).abs().max() > 0.1
    again = upsampling.upscale(clip.low_res, "a star", ssr=SamplingOptions(steps=3))
    torch.testing.assert_close(again, expected, atol=0.03, rtol=0)


class Upsampler:
    """Stands in for an SSR: predicts the v that makes x0 the low-res clip it is given."""

    config = UNetConfig((LevelConfig(32),))

    def __call__(self, x, timestep, text, noise_level):
        sigma = NoiseSchedule().timestep_to_sigma(timestep).reshape(-1, 1, 1, 1, 1)
        noisy, low_res = x.chunk(2, dim=1)
        return (noisy - (sigma**2 + 1).sqrt() * low_res) / sigma


def test_half_precision_agrees_with_float32(tiny, pipeline):
    half = LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="bfloat16")
    options = {"prompt": "a star", "frames": 4, "base": SamplingOptions(guidance=1.0)}
    difference = (half.generate(**options).frames - pipeline.generate(**options).frames).abs()
    assert difference.mean() < 0.02


def test_networks_that_name_one_encoder_share_it(pipeline):
    assert pipeline.base.encoder is pipeline.ssr.encoder


def test_noise_streams_differ():
    shape = (1, 3, 2, 4, 4)
    assert not torch.equal(initial_noise(shape, 0), augmentation_noise(shape, 0))


def test_clips_beyond_the_trained_length_are_made_of_windows(tiny):
    info = load_info(tiny.base)
    assert [w.frames for w in plan_sampling(info, 12, (8, 8)).windows] == [(0, 12)]
    assert [w.frames for w in plan_sampling(info, 21, (8, 8)).windows] == [(0, 12), (9, 21)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": 0}, "frames must be at least 1; got 0"),
        ({"size": (0, 8)}, "size must be at least 1 pixel"),
        ({"steps": 0}, "steps must be 1 to 1000, the schedule's timesteps; got 0"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"sampler": "ddim"}, "sampler must be one of euler, .*; got 'ddim'"),
        ({"scheduler": "linear"}, "scheduler must be one of normal, .*; got 'linear'"),
        ({"fuse": "mean"}, "fuse must be one of flat, .*; got 'mean'"),
        ({"window": 4, "overlap": 4}, "window 4 and overlap 4"),
    ],
)
def test_a_plan_refuses_what_cannot_be(tiny, given, message):
    clip = {name: given.pop(name, value) for name, value in {"frames": 12, "size": (8, 8)}.items()}
    with pytest.raises(ValueError, match=message):
        plan_sampling(load_info(tiny.base), **clip, options=SamplingOptions(**given))


def test_too_large_a_clip_is_refused_before_anything_is_computed(pipeline, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**30)
    with pytest.raises(ValueError, match=r"A clip of 12 frames, 2048 x 2048 .* needs about .* GiB .* 1.0 GiB is free"):
        pipeline.generate("", size=512)


def test_memory_that_runs_out_midway_is_one_error():
    with pytest.raises(ValueError, match="generate: out of memory"), memory.clear_out_of_memory("generate"):
        torch.empty(2**55)
    with pytest.raises(RuntimeError, match="something else"), memory.clear_out_of_memory("generate"):
        raise RuntimeError("something else")


def test_an_encoder_of_another_width_is_refused(tiny):
    with pytest.raises(ValueError, match="hears text of width 64; the encoder .* gives 32"):
        LumierePipeline.load(tiny.wide, super_resolution=False)


def test_device_names():
    assert devices.resolve_device("cpu") == torch.device("cpu")
    assert devices.resolve_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    for name in ("tpu!", "cuda:99"):
        with pytest.raises(ValueError, match="device"):
            devices.resolve_device(name)


def test_dtype_names(monkeypatch):
    cpu = torch.device("cpu")
    assert devices.resolve_dtype("bfloat16", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert devices.resolve_dtype("auto", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert devices.resolve_dtype("auto", cpu) == torch.float32
    with pytest.raises(ValueError, match="dtype must be one of auto, float32"):
        devices.resolve_dtype("int8", cpu)
