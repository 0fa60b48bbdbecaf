"""Reads shape, colour, background and motion off the pixels of a toy-world clip, by classical vision only.

The judge is not learned and never sees the caption, so it cannot share a generator's mistakes. Method (our choice:
unpublished): the background is the border's median colour, the object whatever differs from it; shapes are compared
with drawn templates at the measured place, size and angle; motions with thresholds on the path, the size and the angle.
Lengths are fractions of the frame's short side, x right and y down from the centred square's top left corner.
"""

from typing import NamedTuple

import numpy as np

from ..toy_world.render import FPS, SIGNED_DISTANCES, rotate_back
from ..toy_world.scene import CLIP_SECONDS
from ..toy_world.vocabulary import BACKGROUND_RGB, COLOR_RGB

NONE = "none"
LARGEST_SIDE = 64  # larger frames are averaged down: sharper ones would not be judged better
TEMPLATE_FRAMES = 20  # frames, spread over the clip, on which shapes are compared
LEAST_CONTRAST = 0.2  # RGB distance below which a pixel is background
LEAST_NEIGHBORHOOD = 0.15  # of the object's contrast, averaged over 3x3 pixels
LEAST_AREA = 0.004  # of the side squared: 4 pixels at 32x32
MOST_AREA = 0.45  # of the side squared; the toy world's largest is 0.33. Static everywhere is no object
LEAST_PRESENCE = 0.6  # of the frames in which an object must be seen
MOST_SPREAD = 0.3  # second moment over area squared: 0.16 for a circle, 0.19 for a star, more for scattered parts
LEAST_OVERLAP = 0.6  # with the best template; toy clips with noise and blur reach 0.85
FARTHEST_COLOR = 0.45  # RGB distance beyond which a colour has no name

# Areas over radius squared; for shapes that show a rotation, their symmetry and that harmonic's phase when upright.
AREA_FACTOR = {"circle": 3.1416, "square": 2.88, "triangle": 1.8706, "star": 2.3841}
SYMMETRY = {"square": 4, "triangle": 3, "star": 5}
UPRIGHT_PHASE = {"square": np.pi, "triangle": np.pi / 2, "star": -np.pi / 2}

# Evidence for a motion is measured in multiples of these; each is about half of the toy world's weakest example.
LEAST_TRAVEL = 0.16  # of the side in CLIP_SECONDS
LEAST_SWAY = 0.05  # standard deviation about a straight path
LEAST_SCALING = 0.36  # |log| of the radius's factor in CLIP_SECONDS
LEAST_TURNING = 0.12  # turns per second
LEAST_TURNING_COHERENCE = 0.5  # of the angle's phasor with a steady turn, 1 at best


class Judgement(NamedTuple):
    """What the pixels show; words are "none" where there is no single recognisable object.

    objects: 0, 1, or 2 for several or scattered parts
    shape_overlap: mean intersection over union with the best template, 0 to 1
    color_distance, background_distance: RGB distance to the named colour
    motion_strength: evidence over its threshold; above 1 is motion, so for "staying still" it is at most 1
    centroids: (T, 2) x, y; areas: (T,) of the side squared; angles: (T,) radians clockwise, 0 is upright. NaN if unseen
    """

    shape: str
    color: str
    background: str
    motion: str
    objects: int
    shape_overlap: float
    color_distance: float
    background_distance: float
    motion_strength: float
    centroids: np.ndarray
    areas: np.ndarray
    angles: np.ndarray


class Observation(NamedTuple):
    """Measurements before any naming. coverage (T, h, w) is the object's soft mask; right, down are pixel offsets."""

    coverage: np.ndarray
    right: np.ndarray
    down: np.ndarray
    background_rgb: np.ndarray
    object_rgb: np.ndarray
    centroids: np.ndarray
    areas: np.ndarray
    spread: float
    seen: np.ndarray


