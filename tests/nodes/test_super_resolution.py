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


WIDGETS = {"seed": 0, "steps": 2, "cfg": 1.0, "sampler": "euler", "scheduler": "normal", "fuse": "flat", "loop": False}
WIDGETS |= {"window": 0, "overlap": -1, "noise_level": -1, "tile": 0, "tile_overlap": 0}
BIG = torch.zeros(1, 32, 32, 3)
WRONG = {
    "window": ({"window": 4, "overlap": 4}, "window must be larger than overlap"),
    "overlap": ({"overlap": 99}, "got window 6 and overlap 99"),
    "tile": ({"tile": 8, "tile_overlap": 16}, "tile must be larger than tile_overlap"),
    "mask": ({"original": BIG}, "original and mask go together"),
    "frames": ({"original": BIG, "mask": BIG[..., 0]}, "original must have the frames of .* given, 12; got 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found_before_the_small_clip_is_sampled(ssr, wrong):
    """`images` is lazy: what is wired to it, a sampler mostly, runs after this."""
    changes, message = WRONG[wrong]
    positive, negative, _, _ = build(ssr, picture(ssr))
    given = {"model": ssr, "positive": positive, "negative": negative, **WIDGETS, "images": None}
    assert TemporalMultiDiffusionSSR.check_lazy_status(**given) == ["images"]
    assert TemporalMultiDiffusionSSR.check_lazy_status(**given | {"images": BIG}) == []
    with pytest.raises(ValueError, match=f"Temporal MultiDiffusion SSR: .*{message}"):
        TemporalMultiDiffusionSSR.check_lazy_status(**given | changes)


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
