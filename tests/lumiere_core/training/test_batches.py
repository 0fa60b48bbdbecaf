"""Batches of a source that is told what to show: what a step asks for, and what it makes of the answer."""

import dataclasses

import numpy as np
import pytest
import torch

from lumiere_video.lumiere_core.training.batches import (
    ANYWHERE,
    LENGTHS,
    request_of,
    stage_batches,
    trained_spans,
    vary_phase,
)
from lumiere_video.lumiere_core.training.recipe import Phase, Stage
from lumiere_video.lumiere_core.training.source import Clips, Crop, LabelledCaption, Place, Request

CLIP = Phase(steps=7, batch=3, frames=5)
STILL = Phase(steps=7, batch=3)


class Shown:
    """A source of noise that is called "shown"; keeps what it is asked for."""

    fps, label_classes = 16.0, {"word": ("shown",)}

    def __init__(self, places=()):
        self.requests, self.places = [], places

    def clips(self, request, rng):
        self.requests.append(request)
        shape = (request.clips, 3, request.frames, request.height, request.width)
        video = torch.from_numpy(rng.uniform(-1, 1, shape).astype(np.float32))
        return Clips(["shown"] * request.clips, video, [self.places] * request.clips if self.places else ())

    def captions(self, count, rng):
        return [LabelledCaption("shown", (0,))] * count


def lengths(texts):
    """A tokenizer of four places a text, of which its letters fill as many as it has."""
    ids = torch.tensor([[len(text)] * 4 for text in texts])
    return ids, ids


NETWORKS = {"text": {"max_tokens": 4, "d_model": 8}, "base": {}, "ssr": {}}


def stage(kind="t2i", phase=CLIP, **fields) -> Stage:
    network = NETWORKS.get(kind, {"channels": [8], "attention": [False]})
    start = "a.safetensors" if kind in ("base", "ssr") else None
    options = {"size": 16, "text_dropout": 0.0, **fields}
    return Stage("a", kind, (phase,), network, learning_rate=1e-3, start=start, **options)


def batches(stage, source=None, seed=0):
    return stage_batches(stage, lengths, seed, source or Shown())


@pytest.mark.parametrize(
    ("kind", "phase", "expected"),
    [
        ("t2i", STILL, Request(3, 1, 12, 16, None, None, moving=False)),
        ("base", CLIP, Request(3, 5, 12, 16, None, None, moving=True)),
        ("base", dataclasses.replace(CLIP, frames=2), Request(3, 2, 12, 16, None, None, moving=True)),
        ("base", dataclasses.replace(CLIP, excerpt_of=9), Request(3, 5, 12, 16, 9, None, moving=True)),
        ("t2i", dataclasses.replace(STILL, crop=8), Request(3, 1, 12, 16, None, Crop(8, 1, 0.0), moving=False)),
        ("ssr_image", dataclasses.replace(STILL, crop=8), Request(3, 1, 12, 16, None, Crop(8, 4, ANYWHERE), False)),
        ("ssr", dataclasses.replace(CLIP, crop=8), Request(3, 5, 12, 16, None, Crop(8, 4, ANYWHERE), moving=True)),
    ],
)
def test_what_a_phase_asks_of_its_source(kind, phase, expected):
    assert request_of(stage(kind, phase), phase, (12, 16)) == expected


def test_a_step_asks_for_its_own_phase():
    source, phases = Shown(), (Phase(2, 3), Phase(2, 1, frames=4))
    dataset = batches(dataclasses.replace(stage("base"), phases=phases), source)
    shapes = [tuple(dataset[step]["video"].shape) for step in range(len(dataset))]
    assert shapes == [(3, 3, 1, 16, 16)] * 2 + [(1, 3, 4, 16, 16)] * 2
    assert [request.moving for request in source.requests] == [False, False, True, True]


def test_a_varied_phase_keeps_its_crop_and_is_an_excerpt_of_at_least_its_own_length():
    rng, wholes = np.random.default_rng(0), set()
    phase = Phase(steps=9, batch=4, frames=8, excerpt_of=40, vary=1.0, crop=8)
    for _ in range(200):
        varied, (height, width) = vary_phase(phase, 16, rng)
        assert varied.crop == 8 and varied.excerpt_of == max(40, varied.frames)
        assert abs(height * width / 16**2 - 1) < 0.55  # of sides that are multiples of 8
        wholes.add(varied.excerpt_of)
    assert wholes == {40, *(frames for frames in LENGTHS if frames > 40)}
    plain = [vary_phase(dataclasses.replace(phase, excerpt_of=None), 16, rng)[0].excerpt_of for _ in range(20)]
    assert plain == [None] * 20