def judge_clip(frames: np.ndarray, fps: float = FPS) -> Judgement:
    """Judge a clip (T, H, W, 3), float in [0, 1] or uint8, with one object.

    Motion needs about CLIP_SECONDS: part of an orbit or a bounce looks straight. All else can be judged from one frame.
    """
    observed = observe(frames)
    background, background_distance = nearest_color(observed.background_rgb, BACKGROUND_RGB)
    objects = count_objects(observed)
    if objects != 1:
        unseen = np.full(len(frames), np.nan)
        return Judgement(
            NONE, NONE, background, NONE, objects, 0.0, np.inf, background_distance, 0.0,
            observed.centroids, observed.areas, unseen,
        )  # fmt: skip
    color, color_distance = nearest_color(observed.object_rgb, COLOR_RGB)
    harmonics = {shape: angular_harmonic(observed, order) for shape, order in SYMMETRY.items()}
    shape, overlap = best_shape(observed, harmonics)
    motion, strength = name_motion(observed, harmonics.get(shape), SYMMETRY.get(shape, 1), fps)
    return Judgement(
        shape, color, background, motion, objects, overlap, color_distance, background_distance, strength,
        observed.centroids, observed.areas, rotation_angles(shape, harmonics, len(frames)),
    )  # fmt: skip


def as_float_frames(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3), uint8 or float, as float32 in [0, 1]."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"as_float_frames: frames must be (T, H, W, 3) and not empty; got shape {frames.shape}.")
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255.0
    return frames.astype(np.float32, copy=False)


def observe(frames: np.ndarray) -> Observation:
    """Separate object from background and measure both, on frames averaged down to about LARGEST_SIDE."""
    frames = average_down(as_float_frames(frames))
    height, width = frames.shape[1:3]
    side = min(height, width)
    background_rgb = np.median(border_pixels(frames), axis=0)
    difference = frames - background_rgb.astype(np.float32)
    distance = np.sqrt(np.einsum("thwc,thwc->thw", difference, difference))
    object_rgb = core_color(frames, distance, background_rgb)
    contrast = max(float(np.linalg.norm(object_rgb - background_rgb)), LEAST_CONTRAST)
    # Symmetric about one half, so that blur keeps the area. Lone noisy pixels are far from the background, but their
    # neighbourhoods are not.
    coverage = np.clip(distance * (2.0 / contrast) - 0.5, 0.0, 1.0)
    coverage *= neighborhood_distance(difference) > LEAST_NEIGHBORHOOD * contrast
    mass = coverage.sum((1, 2))
    seen = (mass > LEAST_AREA * side * side) & (mass < MOST_AREA * side * side)
    safe_mass = np.where(seen, mass, np.nan)
    columns, rows = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    center_x, center_y = coverage.sum(1) @ columns / safe_mass, coverage.sum(2) @ rows / safe_mass
    right = (columns - np.nan_to_num(center_x)[:, None]).astype(np.float32)[:, None, :]
    down = (rows - np.nan_to_num(center_y)[:, None]).astype(np.float32)[:, :, None]
    moment = (coverage.sum(1) * right[:, 0] ** 2).sum(1) + (coverage.sum(2) * down[:, :, 0] ** 2).sum(1)
    spread = float(np.median((moment / safe_mass**2)[seen])) if seen.any() else 0.0
    centroids = np.stack([center_x - (width - side) / 2, center_y - (height - side) / 2], axis=1) / side
    return Observation(
        coverage, right, down, background_rgb, object_rgb, centroids, safe_mass / side**2, spread, seen
    )  # fmt: skip


def neighborhood_distance(difference: np.ndarray) -> np.ndarray:
    """The length (T, H, W) of differences (T, H, W, 3) averaged over 3x3 pixels; outside the frame counts as 0."""
    total = difference.copy()
    total[:, 1:] += difference[:, :-1]
    total[:, :-1] += difference[:, 1:]
    mean = total / 9.0
    mean[:, :, 1:] += total[:, :, :-1] / 9.0
    mean[:, :, :-1] += total[:, :, 1:] / 9.0
    return np.sqrt(np.einsum("thwc,thwc->thw", mean, mean))


