"""The evaluation's pictures, drawn with pillow: bars with intervals, a confusion matrix, window joints, clips."""

from collections.abc import Sequence

import numpy as np

from ..lumiere_core.video.curves import draw_curves, draw_legend
from .scores import ALL, TRAITS

BAR_COLORS = ("#1040a0", "#8aa8e0", "#207048", "#90c8a8")
SWEEP_COLORS = ("#1040a0", "#c03020", "#208040", "#808080")
THUMBNAIL = 96  # pixels
CAPTION_HEIGHT = 28


def draw_evaluation(result: dict):
    """The whole evaluation as one PIL image: accuracies, confusion of the base clips' motions, joints of windows."""
    motions = result["stages"]["base"]["confusion"]["motion"]
    panels = [draw_accuracies(result["stages"]), draw_confusion(motions, "motion, base clips")]
    if result["seams"]:
        # What has jumps is drawn last, over the curves that it follows elsewhere.
        curves = {name: result["seams"][name]["mse"] for name in ("one_window", "multidiffusion", "no_overlap")}
        curves = {name.replace("_", " "): (np.arange(1, len(mse) + 1), mse) for name, mse in curves.items()}
        panels.append(draw_curves(curves, "adjacent-frame mean squared difference by frame, super-resolved clips"))
    return stack(panels)


def draw_accuracies(stages: dict, width: int = 800, height: int = 300):
    """Grouped bars with 95 % intervals: a group per trait, a bar per stage and split."""
    from PIL import Image, ImageDraw

    bars = {
        f"{stage}, {split}".replace("_", " "): accuracies
        for stage, figures in stages.items()
        for split, accuracies in figures["accuracy"].items()
    }
    colors = dict(zip(bars, BAR_COLORS, strict=False))
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = 50, 80, width - 20, height - 30
    for percent in range(0, 101, 20):
        y = bottom - percent / 100 * (bottom - top)
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((10, y - 6), f"{percent} %", fill="black")
    draw.text((left, 8), "accuracy with 95 % intervals", fill="black")
    draw_legend(draw, colors, right, 6)
    group = (right - left) / (len(TRAITS) + 1)
    for i, trait in enumerate((*TRAITS, ALL)):
        draw.text((left + (i + 0.4) * group, bottom + 8), trait, fill="black")
        for j, (name, accuracies) in enumerate(bars.items()):
            x = left + (i + (j + 0.5) / (len(bars) + 1)) * group
            draw_bar(draw, accuracies[trait], x, group / (len(bars) + 2), top, bottom, colors[name])
    return image


def draw_bar(draw, rate: dict, x: float, width: float, top: int, bottom: int, color: str) -> None:
    """One share as a bar and its interval as a whisker; nothing where there were no clips."""
    if rate["rate"] is None:
        return
    high, middle, low = (bottom - rate[key] * (bottom - top) for key in ("high", "rate", "low"))
    draw.rectangle((x, middle, x + width, bottom), fill=color)
    center = x + width / 2
    draw.line((center, high, center, low), fill="black")
    for y in (high, low):
        draw.line((center - 3, y, center + 3, y), fill="black")


