"""One network, one clip: starts, known pixels, tiles, progress, cancelling, and runs that outgrow the memory."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, load_info
from lumiere_video.lumiere_core.diffusion import crop, initial_noise, multidiffusion, plan_windows
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.networks import LevelConfig, UNetConfig
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.runtime.memory import network_bytes
from lumiere_video.lumiere_core.runtime.out_of_memory import halve_on_out_of_memory
from lumiere_video.lumiere_core.sampling import (
    network_call,
    plan_sampling,
    run_on,
    sample,
    super_resolve,
    warn_of_untrained,
)
from lumiere_video.lumiere_core.video.tensors import video_to_frames

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(tiny):
    return LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")


def run(model, *, frames=12, size=(8, 8), plan=(), **options):
    """Sample the base of a pipeline in two steps."""
    plan = dict(plan)
    denoise = plan.pop("denoise", 1.0)
    plan = plan_sampling(model.info, frames, size, SamplingOptions(steps=2, **plan), denoise)
    cond, uncond = ({"text": text} for text in model.encoder.encode(["a star", ""]).chunk(2))
    network = network_call(model.network, CPU, torch.float32)
    with torch.no_grad():
        return sample(network, model.info, plan, cond, uncond, 7, **options)


def test_known_pixels_come_out_as_they_went_in(pipeline):
    start = torch.rand(1, 3, 12, 8, 8) * 2 - 1
    mask = torch.ones(1, 1, 12, 8, 8)
    mask[:, :, 0], mask[:, :, :, :3] = 0, 0
    video = run(pipeline.base, start=start, known=(start, mask))
    kept = (mask == 0).expand_as(video)
    assert torch.equal(video[kept], start[kept])
    assert (video - start)[~kept].abs().mean() > 0.1


def test_denoise_says_how_much_of_the_start_is_kept(pipeline):
    start = torch.rand(1, 3, 12, 8, 8) * 2 - 1
    distances = [
        (run(pipeline.base, start=start, plan={"denoise": strength}) - start).abs().mean().item()
        for strength in (0.0, 0.02, 0.2, 1.0)
    ]
    assert distances[0] == 0 and distances == sorted(distances) and distances[1] < distances[2] < distances[3]


@pytest.mark.parametrize("sampler, calls", [("euler", 2), ("heun", 3)])
def test_evaluations_are_counted_one_by_one(pipeline, sampler, calls):
    seen = []
    run(
        pipeline.base,
        frames=20,
        plan={"sampler": sampler, "window": 8, "overlap": 2},
        evaluated=lambda *counts: seen.append(counts),
    )
    total = calls * 2 * 3  # with and without the prompt, three windows
    assert seen == [(done, total) for done in range(total + 1)]


def test_a_batch_that_had_to_be_halved_is_counted_once(pipeline):
    seen, network = [], network_call(pipeline.base.network, CPU, torch.float32)

    def small(x, timestep, text):
        if len(x) > 1:
            raise RuntimeError("out of memory")
        return network(x, timestep, text)

    info = pipeline.base.info
    plan = plan_sampling(info, 20, (8, 8), SamplingOptions(steps=2, window=8, overlap=2))
    cond = {"text": pipeline.base.encoder.encode(["a star"])}
    with torch.no_grad():
        sample(
            small, info, plan, cond, cond, 7, batch=2,
            is_out_of_memory=lambda error: "out of memory" in str(error), evaluated=lambda *counts: seen.append(counts),
        )  # fmt: skip
    assert seen[-1] == (plan.evaluations, plan.evaluations) and len(seen) == 1 + 2 * 2 * 2  # two batches a step


def test_what_evaluated_raises_ends_the_run_at_once(pipeline):
    seen = []

    def cancel(done, total):
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline.base, evaluated=cancel)
    assert seen == [0, 1, 2]


def test_a_batch_of_windows_gives_what_single_windows_give(pipeline):
    plan = {"window": 8, "overlap": 2}
    single, batched = (run(pipeline.base, frames=20, plan=plan, batch=batch) for batch in (1, 3))
    torch.testing.assert_close(single, batched, rtol=0, atol=1e-4)


PLAIN = CheckpointInfo(kind="base", config={"in_channels": 3}, prediction="eps")


def eps_of(clip):
    """A network, as `denoiser` wants it, that sees `clip(x)` in whatever it is given."""

    def network(x, timestep, text):
        sigma = PLAIN.schedule.sigmas[timestep.long()].view(-1, 1, 1, 1, 1)
        return (x * (1 + sigma**2).sqrt() - clip(x)) / sigma

    return network


def sample_seen(clip, info=PLAIN, frames=6, size=(4, 4), seed=3, **options):
    """One step of one clip, without guidance, of a network that sees `clip(x)`: that is what comes out."""
    options = {"steps": 1, "guidance": 1.0, "sampler": "euler", "scheduler": "normal", "window": frames, **options}
    plan = plan_sampling(info, frames, size, SamplingOptions(**options))
    return sample(eps_of(clip), info, plan, {"text": torch.zeros(1, 1, 1)}, {}, seed)


@pytest.mark.parametrize("maximum", [10.0, 1.2])
def test_a_checkpoints_thresholding_bounds_the_clip(maximum):
    """Divided by its own quantile instead of cut off at 1 (Imagen, sec. 2.3)."""
    seen = 2 * torch.randn(1, 3, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    s = seen.abs().quantile(0.8).clamp(max=maximum)
    bounded = dataclasses.replace(PLAIN, thresholding={"percentile": 0.8, "maximum": maximum})
    torch.testing.assert_close(sample_seen(lambda x: seen, bounded), seen.clamp(-s, s) / s, rtol=0, atol=0.02)
    torch.testing.assert_close(sample_seen(lambda x: seen), seen.clamp(-1, 1), rtol=0, atol=0.02)


@pytest.mark.parametrize(("denoise", "level"), [(1.0, None), (0.1, 0.0954)])
def test_a_run_starts_from_as_much_noise_as_the_network_was_trained_on(denoise, level):
    """At the schedule's end that is unit noise and the start is gone; below it, start + level * noise, scaled down.

    level: sqrt(1 / abar - 1) of Nichol & Dhariwal 2021, eq. 17, at the last but one of 20 steps from 999 to 0.
    """
    seen = []

    def network(x, timestep, text):
        seen.append(x)
        return torch.zeros_like(x)

    start = torch.rand(1, 3, 6, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = SamplingOptions(steps=2, guidance=1.0, sampler="euler", scheduler="normal", window=6)
    plan = plan_sampling(PLAIN, 6, (4, 4), options, denoise)
    sample(network, PLAIN, plan, {"text": torch.zeros(1, 1, 1)}, {}, 3, start=start)
    noise = initial_noise((1, 3, 6, 4, 4), 3)
    expected = noise if level is None else (start + level * noise) / (1 + level**2) ** 0.5
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-3)


def hat(kind: str, length: int) -> torch.Tensor:
    """How much each frame of a window counts."""
    if kind == "flat":
        return torch.ones(length)
    return torch.tensor([math.sin(math.pi * (i + 0.5) / length) ** 2 for i in range(length)])


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({"window": 6, "overlap": 3}, (0, 3, 6)),
        ({"window": 6, "overlap": 3, "loop": True}, (0, 3, 6, 9)),
        ({"window": 6, "overlap": 3, "loop": True, "tile": 4, "tile_overlap": 2}, (0, 3, 6, 9)),
    ],
)
@pytest.mark.parametrize("fuse", ["flat", "hann"])
def test_windows_are_fused_as_the_plan_says(options, starts, fuse):
    """A network that sees how far into its window a frame is: the mean of that over windows, as each counts."""
    ramp = torch.arange(6.0).view(6, 1, 1) / 6
    video = sample_seen(lambda x: ramp.expand_as(x), frames=12, size=(4, 8), fuse=fuse, **options)
    total, weight = torch.zeros(12), torch.zeros(12)
    for start in starts:
        for i, share in enumerate(hat(fuse, 6)):
            total[(start + i) % 12] += share * i / 6
            weight[(start + i) % 12] += share
    expected = (total / weight).view(12, 1, 1).expand_as(video)
    torch.testing.assert_close(video, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("loop", [False, True])
def test_a_loop_leads_its_end_into_its_start(loop):
    """With a network that smooths over time within a window, only a loop makes the last frame like the first."""

    def smooth(x, sigma):
        return x.mean(dim=2, keepdim=True).expand_as(x)

    x = torch.arange(12.0).reshape(1, 1, 12, 1, 1).expand(1, 3, 12, 2, 2)
    fused = multidiffusion(smooth, plan_windows(12, 6, 3, loop))(x, torch.tensor(1.0))
    gap = (fused[:, :, 0] - fused[:, :, -1]).abs().max()
    assert gap < 4 if loop else gap > 5


def test_tiles_that_cover_the_frame_change_nothing(pipeline):
    ssr, low_res = pipeline.ssr, torch.rand(1, 3, 6, 8, 8)
    network = network_call(ssr.network, CPU, torch.float32)
    text, negative = ssr.encoder.encode(["a star", ""]).chunk(2)

    def upscale(**tiles):
        plan = plan_sampling(ssr.info, 6, (32, 32), SamplingOptions(steps=1, **tiles))
        with torch.no_grad():
            return plan, super_resolve(network, ssr.info, plan, low_res, text, negative, 7)

    whole, tiled = upscale()[1], upscale(tile=64, tile_overlap=8)[1]
    assert torch.equal(whole, tiled)
    plan, small = upscale(tile=16, tile_overlap=4)
    assert len(plan.windows) == 9 and small.shape == whole.shape and not torch.equal(small, whole)


def test_what_neither_the_user_nor_the_checkpoint_says_is_the_plainest():
    plan = plan_sampling(CheckpointInfo(kind="base", config={}, frames=20), 50, (8, 8))
    assert (plan.fuse, plan.loop, plan.noise_level, plan.tile, plan.tile_overlap) == ("flat", False, 0, None, 0)
    assert (plan.window, plan.overlap, plan.denoise) == (20, 5, 1.0)


@pytest.mark.parametrize(
    ("own", "window", "expected"), [(None, 8, 2), (None, 1, 0), (3, 8, 3), (3, 4, 3), (3, 3, 2), (3, 1, 0)]
)
def test_an_overlap_that_is_not_said_fits_the_window(own, window, expected):
    """A quarter of it, or the checkpoint's own as far as that fits."""
    info = CheckpointInfo(kind="base", config={}, sampling=SamplingOptions(overlap=own).over(CheckpointInfo.sampling))
    assert plan_sampling(info, 50, (8, 8), SamplingOptions(window=window)).overlap == expected


