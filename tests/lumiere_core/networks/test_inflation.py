"""Inflation: what the video net equals before it is trained, and what is trained."""

import dataclasses

import pytest
import torch

from lumiere_video.lumiere_core.networks import (
    LevelConfig,
    STUNet,
    TemporalConfig,
    TemporalLevelConfig,
    UNetConfig,
    freeze_spatial,
    inflate,
    temporal_parameters,
    text_to_image,
    widen_input,
)

STILL = UNetConfig(
    levels=(LevelConfig(8), LevelConfig(8, 2), LevelConfig(16, 1, attention=True)),
    text_dim=16,
    cross_attention_dim=32,
    attention_head_dim=8,
    norm_groups=4,
)


def temporal(*halve: bool) -> TemporalConfig:
    """Conv inflation at the finer levels, attention at the coarsest; `halve` for all levels but the coarsest."""
    finer = (TemporalLevelConfig("conv", h) for h in halve)
    return TemporalConfig(
        levels=(*finer, TemporalLevelConfig("attention")), attention_blocks=2, attention_head_dim=8, embedding_dim=16
    )


def still_net(seed: int = 0, **changes) -> STUNet:
    torch.manual_seed(seed)
    return STUNet(dataclasses.replace(STILL, **changes)).eval()


def randomise_temporal(network: STUNet, seed: int = 3) -> STUNet:
    """What training does, as far as these tests care: no temporal tensor keeps its special start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in temporal_parameters(network):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def clip(frames: int, height: int = 8, width: int = 8, channels: int = 3, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, frames, height, width, generator=torch.Generator().manual_seed(frames))


def signals(batch: int = 1):
    """(timesteps, text)."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1000, (batch,), generator=generator), torch.randn(batch, 5, 16, generator=generator)


EVERY_LENGTH = range(1, 34)
SOME_LENGTHS = (1, 2, 7, 8)


@pytest.mark.parametrize(
    ("halve", "lengths"),
    [
        ((True, True), EVERY_LENGTH),
        ((False, True), SOME_LENGTHS),
        ((True, False), SOME_LENGTHS),
        ((False, False), SOME_LENGTHS),
    ],
)
@torch.no_grad()
def test_every_nth_frame_equals_the_still_net_at_init(halve, lengths):
    still = still_net()
    video = inflate(still, temporal(*halve)).eval()
    n = 2 ** sum(halve)
    assert video.config.temporal.factor == n
    x = clip(max(lengths))
    expected = still(x, *signals())
    for frames in lengths:
        result = video(x[:, :, :frames], *signals())
        assert result.shape == (1, 3, frames, 8, 8)
        assert (result - expected[:, :, :frames])[:, :, ::n].abs().max() <= 1e-5, f"T = {frames}"
    if n > 1:  # else nothing would be compressed, and the test above would say little
        assert (result - expected)[:, :, 1].abs().max() > 1e-2


@torch.no_grad()
def test_every_frame_of_a_static_clip_equals_the_still_net_at_init():
    still = still_net()
    video = inflate(still, temporal(True, True)).eval()
    x = clip(1)
    expected = still(x, *signals())
    for frames in EVERY_LENGTH:
        result = video(x.expand(-1, -1, frames, -1, -1), *signals())
        assert (result - expected).abs().max() <= 1e-5, f"T = {frames}"


@pytest.mark.parametrize("patch", [2, 4])
@torch.no_grad()
def test_patches_are_inflated_like_pixels(patch):
    """The two tests above, at a size that is no multiple of the patches."""
    still = still_net(patch=patch)
    video = inflate(still, temporal(True, True)).eval()
    x = clip(9, 18, 23)
    expected = still(x, *signals())
    result = video(x, *signals())
    assert result.shape == expected.shape == (1, 3, 9, 18, 23)
    assert (result - expected)[:, :, ::4].abs().max() <= 1e-5
    assert (result - expected)[:, :, 1].abs().max() > 1e-2
    static = x[:, :, :1].expand(-1, -1, 9, -1, -1)
    assert (video(static, *signals()) - expected[:, :, :1]).abs().max() <= 1e-5


