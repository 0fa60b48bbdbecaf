"""What happens in a toy clip: one or two objects, each with a continuous law of motion, on a plain background.

Lengths are fractions of the frame's short side, x to the right and y down from the top left corner; times are
seconds; angles are radians. Nothing here knows about pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import pi
from typing import NamedTuple

import numpy as np

from .vocabulary import BACKGROUNDS, COLORS, COMBINATIONS_BY_SPLIT, MOTIONS, SHAPES, is_legal

CLIP_SECONDS = 5.0
SMALLEST_RADIUS = 0.04  # an object that shrinks for longer than CLIP_SECONDS stops here
MOST_TRIES = 20  # to place a second object clear of the first

# How far each shape reaches from its centre, as a multiple of its radius: about equal areas look equally large.
REACH = {"circle": 1.0, "square": 1.2, "triangle": 1.2, "star": 1.3}


@dataclass(frozen=True)
class MovingObject:
    """One object. All parameters of motion are 0 unless its motion uses them.

    radius, x, y: size and centre at time 0 (for bouncing the centre on the floor, for orbiting the orbit's centre)
    velocity_x, velocity_y: fractions of the side per second
    growth: change of radius per second
    bounce_height, orbit_radius: fractions of the side
    angular_velocity: radians per second of spin, orbit, or of the bounce's |sin|; negative is anticlockwise
    phase: radians at time 0
    """

    shape: str
    color: str
    motion: str
    radius: float
    x: float
    y: float
    velocity_x: float = 0.0
    velocity_y: float = 0.0
    growth: float = 0.0
    bounce_height: float = 0.0
    orbit_radius: float = 0.0
    angular_velocity: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One or two objects, the first drawn first, on a background of one colour."""

    objects: tuple[MovingObject, ...]
    background: str


class Track(NamedTuple):
    """An object's state at T times, each (T,) float32."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    rotation: np.ndarray


def object_track(moving: MovingObject, times_seconds: np.ndarray) -> Track:
    """The object's centre, radius and rotation at times (T,) in seconds."""
    t = np.asarray(times_seconds, np.float32)
    angle = moving.phase + moving.angular_velocity * t
    x = moving.x + moving.velocity_x * t + moving.orbit_radius * np.cos(angle)
    y = moving.y + moving.velocity_y * t + moving.orbit_radius * np.sin(angle)
    y = y - moving.bounce_height * np.abs(np.sin(angle))
    radius = np.maximum(moving.radius + moving.growth * t, SMALLEST_RADIUS)
    # Only spinners turn: an object that orbits or bounces stays upright.
    rotation = angle if moving.motion == "spinning" else np.zeros_like(t)
    return Track(x, y, radius, rotation)


def sample_scene(
    rng: np.random.Generator,
    split: str = "train",
    two_objects_probability: float = 0.1,
    motions: Mapping[str, float] | None = None,
) -> Scene:
    """A random scene whose shape-colour-motion combinations all belong to `split`: "train", "held_out" or "all".

    motions: how many times as often as others a motion is drawn for the first object.
    """
    if split not in COMBINATIONS_BY_SPLIT:
        raise ValueError(f"sample_scene: split must be one of {', '.join(COMBINATIONS_BY_SPLIT)}; got {split!r}.")
    combinations = COMBINATIONS_BY_SPLIT[split]
    background = pick(rng, BACKGROUNDS)
    first = pick_weighted(rng, combinations, motions) if motions else pick(rng, combinations)
    if rng.random() >= two_objects_probability:
        return make_scene(*first, background, rng)
    second = pick(rng, combinations)
    while second[1] == first[1]:
        second = pick(rng, combinations)
    return Scene(sample_pair(first, second, rng), background)


def make_scene(shape: str, color: str, motion: str, background: str, rng: np.random.Generator) -> Scene:
    """A one-object scene with the given words and a random size, place and pace."""
    for name, value, known in (("color", color, COLORS), ("background", background, BACKGROUNDS)):
        check_known(name, value, known)
    return Scene((sample_object(shape, color, motion, rng),), background)


def sample_pair(first, second, rng: np.random.Generator) -> tuple[MovingObject, MovingObject]:
    """Two small objects of (shape, color, motion) each, the clearest of a few random placements."""
    times = np.linspace(0.0, CLIP_SECONDS, 21, dtype=np.float32)
    best, best_clearance = None, -np.inf
    for _ in range(MOST_TRIES):
        pair = sample_object(*first, rng, small=True), sample_object(*second, rng, small=True)
        clearance = smallest_gap(*pair, times)
        if clearance > best_clearance:
            best, best_clearance = pair, clearance
        if clearance > 0.0:
            break
    return best


def smallest_gap(first: MovingObject, second: MovingObject, times: np.ndarray) -> float:
    """The least distance between two objects' outer circles over the times; negative where they overlap."""
    a, b = object_track(first, times), object_track(second, times)
    reach = a.radius * REACH[first.shape] + b.radius * REACH[second.shape]
    return float((np.hypot(a.x - b.x, a.y - b.y) - reach).min())


def sample_object(shape: str, color: str, motion: str, rng: np.random.Generator, small: bool = False) -> MovingObject:
    """An object with random size, place and pace; `small` fits two into a frame.

    The ranges (our choice: unpublished) make each motion unmistakable within CLIP_SECONDS and keep the object
    inside the frame, but for a sliver of the largest and fastest.
    """
    check_known("shape", shape, SHAPES)
    check_known("motion", motion, MOTIONS)
    if not is_legal(shape, motion):
        raise ValueError(f"sample_object: a {shape} cannot be seen {motion}. Use another shape or motion.")
    radius = rng.uniform(0.11, 0.15) if small else rng.uniform(0.15, 0.22)
    still = MovingObject(shape, color, motion, radius, *place_inside(rng, radius * REACH[shape]))
    return MOTION_SAMPLERS[motion](still, rng, small)


def place_inside(rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """A random centre (x, y) at which an object of this reach is wholly visible."""
    low = min(reach, 0.5)
    return rng.uniform(low, 1.0 - low), rng.uniform(low, 1.0 - low)


def sample_linear(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """A constant velocity that crosses 0.3 to 0.55 of the frame, start and end equally far from the edges or less."""
    direction_x, direction_y = LINEAR_DIRECTIONS[still.motion]
    reach = still.radius * REACH[still.shape]
    travel = rng.uniform(0.32, min(0.55, 1.04 - 2.0 * reach))
    slack = max(0.52 - reach - travel / 2.0, 0.0)
    midpoint = 0.5 + rng.uniform(-slack, slack)
    return replace(
        still,
        x=midpoint - direction_x * travel / 2.0 if direction_x else still.x,
        y=midpoint - direction_y * travel / 2.0 if direction_y else still.y,
        velocity_x=direction_x * travel / CLIP_SECONDS,
        velocity_y=direction_y * travel / CLIP_SECONDS,
    )


def sample_bouncing(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """A ball's |sin| hop of 0.3 to 0.5 of the frame off a floor, every 1 to 2.2 s, at a fixed x."""
    radius = min(still.radius, 0.19)
    reach = radius * REACH[still.shape]
    height = rng.uniform(0.32, min(0.5, 1.02 - 2.0 * reach))
    floor = rng.uniform(min(reach + height, 1.0 - reach), 1.0 - reach)
    pace, phase = pi / rng.uniform(1.0, 2.2), rng.uniform(0.0, pi)
    return replace(still, radius=radius, y=floor, bounce_height=height, angular_velocity=pace, phase=phase)


def sample_orbiting(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """A circle of radius 0.17 to 0.26 about a point near the centre, every 1.6 to 4 s, either way round."""
    radius = still.radius if small else rng.uniform(0.13, 0.18)
    return replace(
        still,
        radius=radius,
        x=0.5 + rng.uniform(-0.03, 0.03),
        y=0.5 + rng.uniform(-0.03, 0.03),
        orbit_radius=rng.uniform(0.18, 0.26),
        angular_velocity=random_turning(rng, 1.6, 4.0),
        phase=rng.uniform(0.0, 2.0 * pi),
    )


def sample_resizing(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """A radius that grows or shrinks evenly by a factor of 2 to 2.6 in CLIP_SECONDS, about a fixed centre."""
    least = rng.uniform(0.07, 0.08) if small else rng.uniform(0.10, 0.13)
    most = least * rng.uniform(2.0, 2.5)
    x, y = place_inside(rng, most * REACH[still.shape])
    start, end = (least, most) if still.motion == "growing" else (most, least)
    return replace(still, radius=start, x=x, y=y, growth=(end - start) / CLIP_SECONDS)


def sample_spinning(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """A turn on the spot every 1.5 to 4 s, either way round."""
    return replace(still, angular_velocity=random_turning(rng, 1.5, 4.0), phase=rng.uniform(0.0, 2.0 * pi))


def sample_still(still: MovingObject, rng: np.random.Generator, small: bool) -> MovingObject:
    """No motion at all."""
    return still


def random_turning(rng: np.random.Generator, shortest: float, longest: float) -> float:
    """A signed angular velocity whose period lies between the two, in seconds."""
    return float(rng.choice((-1.0, 1.0))) * 2.0 * pi / rng.uniform(shortest, longest)


LINEAR_DIRECTIONS = {"moving left": (-1, 0), "moving right": (1, 0), "moving up": (0, -1), "moving down": (0, 1)}
MOTION_SAMPLERS = dict.fromkeys(LINEAR_DIRECTIONS, sample_linear) | {
    "bouncing": sample_bouncing,
    "orbiting": sample_orbiting,
    "growing": sample_resizing,
    "shrinking": sample_resizing,
    "spinning": sample_spinning,
    "staying still": sample_still,
}


def pick(rng: np.random.Generator, choices):
    """One of a sequence, evenly; many times faster than rng.choice on a short tuple."""
    return choices[int(rng.integers(len(choices)))]


def pick_weighted(rng: np.random.Generator, combinations, motions: Mapping[str, float]):
    """One of the (shape, color, motion), each with the weight of its motion, which is 1 unless `motions` names it."""
    weights = np.array([motions.get(motion, 1.0) for _, _, motion in combinations])
    return combinations[int(rng.choice(len(combinations), p=weights / weights.sum()))]


def check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise for a word outside the toy world's vocabulary."""
    if value not in known:
        raise ValueError(f"make_scene: {name} must be one of {', '.join(known)}; got {value!r}.")
