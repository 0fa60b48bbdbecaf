"""Looks: the toy world's stills drawn in another hand, as examples from which a style is learned.

A look changes how things are drawn, not what there is: shapes, places, hues and plain backgrounds stay, so that the
same eyes (evaluation.judge) find them. All measures of the looks are our choice: unpublished.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .captions import still_caption
from .render import SIGNED_DISTANCES, render_frames, rotate_back
from .scene import CLIP_SECONDS, MovingObject, Scene, object_track, sample_scene
from .vocabulary import BACKGROUND_RGB, COLOR_RGB

DRAWN_SIDE = 32.0  # widths below are in pixels of a frame of this side; larger frames are drawn in proportion
STROKE = 2.0  # width of the outline, inside the edge
TINT = 0.3  # of the way from the background to the object's colour, inside the outline
SHADE = 0.8  # of the background's brightness in a line drawing
PAPER = np.array((0.97, 0.94, 0.86), np.float32)
OBJECT_WASH, BACKGROUND_WASH = 0.4, 0.13  # of the way to the paper's colour
SOFTNESS = 4.0  # width of a watercolour's edge
RIM_DEPTH, RIM_WIDTH = 1.4, 0.9  # of the line where pigment gathers, inside the edge
PIGMENT = 0.8  # brightness of the gathered, unwashed colour
GRAIN_CELLS, GRAIN = 6, 0.07  # blotches along a side, and how much brighter or darker they are at most
GRAIN_SEED = 0


def draw_still(scene: Scene, seconds: float, size: int, look: str = "plain") -> np.ndarray:
    """The scene at a time, in a look out of LOOKS: (size, size, 3) float32 in [0, 1]. Raises ValueError."""
    if look not in LOOKS:
        raise ValueError(f"draw_still: look must be one of {', '.join(LOOKS)}; got {look!r}.")
    if size < 1:
        raise ValueError(f"draw_still: size must be at least 1 pixel; got {size}.")
    return LOOKS[look](scene, seconds, size)


def draw_plain(scene: Scene, seconds: float, size: int) -> np.ndarray:
    """As the bundled weights learned it."""
    return render_frames(scene, np.array([seconds]), size, size)[0]


def draw_lines(scene: Scene, seconds: float, size: int) -> np.ndarray:
    """Objects as outlines in their colour with a faint tint inside, on a slightly darker background."""
    image = _plain_background(scene, size) * np.float32(SHADE)
    stroke = STROKE * size / DRAWN_SIDE
    for moving in scene.objects:
        distance = distance_to(moving, seconds, size)
        color = np.array(COLOR_RGB[moving.color], np.float32)
        image = _mix(image, color, TINT * _within(distance))
        image = _mix(image, color, _within(np.abs(distance + stroke / 2) - stroke / 2))
    return image


def draw_watercolor(scene: Scene, seconds: float, size: int) -> np.ndarray:
    """Pale washes with soft edges, a rim of gathered pigment, and a grain that stays where it is in the frame."""
    image = _mix(_plain_background(scene, size), PAPER, np.full((size, size), BACKGROUND_WASH, np.float32))
    for moving in scene.objects:
        distance = distance_to(moving, seconds, size) * np.float32(DRAWN_SIDE / size)
        color = np.array(COLOR_RGB[moving.color], np.float32)
        rim = np.exp(-(((distance + RIM_DEPTH) / RIM_WIDTH) ** 2))[..., None]
        washed = color + OBJECT_WASH * (PAPER - color)
        image = _mix(image, washed + rim * (PIGMENT * color - washed), _soft(0.5 - distance / SOFTNESS))
    return np.clip(image * (1 + GRAIN * grain(size))[..., None], 0, 1)


LOOKS: dict[str, Callable[[Scene, float, int], np.ndarray]] = {
    "plain": draw_plain,
    "line_drawing": draw_lines,
    "watercolor": draw_watercolor,
}


def distance_to(moving: MovingObject, seconds: float, size: int) -> np.ndarray:
    """Signed distance in pixels to the object's edge, negative inside: (size, size) float32."""
    track = object_track(moving, np.array([seconds]))
    centers = np.arange(size, dtype=np.float32) + 0.5
    right, down = (centers - track.x * size)[None, None, :], (centers - track.y * size)[None, :, None]  # (1, 1, w) ...
    right, down = rotate_back(right, down, track.rotation)
    return SIGNED_DISTANCES[moving.shape](right, down, track.radius[:, None, None] * size)[0].astype(np.float32)


def grain(size: int) -> np.ndarray:
    """The paper's grain, the same in every picture: (size, size) float32 in [-1, 1], smooth over a few pixels."""
    cells = np.random.default_rng(GRAIN_SEED).uniform(-1, 1, (GRAIN_CELLS + 1, GRAIN_CELLS + 1))
    place = np.linspace(0, GRAIN_CELLS, size, endpoint=False) + GRAIN_CELLS / (2 * size)
    cell = place.astype(int)
    weight = _soft(place - cell)  # (size,)
    rows = cells[cell] + weight[:, None] * (cells[cell + 1] - cells[cell])  # (size, GRAIN_CELLS + 1)
    return (rows[:, cell] + weight * (rows[:, cell + 1] - rows[:, cell])).astype(np.float32)


def write_stills(
    folder: str | Path, look: str, count: int, size: int, seed: int, report: Callable[[], object] = lambda: None
) -> None:
    """`count` pictures of random scenes as <folder>/<number>.png, each with a caption in <number>.txt.

    A function of the seed: the same scenes, times and captions in every look. report is called after each picture.
    """
    from PIL import Image

    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"write_stills: {name} must be at least {least}; got {value}.")
    folder, rng = Path(folder), np.random.default_rng(seed)
    for number in range(count):
        scene = sample_scene(rng)
        image = draw_still(scene, rng.uniform(0.0, CLIP_SECONDS), size, look)
        text = still_caption(scene, rng).text
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / f"{number:05d}.png")
        (folder / f"{number:05d}.txt").write_text(text + "\n", encoding="utf-8")
        report()


def _plain_background(scene: Scene, size: int) -> np.ndarray:
    return np.broadcast_to(np.array(BACKGROUND_RGB[scene.background], np.float32), (size, size, 3))


def _mix(image: np.ndarray, color: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """image (H, W, 3) with `amount` (H, W) of the way to a colour, (3,) or (H, W, 3)."""
    return image + amount[..., None] * (color - image)


def _within(distance: np.ndarray) -> np.ndarray:
    """1 inside, 0 outside, with an edge of one pixel."""
    return np.clip(0.5 - distance, 0.0, 1.0)


def _soft(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between (smoothstep)."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)
