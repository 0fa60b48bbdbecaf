"""A folder of pictures with captions beside them, as what a training learns from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from ..checkpoints.format import CheckpointInfo
from ..video.pictures import eight_bits, open_picture
from .recipe import Stage
from .source import Clips, Request

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class ImageFolder:
    """Pictures of the folder `stage.images`, each a clip of one frame, square and of the stage's size.

    A caption is the text file of the picture's name, or `stage.caption` where there is none. Raises ValueError for a
    folder without pictures, and for a file that is none.
    """

    fps = CheckpointInfo.fps  # a still has none

    def __init__(self, stage: Stage):
        if stage.images is None or stage.character is not None:
            raise ValueError(
                f"training: stage {stage.name!r} learns from more than a folder of pictures; give train a source of "
                "its clips (sources)."
            )
        files = picture_files(stage.images)
        self.pictures = np.stack([read_square(file, stage.size) for file in files])  # (N, H, W, 3), uint8
        self.captions = [read_caption(file, stage.caption) for file in files]

    def clips(self, request: Request, rng: np.random.Generator) -> Clips:
        chosen = rng.integers(len(self.captions), size=request.clips)[request.own]
        video = torch.from_numpy(self.pictures[chosen]).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1
        return Clips([self.captions[i] for i in chosen], video)

    def record(self) -> dict:
        return {}

    def digest(self) -> str:
        found = hashlib.sha256(json.dumps(self.captions).encode())
        found.update(self.pictures.tobytes())
        return found.hexdigest()


def picture_files(folder: str | Path) -> list[Path]:
    """The pictures in a folder, by name. Raises ValueError where there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. Give one with pictures ({', '.join(SUFFIXES)}).")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: the folder must hold pictures ({', '.join(SUFFIXES)}); got none.")
    return files


def read_square(file: Path, size: int) -> np.ndarray:
    """The middle square of a picture, resized: (size, size, 3) uint8."""
    from PIL import Image, ImageOps

    with open_picture(file) as image:
        upright = eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS))


def read_caption(file: Path, default: str) -> str:
    """The text beside a picture, on one line."""
    text = file.with_suffix(".txt")
    if not text.is_file():
        return default
    try:
        return " ".join(text.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"{text}: a caption must be UTF-8 text ({error}). Save it as such.") from error