@pytest.mark.parametrize(
    ("options", "frames", "seen"),
    [
        ({"window": 16}, 40, (16, 24, 32)),
        ({"window": 16}, 5, (5, 24, 32)),
        ({"window": 16, "tile": 20}, 40, (16, 20, 20)),
        ({"window": 16, "tile": 28}, 40, (16, 24, 28)),
        ({"window": 16, "tile": 64}, 40, (16, 24, 32)),
    ],
)
def test_a_network_sees_a_window_or_a_tile_of_it_or_all_there_is(options, frames, seen):
    plan = plan_sampling(PLAIN, frames, (24, 32), SamplingOptions(overlap=2, **options))
    assert plan.window_size == seen and plan.shape == (1, 3, frames, 24, 32)
    clip = torch.zeros(plan.shape)
    assert {tuple(crop(clip, window).shape[2:]) for window in plan.windows} == {seen}


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 1},
        {"steps": 1000},
        {"noise_level": 0},
        {"noise_level": 999},
        {"guidance": 0.0},
        {"guidance": -1.0},
        {"window": 1, "overlap": 0},
        {"tile": 1, "tile_overlap": 0},
        {"tile": 8, "tile_overlap": 7},
    ],
    ids=str,
)
def test_the_ends_of_every_range_are_legal(options):
    plan = plan_sampling(PLAIN, 1, (1, 1), SamplingOptions(**options))
    assert {name: getattr(plan, name) for name in options} == options
    for denoise in (0.0, 1.0):
        assert plan_sampling(PLAIN, 1, (1, 1), denoise=denoise).denoise == denoise


