"""The cast: cut-out pictures that scenes are made of, each with a name and other words for it.

A cast is a folder of pictures with an alpha channel and a table of names, CSV with the columns name, synonyms (between
semicolons) and file. The drawn shapes are the built-in one. `stickers.csv` names the pictures of Microsoft's Fluent
Emoji that the bundled weights know; the pictures themselves are not part of this package.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..lumiere_core.video.pictures import open_picture

STICKERS = Path(__file__).with_name("stickers.csv")
COLUMNS = ("name", "synonyms", "file")
PICTURE = 256  # side in pixels of a cast's pictures
MARGIN = 0.03  # of the picture's side, left empty on each side of the object
LONGEST_NAME = 40  # bytes: two names fit into a caption
LEAST_OPAQUE = 0.01  # of a picture's pixels
LEAST_TURN_CHANGE = 0.06  # mean change, 0 to 1 over the object, by a turn, from which on a turn can be seen
TURNS = (50.0, 110.0)  # degrees, no symmetry of common shapes


@dataclass(frozen=True, eq=False)
class Member:
    """One thing that can be shown. picture: (PICTURE, PICTURE, 4) uint8, premultiplied RGBA, filled by the object.

    spoken: what captions call it, where that is neither its name nor a synonym: several pictures of one character have
    names of their own, and one spoken name.
    """

    name: str
    synonyms: tuple[str, ...]
    picture: np.ndarray = field(repr=False)
    spoken: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        return (self.name, *self.synonyms)

    @property
    def spoken_words(self) -> tuple[str, ...]:
        return self.words if self.spoken is None else (self.spoken,)

    @cached_property
    def shows_turns(self) -> bool:
        """Whether spinning can be told from staying still."""
        picture = torch.from_numpy(self.picture).permute(2, 0, 1)[None].float() / 255
        turned = torch.cat([turn(picture, degrees) for degrees in TURNS])
        change = (turned - picture).abs().sum((1, 2, 3)) / picture.sum()
        return bool(change.min() > LEAST_TURN_CHANGE)


@dataclass(frozen=True, eq=False)
class Cast:
    """Members in the order of their table; names and synonyms are unique."""

    name: str
    members: tuple[Member, ...]

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def index(self, name: str) -> int:
        """Position of a name or synonym. Raises ValueError that names the nearest ones."""
        if name in self._indices:
            return self._indices[name]
        nearest = get_close_matches(name, self._indices, n=5, cutoff=0.4) or self.names[:12]
        raise ValueError(f"cast {self.name!r}: no member is called {name!r}; near it are {', '.join(nearest)}.")

    def pictures(self, size: int) -> torch.Tensor:
        """All pictures, area-averaged to size x size: (N, 4, size, size) float32, premultiplied, in [0, 1]."""
        if size not in self._sizes:
            stacked = torch.from_numpy(np.stack([member.picture for member in self.members])).permute(0, 3, 1, 2)
            self._sizes[size] = F.adaptive_avg_pool2d(stacked.float() / 255, size).contiguous()
        return self._sizes[size]

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, member in enumerate(self.members) for word in member.words}

    @cached_property
    def _sizes(self) -> dict[int, torch.Tensor]:
        return {}


def turn(pictures: torch.Tensor, degrees: float) -> torch.Tensor:
    """(N, C, H, W) turned about their centres."""
    angle = np.deg2rad(degrees)
    rotation = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    theta = rotation.to(pictures.dtype).expand(len(pictures), 2, 3)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def named_table(name: str) -> Path | None:
    """The table of a cast that this package names, such as "stickers"; None for others, which bring their own."""
    table = STICKERS.with_name(f"{name}.csv")
    return table if table.is_file() else None


def load_cast(folder: str | Path, table: str | Path | None = None, name: str | None = None) -> Cast:
    """A folder of pictures with its table: `table`, or the one CSV file in it, or the stickers' where there is none.

    Raises ValueError for a table without the columns, without rows, with a word twice or naming missing files, and for
    pictures that are unreadable, have no alpha channel, or are empty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. A cast is a folder of cut-out pictures with a table of names.")
    table = Path(table) if table else _find_table(folder)
    rows = _read_table(table)
    missing = [row["file"] for row in rows if not (folder / row["file"]).is_file()]
    if missing:
        raise ValueError(
            f"{table}: it names {len(missing)} files that are not in {folder}: {', '.join(missing[:5])}. Give the "
            "folder that holds the pictures, or correct the table."
        )
    members = tuple(Member(row["name"], row["synonyms"], read_cutout(folder / row["file"])) for row in rows)
    return Cast(name or table.stem, members)


