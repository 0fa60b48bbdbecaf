"""The timeline: the windows that a run takes, and the frames that are given to it."""

import pytest

from lumiere_video.lumiere_core.checkpoints.bundled import BASE, SSR, bundled_weights
from lumiere_video.lumiere_core.checkpoints.format import load_info
from lumiere_video.nodes.timeline import timeline


def asked(checkpoint: str = SSR, **values) -> dict:
    return timeline({"checkpoint": checkpoint, **{name: str(value) for name, value in values.items()}})


def test_a_base_network_sees_all_of_its_own_frames_at_once():
    frames = load_info(bundled_weights(BASE)).frames
    assert asked(BASE) == {"frames": frames, "windows": [(0, frames)], "given": []}


def test_windows_overlap_as_asked_and_a_loop_runs_past_the_end():
    windows = asked(frames=80, window=15, overlap=2)["windows"]
    assert windows[0][0] == 0 and windows[-1][1] == 80
    assert all(end - start >= 2 for (start, _), (_, end) in zip(windows[1:], windows, strict=False))
    looped = asked(frames=80, window=15, overlap=2, loop="true")["windows"]
    assert looped[-1][1] > 80


@pytest.mark.parametrize(
    "said, given",
    [
        ({"mode": "first_frame"}, [1, 0, 0, 0]),
        ({"mode": "keyframes", "indices": "0, -1"}, [1, 0, 0, 1]),
        ({"mode": "extend", "last": 3}, [1, 1, 1, 0]),
        ({"mode": "extend"}, []),  # all of a video whose length the run will tell
        ({"mode": "inpaint"}, [0.5, 0.5, 0.5, 0.5]),
        ({"mode": "region"}, [1, 0.5, 0.5, 0.5]),
    ],
)
def test_given_frames_are_marked_by_how_much_of_them_is(said, given):
    assert asked(frames=4, **said)["given"] == given


@pytest.mark.parametrize(
    "said, problem",
    [
        ({"window": 4, "overlap": 4}, "window must be larger than overlap"),
        ({"frames": "many"}, "frames must be a whole number"),
        ({"frames": 4, "mode": "keyframes", "indices": "9"}, "indices must lie in"),
        ({"checkpoint": "none.safetensors"}, "none.safetensors"),
    ],
)
def test_what_the_run_would_refuse_is_said(said, problem):
    with pytest.raises(ValueError, match=problem):
        asked(**said)
