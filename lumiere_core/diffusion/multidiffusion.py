"""MultiDiffusion: a network that sees a few frames denoises a clip of any length, without seams.

At each denoising step the noisy video J is split into overlapping windows J_i, F_i being the crop, and the step's x0
is the video that all windows' predictions Phi(J_i) agree on best,

    argmin_J' sum_i || F_i(J') - Phi(J_i) ||^2

(Lumiere, sec. 3.2; Bar-Tal et al. 2023). Each pixel stands alone in that sum, so the solution is the mean of the
predictions that cover the pixel, or sum_i w_i Phi_i / sum_i w_i with weights. Predictions of x0 are fused, never
samples: averaging a stochastic sampler's steps would also average its noise away.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .sharing import Share

MOST_WINDOWS = 100_000


class Window(NamedTuple):
    """A box of the video: half-open ranges of frames, rows and columns; None spans the whole axis.

    Frames may run past the end of the clip: they wrap around to its start, as in a closed loop.
    """

    frames: tuple[int, int]
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None


def plan_windows(frames: int, window: int, overlap: int, loop: bool = False) -> list[Window]:
    """Windows of `window` frames that cover a clip of `frames` evenly; adjacent ones share at least `overlap`.

    All have full length: a short tail would show the network less context than it was trained with. The first
    begins at 0 and the last ends at `frames`; a clip of at most `window` frames is one window. With `loop` the last
    windows wrap around, so that the end of the clip leads into its start; a clip of at most `window` frames is two
    windows of its own length, half a clip apart.

    Raises ValueError unless frames >= 1 and window > overlap >= 0, and for more than MOST_WINDOWS.
    """
    return [Window(span) for span in _spans("frames", frames, window, overlap, loop)]


def plan_boxes(
    size: tuple[int, int, int],
    box: tuple[int, int, int],
    overlap: tuple[int, int, int],
    loop: bool = False,
) -> list[Window]:
    """Boxes in space and time, planned along each axis as by `plan_windows`; each argument is (T, H, W).

    With `loop` frames wrap around, rows and columns do not.
    """
    spans = (
        _spans("frames", size[0], box[0], overlap[0], loop),
        _spans("rows", size[1], box[1], overlap[1]),
        _spans("columns", size[2], box[2], overlap[2]),
    )
    _check_count(math.prod(map(len, spans)))
    return [Window(*ranges) for ranges in product(*spans)]


def multidiffusion(
    denoise: Denoiser,
    windows: Sequence[Window],
    weights: str = "flat",
    *,
    windowed: Sequence[str] = (),
    batch: int = 1,
    progress: Callable[[int, int], None] | None = None,
    share: Share | None = None,
    channels: int | None = None,
) -> Denoiser:
    """Run `denoise` window by window and fuse its x0: the weighted least-squares solution, in float32.

    windows: from `plan_windows` or `plan_boxes`, for the clip's own size. A single one that covers the clip is no
        detour: the denoiser is called as it is.
    weights: "flat" (the paper's plain mean), "pyramid" or "hann", which trust a window's centre more (our choice).
    windowed: names of conditioning tensors that belong to pixels, (B or 1, C, T, H, W). They are cropped like x; an
        axis of size 1 stays whole. Tensors that are not named reach every window unchanged.
    batch: windows of equal size that are evaluated together, stacked on the batch axis. Other conditioning tensors
        must then begin with a batch axis of B or 1, and are repeated.
    progress: called with (windows done, windows in all) after each windowed evaluation; to cancel, raise from it.
    share: of several processes, this one's: it evaluates its part of each video's windows, and what all have fused is
        summed once. Windows are counted video by video, so that guidance with and without the prompt (`batched`) is
        shared, too; a single window that covers the clip is evaluated by one process for all.
    channels: of what `denoise` gives, where that is more than x has and a process may have no window to tell by.

    The result maps x (B, C, T, H, W) and sigma, scalar or (B,), to x0 of x's shape on x's device. Raises ValueError
    for unknown weights, for windows that leave pixels uncovered or exceed the clip, and for misshapen conditioning.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"multidiffusion: weights must be one of {', '.join(WEIGHTS)}; got {weights!r}.")
    if batch < 1:
        raise ValueError(f"multidiffusion: batch must be at least 1; got {batch}.")

    def fused(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
        _check_windows(windows, x)
        _check_windowed(windowed, conditioning, x)
        if share is None and len(windows) == 1 and _covers(windows[0], x):
            return denoise(x, sigma, **conditioning)
        weighted_sum = None if share is None else zeros_like_video(x, channels or x.shape[1])  # (B, C, T, H, W)
        weight_sum = zeros_like_video(x, 1)  # (B, 1, T, H, W)
        done, total = 0, len(windows) if share is None else len(share.part(len(x) * len(windows)))
        for videos, group in _work(windows, batch, len(x), share):
            chosen = {key: _videos_of(value, videos, len(x)) for key, value in conditioning.items()}
            crops = predict(denoise, group, windowed, x[videos], _videos_of(sigma, videos, len(x)), chosen)
            weighted_sum = zeros_like_video(x, crops[0].shape[1]) if weighted_sum is None else weighted_sum
            add_predictions(weighted_sum[videos], weight_sum[videos], group, crops, weights)
            done += len(group)
            if progress is not None:
                progress(done, total)
        if share is not None:
            share.total(weighted_sum)
            share.total(weight_sum)
        if not (weight_sum > 0).all():
            raise ValueError(f"multidiffusion: windows do not cover a clip of (T, H, W) = {tuple(x.shape[2:])}.")
        return weighted_sum.div_(weight_sum)

    return fused


def add_predictions(
    weighted_sum: Tensor, weight_sum: Tensor, group: Sequence[Window], predictions: Sequence[Tensor], weights: str
) -> None:
    for window, prediction in zip(group, predictions, strict=True):
        weight = window_weights(prediction.shape[2:], weights).to(weight_sum.device)  # (T', H', W')
        paste(weighted_sum, window, weight * prediction.to(weighted_sum))
        paste(weight_sum, window, weight)


def zeros_like_video(x: Tensor, channels: int) -> Tensor:
    """Like x, but for its channels."""
    return torch.zeros(x.shape[0], channels, *x.shape[2:], dtype=torch.float32, device=x.device)


def crop(video: Tensor, window: Window) -> Tensor:
    """F_i: cut the window out of a video, (..., T, H, W) -> (..., T', H', W'); an axis of size 1 stays whole."""
    pieces = [video[(..., *piece)] for piece in _pieces(window, video.shape[-3:])]
    return torch.cat(pieces, dim=-3) if len(pieces) > 1 else pieces[0]


def paste(video: Tensor, window: Window, patch: Tensor) -> None:
    """Add a window-sized patch (..., T', H', W') to its place in the video (..., T, H, W), in place."""
    begin = 0
    for piece in _pieces(window, video.shape[-3:]):
        target = video[(..., *piece)]
        target += patch[..., begin : begin + target.shape[-3], :, :]
        begin += target.shape[-3]


def window_weights(shape: Sequence[int], kind: str) -> Tensor:
    """How much each pixel of a window counts: float32 (T', H', W') on the CPU, above 0 everywhere and at most 1."""
    frames, rows, columns = (WEIGHTS[kind](length) for length in shape)
    return frames[:, None, None] * rows[:, None] * columns


def _flat(length: int) -> Tensor:
    return torch.ones(length)


def _pyramid(length: int) -> Tensor:
    distance = torch.minimum(torch.arange(1, length + 1), torch.arange(length, 0, -1))  # 1 2 3 ... 3 2 1
    return distance / distance.max()


def _hann(length: int) -> Tensor:
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length) ** 2  # half a sample in: never zero


