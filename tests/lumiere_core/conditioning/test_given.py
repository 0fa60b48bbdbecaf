"""What is given of a clip: C and M of every mode, fitting, and known pixels from the request to the finished clip."""

import dataclasses
from time import process_time

import pytest
import torch

from lumiere_video.lumiere_core.conditioning.fitting import feather_mask, fit_mask, fit_video, grow_mask
from lumiere_video.lumiere_core.conditioning.given import (
    MODES,
    Given,
    condition_channels,
    join_condition,
    parse_indices,
    resolve_indices,
)
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.networks import LevelConfig, STUNet, UNetConfig, widen_input
from lumiere_video.lumiere_core.pipeline import LumierePipeline, Model, Start
from lumiere_video.lumiere_core.sampling import network_call, plan_sampling, sample_base

CPU = torch.device("cpu")


def images(count=1, height=8, width=8, seed=0):
    """Frames in 8-bit steps."""
    return torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)) / 255


def hole(height=8, width=8):
    mask = torch.zeros(1, height, width)
    mask[:, 2:5, 3:6] = 1
    return mask


GIVEN = {
    "first_frame": Given("first_frame", images()),
    "keyframes": Given("keyframes", images(3), (0, 5, -1)),
    "extend": Given("extend", images(4)),
    "inpaint": Given("inpaint", images(12), mask=hole()),
    "region": Given("region", images(), mask=hole()),
}
CHANGED = {  # share of pixels of each of 12 frames that are generated
    "first_frame": [0] + 11 * [1],
    "keyframes": [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0],
    "extend": 4 * [0] + 8 * [1],
    "inpaint": 12 * [9 / 64],
    "region": [0] + 11 * [9 / 64],
}


# The condition of each mode


@pytest.mark.parametrize("mode", MODES)
def test_what_each_mode_keeps(mode):
    clip, mask = GIVEN[mode].condition(12, (8, 8))
    assert clip.shape == (1, 3, 12, 8, 8) and mask.shape == (1, 1, 12, 8, 8)
    assert mask.mean((0, 1, 3, 4)).tolist() == pytest.approx(CHANGED[mode])


@pytest.mark.parametrize("mode", MODES)
def test_known_pixels_are_those_of_the_images(mode):
    given = GIVEN[mode]
    frames = {
        "first_frame": {0: 0},
        "keyframes": {0: 0, 5: 1, 11: 2},
        "extend": {i: i for i in range(4)},
        "inpaint": {i: i for i in range(12)},
        "region": {i: 0 for i in range(12)},
    }[mode]
    clip, mask = given.condition(12, (8, 8))
    for frame, image in frames.items():
        kept = mask[0, 0, frame] == 0
        expected = given.images[image].permute(2, 0, 1) * 2 - 1
        assert torch.equal(clip[0, :, frame][:, kept], expected[:, kept])


def test_the_paper_s_mask_is_the_inverse_and_feathered_pixels_are_generated():
    clip = torch.full((1, 3, 2, 1, 3), 0.5)
    mask = torch.tensor([0.0, 0.3, 1.0]).expand(1, 1, 2, 1, 3)
    channels = condition_channels(clip, mask)
    assert channels[0, :3, 0, 0].tolist() == 3 * [[0.5, 0, 0]]
    assert channels[0, 3, 0, 0].tolist() == [1, 0, 0]
    still = condition_channels(clip, mask[:, :, :1])  # one mask for all frames
    assert torch.equal(still, channels)


def test_nothing_known_is_zeros():
    x = torch.randn(2, 3, 4, 5, 6)
    joined = join_condition(x)
    assert joined.shape == (2, 7, 4, 5, 6) and torch.equal(joined[:, :3], x) and not joined[:, 3:].any()
    channels = torch.randn(1, 4, 4, 5, 6)
    assert torch.equal(join_condition(x, channels)[1, 3:], channels[0])


