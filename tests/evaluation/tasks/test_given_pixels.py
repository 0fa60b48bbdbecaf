"""What is given of a clip holds nothing of what is to be made."""

from dataclasses import replace

import numpy as np
import torch

from lumiere_video.evaluation.tasks import inpaint, region
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()
SIZE = ClipSize(40, 32, 32)


def test_holes_hold_the_object_and_leave_some_of_the_clip():
    for run in inpaint.plan(CAST, 20, 2):
        empty = film_in_8_bits(CAST, replace(run.source, actors=()), SIZE)
        material = inpaint.give(run, SIZE, film_in_8_bits(CAST, run.source, SIZE))
        assert 0.09 < material.known.mean() < 0.8
        assert torch.equal(material.options["given"].mask[0] == 1, torch.from_numpy(~material.known[0]))
        np.testing.assert_array_equal(material.frames[material.known], empty[material.known])
    run = region.plan(CAST, 1, 2)[0]
    material = region.give(run, SIZE, film_in_8_bits(CAST, run.source, SIZE))
    assert material.known[0].all() and not material.known[1:].all() and len(material.options["given"].images) == 1


def test_holes_in_wide_frames_are_where_the_object_is():
    size = ClipSize(16, 48, 80)
    run = inpaint.plan(CAST, 1, 2)[0]
    material = inpaint.give(run, size, film_in_8_bits(CAST, run.source, size))
    empty = film_in_8_bits(CAST, replace(run.source, actors=()), size)
    np.testing.assert_array_equal(material.frames[material.known], empty[material.known])
    assert material.known.shape == (16, 48, 80)
