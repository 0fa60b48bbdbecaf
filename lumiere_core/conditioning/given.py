"""What is given of a clip, and how the network hears of it: <J, C, M>, Sec. 4.2 of the paper.

A condition is a clip and its change mask, 1 where pixels are to be generated and 0 where they are known: ComfyUI's
polarity. The paper's M is the inverse; the flip happens in `condition_channels` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..runtime.memory import require_frames_memory
from ..runtime.notices import heard_by, warn
from ..video.tensors import check_frames
from .fitting import FITS, feather_mask, fit_mask, fit_video, grow_mask

CONDITION_CHANNELS = 4  # C has three, M one
CLIP_COPIES = 4  # that a condition takes while it is made
MASKED = ("inpaint", "region")  # the modes that need a mask
# Of what is said beside images and fit, which modes take it.
USED_BY = {"mask": MASKED, "grow": MASKED, "feather": MASKED, "last": ("extend",), "indices": ("keyframes",)}


class Condition(NamedTuple):
    """clip: (1, 3, T, H, W) in [-1, 1], zero (mid-grey) where nothing is given. change_mask: (1, 1, T, H, W)."""

    clip: torch.Tensor
    change_mask: torch.Tensor


@dataclass(frozen=True)
class Given:
    """What a user gives, of any size; `condition` makes a clip of it, at the base's size and again at the SSR's.

    mode: see MODES. images: (N, H, W, 3) in [0, 1]. indices: the frames that keyframes are, negative ones from the
    clip's end. mask: (1 or N, h, w), 1 where pixels are generated. fit: how images of another shape are made to fit;
    what padding adds is generated. last: of a video to be extended, how many of its last frames the clip starts with,
    0 for all. grow, feather: pixels by which the mask is widened, and over which it then fades.
    Raises ValueError for what has no effect on the mode, too.
    """

    mode: str
    images: torch.Tensor
    indices: tuple[int, ...] = (0,)
    mask: torch.Tensor | None = None
    fit: str = "crop"
    last: int = 0
    grow: int = 0
    feather: int = 0

    def __post_init__(self):
        for name, value, known in (("mode", self.mode, MODES), ("fit", self.fit, FITS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
        check_frames(self.images, "images")
        for name, modes in USED_BY.items():
            value = getattr(self, name)
            if self.mode not in modes and (isinstance(value, torch.Tensor) or value not in (None, 0, (0,))):
                raise ValueError(f"{name} has no effect on {self.mode}; leave it out. It is for {' and '.join(modes)}.")
        if self.mode in MASKED and self.mask is None:
            raise ValueError(f"{self.mode} needs a mask, 1 where pixels are to be generated; got none.")
        if self.last < 0 or self.feather < 0:
            raise ValueError(f"last and feather must be at least 0; got {self.last} and {self.feather}.")

    def condition(self, frames: int, size: tuple[int, int], scale: int = 1) -> Condition:
        """The condition of a clip of so many frames, size (height, width); grow and feather count times `scale`."""
        if frames < 1:
            raise ValueError(f"frames must be at least 1; got {frames}.")
        require_frames_memory("A clip", frames, *size, copies=CLIP_COPIES)
        video, padding = fit_video(self.images, size, self.fit)
        clip, change_mask = MODES[self.mode](self, video, self._fitted_mask(size, scale), frames)
        return Condition(clip, torch.maximum(change_mask, padding))

    def at_full_size(self, frames: int, size: tuple[int, int], scale: int) -> Condition | None:
        """The condition of the clip that super-resolution makes, `scale` times the base's (height, width).

        None where the images are smaller than that: enlarged, they would not be known. Warns of nothing, because
        `condition` at the base's size did.
        """
        if any(given < side for given, side in zip(self.images.shape[1:3], size, strict=True)):
            return None
        with heard_by(lambda text: None):
            return self.condition(frames, size, scale)

    def _fitted_mask(self, size: tuple[int, int], scale: int) -> torch.Tensor | None:
        if self.mask is None:
            return None
        mask = fit_mask(self.mask, tuple(self.images.shape[1:3]), size, self.fit)
        _warn_of_constant(mask, self.mode)
        return feather_mask(grow_mask(mask, self.grow * scale), self.feather * scale)[None, None]


def _first_frame(given: Given, video: torch.Tensor, mask, frames: int) -> Condition:
    """The first of the images is frame 0; the rest is generated (image to video)."""
    return _place(video[:, :, :1], [0], frames)


def _keyframes(given: Given, video: torch.Tensor, mask, frames: int) -> Condition:
    """Each image is the frame that its index names."""
    count = video.shape[2]
    if len(given.indices) != count:
        raise ValueError(
            f"keyframes needs one index for each image; got {len(given.indices)} indices "
            f"({', '.join(map(str, given.indices))}) for {count} images."
        )
    return _place(video, resolve_indices(given.indices, frames), frames)


def _extend(given: Given, video: torch.Tensor, mask, frames: int) -> Condition:
    """The clip starts with the video's last frames, and goes on."""
    count = video.shape[2]
    if given.last > count:
        raise ValueError(f"last must be at most {count}, the video's frames; got {given.last}.")
    kept = given.last or count
    require_room_to_extend(kept, frames)
    return _place(video[:, :, count - kept :], range(kept), frames)