WEIGHTS: dict[str, Callable[[int], Tensor]] = {"flat": _flat, "pyramid": _pyramid, "hann": _hann}


def _spans(axis: str, length: int, window: int, overlap: int, loop: bool = False) -> list[tuple[int, int]]:
    if length < 1:
        raise ValueError(f"MultiDiffusion: {axis} must be at least 1; got {length}.")
    if overlap < 0 or window <= overlap:
        whole, shared = ("window", "overlap") if axis == "frames" else ("tile", "tile_overlap")
        raise ValueError(
            f"MultiDiffusion: {whole} must be larger than {shared}, and {shared} at least 0 ({axis}); got {whole} "
            f"{window} and {shared} {overlap}. Set {whole} to at least {max(overlap, 0) + 1}, or {shared} to at most "
            f"{max(window - 1, 0)}."
        )
    if length <= window:
        starts = [0, length // 2] if loop and length > 1 else [0]
        return [(start, start + length) for start in starts]
    stride = window - overlap
    gaps = -(-(length if loop else length - window) // stride)
    _check_count(gaps)
    if loop:
        starts = [i * length // gaps for i in range(gaps)]
    else:
        starts = [i * (length - window) // gaps for i in range(gaps + 1)]
    return [(start, start + window) for start in starts]


def _check_count(windows: int) -> None:
    if windows > MOST_WINDOWS:
        raise ValueError(
            f"MultiDiffusion: at most {MOST_WINDOWS} windows can be fused; got {windows}. Use larger windows or tiles, "
            "or less overlap."
        )


def _pieces(window: Window, shape: Sequence[int]) -> Iterator[tuple[slice, slice, slice]]:
    """The window as one indexable box of a video of `shape` (T, H, W), or as two where it wraps around."""
    rows, columns = (
        slice(None) if span is None or size == 1 else slice(*span)
        for span, size in zip((window.rows, window.columns), shape[1:], strict=True)
    )
    frames, (start, stop) = shape[0], window.frames
    if frames == 1:
        yield slice(None), rows, columns
        return
    yield slice(start, min(stop, frames)), rows, columns
    if stop > frames:
        yield slice(0, stop - frames), rows, columns


def _covers(window: Window, x: Tensor) -> bool:
    return all(span is None or tuple(span) == (0, size) for span, size in zip(window, x.shape[2:], strict=True))


def groups(windows: Sequence[Window], batch: int) -> Iterator[list[Window]]:
    """Split the windows into runs of equal size, at most `batch` long."""
    group: list[Window] = []
    for window in windows:
        if group and (len(group) == batch or _size(window) != _size(group[0])):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _work(
    windows: Sequence[Window], batch: int, videos: int, share: Share | None
) -> Iterator[tuple[slice, list[Window]]]:
    """What is evaluated at once: which videos, and which of their windows."""
    if share is None:
        yield from ((slice(None), group) for group in groups(windows, batch))
        return
    own = share.part(videos * len(windows))
    for video in range(videos):
        mine = [window for piece, window in enumerate(windows, video * len(windows)) if piece in own]
        yield from ((slice(video, video + 1), group) for group in groups(mine, batch))


def _videos_of(value: Any, chosen: slice, videos: int) -> Any:
    """Those of a tensor (B or 1, ...) that belong to the chosen videos; other values as they are."""
    if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != videos:
        return value
    return value[chosen]


def _size(window: Window) -> list[int | None]:
    return [None if span is None else span[1] - span[0] for span in window]


def predict(
    denoise: Denoiser,
    group: Sequence[Window],
    windowed: Sequence[str],
    x: Tensor,
    sigma: Tensor,
    conditioning: Mapping[str, Any],
) -> Sequence[Tensor]:
    """Phi(J_i) of each window in the group, (B, C, T', H', W') each, from one evaluation."""

    def select(key: str, value: Any) -> Any:
        return _crop_all(value, group, x.shape[0]) if key in windowed else _repeat(value, x.shape[0], len(group))

    selected = {key: select(key, value) for key, value in conditioning.items()}
    crops = _crop_all(x, group, x.shape[0])
    return denoise(crops, _repeat(sigma, x.shape[0], len(group)), **selected).chunk(len(group))


def _crop_all(video: Tensor | None, group: Sequence[Window], videos: int) -> Tensor | None:
    """Every window of a video, (B or 1, C, T, H, W) -> (N * B, C, T', H', W')."""
    if video is None:
        return None
    video = video.expand(videos, *video.shape[1:])
    return torch.cat([crop(video, window) for window in group])


def _repeat(value: Any, videos: int, times: int) -> Any:
    """Repeat a tensor's batch axis, (B or 1, ...) -> (times * B, ...); scalars and other objects are left alone."""
    if times == 1 or not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.expand(videos, *value.shape[1:]).repeat(times, *(1,) * (value.ndim - 1))


def _check_windows(windows: Sequence[Window], x: Tensor) -> None:
    frames, height, width = x.shape[2:]
    for window in windows:
        (start, stop), rows, columns = window.frames, window.rows or (0, height), window.columns or (0, width)
        in_time = 0 <= start < frames and start < stop <= start + frames
        if not (in_time and 0 <= rows[0] < rows[1] <= height and 0 <= columns[0] < columns[1] <= width):
            raise ValueError(
                f"multidiffusion: {window} does not fit a clip of (T, H, W) = {(frames, height, width)}; plan the "
                "windows for this clip."
            )


def _check_windowed(windowed: Sequence[str], conditioning: Mapping[str, Any], x: Tensor) -> None:
    for key in windowed:
        value = conditioning.get(key)
        if value is None:
            continue
        fits = value.ndim == 5 and value.shape[0] in (1, x.shape[0])
        fits = fits and all(size in (1, own) for size, own in zip(value.shape[2:], x.shape[2:], strict=True))
        if not fits:
            raise ValueError(
                f"multidiffusion: {key} must have shape (B or 1, C, T, H, W) with (T, H, W) = {tuple(x.shape[2:])}, "
                f"or 1 on an axis; got {tuple(value.shape)}."
            )
