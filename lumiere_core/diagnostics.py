"""Pictures that show a video's faults at a glance: contact sheet, X-T slice, adjacent-frame differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw

from .checkpoint import atomic_path
from .video_io import to_uint8

WIDTH = 960
MARGIN = 12
CAPTION_HEIGHT = 16
SHEET_COLUMNS, SHEET_ROWS = 8, 2
CURVE_HEIGHT = 160


def diagnostics_path(output: str | Path) -> Path:
    """The PNG beside a video: out.mp4 -> out.diagnostics.png, also for a folder of PNGs."""
    output = Path(output)
    return output.with_name(f"{output.stem}.diagnostics.png")


def write_diagnostics(path: str | Path, frames, fps: float) -> None:
    """All of it as one PNG, written atomically; frames (T, H, W, 3) in [0, 1]."""
    with atomic_path(path) as temporary:
        diagnostics_image(frames, fps).save(temporary)


def diagnostics_image(frames, fps: float) -> Image.Image:
    pixels = to_uint8(frames)
    row = pixels.shape[1] // 2
    return _stack(
        [
            (f"{len(pixels)} frames at {fps:g} fps, {pixels.shape[2]} x {pixels.shape[1]}", contact_sheet(pixels)),
            (f"X-T slice: row {row}, time runs down", xt_slice(pixels, row)),
            ("Mean squared difference of adjacent frames, values in 0..1", difference_curve(pixels)),
        ]
    )


def contact_sheet(pixels: np.ndarray, width: int = WIDTH) -> Image.Image:
    """Frames evenly spread over the clip, uint8 (T, H, W, 3), in reading order."""
    count, height, frame_width = pixels.shape[:3]
    shown = np.linspace(0, count - 1, min(count, SHEET_COLUMNS * SHEET_ROWS)).round().astype(int)
    cell_width = width // SHEET_COLUMNS
    cell_height = max(1, round(cell_width * height / frame_width))
    sheet = Image.new("RGB", (width, cell_height * -(-len(shown) // SHEET_COLUMNS)), "white")
    for place, index in enumerate(shown):
        cell = Image.fromarray(pixels[index]).resize((cell_width - 2, cell_height - 2 or 1), Image.Resampling.BICUBIC)
        sheet.paste(cell, (place % SHEET_COLUMNS * cell_width, place // SHEET_COLUMNS * cell_height))
    return sheet


def frame_grid(video: torch.Tensor) -> torch.Tensor:
    """Frames evenly spread over a clip as one large frame: (B, C, T, H, W) -> (B, C, 1, rows * H, columns * W)."""
    count = video.shape[2]
    columns = min(count, SHEET_COLUMNS)
    rows = min(SHEET_ROWS, count // columns)
    shown = torch.linspace(0, count - 1, rows * columns, device=video.device).round().long()
    return rearrange(video[:, :, shown], "b c (r k) h w -> b c 1 (r h) (k w)", r=rows)


def xt_slice(pixels: np.ndarray, row: int, width: int = WIDTH) -> Image.Image:
    """One image row over time (Fig. 2 of the paper), T x W enlarged: smooth motion draws smooth lines."""
    count = pixels.shape[0]
    return Image.fromarray(pixels[:, row]).resize((width, count * max(1, 240 // count)), Image.Resampling.NEAREST)


def difference_curve(pixels: np.ndarray, width: int = WIDTH, height: int = CURVE_HEIGHT) -> Image.Image:
    """Adjacent-frame differences over time: a spike is a cut or a seam between windows (Fig. 14 of the paper)."""
    values = pixels.astype(np.float32) / 255
    differences = np.square(np.diff(values, axis=0)).mean(axis=(1, 2, 3))
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline="gray")
    if len(differences):
        peak = max(float(differences.max()), 1e-8)
        x = np.linspace(0, width - 1, len(differences))
        y = height - 1 - differences / peak * (height - 24)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill="#1040a0", width=2)
        draw.text((6, 4), f"peak {peak:.2e} after frame {int(differences.argmax())}", fill="black")
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