def draw_confusion(confusion: dict, title: str, cell: int = 34):
    """A confusion matrix, what was asked down and what was shown across, shaded by the row's share."""
    from PIL import Image, ImageDraw

    counts = np.array(confusion["counts"])
    rows, columns = counts.shape
    left, top = 100, 36
    image = Image.new("RGB", (left + columns * cell + 20, top + rows * cell + 100), "white")
    draw = ImageDraw.Draw(image)
    draw.text((8, 8), f"{title}: asked (down), shown (across)", fill="black")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for i, word in enumerate(confusion["asked"]):
        draw.text((8, top + i * cell + cell // 3), word, fill="black")
        for j in range(columns):
            x, y = left + j * cell, top + i * cell
            shade = int(255 - 200 * shares[i, j])
            draw.rectangle((x, y, x + cell, y + cell), fill=(shade, shade, 255), outline="#cccccc")
            if counts[i, j]:
                draw.text((x + 8, y + cell // 3), str(counts[i, j]), fill="white" if shares[i, j] > 0.6 else "black")
    for j, word in enumerate(confusion["shown"]):
        draw_upright_text(image, word, left + j * cell + cell // 3, top + rows * cell + 6)
    return image


def draw_sweep(x: Sequence[float], curves: dict[str, Sequence[dict]], title: str, width: int = 800, height: int = 400):
    """At most four curves of shares, or means between 0 and 1, with 95 % intervals, over the same places x."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = 50, 84, width - 30, height - 30
    draw.text((left, 8), title, fill="black")
    draw_legend(draw, dict(zip(curves, SWEEP_COLORS, strict=False)), right, 6)
    for tenth in range(0, 11, 2):
        y = bottom - tenth / 10 * (bottom - top)
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((15, y - 6), f"{tenth / 10:.1f}", fill="black")
    places = [left + 20 + (value - x[0]) / (x[-1] - x[0]) * (right - left - 40) for value in x]
    for place, value in zip(places, x, strict=True):
        draw.text((place - 8, bottom + 8), f"{value:g}", fill="black")
    for j, (figures, color) in enumerate(zip(curves.values(), SWEEP_COLORS, strict=False)):
        # A few pixels apart, so that no interval hides another.
        draw_sweep_curve(draw, [place + 3 * j for place in places], figures, top, bottom, color)
    return image


def draw_sweep_curve(draw, places: Sequence[float], figures: Sequence[dict], top: int, bottom: int, color: str) -> None:
    """One curve through shares or means, and each one's interval as a whisker."""

    def height_of(value: float) -> float:
        return bottom - min(max(value, 0.0), 1.0) * (bottom - top)

    points = [
        (place, height_of(figure["rate" if "rate" in figure else "mean"]))
        for place, figure in zip(places, figures, strict=True)
    ]
    draw.line(points, fill=color, width=2)
    for place, figure in zip(places, figures, strict=True):
        if figure["low"] is not None:
            draw.line((place, height_of(figure["high"]), place, height_of(figure["low"])), fill=color)


def draw_upright_text(image, text: str, x: int, y: int) -> None:
    """Text that reads downwards from (x, y)."""
    from PIL import Image, ImageDraw

    label = Image.new("RGB", (90, 14), "white")
    ImageDraw.Draw(label).text((0, 0), text, fill="black")
    image.paste(label.rotate(-90, expand=True), (x, y))


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]]):
    """A row per clip: a caption of two lines, then its frames (H, W, 3) in [0, 1], all as thumbnails of one height."""
    from PIL import Image, ImageDraw

    images = []
    for caption, frames in rows:
        strip = beside(*(thumbnail(frame) for frame in frames))
        image = Image.new("RGB", (max(strip.width, 560), strip.height + CAPTION_HEIGHT), "white")
        image.paste(strip, (0, CAPTION_HEIGHT))
        ImageDraw.Draw(image).multiline_text((4, 2), caption, fill="black", spacing=1)
        images.append(image)
    return stack(images)


def thumbnail(frame: np.ndarray):
    """One frame (H, W, 3) in [0, 1], THUMBNAIL pixels high."""
    from PIL import Image

    image = Image.fromarray((np.clip(frame, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    larger = image.height < THUMBNAIL
    size = round(image.width * THUMBNAIL / image.height), THUMBNAIL
    return image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BOX)


def stack(images: Sequence):
    """Images one below the other."""
    return join(images, (0, 1))


def beside(*images):
    """Images one beside the other, two pixels apart."""
    return join(images, (1, 0))


def join(images: Sequence, direction: tuple[int, int]):
    from PIL import Image

    right, down = direction
    gap = 2
    width = sum(i.width + gap for i in images) - gap if right else max(i.width for i in images)
    height = sum(i.height + gap for i in images) - gap if down else max(i.height for i in images)
    joined, x, y = Image.new("RGB", (width, height), "white"), 0, 0
    for image in images:
        joined.paste(image, (x, y))
        x, y = x + right * (image.width + gap), y + down * (image.height + gap)
    return joined
