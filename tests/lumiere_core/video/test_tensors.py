"""Frames are floats, 0 to 1: 8-bit values are refused, as they would be taken for white."""

import numpy as np
import pytest
import torch

from lumiere_video.lumiere_core.video.files import to_uint8, write_video


@pytest.mark.parametrize("frames", [torch.full((1, 2, 2, 3), 128, dtype=torch.uint8), np.full((1, 2, 2, 3), 128)])
def test_whole_numbers_are_not_written_as_white(frames, tmp_path):
    with pytest.raises(ValueError, match=r"frames must be floats, 0 to 1; got torch.u?int\d+. Divide 8-bit values"):
        write_video(tmp_path / "clip.gif", frames, 16.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_of_any_width_are_rounded(dtype):
    assert to_uint8(torch.full((1, 1, 1, 3), 0.5, dtype=dtype)).tolist() == [[[[128, 128, 128]]]]