def _find_table(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        raise ValueError(f"{folder}: one table of names is expected; got {', '.join(file.name for file in tables)}.")
    return tables[0] if tables else STICKERS


def _read_table(table: Path) -> list[dict]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a mark
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table}: not a table of names ({error}).") from error
    lacking = [column for column in COLUMNS if column not in columns]
    if lacking or not rows:
        raise ValueError(
            f"{table}: a table needs rows and the columns {', '.join(COLUMNS)}; it lacks {lacking or 'rows'}."
        )
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        name = (row["name"] or "").strip().lower()
        others = [word.strip().lower() for word in (row["synonyms"] or "").split(";")]
        row["name"], row["synonyms"] = name, tuple(word for word in others if word)
        row["file"] = (row["file"] or "").strip()
        if not name or not row["file"]:
            raise ValueError(
                f"{table}, line {number}: a row needs a name and a file; got {name!r} and {row['file']!r}."
            )
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"{table}, line {number}: a name must have at most {LONGEST_NAME} letters; got {name!r}.")
        for word in (name, *row["synonyms"]):
            if word in seen:
                raise ValueError(f"{table}, line {number}: {word!r} is a name of line {seen[word]} already.")
            seen[word] = number
    return rows


def read_cutout(file: str | Path) -> np.ndarray:
    """A picture with an alpha channel, cut to its object and centred in a square: (PICTURE, PICTURE, 4) premultiplied.

    Raises ValueError for a file that is no whole picture, has no transparent pixel or hardly an opaque one.
    """
    from PIL import ImageOps

    with open_picture(file) as picture:
        has_alpha = picture.has_transparency_data
        rgba = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"), np.float32) / 255
    if not has_alpha:
        raise ValueError(f"{file}: a cut-out needs an alpha channel; this picture has none. Remove its background.")
    alpha = rgba[..., 3]
    if alpha.min() > 0.5:
        raise ValueError(f"{file}: a cut-out must be transparent around its object; this picture is opaque everywhere.")
    rows, columns = (np.flatnonzero((alpha > 0.1).any(axis)) for axis in (1, 0))
    if (alpha > 0.5).mean() < LEAST_OPAQUE:
        raise ValueError(f"{file}: a cut-out must show something; this picture is empty.")
    rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.rint(_fill_square(rgba) * 255).astype(np.uint8)


def _fill_square(rgba: np.ndarray) -> np.ndarray:
    """(h, w, 4), straight alpha -> (PICTURE, PICTURE, 4), premultiplied, the longer side filling all but MARGIN."""
    height, width = rgba.shape[:2]
    premultiplied = torch.from_numpy(rgba * np.concatenate([rgba[..., 3:]] * 3 + [np.ones_like(rgba[..., 3:])], -1))
    inner = PICTURE * (1 - 2 * MARGIN) / max(height, width)
    size = [max(1, round(height * inner)), max(1, round(width * inner))]
    picture = premultiplied.permute(2, 0, 1)[None]
    picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (PICTURE - size[0]) // 2, (PICTURE - size[1]) // 2
    picture = F.pad(picture, (left, PICTURE - size[1] - left, top, PICTURE - size[0] - top))
    return picture[0].permute(1, 2, 0).clamp(0, 1).numpy()


# --- the built-in cast ------------------------------------------------------------------------------------------------

COLORS = {
    "red": (0.92, 0.10, 0.12),
    "green": (0.10, 0.80, 0.20),
    "blue": (0.12, 0.42, 1.00),
    "yellow": (1.00, 0.92, 0.10),
    "purple": (0.72, 0.18, 0.90),
    "orange": (1.00, 0.52, 0.04),
}


@cache
def drawn_shapes() -> Cast:
    """The built-in cast: circle, square, triangle and star in six colours, named "red circle" and so on.

    Always the same object, which is only to be read.
    """
    members = []
    for shape, outline in OUTLINES.items():
        coverage = fill_polygon(outline)
        for color, rgb in COLORS.items():
            picture = np.concatenate([coverage[..., None] * np.array(rgb), coverage[..., None]], axis=-1)
            members.append(Member(f"{color} {shape}", (), np.rint(picture * 255).astype(np.uint8)))
    return Cast("shapes", tuple(members))


def regular_outline(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners of a regular polygon, or of a star where `inner` (inner over outer radius) is not 1: (N, 2), point up."""
    count = corners if inner == 1.0 else 2 * corners
    angles = 2 * np.pi * np.arange(count) / count
    radius = np.where((np.arange(count) % 2 == 0) | (inner == 1.0), 1.0, inner)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], axis=1)


def fill_polygon(outline: np.ndarray, supersampling: int = 4) -> np.ndarray:
    """Coverage (PICTURE, PICTURE) in [0, 1] of a polygon that fills the square but for MARGIN (even-odd rule)."""
    outline = outline - (outline.max(0) + outline.min(0)) / 2
    outline = 0.5 + outline * (0.5 - MARGIN) / np.abs(outline).max()
    side = PICTURE * supersampling
    centers = (np.arange(side) + 0.5) / side
    inside = np.zeros((side, side), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (centers >= min(y0, y1)) & (centers < max(y0, y1))
        at = x0 + (centers - y0) * (x1 - x0) / (y1 - y0)
        inside[crosses] ^= centers < at[crosses, None]
    return inside.reshape(PICTURE, supersampling, PICTURE, supersampling).mean((1, 3)).astype(np.float32)


OUTLINES = {
    "circle": regular_outline(120),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float),
    "triangle": regular_outline(3),
    "star": regular_outline(5, inner=0.48),
}
