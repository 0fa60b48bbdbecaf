"""MultiDiffusion: the windows, and the fused prediction against an explicit least-squares solve."""

from itertools import pairwise, product

import pytest
import torch

from lumiere_video.lumiere_core.diffusion import (
    WEIGHTS,
    Window,
    classifier_free_guidance,
    crop,
    initial_noise,
    multidiffusion,
    paste,
    plan_boxes,
    plan_windows,
    sample_ddpm,
    sampler_noise,
    window_weights,
)

SIGMA = torch.tensor(1.5)


def contextual(x, sigma, **conditioning):
    """A denoiser whose answer depends on all that its window shows, so overlapping windows disagree."""
    return torch.tanh(x + x.mean(dim=(2, 3, 4), keepdim=True) + 0.1 * x.cumsum(dim=2))


def least_squares(x, windows, weights):
    """argmin sum_i w_i || F_i(J') - Phi(J_i) ||^2, every F_i written out as a matrix; x is (1, 1, T, H, W)."""
    pixels = torch.arange(x.numel()).reshape(x.shape)
    rows, values = [], []
    for window in windows:
        inside = crop(pixels, window)
        root = window_weights(inside.shape[2:], weights).double().sqrt().flatten()
        restriction = torch.zeros(inside.numel(), x.numel(), dtype=torch.float64)
        restriction[torch.arange(inside.numel()), inside.flatten()] = 1
        rows.append(root[:, None] * restriction)
        values.append(root * contextual(crop(x, window), SIGMA).double().flatten())
    solution = torch.linalg.lstsq(torch.cat(rows), torch.cat(values)[:, None], driver="gelsd").solution
    return solution.reshape(x.shape).float()


