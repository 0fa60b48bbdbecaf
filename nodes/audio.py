"""Sound as it goes over AUDIO sockets: {"waveform": (1, C, S), "sample_rate": per second}."""

from __future__ import annotations

from ..lumiere_core.video.sound import Sound


def audio_of(sound: Sound | None) -> dict | None:
    return sound and {"waveform": sound.waveform[None], "sample_rate": sound.rate}


def sound_of(audio: dict | None) -> Sound | None:
    """The first sound of a batch."""
    return audio and Sound(audio["waveform"][0], audio["sample_rate"])
