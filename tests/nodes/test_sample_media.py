"""Samples: each is there, and what its name says."""

import numpy as np
import pytest
from PIL import Image

from lumiere_video.nodes.host.standalone.models import Settings, using
from lumiere_video.nodes.sample_media import MEDIA, SAMPLES, SampleMedia


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_comes_with_a_mask_of_its_size(sample):
    images, mask, fps, _ = SampleMedia.execute(sample).args
    assert images.ndim == 4 and mask.shape == (1, *images.shape[1:3])
    assert (len(images) > 1) == ("video" in sample)
    assert bool(mask.any()) == ("hole" in sample or "region" in sample)
    assert not (mask == 1).all() and fps > 0


def test_a_file_of_ones_own_takes_its_place(tmp_path):
    pixels = np.full((6, 4, 4), 255, np.uint8)
    pixels[:3, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    with using(Settings(input=tmp_path)):
        images, mask, *_ = SampleMedia.execute("video", "mine.png").args
        assert images.shape == (1, 6, 4, 3) and mask[0, :, 0].tolist() == [1, 1, 1, 0, 0, 0]
        for name, problem in (("../mine.png", "outside it"), ("none.png", "not there")):
            with pytest.raises(ValueError, match=f"file must be a file in the folder .*, which is {problem}"):
                SampleMedia.execute("video", name)


def test_the_mask_is_where_the_picture_is_transparent():
    _, mask, *_ = SampleMedia.execute("picture with a region").args
    with Image.open(MEDIA / SAMPLES["picture with a region"].file) as image:
        alpha = np.asarray(image)[..., 3]
    assert np.array_equal(mask[0].numpy() == 1, alpha == 0)


def test_every_file_is_a_sample():
    files = {file for sample in SAMPLES.values() for file in sample if file}
    assert files == {path.name for path in MEDIA.iterdir()}
