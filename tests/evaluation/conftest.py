"""A stand-in for pipelines that make just what a task asks for, or spoil it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lumiere_video.evaluation.tasks import TASKS
from lumiere_video.evaluation.tasks.loop import plan_task
from lumiere_video.evaluation.tasks.task import ClipSize, film_in_8_bits
from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo
from lumiere_video.lumiere_core.pipeline import Clip
from lumiere_video.world.cast import drawn_shapes

CAST = drawn_shapes()
SIZE = ClipSize(40, 32, 32)


class Studio:
    """Stands in for a pipeline: films the scene that the task's run, known by its seed, asks for, then spoils it.

    spoil(frames, run) -> frames, float32 (40, 32, 32, 3) in [0, 1].
    """

    def __init__(self, task, runs, seed, spoil=lambda frames, run: frames):
        self.base = SimpleNamespace(info=CheckpointInfo("base", {}, frames=40, size=32))
        self.runs = {run.seed: run for run in plan_task(CAST, task, runs, seed)}
        self.task, self.spoil, self.calls = task, spoil, []

    def generate(self, prompt, *, seed, super_resolution, **options):
        run = self.runs[seed]
        assert prompt == run.asked.text and super_resolution is False
        self.calls.append((seed, options))
        frames = self.spoil(film_in_8_bits(CAST, run.asked.scene, TASKS[self.task].size(run, SIZE)), run)
        # There and back as float32, as a pipeline's frames have been.
        frames = torch.from_numpy(np.ascontiguousarray(frames, np.float32)).mul(2).sub(1).add(1).div(2)
        return Clip(frames, frames, 16.0)


@pytest.fixture(name="Studio", scope="session")
def studio_class():
    return Studio
