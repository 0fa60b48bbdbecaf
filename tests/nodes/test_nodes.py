"""What nodes do beyond what the workflows show; on the standalone host."""

import numpy as np
import pytest
import torch

from lumiere_video.lumiere_core.runtime import memory
from lumiere_video.nodes import extension
from lumiere_video.nodes.checks import frames_of_images, video_of_latent
from lumiere_video.nodes.masks import change_mask
from lumiere_video.nodes.sampler import _size

NODES = {node.__name__: node for node in extension.NODES}


def execute(name, **inputs):
    return NODES[name].execute(**inputs).args


def test_frames_and_latents_are_the_same_clip():
    images = torch.rand(5, 4, 6, 3)
    (latent,) = execute("FramesToLatent", images=images)
    assert latent["samples"].shape == (1, 3, 5, 4, 6) and latent["samples"].min() < 0
    (back,) = execute("LatentToFrames", latent=latent)
    torch.testing.assert_close(back, images, rtol=0, atol=1e-6)
    (empty,) = execute("EmptyPixelVideo", frames=5, width=6, height=4)
    assert torch.equal(empty["samples"], torch.zeros(1, 3, 5, 4, 6))


TEXTS = {"positive": [[torch.zeros(1, 4, 32), {}]], "negative": [[torch.zeros(1, 4, 32), {}]]}
TOO_LARGE = [
    ("EmptyPixelVideo", {"frames": 1000, "width": 1000, "height": 1000}, "1000 frames, 1000 x 1000"),
    # A latent that fits once, and not twice: one number, shown as many.
    (
        "LatentToFrames",
        {"latent": {"samples": torch.zeros(1).expand(1, 3, 1000, 1000, 1000)}},
        "1000 frames, 1000 x 1000",
    ),
    ("FramesToLatent", {"images": torch.zeros(1, 4, 6, 3), "width": 16384, "height": 16384}, "1 frames, 24576 x 16384"),
    ("FramesToLatent", {"images": torch.zeros(1, 1, 9000, 3), "width": 64, "height": 64}, "1 frames, 576000 x 64"),
    (
        "SSRConditioning",
        {"images": torch.zeros(9, 512, 512, 3), **TEXTS, "scale": 16, "noise_level": -1},
        "8192 x 8192",
    ),
]


@pytest.mark.parametrize(("node", "inputs", "size"), TOO_LARGE, ids=[f"{case[0]}-{case[2]}" for case in TOO_LARGE])
def test_what_would_not_fit_the_memory_is_not_allocated(monkeypatch, node, inputs, size):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 100_000_000)
    name = NODES[node].define_schema().display_name.removesuffix(" (Lumiere)")
    with pytest.raises(ValueError, match=f"{name}: .*{size} pixels, needs about .* GiB .* 0.1 GiB is free"):
        execute(node, **inputs)


def test_a_condition_that_would_not_fit_the_memory_is_not_allocated(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 100_000_000)
    with pytest.raises(
        ValueError, match="Build Conditioning Mask: A clip of 16384 frames, 64 x 64 pixels, needs about"
    ):
        build("region", torch.zeros(1, 8, 8, 3), torch.ones(1, 8, 8), frames=16384, size=(64, 64))


def test_alpha_is_dropped():
    rgba = torch.rand(2, 4, 4, 4)
    assert torch.equal(frames_of_images(rgba), rgba[..., :3])


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(0, 4, 4, 3), r"images must be at least one RGB frame, .*; got shape \(0, 4, 4, 3\)"),
        (torch.zeros(4, 4, 3), "images must be at least one RGB frame"),
        (torch.full((1, 4, 4, 3), torch.nan), "images must be finite; got NaN"),
    ],
)
def test_images_that_are_none_are_refused(images, message):
    with pytest.raises(ValueError, match=f"Frames to Latent: {message}"):
        execute("FramesToLatent", images=images)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 16, 4, 8, 8), (1, 3, 0, 8, 8)])
