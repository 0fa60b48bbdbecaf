"""Frames side by side with captions, and pictures put together, with pillow."""

from collections.abc import Sequence

import numpy as np

THUMBNAIL = 96  # pixels
CAPTION_HEIGHT = 28


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
