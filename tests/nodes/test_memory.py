"""A long video that comes in is not copied as a whole on its way to something small."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lumiere_video.lumiere_core.conditioning.fitting import fit_video
from lumiere_video.lumiere_core.conditioning.given import Given
from lumiere_video.lumiere_core.video.files import to_uint8
from lumiere_video.nodes.checks import frames_of_images


class Largest(TorchDispatchMode):
    """The size in bytes of the largest tensor that is made meanwhile; views are none."""

    def __init__(self):
        super().__init__()
        self.size, self.known = 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.known |= {place(value) for value in args if isinstance(value, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor) and place(value) not in self.known:
                self.size = max(self.size, value.untyped_storage().nbytes())
        return result


def place(tensor):
    return tensor.untyped_storage().data_ptr()


def fitted(images):
    return fit_video(images, (8, 8), "crop")


def condition(images):
    return Given("extend", images, last=2).condition(8, (8, 8))


@pytest.mark.parametrize(
    "use", [frames_of_images, to_uint8, lambda images: fit_video(images, (8, 8), "crop"), condition]
)
def test_nothing_as_large_as_the_video_is_made(use):
    images = torch.rand(200, 32, 48, 3)
    with Largest() as largest:
        use(images)
    assert largest.size <= images.nbytes // 4