@pytest.mark.parametrize("kind", ["text", "base", "ssr_image"])
def test_batches_do_not_depend_on_what_was_drawn_elsewhere(kind):
    """Nor do they disturb it: so workers may make them in any order."""
    dataset = batches(stage(kind, STILL if kind == "ssr_image" else CLIP, tasks={"box": 1} if kind == "base" else {}))
    torch.manual_seed(0)
    first, drawn = dataset[2], torch.rand(3)
    torch.manual_seed(1)
    again = dataset[2]
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), drawn)


def test_the_two_noises_of_an_ssr_differ_from_each_other_and_from_step_to_step():
    dataset = batches(stage("ssr_image", STILL))
    noises = torch.stack([dataset[step][name] for step in (0, 1) for name in ("noise", "low_res_noise")]).flatten(1)
    assert torch.corrcoef(noises).sub(torch.eye(4)).abs().max() < 0.1
    assert noises.mean().abs() < 0.05 and noises.std() == pytest.approx(1, abs=0.05)


def test_the_small_clip_is_the_mean_of_blocks():
    batch = batches(stage("ssr", CLIP, scale=2))[0]
    blocks = batch["video"].unflatten(-1, (8, 2)).unflatten(-3, (8, 2))
    torch.testing.assert_close(batch["low_res"], blocks.mean((-1, -3)))


def test_timesteps_and_noise_levels_reach_both_ends():
    dataset = batches(stage("ssr_image", Phase(1, 4000), size=4))
    batch = dataset[0]
    for name in ("timesteps", "noise_level"):
        counts = torch.bincount(batch[name], minlength=1000)
        assert len(counts) == 1000 and (counts > 0).float().mean() > 0.95 and counts[:10].any() and counts[-10:].any()


@pytest.mark.parametrize("bias", [0.5, 2.0])
def test_biased_timesteps_reach_both_ends_too(bias):
    drawn = batches(stage("t2i", Phase(1, 4000), size=4, timestep_bias=bias))[0]["timesteps"]
    assert drawn.dtype == torch.int64 and drawn.min() >= 0 and drawn.max() <= 999
    assert drawn.min() < 50 and drawn.max() > 990
    share = (drawn < 250).float().mean().item()
    assert share == pytest.approx(0.25**bias, abs=0.03)


@pytest.mark.parametrize("kind", ["text", "t2i"])
@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_no_caption_is_dropped_or_all_are(kind, dropout):
    dataset = batches(stage(kind, Phase(20, 5), text_dropout=dropout))
    heard = torch.cat([dataset[step]["ids"] for step in range(20)])
    assert heard.unique().tolist() == [0 if dropout else len("shown")]


def test_any_token_of_a_caption_may_be_read():
    dataset = batches(stage("text", Phase(20, 5)))
    assert torch.cat([dataset[step]["token"] for step in range(20)]).unique().tolist() == [0, 1, 2, 3]


def test_masks_are_about_what_is_in_the_clip():
    still = Place(np.full(5, 0.25), np.full(5, 0.75), np.full(5, 0.01), True)
    for step in range(5):
        batch = batches(stage("base", tasks={"track": 1}), Shown([still]))[step]
        assert batch["change_mask"].shape == (3, 1, 5, 16, 16) and batch["change_mask"].dtype == torch.float32
        assert (batch["change_mask"][:, :, :, 12, 4] == 1).all() and batch["change_mask"].mean() < 0.2


@pytest.mark.parametrize(
    ("phase", "spans"),
    [
        (CLIP, ((5, 5), (16, 16))),
        (dataclasses.replace(CLIP, excerpt_of=9), ((5, 9), (16, 16))),
        (dataclasses.replace(STILL, crop=12), ((1, 1), (12, 16))),
        (dataclasses.replace(CLIP, vary=0.5), ((5, 160), (16, 24))),
        (dataclasses.replace(STILL, vary=0.5), ((1, 1), (16, 24))),
    ],
)
def test_what_a_stage_ends_with_is_what_its_checkpoint_says(phase, spans):
    assert trained_spans(stage(phase=phase)) == spans


def test_what_varied_steps_draw_lies_within_what_is_said():
    phase, rng = dataclasses.replace(CLIP, vary=1.0), np.random.default_rng(0)
    frames, sides = trained_spans(stage(phase=phase, size=64))
    drawn = [vary_phase(phase, 64, rng) for _ in range(300)]
    assert {min(frames), max(frames)} <= {varied.frames for varied, _ in drawn} | {CLIP.frames}
    assert all(frames[0] <= varied.frames <= frames[1] for varied, _ in drawn)
    assert (min(side for _, size in drawn for side in size), max(side for _, size in drawn for side in size)) == sides
