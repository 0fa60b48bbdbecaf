"""Pictures that show a video's faults at a glance: contact sheet, flow, X-T slice, adjacent-frame differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw

from ..runtime.outputs import atomic_path
from .files import to_uint8
from .flow import dense_flow, flow_picture, flow_warping_errors

WIDTH = 960
MARGIN = 12
CAPTION_HEIGHT = 16
SHEET_COLUMNS, SHEET_ROWS = 8, 2
LARGEST_CELL = 256  # pixels; larger frames lose pixels for a preview
CURVE_HEIGHT = 160
CURVE_COLORS = ("#1040a0", "#d06000")


def diagnostics_path(output: str | Path) -> Path:
    """The PNG beside a video: out.mp4 -> out.diagnostics.png, also for a folder of PNGs."""
    output = Path(output)
    return output.with_name(f"{output.stem}.diagnostics.png")


def write_diagnostics(path: str | Path, frames, fps: float) -> None:
    """All of it as one PNG, written atomically; frames (T, H, W, 3) in [0, 1]."""
    with atomic_path(path) as temporary:
        diagnostics_image(frames, fps).save(temporary)


def diagnostics_image(frames, fps: float | None = None, other=None) -> Image.Image:
    """One picture of a clip, or of two on top of each other with their curves in one plot; `other` is like frames."""
    clips = [to_uint8(clip) for clip in (frames, other) if clip is not None]
    rate = "" if fps is None else f" at {fps:g} fps"
    panels = []
    for name, pixels in zip(("", "other: "), clips, strict=False):
        row = pixels.shape[1] // 2
        panels += [
            (f"{name}{len(pixels)} frames{rate}, {pixels.shape[2]} x {pixels.shape[1]}", contact_sheet(pixels)),
            (f"{name}X-T slice: row {row}, time runs down", xt_slice(pixels, row)),
        ]
        if len(pixels) > 1:
            panels.append((f"{name}where pixels go next: hue is direction, red to the right", flow_sheet(pixels)))
    caption = "Mean squared difference of adjacent frames, values in 0..1"
    caption += "; the other clip in orange" * (other is not None)
    return _stack([*panels, (caption, difference_curve(*clips))])


def figures_text(frames) -> str:
    """The clip in words: its size, how much adjacent frames differ, and where most; frames (T, H, W, 3) in [0, 1]."""
    pixels = to_uint8(frames)
    size = f"{len(pixels)} frames, {pixels.shape[2]} x {pixels.shape[1]}"
    differences = adjacent_differences(pixels)
    if not len(differences):
        return f"{size}."
    median, peak = float(np.median(differences)), float(differences.max())
    ratio = f", {peak / median:.1f} times the median" if median > 0 else ""
    return (
        f"{size}. Mean squared difference of adjacent frames, values in 0..1: mean {differences.mean():.2e}, median "
        f"{median:.2e}; most {peak:.2e} after frame {int(differences.argmax())}{ratio}. Of it not explained by motion "
        f"(flow-warping error): mean {flow_warping_errors(pixels).mean():.2e}."
    )


def adjacent_differences(pixels: np.ndarray) -> np.ndarray:
    """Mean squared differences (T - 1,) of adjacent frames, uint8 (T, H, W, 3), in units of 0..1 squared."""
    return np.square(np.diff(pixels.astype(np.float32) / 255, axis=0)).mean(axis=(1, 2, 3))


def contact_sheet(pixels: np.ndarray, width: int = WIDTH) -> Image.Image:
    """Frames evenly spread over the clip, uint8 (T, H, W, 3), in reading order."""
    count, height, frame_width = pixels.shape[:3]
    shown = evenly(count)
    cell_width = width // SHEET_COLUMNS
    cell_height = max(1, round(cell_width * height / frame_width))
    sheet = Image.new("RGB", (width, cell_height * -(-len(shown) // SHEET_COLUMNS)), "white")
    for place, index in enumerate(shown):
        cell = Image.fromarray(pixels[index]).resize((cell_width - 2, cell_height - 2 or 1), Image.Resampling.BICUBIC)
        sheet.paste(cell, (place % SHEET_COLUMNS * cell_width, place // SHEET_COLUMNS * cell_height))
    return sheet


def evenly(count: int) -> np.ndarray:
    """Indices of the frames that a sheet shows of so many."""
    return np.linspace(0, count - 1, min(count, SHEET_COLUMNS * SHEET_ROWS)).round().astype(int)


def flow_sheet(pixels: np.ndarray, width: int = WIDTH) -> Image.Image:
    """The flow from the frames of the contact sheet to their next ones, uint8 (T, H, W, 3), T > 1; what moves fastest
    in any of them has the fullest colour.
    """
    flows = [dense_flow(*pixels[first : first + 2]) for first in evenly(len(pixels) - 1)]
    fastest = max(float(np.abs(flow).max()) for flow in flows)
    return contact_sheet(np.stack([flow_picture(flow, fastest) for flow in flows]), width)


def frame_grid(video: torch.Tensor) -> torch.Tensor:
    """Frames evenly spread over a clip as one large frame: (B, C, T, H, W) -> (B, C, 1, rows * H, columns * W).

    Frames that somebody has taken apart, (T, C, H, W), are as they are.
    """
    if video.ndim != 5:
        return video
    count = video.shape[2]
    columns = min(count, SHEET_COLUMNS)
    rows = min(SHEET_ROWS, count // columns)
    shown = torch.linspace(0, count - 1, rows * columns, device=video.device).round().long()
    stride = max(1, max(video.shape[-2:]) // LARGEST_CELL)
    small = video[:, :, shown, ::stride, ::stride]
    return rearrange(small, "b c (r k) h w -> b c 1 (r h) (k w)", r=rows)


def xt_slice(pixels: np.ndarray, row: int, width: int = WIDTH) -> Image.Image:
    """One image row over time (Fig. 2 of the paper), T x W enlarged: smooth motion draws smooth lines."""
    count = pixels.shape[0]
    return Image.fromarray(pixels[:, row]).resize((width, count * max(1, 240 // count)), Image.Resampling.NEAREST)


def difference_curve(*clips: np.ndarray, width: int = WIDTH, height: int = CURVE_HEIGHT) -> Image.Image:
    """Adjacent-frame differences over time: a spike is a cut or a seam between windows (Fig. 14 of the paper).

    Each clip is a line, in CURVE_COLORS, to the same scale.
    """
    curves = [adjacent_differences(pixels) for pixels in clips]
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline="gray")
    scale = max([1e-8, *(float(curve.max()) for curve in curves if len(curve))])
    for index, (differences, color) in enumerate(zip(curves, CURVE_COLORS, strict=False)):
        if len(differences):
            x = np.linspace(0, width - 1, len(differences))
            y = height - 1 - differences / scale * (height - 24)
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=color, width=2)
            peak = f"peak {differences.max():.2e} after frame {int(differences.argmax())}"
            draw.text((6 + 240 * index, 4), peak, fill=color)
    return image


def _stack(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    height = sum(image.height + CAPTION_HEIGHT + MARGIN for _, image in panels) + MARGIN
    page = Image.new("RGB", (WIDTH + 2 * MARGIN, height), "white")
    draw, top = ImageDraw.Draw(page), MARGIN
    for caption, image in panels:
        draw.text((MARGIN, top), caption, fill="black")
        page.paste(image, (MARGIN, top + CAPTION_HEIGHT))
        top += image.height + CAPTION_HEIGHT + MARGIN
    return page
