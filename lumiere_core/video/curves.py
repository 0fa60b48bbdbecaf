"""Curves as an image, drawn with pillow so that nothing here needs a plotting library."""

from __future__ import annotations

import numpy as np

CURVE_COLORS = ("#b8c8e8", "#1040a0", "#c03020", "#208040")


def draw_curves(curves: dict, title: str, width: int = 800, height: int = 400):
    """At most four curves {name: (x, y)} on a logarithmic y axis as a PIL image; one called "mean" is bold."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = 70, 30, width - 20, height - 40
    xs = np.concatenate([x for x, _ in curves.values()]).astype(float)
    ys = np.log10(np.maximum(np.concatenate([y for _, y in curves.values()]), 1e-8))
    x0, x1, y0, y1 = xs.min(), max(xs.max(), xs.min() + 1), ys.min(), max(ys.max(), ys.min() + 0.1)
    draw.rectangle((left, top, right, bottom), outline="black")
    draw.text((left, 8), title, fill="black")
    for fraction in np.linspace(0, 1, 5):
        y = bottom - fraction * (bottom - top)
        draw.text((5, y - 6), f"{10 ** (y0 + fraction * (y1 - y0)):.4g}", fill="black")
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((left + fraction * (right - left) - 10, bottom + 8), f"{x0 + fraction * (x1 - x0):.0f}", fill="black")
    for (name, (x, y)), color in zip(curves.items(), CURVE_COLORS, strict=False):
        px = left + (np.asarray(x, float) - x0) / (x1 - x0) * (right - left)
        py = bottom - (np.log10(np.maximum(y, 1e-8)) - y0) / (y1 - y0) * (bottom - top)
        draw.line(list(zip(px.tolist(), py.tolist(), strict=True)), fill=color, width=2 if name == "mean" else 1)
    draw_legend(draw, dict(zip(curves, CURVE_COLORS, strict=False)), right - 8, top + 6)
    return image


def draw_legend(draw, colors: dict[str, str], right: int, top: int) -> None:
    """Names with a square of their colour, one below the other, ending at `right`."""
    widest = max(draw.textlength(name) for name in colors)
    for i, (name, color) in enumerate(colors.items()):
        x, y = right - widest, top + 14 * i
        draw.rectangle((x - 14, y + 1, x - 5, y + 10), fill=color)
        draw.text((x, y), name, fill="black")
