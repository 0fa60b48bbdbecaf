"""The bundled weights: complete, small enough to ship, and able to draw what they are asked for."""

import numpy as np
import pytest

from lumiere_video.evaluation.judge import judge_clip
from lumiere_video.lumiere_core.checkpoints.bundled import BASE, SSR, STYLES, WEIGHTS
from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.lumiere_core.conditioning.given import Given
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.style import load_style, plan_style
from lumiere_video.world.cast import drawn_shapes
from lumiere_video.world.render import render_clip
from lumiere_video.world.scene import make_scene

MOST_BYTES, MOST_STYLE_BYTES = 16_000_000, 440_000
TEXT = "toy-text.safetensors"
KINDS = {BASE: "base", SSR: "ssr", TEXT: "text", **dict.fromkeys(STYLES, "style")}


@pytest.fixture(scope="module")
def pipeline():
    return LumierePipeline.load(device="cpu", dtype="float32")  # the same on every machine


def test_all_files_together_are_small():
    files = list(WEIGHTS.glob("*.safetensors"))
    assert set(KINDS) == {file.name for file in files}
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_metadata_say_what_a_file_is_and_how_it_was_made(name, kind):
    info = load_info(WEIGHTS / name)
    assert info.kind == kind
    assert {"recipe", "steps", "device"} <= info.training.keys()


@pytest.mark.parametrize("name", STYLES)
def test_styles_fit_the_bundled_base(pipeline, name):
    """Whole, and as core's LoRA loader knows it: no tensor of another width than the base's, none of another name."""
    assert (WEIGHTS / name).stat().st_size <= MOST_STYLE_BYTES
    plan = plan_style(load_style(WEIGHTS / name), pipeline.base.network.state_dict(), 1.0)
    assert plan.notes == () and "conv_in.weight" not in plan.changes
    for target, change in plan.changes.items():
        assert change.fits(tuple(pipeline.base.network.state_dict()[target].shape))
        assert change.up.isfinite().all() and change.up.any()


@pytest.fixture(scope="module")
def cast():
    """The shapes of the world that these weights know, with most of its colours."""
    return drawn_shapes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noun", "motion", "background"),
    [("orange circle", "growing", "black"), ("red star", "moving up", "black")],
)
def test_clips_show_what_was_asked_for(pipeline, cast, noun, motion, background):
    """At defaults, and judged by classical vision; random weights, a wrong schedule or a deaf text path fail."""
    clip = pipeline.generate(f"a {noun} {motion} on a {background} background", seed=0, super_resolution=False)
    assert clip.frames.shape == (80, 32, 32, 3)
    seen = judge_clip(clip.frames.numpy(), cast)
    assert (seen.noun, seen.motion, seen.background) == (noun, motion, background)


@pytest.mark.slow
def test_super_resolution_keeps_what_the_base_drew(pipeline, cast):
    clip = pipeline.generate("a blue triangle on a black background", seed=1, frames=8, ssr=SamplingOptions(steps=4))
    assert clip.frames.shape == (8, 128, 128, 3)
    small, large = (judge_clip(frames.numpy(), cast) for frames in (clip.low_res, clip.frames))
    assert (large.noun, large.background) == (small.noun, small.background) == ("blue triangle", "black")


@pytest.mark.slow
def test_a_given_first_frame_stays_and_moves_as_asked(pipeline, cast):
    """Image to video with the bundled base: what is given comes out exactly, goes on to the end, and moves."""
    scene = make_scene("green square", "moving right", "black", np.random.default_rng(3), pace="quick")
    frames = render_clip(cast, scene, 80, 32, 32)
    prompt = "a green square moving right on a black background"
    clip = pipeline.generate(prompt, seed=0, given=Given("first_frame", frames[:1]), super_resolution=False)
    assert (clip.frames[0] - frames[0]).abs().max() < 1e-6
    whole, end = judge_clip(clip.frames.numpy(), cast), judge_clip(clip.frames[-8:].numpy(), cast)
    assert (whole.motion, end.noun) == ("moving right", "green square")
    given = judge_clip(frames[:1].numpy(), cast)
    assert np.abs(whole.centroids[1] - given.centroids[0]).max() < 0.12, "it starts where the given frame has it"
