"""Motions: how an object's place, size and angle depend on time. All measures are our choice: unpublished.

Lengths are fractions of the frame's short side, x to the right and y down from the top left corner of the centred
square; times are seconds; angles are radians, clockwise. A clip lasts CLIP_SECONDS. What swings, hops or turns does so
a whole number of times in it, so that its end leads into its beginning; what goes from here to there does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import numpy as np

CLIP_SECONDS = 5.0
PACES = ("normal", "slow", "quick")


class Track(NamedTuple):
    """An object's state at T times, each (T,) float32. radius: half the side of its picture."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray

    @property
    def reach(self) -> np.ndarray:
        """Half the side of the upright square around the picture as it is turned: (T,)."""
        return self.radius * (np.abs(np.cos(self.angle)) + np.abs(np.sin(self.angle)))


@dataclass(frozen=True)
class Motion:
    """One object's course. kind: of MOTIONS. x, y: the middle of its path; radius: half the side of its picture.

    extent: how far it goes, see each motion. cycles: how often in CLIP_SECONDS, 0 for what does not repeat.
    phase: in cycles at time 0. turn: 1 clockwise (or to the right first), -1 the other way.
    """

    kind: str
    x: float
    y: float
    radius: float
    extent: float = 0.0
    cycles: float = 0.0
    phase: float = 0.0
    turn: int = 1

    def track(self, seconds: np.ndarray) -> Track:
        """Place, size and angle at times (T,) in seconds, 0 to CLIP_SECONDS (and on)."""
        part = np.asarray(seconds, np.float64) / CLIP_SECONDS
        x, y, radius, angle = MOTIONS[self.kind].course(self, part, (self.cycles * part + self.phase) % 1.0)
        still = np.zeros_like(part)
        return Track(*((still + value).astype(np.float32) for value in (x, y, radius, angle)))


class Kind(NamedTuple):
    """course(motion, part, cycle): x, y, radius and angle at `part` of the clip and of its cycle, both 0 to 1.

    extent: smallest and largest. cycles: at a normal, slow and quick pace; empty where only the distance changes.
    reach: how far the object gets from the middle of its path, sideways and up or down, as multiples of the extent.
    """

    course: Callable[[Motion, np.ndarray, np.ndarray], tuple]
    extent: tuple[float, float]
    cycles: tuple[int, ...]
    reach: tuple[float, float]

    @property
    def repeats(self) -> bool:
        return bool(self.cycles)


def straight(direction_x: int, direction_y: int):
    """Evenly from one side to the other; extent: half of the way."""

    def course(m: Motion, part, cycle):
        gone = m.extent * (2 * part - 1)
        return m.x + direction_x * gone, m.y + direction_y * gone, m.radius, 0.0

    return course


def bouncing(m: Motion, part, cycle):
    """A ball's hops off a floor, always in the air; extent: half of their height."""
    return m.x, m.y + m.extent * (1 - 2 * np.sin(pi * cycle)), m.radius, 0.0


def jumping(m: Motion, part, cycle):
    """Rests on the floor for half of the time, then leaps, and leans as it does; extent: half of the height."""
    leap = np.clip(2 * cycle, 0, 1)
    return m.x, m.y + m.extent * (1 - 8 * leap * (1 - leap)), m.radius, 0.25 * m.turn * np.sin(2 * pi * leap)


def orbiting(m: Motion, part, cycle):
    """Around a circle, upright; extent: its radius."""
    angle = 2 * pi * m.turn * cycle
    return m.x + m.extent * np.cos(angle), m.y + m.extent * np.sin(angle), m.radius, 0.0


def growing(m: Motion, part, cycle):
    """From small to large on the spot; extent: log of the factor."""
    return m.x, m.y, m.radius * np.exp(m.extent * (part - 1)), 0.0


def shrinking(m: Motion, part, cycle):
    """From large to small on the spot; extent: log of the factor."""
    return m.x, m.y, m.radius * np.exp(-m.extent * part), 0.0


def spinning(m: Motion, part, cycle):
    """Turns on the spot."""
    return m.x, m.y, m.radius, 2 * pi * m.turn * cycle


