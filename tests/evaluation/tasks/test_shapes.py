"""Clips of other lengths and shapes are asked for as they are to be."""

from dataclasses import replace

import pytest
import torch

from lumiere_video.evaluation.tasks.loop import describe, evaluate_task
from lumiere_video.evaluation.tasks.shapes import LENGTHS, SHAPES
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.lumiere_core.pipeline import Clip
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()


@pytest.mark.slow
def test_clips_of_all_lengths_and_shapes_are_asked_for(Studio):
    studio, made = Studio("shapes", 9, 1), []
    studio.base.info = replace(studio.base.info, frames=16, size=64)
    studio.generate = lambda prompt, *, seed, super_resolution, frames, size: (
        made.append((frames, size)) or shot(studio.runs[seed].asked.scene, ClipSize(frames, *size))
    )

    def shot(scene, film):
        frames = torch.from_numpy(film_in_8_bits(CAST, scene, film))
        return Clip(frames, frames, 16.0)

    result = evaluate_task(studio, CAST, "shapes", 9, 1)
    assert list(result["figures"]) == [*(f"{frames} frames" for frames in LENGTHS), *SHAPES]
    assert made == [
        *((frames, (64, 64)) for frames in LENGTHS),
        *((16, size) for size in ((80, 48), (72, 56), (56, 72), (48, 80))),
    ]
    for variant, figures in result["figures"].items():
        assert result["judge"][variant]["noun"] == figures["noun"] and figures["noun"]["of"] == 1
        assert figures["noun"]["rate"] == figures["background"]["rate"] == 1.0
        assert figures["wobble"]["mean"] < 0.1
    assert all(result["figures"][variant]["all"]["rate"] == 1.0 for variant in ("120 frames", "160 frames", *SHAPES))
    assert "| judge on ground truth, 9:16 (1) |" in describe(result)
