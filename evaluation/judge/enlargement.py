"""How faithful a super-resolution network is: ground truth is averaged down, enlarged again, and compared.

Lanczos' enlargement of the same small clip says what no network is needed for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from .filming import average_down

SHIFT_FRAMES = 8  # spread over the clip, of which shifts are measured
SHIFT_BLUR = 2.0  # pixels: sharper edges would hide shifts of more than a pixel
BLOCKS = 3  # each way: left, middle, right and top, middle, bottom
LEAST_TEXTURE = 2e-5  # mean squared change a pixel, below which a block does not tell its place in that direction


class Fidelity(NamedTuple):
    """psnr, lanczos: in dB, of the network's output and of Lanczos'. shift: the largest anywhere, in pixels."""

    psnr: float
    lanczos: float
    shift: float


def compare_enlargement(made: np.ndarray, small: np.ndarray, truth: np.ndarray) -> Fidelity:
    """made, truth: (T, H, W, 3), small: (T, h, w, 3), all float in [0, 1]."""
    width_height = truth.shape[2], truth.shape[1]
    lanczos = np.stack([cv2.resize(frame, width_height, interpolation=cv2.INTER_LANCZOS4) for frame in small])
    return Fidelity(psnr(made, truth), psnr(np.clip(lanczos, 0, 1), truth), largest_shift(made, truth))


def make_small(truth: np.ndarray, scale: int) -> np.ndarray:
    """Frames (T, H, W, 3) averaged over scale x scale pixels."""
    return average_down(truth, min(truth.shape[1:3]) // scale)


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1], 100 at most."""
    return float(-10 * np.log10(max(np.square(made - truth, dtype=np.float64).mean(), 1e-10)))


def largest_shift(made: np.ndarray, truth: np.ndarray) -> float:
    """How far, in pixels, anything in a clip (T, H, W, 3) is from where it is in the true one; see `shifts`."""
    return float(np.linalg.norm(shifts(made, truth), axis=-1).max())


def shifts(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The displacement (x, y) in pixels of each of BLOCKS x BLOCKS parts of the frame: (BLOCKS, BLOCKS, 2).

    Least squares over the whole clip, as in Lucas & Kanade 1981; 0 along directions in which a part has no texture.
    """
    times = np.unique(np.linspace(0, len(truth) - 1, SHIFT_FRAMES).round().astype(int))
    smooth = [np.stack([cv2.GaussianBlur(clip[t], (0, 0), SHIFT_BLUR) for t in times]) for clip in (made, truth)]
    down, right = np.gradient((smooth[0] + smooth[1]) / 2, axis=(1, 2))
    slopes, change = np.stack([right, down], axis=-1), smooth[0] - smooth[1]  # (N, H, W, 3, 2), (N, H, W, 3)
    blocks = [(rows, columns) for rows in thirds(truth.shape[1]) for columns in thirds(truth.shape[2])]
    found = [solve_shift(slopes[:, rows, columns], change[:, rows, columns]) for rows, columns in blocks]
    return np.reshape(found, (BLOCKS, BLOCKS, 2))


def thirds(length: int) -> list[slice]:
    edges = np.linspace(0, length, BLOCKS + 1).round().astype(int)
    return [slice(*edge) for edge in zip(edges[:-1], edges[1:], strict=True)]


def solve_shift(slopes: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The displacement (2,) that best explains a change (N,...) by slopes (N,..., 2)."""
    slopes, change = slopes.reshape(-1, 2), change.reshape(-1)
    strength, directions = np.linalg.eigh(slopes.T @ slopes / len(slopes))
    along = directions.T @ (slopes.T @ change / len(change))
    return -directions @ np.where(strength > LEAST_TEXTURE, along / np.maximum(strength, LEAST_TEXTURE), 0)


def summarize_fidelity(found: Sequence[Fidelity]) -> dict | None:
    """Mean PSNRs in dB and the largest shift in pixels over clips; None without any."""
    if not found:
        return None
    return {
        "clips": len(found),
        "psnr": float(np.mean([clip.psnr for clip in found])),
        "lanczos_psnr": float(np.mean([clip.lanczos for clip in found])),
        "mean_shift": float(np.mean([clip.shift for clip in found])),
        "largest_shift": max(clip.shift for clip in found),
    }
