"""What is to be made, and what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..diffusion.options import UNSAID, SamplingOptions


@dataclass(frozen=True)
class Job:
    """One clip. output: name of its file. size: (height, width). What is None or not said is the checkpoint's own."""

    output: str
    prompt: str
    negative: str = ""
    seed: int = 0
    frames: int | None = None
    size: tuple[int, int] | None = None
    base: SamplingOptions = UNSAID
    ssr: SamplingOptions = UNSAID

    def entry(self) -> dict[str, Any]:
        """What was said, as JSON holds it."""
        said = {
            name: value for name, value in asdict(self).items() if name not in ("base", "ssr") and value is not None
        }
        if self.size is not None:
            said["size"] = list(self.size)
        return said | {
            name: options.said() for name, options in (("base", self.base), ("ssr", self.ssr)) if options.said()
        }

    def arguments(self) -> dict[str, Any]:
        """The keywords of `LumierePipeline.generate`."""
        return {name: value for name, value in vars(self).items() if name != "output"}


@dataclass(frozen=True)
class Networks:
    """Which networks a worker loads, and where: the arguments of `LumierePipeline.load`, as plain values."""

    checkpoint: str | None = None
    ssr_checkpoint: str | None = None
    text_encoder: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    super_resolution: bool = True

    def digest(self, job: Job) -> str:
        """Tells whether a clip that is there is the one that is asked for; the device may differ."""
        said = {name: value for name, value in asdict(self).items() if name not in ("device", "dtype")}
        return hashlib.sha256(json.dumps([said, job.entry()], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Made:
    """video: the file's bytes. facts: of the clip, for its line."""

    video: bytes
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """What was wrong, in a line."""

    error: str


class WorkerLost(Exception):
    """A worker ended, or its machine did, without an answer."""
