"""Charts of figures, drawn with pillow: bars with intervals, a confusion matrix, curves with intervals."""

from collections.abc import Sequence

import numpy as np

from ...lumiere_core.video.curves import draw_curves, draw_legend
from ..judge.traits import ALL, TRAITS
from .contact_sheet import stack

BAR_COLORS = ("#1040a0", "#8aa8e0", "#207048", "#90c8a8")
SWEEP_COLORS = ("#1040a0", "#c03020", "#208040", "#808080")


def draw_text_figures(result: dict):
    """Text to video's figures as one PIL image: accuracies, confusion of the base clips' motions, joints of windows."""
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
    draw_grid(draw, (left, top, right, bottom), 10, [f"{percent} %" for percent in range(0, 101, 20)])
    draw.text((left, 8), "accuracy with 95 % intervals", fill="black")
    draw_legend(draw, colors, right, 6)
    group = (right - left) / (len(TRAITS) + 1)
    for i, trait in enumerate((*TRAITS, ALL)):
        draw.text((left + (i + 0.4) * group, bottom + 8), trait, fill="black")
        for j, (name, accuracies) in enumerate(bars.items()):
            x = left + (i + (j + 0.5) / (len(bars) + 1)) * group
            draw_bar(draw, accuracies[trait], x, group / (len(bars) + 2), top, bottom, colors[name])
    return image


def draw_grid(draw, box: tuple[int, int, int, int], label_x: int, labels: Sequence[str]) -> None:
    """Level lines through a box (left, top, right, bottom), evenly from its bottom to its top, and their labels."""
    left, top, right, bottom = box
    for i, label in enumerate(labels):
        y = bottom - i / (len(labels) - 1) * (bottom - top)
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((label_x, y - 6), label, fill="black")


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
    draw_grid(draw, (left, top, right, bottom), 15, [f"{tenth / 10:.1f}" for tenth in range(0, 11, 2)])
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