def require_room_to_extend(kept: int, frames: int) -> None:
    """Raise ValueError where the frames that are kept of a video leave none of the clip's to be generated."""
    if kept >= frames:
        raise ValueError(
            f"extend: the clip of {frames} frames starts with {kept} given ones, which leaves none to generate. Set "
            f"frames to more than {kept}, or last, how many of the video's frames are kept, to less than {frames}."
        )


def _inpaint(given: Given, video: torch.Tensor, mask: torch.Tensor, frames: int) -> Condition:
    """The video outside the mask. What a shorter video lacks is generated; of a longer one the first frames count."""
    count = video.shape[2]
    if mask.shape[2] not in (1, count):
        raise ValueError(f"mask must be one for all frames, or one for each of the {count}; got {mask.shape[2]}.")
    if count > frames:
        warn(f"the video has {count} frames; the first {frames} are used.")
    used = min(count, frames)
    clip, change_mask = _place(video[:, :, :used], range(used), frames)
    change_mask[:, :, :used] = mask[:, :, :used]
    return Condition(clip, change_mask)


def _region(given: Given, video: torch.Tensor, mask: torch.Tensor, frames: int) -> Condition:
    """A still image, known in all of frame 0 and later outside the region: only the region moves (cinemagraph)."""
    if mask.shape[2] not in (1, frames):
        raise ValueError(f"mask must be one for all frames, or one for each of the {frames}; got {mask.shape[2]}.")
    clip = video[:, :, :1].repeat(1, 1, frames, 1, 1)
    change_mask = mask.repeat(1, 1, frames // mask.shape[2], 1, 1)
    change_mask[:, :, 0] = 0
    return Condition(clip, change_mask)


# Modes by name; each takes (given, fitted video, fitted mask (1, 1, 1 or N, H, W) or None, frames).
MODES: dict[str, Callable[..., Condition]] = {
    "first_frame": _first_frame,
    "keyframes": _keyframes,
    "extend": _extend,
    "inpaint": _inpaint,
    "region": _region,
}


def parse_indices(text: str) -> tuple[int, ...]:
    """ "0, 40, -1" -> (0, 40, -1)."""
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        return tuple(int(part) for part in parts)
    except ValueError as error:
        raise ValueError(f'indices must be whole numbers with commas, such as "0, 40, -1"; got {text!r}.') from error


def resolve_indices(indices: Sequence[int], frames: int) -> list[int]:
    """Indices into a clip, negative ones counted from its end; out of range, or a frame named twice, is an error."""
    resolved = []
    for index in indices:
        if not -frames <= index < frames:
            raise ValueError(f"indices must lie in {-frames} to {frames - 1} for {frames} frames; got {index}.")
        if index % frames in resolved:
            raise ValueError(
                f"indices must differ; frame {index % frames} is named twice in {', '.join(map(str, indices))}."
            )
        resolved.append(index % frames)
    return resolved


def condition_channels(clip: torch.Tensor, change_mask: torch.Tensor) -> torch.Tensor:
    """C and M of the paper: the clip where it is known and zero elsewhere, and 1 where it is known: (B, 4, T, H, W).

    clip: (B, 3, T, H, W) in [-1, 1]. change_mask: (B, 1, 1 or T, H, W); known is where it is exactly 0, so that a
    feathered seam is generated.
    """
    known = (change_mask == 0).to(clip).expand(-1, 1, *clip.shape[2:])
    return torch.cat([clip * known, known], dim=1)


def join_condition(x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
    """<J, C, M>: (B, 3, T, H, W) and (1 or B, 4, T, H, W) -> (B, 7, T, H, W). None: nothing is known, zeros."""
    if condition is None:
        condition = x.new_zeros(1, CONDITION_CHANNELS, *x.shape[2:])
    return torch.cat([x, condition.to(x).expand(x.shape[0], -1, -1, -1, -1)], dim=1)


def hears_condition(in_channels: int) -> bool:
    """Whether a base network with so many input channels is conditional."""
    return in_channels == 3 + CONDITION_CHANNELS


def masked_clip(condition: Condition) -> torch.Tensor:
    """The clip to look at: mid-grey where nothing of it stays, (1, 3, T, H, W)."""
    return condition.clip * (condition.change_mask < 1)


def _place(images: torch.Tensor, indices: Sequence[int], frames: int) -> Condition:
    """A clip of which the given images (1, 3, N, H, W) are the frames `indices`, and nothing else is known."""
    _, channels, _, height, width = images.shape
    clip = images.new_zeros(1, channels, frames, height, width)
    change_mask = images.new_ones(1, 1, frames, height, width)
    clip[:, :, list(indices)] = images
    change_mask[:, :, list(indices)] = 0
    return Condition(clip, change_mask)


def _warn_of_constant(mask: torch.Tensor, mode: str) -> None:
    if bool((mask == 0).all()):
        warn(f"{mode}: the mask is 0 everywhere, so nothing under it is made anew.")
    elif bool((mask == 1).all()):
        warn(f"{mode}: the mask is 1 everywhere, so nothing under it is kept.")