@torch.no_grad()
def test_he_init_does_not_equal_the_still_net():
    still = still_net()
    video = inflate(still, temporal(True, True), init="he").eval()
    x = clip(9)
    assert (video(x, *signals()) - still(x, *signals()))[:, :, ::4].abs().max() > 1e-2


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match="identity or he; got 'zero'"):
        inflate(still_net(), temporal(True, True), init="zero")


def test_inflation_copies_the_spatial_weights():
    """The still net stays what it was: it shares no memory with the video net."""
    still = still_net()
    video = inflate(still, temporal(True, True))
    state = video.state_dict()
    for name, tensor in still.state_dict().items():
        assert torch.equal(state[name], tensor), name
        assert state[name].data_ptr() != tensor.data_ptr(), name
    new = state.keys() - still.state_dict().keys()
    assert new and all(name.startswith("temporal.") for name in new)


def test_inflation_keeps_dtype():
    video = inflate(still_net().to(torch.bfloat16), temporal(True, True))
    assert {parameter.dtype for parameter in video.parameters()} == {torch.bfloat16}


def test_a_video_net_is_not_inflated_again():
    video = inflate(still_net(), temporal(True, True))
    with pytest.raises(ValueError, match="already has temporal modules"):
        inflate(video, temporal(True, True))


def test_only_the_temporal_half_is_trained():
    video = randomise_temporal(inflate(still_net(), temporal(True, True)))
    freeze_spatial(video)
    trainable = {name for name, parameter in video.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in video.named_parameters() if name.startswith("temporal.")}
    assert {id(p) for p in temporal_parameters(video)} == {id(p) for p in video.parameters() if p.requires_grad}
    video(clip(5), *signals()).square().mean().backward()
    for name, parameter in video.named_parameters():
        assert (parameter.grad is not None) == (name in trainable), name
    assert all(parameter.grad.abs().max() > 0 for parameter in temporal_parameters(video))


@pytest.mark.parametrize("channels", [3, 6, 7])
@torch.no_grad()
def test_a_wider_input_starts_with_the_same_output(channels):
    """The new columns are zero, so whatever is in the new channels says nothing yet: equal bit for bit."""
    still = still_net()
    wide = widen_input(still, channels).eval()
    assert wide.config.in_channels == channels
    x = clip(2, channels=channels)
    blank = torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], dim=1)
    assert torch.equal(wide(x, *signals()), wide(blank, *signals()))
    assert torch.equal(wide.conv_in.weight[:, :3], still.conv_in.weight)
    assert not wide.conv_in.weight[:, 3:].any()
    torch.testing.assert_close(wide(x, *signals()), still(x[:, :3], *signals()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("patch", [2, 4])
@torch.no_grad()
def test_a_wider_input_of_patches_keeps_the_old_columns_first(patch):
    """J's columns stay where they were; each column behind them hears one place of one new channel and nothing else."""
    still = still_net(patch=patch)
    wide = widen_input(still, 7).eval()
    columns, x = 3 * patch**2, clip(2, 16, 16, channels=7)
    assert wide.conv_in.weight.shape[1] == 7 * patch**2
    assert torch.equal(wide.conv_in.weight[:, :columns], still.conv_in.weight)
    assert not wide.conv_in.weight[:, columns:].any()
    torch.testing.assert_close(wide(x, *signals()), still(x[:, :3], *signals()), rtol=0, atol=1e-6)
    channel, row, column = 5, patch - 1, 0
    wide.conv_in.weight[:, (channel * patch + row) * patch + column] = 1.0
    before = wide(x, *signals())
    for place, heard in (((channel, row, column), True), ((channel, 0, column), False), ((4, row, column), False)):
        other = x.clone()
        other[:, place[0], :, place[1] :: patch, place[2] :: patch] += 1
        assert ((wide(other, *signals()) - before).abs().max() > 1e-3) == heard, place


@pytest.mark.parametrize("patch", [1, 2, 4])
@torch.no_grad()
def test_the_text_to_image_net_comes_back(patch):
    """Out of an inflated, trained and widened net: every tensor and the output as they were."""
    still = still_net(patch=patch)
    wide = widen_input(randomise_temporal(inflate(still, temporal(True, True))), 7)
    torch.nn.init.normal_(wide.conv_in.weight[:, 3 * patch**2 :])
    back = text_to_image(wide).eval()
    assert back.config == still.config
    for name, tensor in still.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    x = clip(2, 16, 16)
    assert torch.equal(back(x, *signals()), still(x, *signals()))


@pytest.mark.parametrize("patch", [1, 2])
@torch.no_grad()
def test_a_video_net_can_be_widened(patch):
    video = randomise_temporal(inflate(still_net(patch=patch), temporal(True, True))).eval()
    x = clip(5, channels=7)
    wide = widen_input(video, 7).eval()
    torch.testing.assert_close(wide(x, *signals()), video(x[:, :3], *signals()), rtol=0, atol=1e-6)


def test_an_input_is_not_narrowed():
    with pytest.raises(ValueError, match="at least 3; got 2"):
        widen_input(still_net(), 2)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(19, 27), (1, 1), (8, 5)])