def average_down(frames: np.ndarray) -> np.ndarray:
    """Frames whose short side exceeds LARGEST_SIDE, averaged over square blocks."""
    count, height, width, channels = frames.shape
    block = max(round(min(height, width) / LARGEST_SIDE), 1)
    if block == 1:
        return frames
    rows, columns = height // block, width // block
    trimmed = frames[:, : rows * block, : columns * block]
    return trimmed.reshape(count, rows, block, columns, block, channels).mean((2, 4))


def border_pixels(frames: np.ndarray) -> np.ndarray:
    """The outermost ring of every frame: (N, 3)."""
    ring = (frames[:, 0], frames[:, -1], frames[:, 1:-1, 0], frames[:, 1:-1, -1])
    return np.concatenate(ring, axis=1).reshape(-1, 3)


def core_color(frames: np.ndarray, distance: np.ndarray, background_rgb: np.ndarray) -> np.ndarray:
    """The object's colour (3,): the median over pixels nearly as far from the background as the farthest are."""
    far = distance[distance > LEAST_CONTRAST]
    if far.size < 1:
        return background_rgb
    return np.median(frames[distance > 0.85 * np.quantile(far, 0.9)], axis=0)


def nearest_color(rgb: np.ndarray, palette: dict[str, tuple[float, float, float]]) -> tuple[str, float]:
    """The palette's nearest name and its RGB distance; "none" beyond FARTHEST_COLOR."""
    distances = {name: float(np.linalg.norm(rgb - np.array(known))) for name, known in palette.items()}
    name = min(distances, key=distances.get)
    return (name if distances[name] <= FARTHEST_COLOR else NONE), distances[name]


def count_objects(observed: Observation) -> int:
    """0 if too seldom seen, 2 if the mask is too scattered for one shape, else 1."""
    if observed.seen.mean() < LEAST_PRESENCE:
        return 0
    return 2 if observed.spread > MOST_SPREAD else 1


def angular_harmonic(observed: Observation, order: int) -> np.ndarray:
    """The mask's n-fold symmetry about its centre, (T,) complex: magnitude 0 to 1, phase n times the angle."""
    offset = observed.right + 1j * observed.down
    weight = observed.coverage * np.abs(offset) ** order
    phasor = (offset / np.maximum(np.abs(offset), 1e-6)) ** order
    total = np.maximum(weight.sum((1, 2)), 1e-6)
    return np.einsum("thw,thw->t", weight, phasor) / total


def rotation_angles(shape: str, harmonics: dict[str, np.ndarray], count: int) -> np.ndarray:
    """The shape's clockwise angle, (count,), known up to its symmetry; NaN for a circle."""
    if shape not in SYMMETRY:
        return np.full(count, np.nan)
    return np.angle(harmonics[shape] * np.exp(-1j * UPRIGHT_PHASE[shape])) / SYMMETRY[shape]


def best_shape(observed: Observation, harmonics: dict[str, np.ndarray]) -> tuple[str, float]:
    """The shape whose template overlaps best, and that mean overlap; each is tried upright and as measured."""
    seen = np.flatnonzero(observed.seen)
    chosen = seen[np.linspace(0, len(seen) - 1, min(TEMPLATE_FRAMES, len(seen))).round().astype(int)]
    overlaps = {}
    for shape in SIGNED_DISTANCES:
        upright = np.zeros(len(chosen))
        overlaps[shape] = template_overlap(observed, shape, upright, chosen)
        if shape in SYMMETRY:
            measured = rotation_angles(shape, harmonics, len(observed.seen))[chosen]
            overlaps[shape] = max(overlaps[shape], template_overlap(observed, shape, measured, chosen))
    shape = max(overlaps, key=overlaps.get)
    return (shape if overlaps[shape] >= LEAST_OVERLAP else NONE), overlaps[shape]


