"""What BuildConditioningMask says is given reaches the SSR by the conditioning alone, at full size."""

import pytest
import torch

from lumiere_video.nodes import host
from lumiere_video.nodes.conditioning import BuildConditioningMask
from lumiere_video.nodes.host.standalone.models import Settings, using
from lumiere_video.nodes.loaders import SSR_KINDS
from lumiere_video.nodes.super_resolution import TemporalMultiDiffusionSSR

FRAMES, SIDE = 12, 8


@pytest.fixture
def ssr(tiny):
    with using(Settings(device="cpu", models=tiny.ssr.parent)):
        yield host.load_model(tiny.ssr, SSR_KINDS, "float32")


def build(model, images, mode="first_frame", mask=None, **values):
    """The positive conditioning at the base's size, and what the same node gives at the images' own."""
    text = [[torch.zeros(1, 3, model.info.config["text_dim"]), {}]]

    def at(side):
        return BuildConditioningMask.execute(
            text, text, images, FRAMES, side, side, "crop", {"mode": mode, **values}, mask
        ).args

    positive, negative, *_ = at(SIDE)
    *_, original, full_mask = at(0)
    return positive, negative, original, full_mask


def enlarge(model, positive, negative, frames=FRAMES, **optional):
    small = torch.rand(frames, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1))
    options = {"seed": 0, "steps": 2, "cfg": 1.0, "sampler": "euler", "scheduler": "normal", "fuse": "flat"}
    options |= {"window": 0, "overlap": -1, "loop": False, "noise_level": -1, "tile": 0, "tile_overlap": 0}
    return TemporalMultiDiffusionSSR.execute(model, positive, negative, small, **options, **optional).args[0]


def picture(model, scale=1.0):
    side = round(SIDE * model.info.scale * scale)
    return torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))


def test_the_first_frame_is_kept_at_full_size(ssr):
    image = picture(ssr)
    positive, negative, _, _ = build(ssr, image)
    frames = enlarge(ssr, positive, negative)
    assert (frames[0] - image[0]).abs().max() < 1e-6
    assert (frames[1] - image[0]).abs().mean() > 0.05


@pytest.mark.parametrize("mode", ["region", "inpaint"])
def test_it_is_what_a_second_node_at_full_size_gave(ssr, mode):
    """Mask and all: graphs that still have that node, and its two wires, make the same clip."""
    image = picture(ssr).repeat(1 if mode == "region" else FRAMES, 1, 1, 1)
    mask = torch.zeros(1, *image.shape[1:3])
    mask[:, 4:-4, 4:-4] = 1
    positive, negative, original, full_mask = build(ssr, image, mode, mask, grow=0, feather=0)
    wired = enlarge(ssr, positive, negative, original=original, mask=full_mask)
    assert torch.equal(enlarge(ssr, positive, negative), wired)


def test_grown_masks_grow_with_the_clip(ssr):
    image = picture(ssr)
    mask = torch.zeros(1, *image.shape[1:3])
    mask[:, :4] = 1
    frames = enlarge(ssr, *build(ssr, image, "region", mask, grow=1, feather=0)[:2])
    rows = (frames[1] - image[0]).abs().amax((1, 2)) > 1e-6
    assert rows.tolist() == [row < 4 + ssr.info.scale for row in range(len(rows))]


def test_small_pictures_are_not_pasted_into_the_large_clip(ssr):
    image = picture(ssr, scale=0.5)
    positive, negative, _, _ = build(ssr, image)
    plain = [[text, {}] for text, _ in positive]
    assert torch.equal(enlarge(ssr, positive, negative), enlarge(ssr, plain, negative))


def test_a_clip_of_another_length_keeps_nothing_and_says_so(ssr):
    positive, negative, _, _ = build(ssr, picture(ssr))
    with pytest.warns(UserWarning, match=r"positive says what is given of 12 frames, and images has 5"):
        enlarge(ssr, positive, negative, frames=5)
