"""Looks: the world's stills drawn in another hand, as examples from which a style is learned.

A look changes how things are drawn, not what there is: objects, places and hues stay. It draws on a canvas whose grain
and measures belong to the picture's side and not to its pixels, and is then averaged down, so that a small picture is
the large one seen from afar. All measures of the looks are our choice: unpublished.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .backgrounds import draw_background
from .captions import Captioner
from .cast import Cast
from .motions import CLIP_SECONDS
from .render import draw, picture_size, render_scenes
from .scene import Actor, Scene, SceneSampler

CANVAS = 256  # side in pixels that a canvas has at least
PAPER = (0.98, 0.97, 0.93)
INK = (0.13, 0.11, 0.14)

LINE = 0.010  # width of an ink line's blur, as a fraction of the side
LINE_AT, LINE_SOFT = 0.045, 0.06  # the difference of blurs where a line begins, and until it is black
OUTLINE = 0.009  # width of the line around an object
TINT, BACKGROUND_TINT = 0.34, 0.5  # of the way from the paper to the colours of objects and of the background

STROKE = 0.008  # radius of a brush stroke
WOBBLE = 0.009  # how far a watercolour's edges stray
WASH = 0.72  # density of the paint; 1 is the colour as it is
POOLS, GRAIN = 0.32, 0.16  # how much thicker or thinner paint lies in pools, and in the paper's grain
RIM, RIM_WIDTH = 1.5, 0.012  # how much thicker paint lies where it dried at an edge, and how wide
DARKEST = 0.09  # of a watercolour: thin paint is never black
SEED = 0  # of the paper, which is the same in every picture


def draw_still(cast: Cast, scene: Scene, seconds: float, size: int, look: str = "plain") -> np.ndarray:
    """The scene at a time, in a look out of LOOKS: (size, size, 3) float32 in [0, 1]. Raises ValueError."""
    if look not in LOOKS:
        raise ValueError(f"draw_still: look must be one of {', '.join(LOOKS)}; got {look!r}.")
    if size < 1:
        raise ValueError(f"draw_still: size must be at least 1 pixel; got {size}.")
    return LOOKS[look](cast, scene, seconds, size).clamp(0, 1).permute(1, 2, 0).contiguous().numpy()


def draw_plain(cast: Cast, scene: Scene, seconds: float, size: int) -> torch.Tensor:
    """As the bundled weights learned it: (3, size, size)."""
    return render_scenes(cast, [scene], [np.array([seconds])], size, size)[0, :, 0]


def draw_lines(cast: Cast, scene: Scene, seconds: float, size: int) -> torch.Tensor:
    """Ink lines around and inside of things, over faint tints: (3, size, size)."""
    side = canvas_side(size)
    background, layers = draw_layers(cast, scene, seconds, side)
    image = toward(paper(), background, BACKGROUND_TINT)
    image = toward(image, color(INK), ink_lines(background))
    for rgb, alpha in layers:
        image = toward(image, toward(paper(), rgb, TINT), alpha)
        image = toward(image, color(INK), torch.maximum(ink_lines(rgb) * alpha, outline(alpha, OUTLINE)))
    return F.adaptive_avg_pool2d(image, size)


def draw_watercolor(cast: Cast, scene: Scene, seconds: float, size: int) -> torch.Tensor:
    """Washes of uneven paint with wandering edges, where pigment gathers, on grained paper: (3, size, size).

    Paint as in Bousseau et al. 2006, "Interactive watercolor rendering", section 3: its density at a place is the sum
    of what pools, edges and the paper's grain do there.
    """
    side = canvas_side(size)
    background, layers = draw_layers(cast, scene, seconds, side)
    image, edges = background, torch.zeros(1, side, side)
    for rgb, alpha in layers:
        image, edges = toward(image, rgb, alpha), torch.maximum(edges, outline(alpha, RIM_WIDTH))
    image, edges = wobble(torch.cat([brush(image), edges])).split((3, 1))
    pools, grain = smooth_noise(side, 5) + 0.5 * smooth_noise(side, 11), smooth_noise(side, 90)
    density = WASH * (1 + POOLS * pools + GRAIN * grain + RIM * edges)
    return F.adaptive_avg_pool2d(painted(image, density) * color(PAPER), size)


LOOKS: dict[str, Callable[[Cast, Scene, float, int], torch.Tensor]] = {
    "plain": draw_plain,
    "line_drawing": draw_lines,
    "watercolor": draw_watercolor,
}


def canvas_side(size: int) -> int:
    """A multiple of the size, at least CANVAS."""
    return size * max(1, -(-CANVAS // size))


def draw_layers(cast: Cast, scene: Scene, seconds: float, side: int) -> tuple[torch.Tensor, list]:
    """The background (3, side, side), and each object as its colours (3, side, side) and its alpha (1, side, side).

    An object's colours go on beyond its edge, so that no line is seen there.
    """
    background = torch.tensor(draw_background(scene.background, scene.knobs, side, side)).permute(2, 0, 1)
    layers = [draw_layer(cast, actor, seconds, side) for actor in scene.actors]
    return background, [(spread(layer, side), layer[3:]) for layer in layers]


def draw_layer(cast: Cast, actor: Actor, seconds: float, side: int) -> torch.Tensor:
    """One object alone: (4, side, side), premultiplied. Its alpha is what black and white behind it differ by."""
    picture = cast.pictures(picture_size(side, side))[cast.index(actor.name)]
    track, over = actor.motion.track(np.array([seconds])), (torch.zeros(3, 1, side, side), torch.ones(3, 1, side, side))
    for clip in over:
        draw(clip, picture, track, (0, 0, side, side), side, side)
    black, white = (clip[:, 0] for clip in over)
    return torch.cat([black, 1 - (white - black).mean(0, keepdim=True)])


def spread(layer: torch.Tensor, side: int) -> torch.Tensor:
    """Premultiplied (4, side, side) -> colours, where there is no object those of its nearest parts, blurred."""
    rgb, alpha = layer.split((3, 1))
    for radius in (0.01, 0.04, 0.16):
        near = blur(layer, radius * side)
        rgb, alpha = rgb + (1 - alpha) * near[:3], alpha + (1 - alpha) * near[3:]
    return rgb / alpha.clamp(min=1e-6)


def ink_lines(image: torch.Tensor) -> torch.Tensor:
    """Where colours change: (3, side, side) -> (1, side, side), 0 nothing to 1 a line, on the darker side."""
    width = LINE * image.shape[-1]
    difference = (blur(image, 1.6 * width) - blur(image, width / 2)).amax(0, keepdim=True)
    return soft((difference - LINE_AT) / LINE_SOFT)


def outline(alpha: torch.Tensor, width: float) -> torch.Tensor:
    """A line of this width, a fraction of the side, along the inside of an object's edge: (1, side, side)."""
    near = blur(alpha, width * alpha.shape[-1])
    return alpha * soft((1 - near) / 0.3)