LAYOUTS = {
    "time": plan_windows(11, 4, 2),
    "loop": plan_windows(11, 4, 2, loop=True),
    "boxes": plan_boxes((7, 5, 4), (4, 3, 4), (2, 1, 0)),
    "unequal": [Window((0, 3)), Window((1, 7)), Window((5, 11))],
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_least_squares_solution(layout, weights):
    x = initial_noise((1, 1, *((7, 5, 4) if layout == "boxes" else (11, 2, 2))), 0)
    fused = multidiffusion(contextual, LAYOUTS[layout], weights)(x, SIGMA)
    torch.testing.assert_close(fused, least_squares(x, LAYOUTS[layout], weights), rtol=0, atol=2e-6)


def test_flat_overlap_is_the_plain_mean():
    predictions = iter([0.0, 1.0])
    fused = multidiffusion(lambda x, sigma: torch.full_like(x, next(predictions)), plan_windows(6, 4, 2))
    assert fused(torch.zeros(1, 1, 6, 1, 1), SIGMA).flatten().tolist() == [0, 0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_identity_denoiser_gives_identity(layout, weights):
    x = initial_noise((2, 3, *((7, 5, 4) if layout == "boxes" else (11, 2, 2))), 0)
    torch.testing.assert_close(multidiffusion(lambda x, sigma: x, LAYOUTS[layout], weights)(x, SIGMA), x)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    "windows", [plan_windows(5, 5, 2), plan_windows(5, 16, 2), plan_boxes((5, 2, 2), (8, 8, 8), (1, 1, 1))]
)
def test_one_covering_window_is_the_unwindowed_run(windows, weights):
    x, answer = initial_noise((1, 3, 5, 2, 2), 0), torch.zeros(1)
    seen = {}

    def denoise(x, sigma, **conditioning):
        seen.update(conditioning, x=x)
        return answer

    context = torch.zeros(1, 7)
    fused = multidiffusion(denoise, windows, weights, windowed=("low_res",), batch=4)
    assert fused(x, SIGMA, context=context, low_res=x) is answer
    assert seen["x"] is x and seen["low_res"] is x and seen["context"] is context


def legal_plans():
    for window in (1, 2, 3, 5, 8, 15, 16, 28, 41, 80, 199):
        for overlap in {0, 1, 2, window // 2, window - 1}:
            if 0 <= overlap < window:
                yield window, overlap


@pytest.mark.parametrize("loop", [False, True])
def test_every_frame_is_covered_by_full_length_windows(loop):
    for frames in range(1, 201):
        for window, overlap in legal_plans():
            windows = plan_windows(frames, window, overlap, loop)
            length = min(window, frames)
            starts = [w.frames[0] for w in windows]
            assert starts[0] == 0 and all(w.frames[1] - w.frames[0] == length for w in windows)
            covered = {frame % frames for w in windows for frame in range(*w.frames)}
            assert covered == set(range(frames))
            following = [*starts[1:], frames] if loop else starts[1:]
            overlaps = [start + length - after for start, after in zip(starts, following, strict=False)]
            # A clip of one window that loops is two of them, half a clip apart, whatever the overlap.
            least = overlap if frames > window else length // 2
            assert all(shared >= least for shared in overlaps)
            if not loop:
                assert windows[-1].frames[1] == frames
                assert len(windows) == 1 or len(windows) == -(
                    -(frames - overlap) // (window - overlap)
                )  # no more than needed


def test_windows_are_spread_evenly():
    for frames in range(20, 120):
        starts = [w.frames[0] for w in plan_windows(frames, 16, 4)]
        gaps = {after - start for start, after in pairwise(starts)}
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("frames", range(1, 201, 7))
def test_frames_in_are_frames_out(frames):
    x = initial_noise((1, 1, frames, 1, 1), frames)
    for window, overlap in [(2, 1), (5, 2), (16, 4), (80, 79)]:
        for loop in (False, True):
            fused = multidiffusion(lambda x, sigma: x, plan_windows(frames, window, overlap, loop), "hann", batch=3)
            torch.testing.assert_close(fused(x, SIGMA), x)


def test_paper_figures_tile_exactly():
    """80 frames at an overlap of 2: windows of 5, 8, 15, 28 and 41 frames leave no larger overlap anywhere."""
    for window in (5, 8, 15, 28, 41):
        starts = [w.frames[0] for w in plan_windows(80, window, 2)]
        assert {after - start for start, after in pairwise(starts)} == {window - 2}


def test_boxes_cover_space_and_time():
    count = torch.zeros(9, 13, 10)
    for box in plan_boxes((9, 13, 10), (4, 6, 5), (1, 2, 1), loop=True):
        assert [stop - start for start, stop in box] == [4, 6, 5]
        paste(count, box, torch.ones(4, 6, 5))
    assert count.min() >= 1


@pytest.mark.parametrize("loop", [False, True])
def test_boxes_are_planned_along_each_axis_as_windows_are(loop):
    """Each with its own length, window and overlap; only frames wrap around."""
    axes = [(19, 5, 1, loop), (23, 7, 2), (29, 11, 4)]
    spans = [[window.frames for window in plan_windows(*axis)] for axis in axes]
    boxes = plan_boxes((19, 23, 29), (5, 7, 11), (1, 2, 4), loop)
    assert [tuple(box) for box in boxes] == list(product(*spans))


def test_looped_window_wraps_to_the_start():
    video = torch.arange(5.0).reshape(1, 1, 5, 1, 1)
    assert crop(video, Window((3, 7))).flatten().tolist() == [3, 4, 0, 1]
    paste(video, Window((3, 7)), torch.full((1, 1, 4, 1, 1), 10.0))
    assert video.flatten().tolist() == [10, 11, 2, 13, 14]


def test_closed_loop_has_no_beginning():
    """A clip rotated by one window stride gives the rotated result: no frame is the first."""
    windows = plan_windows(12, 4, 1, loop=True)  # starts 0, 3, 6, 9
    fused = multidiffusion(contextual, windows)
    x = initial_noise((1, 1, 12, 2, 2), 0)
    torch.testing.assert_close(fused(x.roll(3, dims=2), SIGMA), fused(x, SIGMA).roll(3, dims=2))
    assert len(plan_windows(12, 16, 2, loop=True)) == 2  # even a clip of one window needs a second one across its seam


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("length", [1, 2, 3, 8, 15, 200])
def test_weights_are_positive_and_symmetric(kind, length):
    weights = window_weights((length, 1, 1), kind).flatten()
    assert weights.shape == (length,) and weights.dtype == torch.float32
    assert 0 < weights.min() and weights.max() <= 1
    torch.testing.assert_close(weights, weights.flip(0))
    assert (weights[: (length + 1) // 2].diff() >= 0).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batched_windows_equal_single_ones(layout):
    size = (7, 5, 4) if layout == "boxes" else (11, 2, 2)
    x, low_res = initial_noise((2, 3, *size), 0), initial_noise((1, 3, *size), 1)
    context, sigma = initial_noise((2, 5), 2), torch.tensor([0.5, 2.0])

    def denoise(x, sigma, low_res, context, level):
        assert level == 3 and low_res.shape == (*x.shape[:1], 3, *x.shape[2:])
        return contextual(x, sigma) * sigma.view(-1, 1, 1, 1, 1) + low_res + context.mean(1).view(-1, 1, 1, 1, 1)

    def run(batch):
        fused = multidiffusion(denoise, LAYOUTS[layout], "hann", windowed=("low_res",), batch=batch)
        return fused(x, sigma, low_res=low_res.expand(2, -1, -1, -1, -1), context=context, level=3)

    for batch in (2, 3, 100):
        torch.testing.assert_close(run(batch), run(1))


@pytest.mark.parametrize("batch", [1, 3])
def test_pixel_conditioning_is_cropped_like_x(batch):
    x = initial_noise((2, 3, 11, 4, 4), 0)
    low_res = initial_noise((1, 3, 11, 4, 4), 1)
    mask = initial_noise((2, 1, 11, 1, 1), 2)  # one value a frame, broadcast over space
    still = initial_noise((1, 3, 1, 4, 4), 3)  # one image for all frames
    fused = multidiffusion(
        lambda x, sigma, low_res, mask, still, absent: low_res + mask + still + 0 * x,
        plan_boxes((11, 4, 4), (4, 3, 3), (2, 1, 1)),
        windowed=("low_res", "mask", "still", "absent", "not given"),
        batch=batch,
    )
    result = fused(x, SIGMA, low_res=low_res, mask=mask, still=still, absent=None)
    torch.testing.assert_close(result, low_res + mask + still)


def test_other_conditioning_reaches_every_window_whole():
    shapes = []

    def denoise(x, sigma, context, level):
        shapes.append((tuple(x.shape), tuple(context.shape), level.ndim, tuple(sigma.shape)))
        return x

    fused = multidiffusion(denoise, plan_windows(11, 4, 2), batch=3)  # five windows
    fused(torch.zeros(1, 3, 11, 2, 2), SIGMA, context=torch.zeros(1, 11, 8), level=torch.tensor(7))
    assert shapes == [((3, 3, 4, 2, 2), (3, 11, 8), 0, ()), ((2, 3, 4, 2, 2), (2, 11, 8), 0, ())]


def test_same_noise_for_every_layout():
    """A denoiser that looks at single pixels cannot tell windows apart: so the run must not either."""
    x, sigmas = initial_noise((1, 3, 12, 3, 3), 5) * 8, torch.tensor([8.0, 4.0, 2.0, 1.0, 0.3])

    def run(windows, batch=1):
        fused = multidiffusion(lambda x, sigma: torch.tanh(x), windows, batch=batch)
        return sample_ddpm(fused, x, sigmas, noise_sampler=sampler_noise(x.shape, 5))

    whole = run(plan_windows(12, 12, 2))
    for window, overlap, loop, batch in [(4, 2, False, 1), (5, 4, True, 3), (7, 1, False, 2)]:
        torch.testing.assert_close(run(plan_windows(12, window, overlap, loop), batch), whole)


def test_overlaps_keep_the_full_variance_of_the_noise():
    """Fusing samples instead of predictions would halve it."""
    fused = multidiffusion(lambda x, sigma: torch.zeros_like(x), plan_windows(6, 4, 2))
    x = torch.zeros(1, 1, 6, 100, 100)
    deviation = sample_ddpm(fused, x, torch.tensor([100.0, 1.0]), noise_sampler=sampler_noise(x.shape, 0)).std(
        dim=(3, 4)
    )
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0.03, atol=0)


def test_guidance_wraps_the_fused_denoiser_batched_or_not():
    x = initial_noise((1, 3, 11, 2, 2), 0)
    low_res = initial_noise((1, 3, 11, 2, 2), 1)

    def denoise(x, sigma, low_res, context):
        return torch.tanh(x * context.view(-1, 1, 1, 1, 1)) + low_res

    fused = multidiffusion(denoise, plan_windows(11, 4, 2), windowed=("low_res",), batch=2)
    cond, uncond = {"context": torch.tensor([1.0])}, {"context": torch.tensor([0.2])}
    one, both = (
        classifier_free_guidance(fused, cond, uncond, 4.0, batched=b)(x, SIGMA, low_res=low_res) for b in (0, 1)
    )
    torch.testing.assert_close(one, both)
    torch.testing.assert_close(one, torch.lerp(torch.tanh(0.2 * x), torch.tanh(x), 4.0) + low_res)


def test_half_precision_predictions_are_fused_in_float32():
    x = initial_noise((1, 1, 11, 2, 2), 0)
    fused = multidiffusion(lambda x, sigma: x.bfloat16(), plan_windows(11, 4, 2))(x, SIGMA)
    assert fused.dtype == torch.float32
    torch.testing.assert_close(fused, x.bfloat16().float())


def test_progress_counts_windows_and_can_cancel():
    seen = []
    fused = multidiffusion(contextual, plan_windows(11, 4, 2), batch=2, progress=lambda *done: seen.append(done))
    fused(torch.zeros(1, 1, 11, 1, 1), SIGMA)
    assert seen == [(2, 5), (4, 5), (5, 5)]

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        multidiffusion(contextual, plan_windows(11, 4, 2), progress=cancel)(torch.zeros(1, 1, 11, 1, 1), SIGMA)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((10, 4, 4), "window 4 and overlap 4. Set window to at least 5, or overlap to at most 3"),
        ((10, 3, 7), "window 3 and overlap 7. Set window to at least 8, or overlap to at most 2"),
        ((10, 4, -1), "overlap at least 0"),
        ((0, 4, 2), "frames must be at least 1; got 0"),
        ((10**12, 2, 1), "at most 100000 windows can be fused; got 999999999998. Use larger windows"),
        ((10**12, 2, 1, True), "at most 100000 windows can be fused; got 1000000000000"),
    ],
)
def test_plan_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_windows(*arguments)


def test_tiles_of_a_pixel_are_refused_before_they_are_listed():
    with pytest.raises(ValueError, match="at most 100000 windows can be fused; got 268435456. Use larger .* tiles"):
        plan_boxes((1, 16384, 16384), (1, 1, 1), (0, 0, 0))


def test_boxes_name_the_axis():
    with pytest.raises(ValueError, match=r"\(columns\); got tile 4 and tile_overlap 4"):
        plan_boxes((8, 8, 8), (4, 4, 4), (2, 2, 4))


@pytest.mark.parametrize(
    "windows, message",
    [
        (plan_windows(20, 4, 2), "does not fit a clip"),
        ([Window((0, 12))], "does not fit a clip"),
        ([Window((0, 8)), Window((3, 3))], "does not fit a clip"),
        ([Window((0, 8)), Window((8, 9))], "does not fit a clip"),
        ([Window((0, 8)), Window((-1, 3))], "does not fit a clip"),
        ([Window((0, 8)), Window((0, 8), columns=(1, 1))], "does not fit a clip"),
        ([Window((0, 8), rows=(0, 3))], "does not fit a clip"),
        (plan_windows(6, 4, 2), "do not cover"),
        ([Window((0, 8), columns=(0, 1))], "do not cover"),
        ([], "do not cover"),
    ],
)
def test_windows_of_another_clip_are_refused(windows, message):
    with pytest.raises(ValueError, match=message):
        multidiffusion(contextual, windows)(torch.zeros(1, 1, 8, 2, 2), SIGMA)


@pytest.mark.parametrize("shape", [(1, 3, 7, 2, 2), (1, 3, 11), (1, 3, 11, 4, 4), (3, 3, 11, 2, 2)])
def test_misshapen_pixel_conditioning_is_named(shape):
    fused = multidiffusion(contextual, plan_windows(11, 4, 2), windowed=("low_res",))
    with pytest.raises(ValueError, match="low_res must have shape"):
        fused(torch.zeros(2, 3, 11, 2, 2), SIGMA, low_res=torch.zeros(shape))


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="flat, pyramid, hann; got 'cosine'"):
        multidiffusion(contextual, plan_windows(8, 4, 2), "cosine")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        multidiffusion(contextual, plan_windows(8, 4, 2), batch=0)
