"""What the judge's tests share."""

import pytest

from lumiere_video.world.cast import drawn_shapes


@pytest.fixture(scope="module")
def cast():
    return drawn_shapes()