@torch.no_grad()
def test_odd_sizes_come_out_as_they_went_in(height, width, patch):
    video = randomise_temporal(inflate(still_net(patch=patch), temporal(True, True))).eval()
    result = video(clip(3, height, width), *signals())
    assert result.shape == (1, 3, 3, height, width)
    assert result.isfinite().all()


@pytest.mark.parametrize(("patch", "bottom", "right"), [(1, 1, 1), (2, 5, 5), (4, 13, 5)])
@torch.no_grad()
def test_padding_repeats_the_border(patch, bottom, right):
    """19 x 27 is what the next multiple of the spatial factor gives when the caller repeats the border, cropped."""
    still = still_net(patch=patch)
    assert still.config.spatial_factor == 4 * patch
    x = clip(1, 19, 27)
    padded = torch.nn.functional.pad(x[:, :, 0], (0, right, 0, bottom), mode="replicate")[:, :, None]
    torch.testing.assert_close(still(x, *signals()), still(padded, *signals())[..., :19, :27], rtol=0, atol=1e-6)


@torch.no_grad()
def test_clips_of_a_batch_do_not_hear_each_other():
    """Frames travel in the batch; a clip, its timestep and its text give the same alone as beside another."""
    video = randomise_temporal(inflate(still_net(), temporal(True, True))).eval()
    x, (timesteps, text) = clip(7, batch=2), signals(2)
    together = video(x, timesteps, text)
    alone = [video(x[i : i + 1], timesteps[i : i + 1], text[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


@torch.no_grad()
def test_text_and_timestep_reach_the_temporal_half():
    """With the spatial half deaf to both, words change nothing at init, and the video once any one `out` is trained."""
    still = still_net()
    for layer in (still.encoder_hid_proj, still.add_embedding.norm2, still.time_embedding.linear_2):
        layer.weight.zero_()
    video = inflate(still, temporal(True, True)).eval()
    timesteps, text = signals()
    x = clip(5)

    def change(**other):
        said = {"timesteps": timesteps, "text": text}
        return (video(x, **said) - video(x, **(said | other))).abs().max()

    other_text, other_timesteps = text.flip(0, 2), 999 - timesteps
    assert change(text=other_text) == change(timesteps=other_timesteps) == 0
    last = {name: module for name, module in video.named_modules() if name.endswith(".out")}
    assert len(last) == 4 + 1 + 7  # one per spatial unit: down, middle, up
    for name, module in last.items():
        torch.nn.init.normal_(module.weight, std=0.3)
        assert change(text=other_text) > 1e-4, name
        assert change(timesteps=other_timesteps) > 1e-4, name
        module.weight.zero_()