@pytest.mark.parametrize(
    "options, message",
    [
        ((SamplingOptions(), 1.1), "denoise must be 0, .* to 1, .*; got 1.1"),
        ((SamplingOptions(steps=25), 1e-9), "denoise must be 0, .*, or at least 0.00025 with 25 steps; got 1e-09"),
        (
            (SamplingOptions(tile=8, tile_overlap=8),),
            "tile must be larger than tile_overlap.*rows.*got tile 8 and",
        ),
    ],
)
def test_bad_plans_are_refused(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        plan_sampling(load_info(tiny.base), 4, (8, 8), *options)


def test_noise_levels_beyond_the_schedule_are_refused(pipeline):
    with pytest.raises(ValueError, match="noise_level must be 0 to 999, a timestep; got 1000"):
        plan_sampling(pipeline.ssr.info, 1, (32, 32), SamplingOptions(noise_level=1000))


# Out of memory


class Device:
    """A denoiser that takes at most `limit` clips at once, and tells each what it was given with it."""

    def __init__(self, limit):
        self.limit, self.sizes = limit, []

    def __call__(self, x, sigma, text, level, name):
        self.sizes.append(len(x))
        assert len(x) == len(text) and sigma.shape in ((), (len(x),)) and name == "n" and level.shape == (1,)
        if len(x) > self.limit:
            raise RuntimeError("out of memory")
        return x + text[..., None, None] + sigma.reshape(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("sigma", [torch.tensor(2.0), torch.arange(5.0)])
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(sigma):
    x, text = initial_noise((5, 3, 2, 4, 4), 0), torch.randn(5, 3, 1)
    device = Device(limit=2)
    careful = halve_on_out_of_memory(device, lambda error: "out of memory" in str(error))
    for _ in range(2):
        result = careful(x, sigma, text=text, level=torch.zeros(1), name="n")
        torch.testing.assert_close(result, x + text[..., None, None] + sigma.reshape(-1, 1, 1, 1, 1))
    assert device.sizes == [5, 2, 2, 1, 2, 2, 1]


def test_one_clip_that_does_not_fit_and_other_errors_are_raised():
    x, shared = initial_noise((2, 3, 2, 4, 4), 0), {"text": torch.zeros(2, 3, 1), "level": torch.zeros(1), "name": "n"}
    with pytest.raises(RuntimeError, match="out of memory"):
        halve_on_out_of_memory(Device(limit=0), lambda error: True)(x, torch.tensor(1.0), **shared)
    device = Device(limit=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        halve_on_out_of_memory(device, lambda error: False)(x, torch.tensor(1.0), **shared)
    assert device.sizes == [2]


@pytest.mark.parametrize("side", [1, 63, 64])
def test_memory_is_counted_as_the_network_pads_its_frames(side):
    config = UNetConfig((LevelConfig(32),) * 5, patch=4)  # frames are padded to multiples of 64
    expected = network_bytes(config, 2, 64, 64, torch.float32)
    assert network_bytes(config, 2, side, side, torch.float32) == expected == 24 * 2 * 16**2 * 32 * 4


@pytest.mark.parametrize(
    ("device", "gigabytes", "batch"), [("cpu", 100, 1), ("cuda", None, 1), ("cuda", 0, 1), ("cuda", 100, 3)]
)
def test_as_many_windows_run_at_once_as_fit(pipeline, device, gigabytes, batch):
    free = None if gigabytes is None else gigabytes * 2**30
    plan = plan_sampling(pipeline.base.info, 20, (8, 8), SamplingOptions(window=8, overlap=2))
    place = run_on(pipeline.base.network, plan, torch.device(device), torch.float32, free)
    assert place["batch"] == batch and place["is_out_of_memory"](RuntimeError("cannot allocate memory"))
    needed = 1.5 * network_bytes(pipeline.base.network.config, *plan.window_size, torch.float32)
    assert run_on(pipeline.base.network, plan, torch.device("cuda"), torch.float32, 2 * needed)["batch"] == 2


TRAINED = {"trained_frames": (8, 160), "trained_sides": (48, 84)}


@pytest.mark.parametrize(
    ("said", "seen", "warning"),
    [
        ({}, (1, 9, 300), None),
        (TRAINED, (8, 48, 84), None),
        (TRAINED, (160, 84, 48), None),
        (TRAINED, (4, 64, 64), "sees 4 frames at once, and was trained on 8 to 160: expect faults"),
        (TRAINED, (80, 64, 128), "sees frames of 128 x 64 pixels, and was trained on sides of 48 to 84: expect"),
        (TRAINED, (80, 32, 64), "sees frames of 64 x 32 pixels"),
        (TRAINED, (200, 8, 8), "sees 200 frames .* 160; frames of 8 x 8 pixels"),
        ({"trained_frames": (80, 80)}, (16, 9, 9), "sees 16 frames at once, and was trained on 80: expect"),
    ],
)
def test_clips_that_a_network_was_not_trained_on_are_named(recwarn, said, seen, warning):
    warn_of_untrained(CheckpointInfo(kind="base", config={}, **said), seen)
    assert [bool(re.search(warning, str(caught.message))) for caught in recwarn] == [True] * (warning is not None)


def peak_of(run):
    """What `run` gives, and how many bytes more than before this process held meanwhile at the most."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system does not say what a process holds at the most")

    def held(name):
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    before = held("VmRSS")
    return run(), held("VmHWM") - before


@pytest.mark.parametrize(("sampler", "guidance", "clips"), [("dpmpp_2m", 2.0, 8), ("euler", 1.0, 6)])
def test_a_long_clip_is_held_few_times(tiny, sampler, guidance, clips):
    """What is made among them, and half a clip or so for windows; each one more would be gigabytes of a large video."""
    info, text = load_info(tiny.ssr), torch.zeros(1, 1, 1)
    options = SamplingOptions(steps=3, sampler=sampler, guidance=guidance, window=16, overlap=2)

    def network(x, timestep, text, low_res, noise_level):
        return x * 0.3 + low_res * 0.2 + text.mean()

    def enlarge(frames, side=128):
        small = torch.zeros(1, 3, frames, side // info.scale, side // info.scale)
        plan = plan_sampling(info, frames, (side, side), options)
        return super_resolve(network, info, plan, small, text, text + 1, 1)

    enlarge(20)  # what only a first run takes
    video, peak = peak_of(lambda: enlarge(200))  # 39 MB: less than 32 are not given back at once
    assert peak < clips * video.nbytes
    _, peak = peak_of(lambda: video_to_frames(video))
    assert peak < 1.5 * video.nbytes