def test_extending_starts_with_the_last_frames():
    given = Given("extend", images(10), last=3)
    clip, mask = given.condition(8, (8, 8))
    assert torch.equal(clip[0, :, :3], given.images[7:].permute(3, 0, 1, 2) * 2 - 1)
    assert mask[0, 0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_short_video_is_generated_to_its_end_and_a_long_one_is_cut():
    short = Given("inpaint", images(5), mask=hole()).condition(8, (8, 8))
    assert short.change_mask.mean((0, 1, 3, 4)).tolist() == pytest.approx(5 * [9 / 64] + 3 * [1])
    with pytest.warns(UserWarning, match="the video has 12 frames; the first 8 are used"):
        long = GIVEN["inpaint"].condition(8, (8, 8))
    assert torch.equal(long.clip, GIVEN["inpaint"].condition(12, (8, 8)).clip[:, :, :8])


def test_a_mask_for_each_frame():
    masks = torch.zeros(12, 8, 8)
    masks[torch.arange(12), 0, torch.arange(12) % 8] = 1
    for given in (Given("inpaint", images(12), mask=masks), Given("region", images(), mask=masks)):
        _, mask = given.condition(12, (8, 8))
        assert torch.equal(mask[0, 0, 1:], masks[1:])


def test_grow_and_feather_count_in_pixels_of_the_base():
    dot = torch.zeros(1, 16, 16)
    dot[:, 8, 8] = 1

    def side(size, scale, grow):
        _, mask = Given("region", images(1, 16, 16), mask=dot, grow=grow).condition(2, size, scale)
        return mask[0, 0, 1].bool().sum().sqrt()

    assert side((16, 16), 1, grow=0) == 1 and side((16, 16), 1, grow=2) == 1 + 2 * 2
    assert side((64, 64), 4, grow=2) == side((64, 64), 4, grow=0) + 2 * 8


@pytest.mark.parametrize(
    "given, message",
    [
        (lambda: Given("outpaint", images()), "mode must be one of first_frame, .*; got 'outpaint'"),
        (lambda: Given("first_frame", images(), fit="zoom"), "fit must be one of crop, pad, stretch; got 'zoom'"),
        (lambda: Given("inpaint", images(3)), "inpaint needs a mask"),
        (lambda: Given("extend", images(3), last=-1), "last and feather must be at least 0"),
        (
            lambda: Given("first_frame", images(), mask=hole()),
            "mask has no effect on first_frame; .* inpaint and region",
        ),
        (lambda: Given("extend", images(3), mask=hole()), "mask has no effect on extend"),
        (lambda: Given("keyframes", images(), grow=2), "grow has no effect on keyframes"),
        (lambda: Given("first_frame", images(), feather=2), "feather has no effect on first_frame"),
        (lambda: Given("first_frame", images(), last=2), "last has no effect on first_frame; leave it out. .* extend"),
        (lambda: Given("inpaint", images(), mask=hole(), last=2), "last has no effect on inpaint"),
        (lambda: Given("extend", images(3), (0, 1, 2)), "indices has no effect on extend; .* keyframes"),
        (lambda: Given("first_frame", images().mul(255).byte()), "images must be .* floats, 0 to 1; got torch.uint8"),
        (lambda: Given("first_frame", images().numpy()), "images must be a torch tensor of floats.*; got .*ndarray"),
        (lambda: Given("first_frame", torch.rand(1, 8, 8, 4)), r"RGB without alpha, .*; got \(1, 8, 8, 4\)"),
        (lambda: Given("first_frame", torch.rand(8, 8, 3)), r"must have the shape \(T, H, W, 3\).*; got \(8, 8, 3\)"),
        (lambda: Given("first_frame", torch.rand(0, 8, 8, 3)), r"at least one pixel; got \(0, 8, 8, 3\)"),
        (lambda: Given("first_frame", images() / 0), "images must be finite; got NaN or infinity"),
        (lambda: Start(images().byte()), "a video to start from must be .* floats, 0 to 1; got torch.uint8"),
        (lambda: Start(images(), fit="zoom"), "fit must be one of crop, pad, stretch; got 'zoom'"),
        (lambda: Given("extend", images(3), last=4), "last must be at most 3"),
        (lambda: Given("extend", images(12)), "leaves none to generate. Set frames to more than 12"),
        (lambda: Given("keyframes", images(2), (0, 5, -1)), "one index for each image; got 3 indices .* for 2 images"),
        (lambda: Given("keyframes", images(2), (0, 12)), "indices must lie in -12 to 11 for 12 frames; got 12"),
        (lambda: Given("keyframes", images(2), (11, -1)), "frame 11 is named twice in 11, -1"),
        (lambda: Given("inpaint", images(3), mask=hole().repeat(5, 1, 1)), "one for each of the 3; got 5"),
        (lambda: Given("region", images(), mask=hole().repeat(5, 1, 1)), "one for each of the 12; got 5"),
        (lambda: Given("region", images(), mask=hole(8, 16)), "mask must be as large as the images"),
        (lambda: Given("region", images(), mask=torch.full((1, 8, 8), torch.nan)), "mask must hold finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        given().condition(12, (8, 8))


@pytest.mark.parametrize("value, message", [(0, "0 everywhere, so nothing under it"), (1, "1 everywhere")])
def test_a_constant_mask_is_said_and_used(value, message):
    """Of any size: LoadImage gives 64 x 64 zeros for an image without alpha."""
    given = Given("inpaint", images(4, 6, 9), mask=torch.full((1, 64, 64), float(value)))
    with pytest.warns(UserWarning, match=message):
        _, mask = given.condition(4, (8, 12))
    assert (mask == value).all()


def test_indices_are_read_and_counted_from_the_end():
    assert parse_indices(" 0, 40,-1 ") == (0, 40, -1)
    assert resolve_indices((0, 40, -1), 80) == [0, 40, 79]
    with pytest.raises(ValueError, match="whole numbers with commas"):
        parse_indices("first, last")


# Fitting


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_images_of_the_right_size_are_untouched(fit):
    frames = images(2)
    video, padding = fit_video(frames, (8, 8), fit)
    assert torch.equal(video[0], frames.permute(3, 0, 1, 2) * 2 - 1) and not padding.any()


def test_crop_shows_the_middle_pad_shows_all_stretch_distorts():
    """A wide picture: red on the left third, green in the middle, blue on the right."""
    frames = torch.zeros(1, 12, 36, 3)
    for i in range(3):
        frames[:, :, 12 * i : 12 * (i + 1), i] = 1
    crop, pad, stretch = (fit_video(frames, (12, 12), fit) for fit in ("crop", "pad", "stretch"))
    green = torch.tensor([-1.0, 1.0, -1.0])
    torch.testing.assert_close(crop[0], green[None, :, None, None, None].expand(1, 3, 1, 12, 12))
    assert not crop[1].any()
    assert pad[1][0, 0, 0, :, 0].tolist() == 4 * [1] + 4 * [0] + 4 * [1]
    assert not pad[0][:, :, :, :4].any() and (pad[0][0, :, 0, 6, 6] - green).abs().max() < 1e-5
    assert (stretch[0][0, :, 0, 6, 6] - green).abs().max() < 1e-5 and not stretch[1].any()
    assert stretch[0][0, 0, 0, 0, 0] > 0.5 > stretch[0][0, 0, 0, 0, 11]


def test_padding_is_generated():
    _, mask = Given("first_frame", images(1, 4, 8), fit="pad").condition(3, (8, 8))
    assert mask[0, 0, 0, :, 0].tolist() == [1, 1, 0, 0, 0, 0, 1, 1] and mask[0, 0, 1:].all()


def test_masks_are_fitted_as_their_images_are():
    mask = torch.zeros(1, 12, 36)
    mask[:, :, 12:24] = 1
    assert fit_mask(mask, (12, 36), (12, 12), "crop").all()
    large = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)  # drawn on an enlarged copy of the images
    assert fit_mask(large, (12, 36), (12, 12), "crop").all()
    ready = torch.rand(1, 12, 12)
    assert torch.equal(fit_mask(ready, (12, 36), (12, 12), "crop"), ready)


def test_growing_and_shrinking():
    dot = torch.zeros(1, 9, 9)
    dot[:, 4, 4] = 1
    grown = grow_mask(dot, 2)
    assert grown.sum() == 25 and grown[0, 2:7, 2:7].all()
    assert torch.equal(grow_mask(grown, -2), dot) and torch.equal(grow_mask(dot, 0), dot)


def random_mask(count=3, height=20, width=13):
    return (torch.rand(count, height, width, generator=torch.Generator().manual_seed(0)) < 0.1).float()


@pytest.mark.parametrize("pixels", [1, 2, 5, 30])
def test_masks_grow_and_fade_by_squares(pixels):
    """To the bit what a pooling over whole squares gives, which takes a time that grows with their area."""
    mask, side = random_mask(), 2 * pixels + 1
    grown = torch.nn.functional.max_pool2d(mask, side, 1, pixels)
    assert torch.equal(grow_mask(mask, pixels), grown)
    assert torch.equal(grow_mask(mask, -pixels), 1 - torch.nn.functional.max_pool2d(1 - mask, side, 1, pixels))
    blurred = torch.nn.functional.avg_pool2d(grown, side, 1, pixels, count_include_pad=False)
    blurred[torch.nn.functional.max_pool2d(mask, 2 * side - 1, 1, 2 * pixels) == 0] = 0
    assert torch.equal(feather_mask(mask, 2 * pixels), torch.maximum(blurred, mask))


@pytest.mark.parametrize("pixels", [10**9, 2**80])
def test_masks_grow_and_fade_without_end_in_a_moment(pixels):
    mask, begun = random_mask(10, 128, 128), process_time()
    assert grow_mask(mask, pixels).all() and not grow_mask(mask, -pixels).any() and feather_mask(mask, pixels).all()
    assert process_time() - begun < 3


@pytest.mark.parametrize("pixels", [1, 3, 4])
def test_a_feather_fades_outwards_and_ends(pixels):
    mask = torch.zeros(1, 1, 32)
    mask[..., :10] = 1
    fading = feather_mask(mask, pixels)[0, 0]
    assert (fading[:10] == 1).all() and (fading[10 + pixels + 1 :] == 0).all()
    ramp = fading[9 : 10 + pixels + 1]
    assert (ramp.diff() < 0)[:pixels].all() and 0 < fading[10] < 1


# From the request to the finished clip


@pytest.fixture(scope="module")
def pipeline(tiny):
    return LumierePipeline.load(tiny.conditional, tiny.ssr, device="cpu", dtype="float32")


@pytest.mark.parametrize("mode", MODES)
def test_known_pixels_are_exact_in_the_base_and_in_the_ssr(pipeline, mode):
    """Images of the SSR's size: kept there, and in the small clip as they were fitted."""
    count = len(GIVEN[mode].images)
    mask = GIVEN[mode].mask
    if mask is not None:
        mask = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)
    given = Given(mode, images(count, 32, 32), GIVEN[mode].indices, mask)
    clip = pipeline.generate("a star", given=given, frames=12)
    for frames, size in ((clip.low_res, (8, 8)), (clip.frames, (32, 32))):
        expected, change = given.condition(12, size)
        expected = expected[0].permute(1, 2, 3, 0).add(1).div(2)
        kept = (change == 0)[0, 0]
        assert kept.any() and torch.equal(frames[kept], expected[kept])
        assert (frames - expected)[(change == 1)[0, 0]].abs().mean() > 0.05


def test_what_does_not_fit_the_large_clip_is_found_before_the_small_one_is_made(pipeline):
    """A mask as large as the small clip, over larger images of another shape."""
    given, seen = Given("inpaint", images(12, 48, 64), mask=hole()), []
    given.condition(12, (8, 8))
    with pytest.raises(ValueError, match=r"mask must be as large as the images \(64 x 48\) or the result \(32 x 32\)"):
        pipeline.generate("a star", given=given, progress=lambda *step: seen.append(step))
    assert seen == []


def test_tiles_of_the_large_clip_are_planned_before_the_small_one_is_made(pipeline):
    seen, tiles = [], SamplingOptions(tile=1, tile_overlap=0, window=1, overlap=0)
    with pytest.raises(ValueError, match="at most 100000 windows can be fused; got 102400"):
        pipeline.generate("a star", frames=100, ssr=tiles, progress=lambda *step: seen.append(step))
    assert seen == []


@pytest.mark.parametrize("options", [{"loop": True}, {"window": 5, "overlap": 2, "loop": True, "fuse": "hann"}])
def test_upscale_makes_a_clip_again_with_its_loop_and_its_known_pixels(pipeline, options):
    given, ssr = Given("inpaint", images(12, 32, 32), mask=hole(32, 32)), SamplingOptions(**options)
    clip = pipeline.generate("a star", seed=5, given=given, ssr=ssr)
    again = pipeline.upscale(clip.low_res, "a star", seed=5, given=given, ssr=ssr)
    torch.testing.assert_close(again, clip.frames, atol=2e-3, rtol=0)
    for other in ({"given": given}, {"ssr": ssr}):
        differs = pipeline.upscale(clip.low_res, "a star", seed=5, **other) - clip.frames
        assert differs.abs().max() > 0.01


def test_small_images_are_not_pasted_into_the_large_clip(pipeline):
    given = Given("first_frame", images())
    assert given.at_full_size(12, (32, 32), 4) is None and given.at_full_size(12, (8, 8), 1) is not None
    clip = pipeline.generate("a star", given=given)
    enlarged = given.condition(12, (32, 32)).clip[0, :, 0].permute(1, 2, 0).add(1).div(2)
    assert (clip.frames[0] - enlarged).abs().mean() > 0.05


def run(model, condition, plan=(), **options):
    plan = plan_sampling(model.info, 12, (8, 8), SamplingOptions(steps=2, **dict(plan)))
    text, negative = model.encoder.encode(["a star", ""]).chunk(2)
    with torch.no_grad():
        return sample_base(
            network_call(model.network, CPU, torch.float32),
            model.info,
            plan,
            text,
            negative,
            7,
            condition=condition,
            negative_condition=condition,
            **options,
        )


def test_the_network_hears_what_is_known(pipeline):
    """Also where nothing holds the known pixels to what they are."""
    first, other = (Given("first_frame", images(seed=seed)).condition(12, (8, 8)) for seed in (0, 1))
    videos = [run(pipeline.base, condition) for condition in (None, first, other)]
    for a, b in ((0, 1), (1, 2)):
        assert (videos[a] - videos[b])[:, :, 1:].abs().mean() > 1e-3
    assert torch.equal(videos[1], run(pipeline.base, first))


@pytest.mark.parametrize("patch", [2, 4])
def test_known_pixels_are_exact_and_heard_by_a_network_of_patches(pipeline, patch):
    torch.manual_seed(0)
    levels = (LevelConfig(8), LevelConfig(32, attention=True))
    still = STUNet(UNetConfig(levels, text_dim=32, attention_head_dim=16, norm_groups=4, patch=patch))
    network = widen_input(still, 7).eval()
    torch.nn.init.normal_(network.conv_in.weight.data[:, 3 * patch**2 :], std=0.3)
    info = dataclasses.replace(pipeline.base.info, config=network.config.to_dict())
    model = Model(info, network, pipeline.base.encoder)
    condition, other = (Given("inpaint", images(12, seed=seed), mask=hole()).condition(12, (8, 8)) for seed in (0, 1))
    video, heard = run(model, condition, known=condition), run(model, other)
    kept = (condition.change_mask == 0).expand_as(video)
    assert torch.equal(video[kept], condition.clip[kept])
    assert (video - condition.clip)[~kept].abs().mean() > 0.05
    assert (run(model, condition) - heard).abs().mean() > 1e-3


def test_every_window_hears_its_own_part(pipeline):
    """A network without temporal layers makes the same of windows as of the whole clip."""
    condition = GIVEN["inpaint"].condition(12, (8, 8))
    seen = []

    def network(x, timestep, text, condition):
        seen.append(condition.shape)
        return condition[:, :3]

    info = pipeline.base.info
    plans = [plan_sampling(info, 12, (8, 8), SamplingOptions(steps=2, window=window, overlap=0)) for window in (12, 4)]
    text, negative = pipeline.base.encoder.encode(["a star", ""]).chunk(2)
    whole, windows = (
        sample_base(network, info, plan, text, negative, 7, condition=condition, negative_condition=condition)
        for plan in plans
    )
    torch.testing.assert_close(whole, windows)
    assert {shape[2] for shape in seen} == {12, 4}


def test_another_size_than_the_clip_is_refused(pipeline):
    condition = GIVEN["first_frame"].condition(5, (8, 8))
    with pytest.raises(
        ValueError, match=r"known pixels are of a clip of .* \(5, 8, 8\); the sampler's is \(12, 8, 8\)"
    ):
        run(pipeline.base, condition)


def test_a_network_without_condition_channels_says_so(tiny):
    base = LumierePipeline.load(tiny.base, device="cpu", dtype="float32", super_resolution=False).base
    condition = GIVEN["first_frame"].condition(12, (8, 8))
    with pytest.warns(UserWarning, match="not trained on conditions"):
        video = run(base, condition, known=condition)
    assert torch.equal(video[:, :, 0], condition.clip[:, :, 0])


def test_a_video_to_start_from(pipeline):
    video = images(9, 8, 8)
    small, half = (
        pipeline.generate("a star", super_resolution=False, start=Start(video, strength)).low_res
        for strength in (0.05, 0.9)
    )
    assert small.shape == half.shape == video.shape
    assert (small - video).abs().mean() < (half - video).abs().mean()
    cut = pipeline.generate("a star", frames=4, super_resolution=False, start=Start(video, 0.0)).low_res
    torch.testing.assert_close(cut, video[:4])
    with pytest.raises(ValueError, match="frames must be at most 9, the input video's; got 10"):
        pipeline.generate("a star", frames=10, start=Start(video))
    with pytest.raises(ValueError, match="cannot both be given"):
        pipeline.generate("a star", given=GIVEN["first_frame"], start=Start(video))