def swinging(m: Motion, part, cycle):
    """A pendulum's swing about a point above, leaning with it; extent: sideways, half of the way."""
    swing = m.turn * np.sin(2 * pi * cycle)
    return m.x + m.extent * swing, m.y - 0.3 * m.extent * swing**2, m.radius, -1.6 * m.extent * swing


def shaking(m: Motion, part, cycle):
    """Trembles from side to side, fast and a little; extent: half of the way."""
    return m.x + m.extent * m.turn * np.sin(2 * pi * cycle), m.y, m.radius, 0.0


def falling(m: Motion, part, cycle):
    """Down, ever faster, and tumbling; extent: half of the way."""
    return m.x, m.y + m.extent * (2 * part**2 - 1), m.radius, 2 * pi * m.turn * part**1.5


def still(m: Motion, part, cycle):
    """No motion at all."""
    return m.x, m.y, m.radius, 0.0


TRAVEL = (0.16, 0.28)
MOTIONS: dict[str, Kind] = {
    "moving left": Kind(straight(-1, 0), TRAVEL, (), (1, 0)),
    "moving right": Kind(straight(1, 0), TRAVEL, (), (1, 0)),
    "moving up": Kind(straight(0, -1), TRAVEL, (), (0, 1)),
    "moving down": Kind(straight(0, 1), TRAVEL, (), (0, 1)),
    "bouncing": Kind(bouncing, (0.12, 0.2), (3, 2, 5), (0, 1)),
    "jumping": Kind(jumping, (0.12, 0.2), (3, 2, 4), (0, 1)),
    "orbiting": Kind(orbiting, (0.15, 0.22), (2, 1, 4), (1, 1)),
    "growing": Kind(growing, (0.65, 0.85), (), (0, 0)),
    "shrinking": Kind(shrinking, (0.65, 0.85), (), (0, 0)),
    "spinning": Kind(spinning, (0, 0), (2, 1, 4), (0, 0)),
    "swinging": Kind(swinging, (0.16, 0.24), (3, 2, 4), (1, 0.2)),
    "shaking": Kind(shaking, (0.04, 0.06), (7, 5, 9), (1, 0)),
    "falling": Kind(falling, (0.2, 0.28), (), (0, 1)),
    "staying still": Kind(still, (0, 0), (), (0, 0)),
}
TURNING = ("spinning",)  # what shows only on things that look different when turned
TUMBLING = ("spinning", "falling")  # what shows things upside down


def has_pace(kind: str) -> bool:
    """Whether "slowly" and "quickly" mean something: how often what repeats does so in a clip, or how far a straight
    path leads."""
    return MOTIONS[kind].repeats or kind.startswith("moving")


def draw_motion(kind: str, pace: str, radius: float, rng: np.random.Generator, within=(0.0, 1.0)) -> Motion:
    """A random course of a kind and pace for an object of this radius that stays in sight.

    within: the part of the width that the object keeps to, so that two of them share a frame.
    """
    of = MOTIONS[kind]
    low, high = of.extent
    if kind.startswith("moving"):
        third = (high - low) / 3
        low, high = {"slow": (0.1, 0.12), "normal": (low, high - third), "quick": (high - third, high)}[pace]
    narrow = within[1] - within[0]
    extent = rng.uniform(low, high) * (narrow if of.reach[0] else 1.0)
    cycles = of.cycles[PACES.index(pace)] if of.repeats else 0
    reach_x, reach_y = 0.92 * radius + extent * of.reach[0], 0.92 * radius + extent * of.reach[1]
    return Motion(
        kind,
        x=_inside(rng, within[0] + min(reach_x, narrow / 2), within[1] - min(reach_x, narrow / 2)),
        y=_inside(rng, min(reach_y, 0.5), 1 - min(reach_y, 0.5)),
        radius=radius,
        extent=extent,
        cycles=cycles,
        phase=rng.uniform() if of.repeats else 0.0,
        turn=1 if rng.random() < 0.5 else -1,
    )


def _inside(rng: np.random.Generator, low: float, high: float) -> float:
    """Between the two, more often near the middle: what people look at stands there."""
    middle, half = (low + high) / 2, (high - low) / 2
    return float(middle + half * rng.uniform(-1, 1) * rng.uniform(0.3, 1))
