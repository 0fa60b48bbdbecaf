"""What a worker does: load the networks once, then make clip after clip."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

from ..pipeline import LumierePipeline
from ..video.files import write_video
from .jobs import Failed, Job, Made, Networks

# Of a clip: bad input, a file that cannot be read, no memory left on an accelerator.
CLIP_ERRORS = (ValueError, OSError, RuntimeError, MemoryError)


class Maker:
    """Raises what `LumierePipeline.load` raises."""

    def __init__(self, networks: Networks, threads: int | None = None):
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self.pipeline = LumierePipeline.load(**vars(networks))

    def make(self, job: Job) -> Made | Failed:
        """The clip, or what was wrong; warnings go into its line."""
        began = time.monotonic()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            try:
                clip = self.pipeline.generate(**job.arguments())
                video = _encoded(job, clip)
            except CLIP_ERRORS as error:
                return Failed(" ".join(str(error).split()) or type(error).__name__)
        frames, height, width, _ = clip.frames.shape
        facts = {"frames": frames, "width": width, "height": height, "fps": clip.fps}
        said = sorted({str(warning.message) for warning in heard if issubclass(warning.category, UserWarning)})
        facts |= {"seconds": round(time.monotonic() - began, 2)} | ({"warnings": said} if said else {})
        return Made(video, facts)


def load_maker(networks: Networks, threads: int | None = None) -> Maker | Failed:
    """A worker's maker, or why there is none."""
    try:
        return Maker(networks, threads)
    except CLIP_ERRORS as error:
        return Failed(" ".join(str(error).split()))


def _encoded(job: Job, clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"clip{Path(job.output).suffix}"
        write_video(file, clip.frames, clip.fps)
        return file.read_bytes()