def template_overlap(observed: Observation, shape: str, angles: np.ndarray, chosen: np.ndarray) -> float:
    """Mean soft intersection over union of the chosen frames' masks with the shape, drawn at their places and areas."""
    coverage = observed.coverage[chosen]
    right, down = rotate_back(observed.right[chosen], observed.down[chosen], angles.astype(np.float32))
    radius = np.sqrt(coverage.sum((1, 2)) / AREA_FACTOR[shape])[:, None, None]
    template = np.clip(0.5 - SIGNED_DISTANCES[shape](right, down, radius), 0.0, 1.0)
    intersection = np.minimum(coverage, template).sum((1, 2))
    return float((intersection / np.maximum(coverage, template).sum((1, 2))).mean())


def name_motion(observed: Observation, harmonic: np.ndarray | None, order: int, fps: float) -> tuple[str, float]:
    """The motion with the strongest evidence, and that evidence; "staying still" if none exceeds its threshold."""
    seconds = np.flatnonzero(observed.seen) / fps
    centroids = observed.centroids[observed.seen]
    log_radius = 0.5 * np.log(observed.areas[observed.seen])
    evidence = path_evidence(centroids, seconds) | scaling_evidence(log_radius, seconds)
    motion = max(evidence, key=evidence.get)
    if evidence[motion] > 1.0:
        return motion, evidence[motion]
    turning = turning_evidence(harmonic[observed.seen], order, fps) if harmonic is not None else 0.0
    if turning > 1.0:
        return "spinning", turning
    return "staying still", max(evidence[motion], turning)


def path_evidence(centroids: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Evidence for straight, bouncing and orbiting paths from centroids (N, 2)."""
    slope, residual = straight_fit(centroids, seconds)
    travel_x, travel_y = slope * CLIP_SECONDS / LEAST_TRAVEL
    sway_x, sway_y = residual.std(0) / LEAST_SWAY
    sideways = sway_x > 0.4 * sway_y
    evidence = {"moving left": -travel_x, "moving right": travel_x, "moving up": -travel_y, "moving down": travel_y}
    # A swaying path also drifts a little between first and last swing, so drift counts only where it exceeds the sway.
    swaying = max(sway_x, sway_y)
    evidence = {motion: value if value > swaying else 0.0 for motion, value in evidence.items()}
    upright = sway_y > 0.4 * sway_x
    evidence["orbiting"] = swaying if sideways and upright else 0.0
    evidence["bouncing"] = swaying if upright and not sideways else 0.0
    # Swinging from side to side is no motion of the toy world.
    evidence[NONE] = swaying if sideways and not upright else 0.0
    return {motion: float(value) for motion, value in evidence.items()}


def scaling_evidence(log_radius: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Evidence for growing and shrinking from the log of the radius (N,)."""
    slope, _ = straight_fit(log_radius[:, None], seconds)
    scaling = float(slope[0]) * CLIP_SECONDS / LEAST_SCALING
    return {"growing": scaling, "shrinking": -scaling}


def turning_evidence(harmonic: np.ndarray, order: int, fps: float) -> float:
    """Turns per second over LEAST_TURNING from the strongest steady turn of an n-fold harmonic (N,); 0 if unsteady."""
    count = 16 * len(harmonic)
    spectrum = np.abs(np.fft.fft(harmonic / np.maximum(np.abs(harmonic).sum(), 1e-6), count))
    strongest = int(spectrum.argmax())
    if spectrum[strongest] < LEAST_TURNING_COHERENCE:
        return 0.0
    turns_per_second = abs(np.fft.fftfreq(count, 1.0 / fps)[strongest]) / order
    return float(turns_per_second / LEAST_TURNING)


def straight_fit(values: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares slopes (D,) of values (N, D) over time, and the residuals (N, D)."""
    time = seconds - seconds.mean()
    centered = values - values.mean(0)
    slope = time @ centered / max(float(time @ time), 1e-9)
    return slope, centered - time[:, None] * slope