def test_latents_of_other_models_are_refused(shape):
    with pytest.raises(ValueError, match=r"latent must be a pixel-space clip, \(1, 3, T, H, W\); got \("):
        video_of_latent({"samples": torch.zeros(shape)})


def test_the_clips_of_a_batch_follow_each_other():
    """As core's own decoders have it; core's KSampler samples batches."""
    clips = torch.rand(2, 3, 4, 6, 8) * 2 - 1
    (frames,) = execute("LatentToFrames", latent={"samples": clips})
    torch.testing.assert_close(frames, (clips.permute(0, 2, 3, 4, 1).reshape(8, 6, 8, 3) + 1) / 2)


def test_a_batch_is_refused_where_one_clip_is_sampled():
    with pytest.raises(ValueError, match="latent must be one clip.* got a batch of 2. Choose one with core's LatentFr"):
        video_of_latent({"samples": torch.zeros(2, 3, 4, 8, 8)})


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6), (5, 8, 6)])
def test_masks_fit_one_clip_or_each_frame(shape):
    mask = change_mask(torch.ones(shape), (5, 8, 6))
    assert mask.shape == (1, 1, shape[0] if len(shape) == 3 else 1, 8, 6)


def test_masks_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"mask must be \(1 or 5, 8, 6\).*; got \(4, 8, 6\)"):
        change_mask(torch.ones(4, 8, 6), (5, 8, 6))


def test_diagnostics_find_the_cut():
    images = torch.zeros(20, 8, 8, 3)
    images[10:] = 1
    picture, figures = execute("VideoDiagnostics", images=images)
    assert picture.shape[0] == 1 and picture.shape[-1] == 3 and 0 <= picture.min() < picture.max() <= 1
    assert figures.startswith("20 frames, 8 x 8.") and "most 1.00e+00 after frame 9." in figures


def test_diagnostics_compare_two_clips():
    moving = torch.rand(12, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    alone, one_line = execute("VideoDiagnostics", images=moving)
    both, two_lines = execute("VideoDiagnostics", images=moving, other=torch.zeros(3, 6, 4, 3))
    assert both.shape[1] > alone.shape[1] and both.shape[2] == alone.shape[2]
    assert two_lines.splitlines()[0] == one_line and two_lines.splitlines()[1].startswith("3 frames, 4 x 6.")
    orange = np.isclose(both[0].numpy() * 255, (0xD0, 0x60, 0x00), atol=0.5).all(-1)
    assert orange.sum() > 300 and not np.isclose(alone[0].numpy() * 255, (0xD0, 0x60, 0x00), atol=0.5).all(-1).any()


def test_a_latent_and_widgets_that_disagree_are_refused():
    class Info:
        frames, size = 12, 8

    start = torch.zeros(1, 3, 5, 4, 6)
    assert _size(Info, start, 0, 0, 4) == (5, (4, 6))
    assert _size(Info, None, 0, 16, 0) == (12, (8, 16))
    with pytest.raises(ValueError, match="width is 7, but the connected latent has 6. Set width to 0 or 6"):
        _size(Info, start, 5, 7, 4)


# Known pixels

TEXT = [[torch.zeros(1, 4, 32), {"kept": 1}]]


def build(mode, images, mask=None, more=None, frames=12, size=(8, 8), fit="crop", **values):
    return execute(
        "BuildConditioningMask",
        positive=TEXT,
        negative=TEXT,
        images=images,
        frames=frames,
        height=size[0],
        width=size[1],
        fit=fit,
        mask=mask,
        more_images=more,
        mode={"mode": mode, **values},
    )


def test_known_pixels_come_out_on_every_socket():
    images, mask = torch.rand(1, 16, 16, 3), torch.zeros(1, 16, 16)
    mask[:, 4:8] = 1
    positive, negative, latent, shown, change = build("region", images, mask, grow=0, feather=0)
    for ((_, extra),) in (positive, negative):
        assert extra["kept"] == 1
        assert torch.equal(extra["concat_latent_image"], latent["samples"])
        assert torch.equal(extra["concat_mask"], latent["noise_mask"])
    assert TEXT[0][1] == {"kept": 1}, "the given conditioning stays as it is"
    assert latent["samples"].shape == (1, 3, 12, 8, 8) and change.shape == (12, 8, 8) and shown.shape == (12, 8, 8, 3)
    assert not change[0].any() and (change[1:] == change[1]).all()
    assert (shown[change == 1] == 0.5).all(), "mid-grey where nothing is known"
    video = (latent["samples"][0].permute(1, 2, 3, 0) + 1) / 2
    assert torch.equal(shown[change == 0], video[change == 0])


@pytest.mark.parametrize("mode", ["first_frame", "extend"])
def test_a_mask_for_another_mode_stays_wired_and_is_said_to_do_nothing(mode):
    """A saved graph runs on when its mode is changed."""
    with pytest.warns(UserWarning, match=f"mask has no effect on {mode}"):
        masked = build(mode, torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8))
    assert torch.equal(masked[4], build(mode, torch.ones(1, 8, 8, 3))[4])


