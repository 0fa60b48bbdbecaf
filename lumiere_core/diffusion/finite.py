"""One check that a run still holds numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def check_finite(video: Tensor, step: int, dtype: torch.dtype | None = None) -> None:
    """Raise ValueError if `video` (any shape) has a NaN or an infinity.

    step: the sampler step it came from, counted from 0. dtype: what the network computes in, where that is not
    video's own dtype; it is named in the message, for half precision is the usual cause.
    """
    if torch.isfinite(torch.stack(torch.aminmax(video))).all():  # both are NaN where any is; nothing large is made
        return
    dtype = dtype or video.dtype
    advice = " Load the model in float32 or bfloat16." if dtype == torch.float16 else ""
    raise ValueError(
        f"Sampler: expected finite values after step {step + 1}; got NaN or infinity ({dtype}, {video.device}).{advice}"
    )


def finite_callback(
    callback: Callable[[dict[str, Any]], None] | None = None, dtype: torch.dtype | None = None
) -> Callable[[dict[str, Any]], None]:
    """A sampler callback that checks each step's x0, and then calls `callback`: a broken run stops at once."""

    def checked(step: dict[str, Any]) -> None:
        check_finite(step["denoised"], step["i"], dtype)
        if callback is not None:
            callback(step)

    return checked
