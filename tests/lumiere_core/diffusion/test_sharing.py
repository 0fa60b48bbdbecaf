"""Windows shared by several processes, which here are threads: the same clip, and each evaluates its part."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lumiere_video.lumiere_core.diffusion import (
    NoiseSchedule,
    classifier_free_guidance,
    denoiser,
    initial_noise,
    multidiffusion,
    plan_boxes,
    plan_windows,
)
from lumiere_video.lumiere_core.runtime.ranks import Ranks

SIGMA = torch.tensor(1.5)
LAYOUTS = {
    "one": plan_windows(11, 11, 2),
    "time": plan_windows(11, 4, 2),
    "loop": plan_windows(11, 4, 2, loop=True),
    "boxes": plan_boxes((11, 6, 6), (4, 4, 4), (2, 2, 1)),
}


class Ring:
    """Where threads meet to sum their tensors."""

    def __init__(self, count: int):
        self.tensors, self.barrier = [None] * count, threading.Barrier(count, timeout=20)

    def sum(self, rank: int, tensor: torch.Tensor) -> None:
        self.tensors[rank] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(sum(self.tensors))
        self.barrier.wait()


class ThreadRank(Ranks):
    def __init__(self, rank: int, ring: Ring):
        super().__init__(rank, len(ring.tensors), torch.device("cpu"))
        object.__setattr__(self, "ring", ring)

    def total(self, tensor):
        self.ring.sum(self.rank, tensor)


def by_all(count: int, run) -> list:
    """run(share) in as many threads, in the order of ranks."""
    ring = Ring(count)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda rank: run(ThreadRank(rank, ring)), range(count)))


def contextual(x, sigma, text=None, low_res=None):
    """Depends on all that a window shows, on its text, and on what belongs to its pixels."""
    said = 0 if text is None else text.view(-1, 1, 1, 1, 1)
    return torch.tanh(x + x.mean(dim=(2, 3, 4), keepdim=True) + said) + (0 if low_res is None else low_res)


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_have_the_clip_of_one(layout, count):
    """With more processes than windows, too."""
    x, low_res = initial_noise((1, 3, 11, 6, 6), 0), initial_noise((1, 3, 11, 6, 6), 1)
    cond, uncond = ({"text": torch.tensor([value]), "low_res": low_res} for value in (1.0, 0.2))

    def run(share):
        windows = LAYOUTS[layout]
        fused = multidiffusion(contextual, windows, "hann", windowed=("low_res",), batch=2, share=share)
        return classifier_free_guidance(fused, cond, uncond, 3.0, batched=share is not None)(x, SIGMA)

    alone = run(None)
    for shared in by_all(count, run):
        torch.testing.assert_close(shared, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [2, 4])
def test_each_evaluates_its_part_once(count):
    windows, x = plan_boxes((11, 6, 6), (4, 4, 4), (2, 2, 1)), initial_noise((2, 3, 11, 6, 6), 0)

    def run(share):
        seen, told = [], []

        def denoise(x, sigma):
            seen.extend(x)
            return x

        multidiffusion(denoise, windows, batch=3, share=share, progress=lambda *done: told.append(done))(x, SIGMA)
        assert told[-1] == (len(seen), len(seen))
        return seen

    parts = by_all(count, run)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1 and len(parts[0]) == max(map(len, parts))
    assert sum(map(len, parts)) == 2 * len(windows)
    assert len({tuple(crop.flatten().tolist()) for part in parts for crop in part}) == 2 * len(windows)


def test_a_learned_variance_is_known_to_those_without_a_window():
    def network(x, timestep):
        return torch.cat([x, x], dim=1)

    def run(share):
        model = denoiser(network, NoiseSchedule(), "eps")
        return multidiffusion(model, plan_windows(11, 11, 2), share=share, channels=6)(x, SIGMA)

    x = initial_noise((1, 3, 11, 2, 2), 0)
    for shared in by_all(3, run):
        assert torch.equal(shared, run(None))
