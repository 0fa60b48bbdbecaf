"""Training batches from a folder of pictures with captions beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .data import StageBatches
from .recipe import Stage

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class StillFolderBatches(StageBatches):
    """Item i: pictures drawn from the folder `stage.images`, each a clip of one frame, with captions and noise.

    video: (B, 3, 1, H, W) in [-1, 1], square and of the stage's size. timesteps: (B,). noise: like video. A caption is
    the text file of the picture's name, or `stage.caption` where there is none. Raises ValueError for a folder without
    pictures, and for a file that is none.
    """

    def __init__(self, stage: Stage, tokenize, seed: int):
        super().__init__(stage, tokenize, seed)
        files = picture_files(stage.images)
        self.pictures = np.stack([read_square(file, stage.size) for file in files])  # (N, H, W, 3), uint8
        self.captions = [read_caption(file, stage.caption) for file in files]

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        batch, rng = self.stage.phase_at(step).batch, self._random(step)
        chosen = rng.integers(len(self.captions), size=batch)
        texts = ["" if rng.random() < self.stage.text_dropout else self.captions[i] for i in chosen]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        video = torch.from_numpy(self.pictures[chosen]).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1
        ids, mask = self.tokenize(texts)
        return {
            "ids": ids,
            "mask": mask,
            "video": video,
            "timesteps": self._timesteps(batch, generator),
            "noise": torch.randn(video.shape, generator=generator),
        }


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

    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:
        raise ValueError(f"{file}: not a whole picture ({error}). Remove it or replace it.") from error
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