def test_more_images_for_another_mode_are_said_to_do_nothing():
    with pytest.warns(UserWarning, match="more_images has no effect on first_frame"):
        build("first_frame", torch.ones(1, 8, 8, 3), more=torch.ones(1, 8, 8, 3))


def test_zero_is_the_images_own_size():
    *_, shown, _ = build("first_frame", torch.rand(1, 6, 10, 3), size=(0, 0))
    assert shown.shape == (12, 6, 10, 3)


def test_two_loaders_make_two_keyframes():
    first, last = torch.rand(1, 8, 8, 3), torch.rand(1, 16, 24, 3)
    *_, shown, change = build("keyframes", first, more=last, indices="0, -1")
    assert change.mean((1, 2)).tolist() == [0] + 10 * [1] + [0]
    torch.testing.assert_close(shown[0], first[0])
    same = build("keyframes", first, more=last[:, :, 4:20], indices="0, -1")[3]  # the middle square
    torch.testing.assert_close(shown[-1, :, 1:-1], same[-1, :, 1:-1])  # but where the cut-off sides shone in


def test_an_alpha_channel_is_dropped_and_a_batch_gives_its_first_image():
    images = torch.rand(3, 8, 8, 4)
    *_, shown, _ = build("first_frame", images)
    torch.testing.assert_close(shown[0], images[0, ..., :3])


def test_a_mode_that_there_is_not_is_refused():
    """Core leaves an unknown choice of a DynamicCombo out."""
    inputs = {"positive": TEXT, "negative": TEXT, "images": torch.rand(1, 8, 8, 3), "frames": 4}
    with pytest.raises(ValueError, match="Build Conditioning Mask: mode must be one of first_frame, keyframes, "):
        execute("BuildConditioningMask", **inputs, width=8, height=8, fit="crop")


@pytest.mark.parametrize(
    "mode, values, message",
    [
        ("inpaint", {}, "Build Conditioning Mask: inpaint needs a mask"),
        ("keyframes", {"indices": "0, 99"}, "Build Conditioning Mask: keyframes needs one index for each image"),
        ("keyframes", {"indices": "99"}, "Build Conditioning Mask: indices must lie in -12 to 11"),
        ("keyframes", {"indices": "a"}, "Build Conditioning Mask: indices must be whole numbers"),
        ("extend", {"last": 2}, "Build Conditioning Mask: last must be at most 1"),
    ],
)
def test_what_cannot_be_conditioned_on_is_refused(mode, values, message):
    with pytest.raises(ValueError, match=message):
        build(mode, torch.rand(1, 8, 8, 3), **values)


def test_frames_are_fitted_to_a_latent_of_another_size():
    images = torch.rand(3, 8, 16, 3)
    (latent,) = execute("FramesToLatent", images=images, width=4, height=4, fit="crop")
    (middle,) = execute("FramesToLatent", images=images[:, :, 4:12], width=4, height=4)
    assert latent["samples"].shape == (1, 3, 3, 4, 4)
    torch.testing.assert_close(latent["samples"][..., 1:-1], middle["samples"][..., 1:-1])
