"""Backgrounds: plain colours, two-colour gradients and drawn scenes, each a function of the place in the frame.

A background is drawn once a clip. Places are in the unit square fitted to the frame's short side and centred, as the
objects' are, so that wider or taller frames show more of it. Our choice throughout: unpublished.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np

PLAIN = {
    "white": (0.98, 0.98, 0.98),
    "black": (0.03, 0.03, 0.04),
    "gray": (0.55, 0.56, 0.58),
    "pink": (0.98, 0.70, 0.80),
    "blue": (0.40, 0.66, 0.96),
    "green": (0.55, 0.83, 0.52),
    "purple": (0.62, 0.48, 0.86),
    "yellow": (0.99, 0.90, 0.52),
}
GRADIENT_COLORS = ("pink", "blue", "green", "purple", "yellow")
GRADIENTS = tuple(f"{top} to {bottom} gradient" for top, bottom in permutations(GRADIENT_COLORS, 2))


class Place:
    """x, y: float32 in the unit square, y down, that broadcast to (H, W). knobs: KNOBS random numbers in [0, 1) that
    vary the drawing. pixel: a pixel's side; edges are about as wide, so that nothing needs supersampling.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, knobs: tuple[float, ...], pixel: float):
        self.x, self.y, self.knobs, self.pixel = x, y, knobs, pixel

    def ramp(self, top, bottom, start: float = 0.0, end: float = 1.0) -> np.ndarray:
        """Colours from top to bottom between two heights: (H, W, 3)."""
        return mix(rgb(top), rgb(bottom), np.clip((self.y - start) / (end - start), 0, 1))

    def within(self, distance: np.ndarray) -> np.ndarray:
        """1 where a signed distance is negative, 0 where positive, with an edge of one pixel."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def below(self, height: np.ndarray | float) -> np.ndarray:
        """1 below a height, which may depend on x, 0 above."""
        return self.within(height - self.y)

    def disc(self, x: float, y: float, radius: float) -> np.ndarray:
        return self.within(np.hypot(self.x - x, self.y - y) - radius)

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        across = self.within(np.maximum(left - self.x, self.x - right))
        return across * self.within(np.maximum(top - self.y, self.y - bottom))

    def dots(self, cells: int, radius: float) -> np.ndarray:
        """Scattered small discs, one somewhere in each of cells x cells squares of the unit square: (H, W)."""
        rng = np.random.default_rng(int(self.knobs[0] * 2**31))
        away = rng.uniform(0.15, 0.85, (2, 32, 32)).astype(np.float32)
        column, row = np.floor(self.x * cells).astype(int), np.floor(self.y * cells).astype(int)  # (1, W), (H, 1)
        away_x, away_y = away[0][row % 32, column % 32], away[1][row % 32, column % 32]
        distance = np.hypot(self.x * cells - column - away_x, self.y * cells - row - away_y) / cells
        return self.within(distance - radius)

    def wave(self, height: float, amplitude: float, length: float, phase: float) -> np.ndarray:
        return height + amplitude * np.sin(2 * np.pi * (self.x / length + phase))


def rgb(color) -> np.ndarray:
    return np.array(color, np.float32)


def mix(first: np.ndarray, second: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """(..., 3) colours, `amount` (H, W) of the way from the first to the second."""
    return first + amount[..., None] * (second - first)


def meadow(p: Place) -> np.ndarray:
    a, b, c = p.knobs
    image = p.ramp((0.45, 0.75, 0.98), (0.82, 0.93, 1.0), 0, 0.6)
    image = mix(
        image, p.ramp((0.55, 0.80, 0.42), (0.42, 0.70, 0.30), 0.5, 1), p.below(p.wave(0.55, 0.03 + 0.03 * a, 0.9, b))
    )
    return mix(image, p.ramp((0.40, 0.74, 0.28), (0.28, 0.58, 0.20), 0.6, 1), p.below(p.wave(0.70, 0.03, 1.3, c)))


def beach(p: Place) -> np.ndarray:
    a, b, _ = p.knobs
    image = p.ramp((0.42, 0.76, 0.98), (0.80, 0.94, 1.0), 0, 0.4)
    image = mix(image, p.ramp((0.10, 0.52, 0.78), (0.25, 0.75, 0.85), 0.42, 0.66), p.below(0.40 + 0.04 * a))
    shore = p.wave(0.64, 0.02, 0.8, b)
    image = mix(image, rgb((0.97, 0.98, 0.98)), p.below(shore))
    return mix(image, p.ramp((0.96, 0.86, 0.62), (0.90, 0.76, 0.50), 0.65, 1), p.below(shore + 0.03))


def sea(p: Place) -> np.ndarray:
    a, b, c = p.knobs
    image = p.ramp((0.60, 0.84, 0.98), (0.86, 0.95, 1.0), 0, 0.3)
    for height, color, phase in (
        (0.28, (0.10, 0.46, 0.78), a),
        (0.50, (0.07, 0.38, 0.70), b),
        (0.74, (0.04, 0.30, 0.60), c),
    ):
        image = mix(image, rgb(color), p.below(p.wave(height, 0.022, 0.42, phase)))
    return image


def night_sky(p: Place) -> np.ndarray:
    return mix(p.ramp((0.03, 0.04, 0.16), (0.14, 0.12, 0.36)), rgb((0.98, 0.96, 0.86)), 0.9 * p.dots(6, 0.011))


def snow(p: Place) -> np.ndarray:
    a, b, _ = p.knobs
    image = p.ramp((0.62, 0.74, 0.88), (0.86, 0.91, 0.97), 0, 0.6)
    image = mix(image, rgb((0.80, 0.87, 0.95)), p.below(p.wave(0.58, 0.05, 1.1, a)))
    image = mix(image, p.ramp((0.97, 0.98, 1.0), (0.88, 0.93, 0.99), 0.65, 1), p.below(p.wave(0.68, 0.03, 1.4, b)))
    return mix(image, rgb((1.0, 1.0, 1.0)), p.dots(4, 0.015))


def desert(p: Place) -> np.ndarray:
    a, b, _ = p.knobs
    image = p.ramp((0.98, 0.80, 0.50), (1.0, 0.93, 0.75), 0, 0.55)
    image = mix(image, rgb((0.92, 0.68, 0.38)), p.below(p.wave(0.56, 0.06, 1.2, a)))
    return mix(image, p.ramp((0.86, 0.56, 0.26), (0.74, 0.44, 0.20), 0.65, 1), p.below(p.wave(0.72, 0.05, 1.5, b)))


def sunset(p: Place) -> np.ndarray:
    a, _, _ = p.knobs
    image = p.ramp((0.36, 0.18, 0.48), (0.96, 0.45, 0.32), 0, 0.4)
    image = mix(image, p.ramp((0.96, 0.45, 0.32), (1.0, 0.78, 0.35), 0.4, 0.68), p.below(0.4))
    image = mix(image, rgb((1.0, 0.92, 0.60)), p.disc(0.3 + 0.4 * a, 0.62, 0.15))
    return mix(image, p.ramp((0.34, 0.14, 0.34), (0.18, 0.08, 0.24), 0.68, 1), p.below(0.68))


def room(p: Place) -> np.ndarray:
    a, b, _ = p.knobs
    image = p.ramp((0.93, 0.85, 0.74), (0.88, 0.78, 0.66), 0, 0.7)
    left, right = 0.08 + 0.08 * a, 0.36 + 0.08 * a
    frame, glass = p.box(left, 0.1, right, 0.46), p.box(left + 0.025, 0.125, right - 0.025, 0.435)
    image = mix(image, rgb((0.98, 0.97, 0.95)), frame)
    image = mix(image, p.ramp((0.58, 0.80, 0.97), (0.80, 0.92, 1.0), 0.1, 0.46), glass)
    image = mix(image, rgb((0.97, 0.94, 0.90)), p.below(0.70))
    return mix(image, p.ramp((0.66, 0.44, 0.28), (0.54, 0.34, 0.20), 0.73, 1), p.below(0.73))


def plain(color: str) -> Callable[[Place], np.ndarray]:
    return lambda p: rgb(PLAIN[color])


def gradient(top: str, bottom: str) -> Callable[[Place], np.ndarray]:
    return lambda p: p.ramp(PLAIN[top], PLAIN[bottom])


SCENES: dict[str, Callable[[Place], np.ndarray]] = {
    "meadow": meadow,
    "beach": beach,
    "sea": sea,
    "night sky": night_sky,
    "snow": snow,
    "desert": desert,
    "sunset": sunset,
    "room": room,
}
DRAWINGS: dict[str, Callable[[Place], np.ndarray]] = (
    {name: plain(name) for name in PLAIN}
    | {f"{top} to {bottom} gradient": gradient(top, bottom) for top, bottom in permutations(GRADIENT_COLORS, 2)}
    | SCENES
)
BACKGROUNDS = tuple(DRAWINGS)
GROUPS = (tuple(PLAIN), GRADIENTS, tuple(SCENES))  # drawn by group: as often plain as drawn, and gradients less
GROUP_WEIGHTS = (0.4, 0.2, 0.4)
KNOBS = 3


def draw_background(name: str, knobs: tuple[float, ...], height: int, width: int, window=None) -> np.ndarray:
    """(h, w, 3) float32 in [0, 1]: a frame of height x width pixels, or the window (top, left, h, w) of it."""
    top, left, rows, columns = window or (0, 0, height, width)
    side = min(height, width)
    y = (top + np.arange(rows, dtype=np.float32) + 0.5 - (height - side) / 2) / side
    x = (left + np.arange(columns, dtype=np.float32) + 0.5 - (width - side) / 2) / side
    image = DRAWINGS[name](Place(x[None], y[:, None], knobs, 1 / side))
    return np.ascontiguousarray(np.broadcast_to(image, (rows, columns, 3)), np.float32)
