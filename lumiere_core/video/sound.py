"""A video's sound, which goes along unheard: read from one file, written into another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..runtime.notices import warn
from .decoding import open_container
from .reading import PICTURE_SUFFIXES


class Sound(NamedTuple):
    """waveform: (C, S) float32 in [-1, 1]. rate: samples per second."""

    waveform: torch.Tensor
    rate: int

    def first(self, seconds: float) -> Sound:
        return Sound(self.waveform[:, : round(seconds * self.rate)], self.rate)


def read_sound(path: Path) -> Sound | None:
    """The last sound of a video that can be decoded, as core takes it; None where there is none, as in pictures.

    Raises ValueError for a file that is no video.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return None
    from av.audio.resampler import AudioResampler

    with open_container(path) as (container, _):
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if len(streams) < len(container.streams.audio):
            warn(f"{path}: a sound in it has a codec that is not known here, and is left out.")
        if not streams:
            return None
        stream = streams[-1]
        resampler = AudioResampler(format="fltp")
        pieces = [frame.to_ndarray() for decoded in container.decode(stream) for frame in resampler.resample(decoded)]
        return Sound(torch.from_numpy(np.concatenate(pieces, axis=1)), stream.sample_rate) if pieces else None


def add_sound_stream(container, sound: Sound):
    """An AAC stream of an mp4 that is being written; to be made before anything is written."""
    return container.add_stream("aac", rate=sound.rate, layout="mono" if len(sound.waveform) == 1 else "stereo")


def write_sound(container, stream, sound: Sound) -> None:
    """Of more than two channels the first two are heard."""
    for frame in _audio_frames(sound):
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _audio_frames(sound: Sound) -> Iterator:
    """The sound a second at a time."""
    from av import AudioFrame

    waveform = sound.waveform[:2]
    layout = "mono" if len(waveform) == 1 else "stereo"
    for start in range(0, waveform.shape[1], sound.rate):
        samples = np.ascontiguousarray(waveform[:, start : start + sound.rate].numpy())
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = sound.rate, start
        yield frame
