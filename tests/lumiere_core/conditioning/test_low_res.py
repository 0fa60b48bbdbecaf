"""How a small clip is made as large as the SSR's: aligned as it was made small, or as DeepFloyd IF does it."""

import json

import pytest
import torch
import torch.nn.functional as F

from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, load_info
from lumiere_video.lumiere_core.conditioning.low_res import condition_in_place, condition_low_res, upsample
from lumiere_video.lumiere_core.diffusion import NoiseSchedule, augmentation_noise
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.sampling import plan_sampling, super_resolve

SCALE = 4


def disc(x: float, y: float, radius: float, height: int, width: int) -> torch.Tensor:
    """A clip of one frame, the shares of its pixels that a disc covers, in pixels: (1, 1, 1, H, W) float64."""
    rows, columns = ((torch.arange(4 * side, dtype=torch.float64) + 0.5) / 4 for side in (height, width))
    inside = ((columns - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2).double()
    return F.avg_pool2d(inside[None, None], 4)[:, :, None]


def centroid(video: torch.Tensor) -> tuple[float, float]:
    image = video[0, 0, 0]
    rows, columns = (torch.arange(side) + 0.5 for side in image.shape)
    return float(image.sum(0) @ columns.double() / image.sum()), float(image.sum(1) @ rows.double() / image.sum())


@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 256), (128, 256)])
def test_area_averaged_pixels_come_back_where_they_were(height, width):
    """At every place in the frame."""
    for x in range(20, width - 20, 23):
        for y in (20, height // 2, height - 20):
            large = disc(x, y, 11.3, height, width)
            small = F.avg_pool3d(large, (1, SCALE, SCALE))
            assert centroid(upsample(small, SCALE, False)) == pytest.approx(centroid(large), abs=0.05)


def test_aligned_corners_shift_them():
    """Towards the border, by up to half a small pixel."""
    large = disc(20, 128 - 20, 11.3, 128, 128)
    x, y = centroid(upsample(F.avg_pool3d(large, (1, SCALE, SCALE)), SCALE, True))
    assert 18 < x < 19.5 and 108.5 < y < 110


@pytest.mark.parametrize("align_corners", [True, False])
def test_upsampling_is_torch_s(align_corners):
    video = torch.randn(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    result = upsample(video, SCALE, align_corners)
    assert result.shape == (2, 3, 5, 24, 28)
    for clip, large in zip(video, result, strict=True):
        for t in range(5):
            frame = clip[None, :, t]
            expected = F.interpolate(frame, scale_factor=4.0, mode="bilinear", align_corners=align_corners)
            assert torch.equal(large[None, :, t], expected)
    corners = result[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    same = torch.allclose(corners, video[..., [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6)
    assert same  # both keep the corners' values; only True has the small clip's pixels on the border
    assert torch.allclose(result[..., 0, 1], video[..., 0, 0]) == (not align_corners)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_condition_is_upsampled_as_told_then_noised(align_corners):
    generator = torch.Generator().manual_seed(0)
    low_res, noise = torch.randn(2, 3, 2, 4, 4, generator=generator), torch.randn(2, 3, 2, 16, 16, generator=generator)
    schedule, levels = NoiseSchedule(), torch.tensor([0, 400])
    result = condition_low_res(low_res, noise, levels, schedule, SCALE, align_corners)
    sigma = schedule.sigmas[levels].view(-1, 1, 1, 1, 1)
    expected = (upsample(low_res, SCALE, align_corners) + sigma * noise) / (1 + sigma**2).sqrt()
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("align_corners", [True, False])
def test_sampling_aligns_as_the_checkpoint_says(align_corners):
    options = SamplingOptions(noise_level=0, steps=1, window=2, overlap=1)
    info = CheckpointInfo(
        "ssr",
        {},
        scale=SCALE,
        align_corners=align_corners,
        sampling=options.over(CheckpointInfo.sampling),
    )
    seen, low_res = [], torch.rand(1, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def network(x, timestep, text, low_res, noise_level):
        seen.append(low_res)
        return torch.zeros_like(x)

    text = torch.zeros(1, 1, 1)
    super_resolve(network, info, plan_sampling(info, 3, (16, 16)), low_res, text, text, 0)
    expected = upsample(low_res, SCALE, align_corners)
    assert len(seen) >= 1 and (torch.cat([part[:, :, :1] for part in seen])[:1] - expected[:, :, :1]).abs().max() < 0.05
    assert (upsample(low_res, SCALE, not align_corners) - expected).abs().max() > 0.2


@pytest.mark.parametrize("level", [0, 300])
def test_sampling_noises_the_small_clip_as_planned_and_says_so(level):
    """Once for the whole clip, whatever the windows, from the seed's own stream."""
    info = CheckpointInfo("ssr", {}, scale=SCALE, align_corners=False)
    options = SamplingOptions(steps=1, guidance=1.0, noise_level=level, window=2, overlap=0)
    low_res, seen = torch.rand(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)), []

    def network(x, timestep, text, low_res, noise_level):
        seen.append((low_res, noise_level.tolist()))
        return torch.zeros_like(x)

    text = torch.zeros(1, 1, 1)
    super_resolve(network, info, plan_sampling(info, 4, (16, 16), options), low_res, text, text, 9)
    noise = augmentation_noise((1, 3, 4, 16, 16), 9)
    expected = condition_low_res(low_res, noise, torch.tensor([level]), info.schedule, SCALE, False)
    assert torch.equal(torch.cat([part for part, _ in seen], dim=2), expected)
    assert [told for _, told in seen] == [[level], [level]]


def test_files_that_do_not_say_are_deepfloyd_s(tmp_path, tiny):
    assert load_info(tiny.ssr).align_corners
    network = {"levels": [{"channels": 32}], "in_channels": 6}
    said = CheckpointInfo("ssr", network, align_corners=False)
    assert not CheckpointInfo.from_json(said.to_json(), tmp_path).align_corners
    unsaid = {"kind": "ssr", "config": network, "schedule": {}}
    assert CheckpointInfo.from_json(json.dumps(unsaid), tmp_path).align_corners


@pytest.mark.parametrize("frames", [1, 16, 37])
def test_it_is_the_same_in_the_place_of_its_noise(frames):
    torch.manual_seed(0)
    low_res, noise = torch.rand(1, 3, frames, 4, 5) * 2 - 1, torch.randn(1, 3, frames, 16, 20)
    options = torch.tensor([60]), NoiseSchedule(), 4, False
    expected = condition_low_res(low_res, noise, *options)
    made = condition_in_place(low_res, noise, *options)
    assert torch.equal(made, expected) and made.data_ptr() == noise.data_ptr()
