"""A video's sound: what is written is heard again, as long as the pictures last."""

import math

import pytest
import torch

from lumiere_video.lumiere_core.video.files import write_video
from lumiere_video.lumiere_core.video.sound import Sound, read_sound

RATE = 22_050


def tone(frequency: float, seconds: float, channels: int = 1) -> Sound:
    waveform = 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * RATE)) / RATE)
    return Sound(waveform.expand(channels, -1), RATE)


def frequency(waveform: torch.Tensor) -> float:
    """Of the loudest tone, in Hz."""
    return torch.fft.rfft(waveform).abs().argmax().item() * RATE / len(waveform)


def frames(count: int) -> torch.Tensor:
    return torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0)).expand(count, -1, -1, -1)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_is_heard_again_and_ends_with_the_pictures(tmp_path, channels):
    path = tmp_path / "clip.mp4"
    write_video(path, frames(20), 10.0, sound=tone(440.0, 3.0, channels))
    sound = read_sound(path)
    assert sound.rate == RATE and len(sound.waveform) == channels
    assert sound.waveform.shape[1] / RATE == pytest.approx(2.0, abs=0.1)
    for channel in sound.waveform:
        assert frequency(channel) == pytest.approx(440, abs=2)
        assert channel.abs().max() == pytest.approx(0.5, abs=0.1)


def test_what_is_silent_has_no_sound(tmp_path):
    write_video(tmp_path / "clip.mp4", frames(3), 10.0, sound=None)
    write_video(tmp_path / "clip.webp", frames(3), 10.0)
    assert read_sound(tmp_path / "clip.mp4") is None
    assert read_sound(tmp_path / "clip.webp") is None


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="clip.mp4: not a video that can be read"):
        read_sound(tmp_path / "clip.mp4")