def brush(image: torch.Tensor) -> torch.Tensor:
    """Strokes, not detail, and edges kept: the evenest of four squares around each place (Kuwahara et al. 1976)."""
    radius = max(1, round(STROKE * image.shape[-1]))
    stacked = torch.cat([image, image.square()])[None]
    means = F.avg_pool2d(F.pad(stacked, [radius] * 4, mode="replicate"), radius + 1, stride=1)[0]
    height, width = image.shape[1:]
    corners = [means[:, y : y + height, x : x + width] for y in (0, radius) for x in (0, radius)]
    mean, square = torch.stack(corners, dim=1).split(3)  # (3, 4, H, W) each
    evenest = (square - mean.square()).sum(0).argmin(0)
    return mean.gather(1, evenest.expand(3, 1, height, width))[:, 0]


def wobble(image: torch.Tensor) -> torch.Tensor:
    """Every place drawn a little beside where it belongs, its neighbours alike."""
    side = image.shape[-1]
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, side, side], align_corners=False)
    away = torch.stack([smooth_noise(side, 14, 1)[0], smooth_noise(side, 14, 2)[0]], dim=-1)
    return F.grid_sample(image[None], grid + 2 * WOBBLE * away, padding_mode="border", align_corners=False)[0]


def painted(image: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """A colour laid on in this density, 1 as it is, 0 not at all (Bousseau et al. 2006, equation 1, from white)."""
    return image.clamp(DARKEST, 1) ** density.clamp(min=0)


@cache
def smooth_noise(side: int, cells: int, seed: int = SEED) -> torch.Tensor:
    """The same in every picture: (1, side, side) in [-1, 1], smooth over a cell, `cells` of them along a side."""
    generator = torch.Generator().manual_seed(1000 * seed + cells)
    values = 2 * torch.rand(1, 1, cells, cells, generator=generator) - 1
    return F.interpolate(values, (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)[0]


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian, (C, H, W), the border going on outside."""
    radius = max(1, round(2.5 * sigma))
    weights = torch.exp(-((torch.arange(-radius, radius + 1) / sigma) ** 2) / 2)
    weights = (weights / weights.sum())[None, None]
    padded = F.pad(image[:, None], [radius] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[..., None]), weights[:, :, None])[:, 0]


def color(rgb: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rgb)[:, None, None]


def paper() -> torch.Tensor:
    return color(PAPER)


def toward(image: torch.Tensor, other: torch.Tensor, amount) -> torch.Tensor:
    return image + amount * (other - image)


def soft(x: torch.Tensor) -> torch.Tensor:
    """0 below 0, 1 above 1, smooth between (smoothstep)."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def write_stills(
    folder: str | Path,
    cast: Cast,
    look: str,
    count: int,
    size: int,
    seed: int,
    report: Callable[[], object] = lambda: None,
) -> None:
    """`count` pictures of random scenes as <folder>/<number>.png, each with a caption in <number>.txt.

    A function of the seed: the same scenes, times and captions in every look. report is called after each picture.
    """
    from PIL import Image

    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"write_stills: {name} must be at least {least}; got {value}.")
    folder, rng = Path(folder), np.random.default_rng(seed)
    sample, captioner = SceneSampler(cast), Captioner(cast)
    for number in range(count):
        scene = sample(rng)
        image = draw_still(cast, scene, rng.uniform(0.0, CLIP_SECONDS), size, look)
        text = captioner.still(scene, rng).text
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / f"{number:05d}.png")
        (folder / f"{number:05d}.txt").write_text(text + "\n", encoding="utf-8")
        report()
