"""A run that outgrows the accelerator goes on in smaller batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def halve_on_out_of_memory(
    denoise: Callable[..., Tensor], is_out_of_memory: Callable[[Exception], bool]
) -> Callable[..., Tensor]:
    """Evaluate a batch in halves, quarters... where it does not fit, and no larger from then on.

    denoise: takes x (B, C, T, H, W), sigma scalar or (B,), and conditioning; tensors of B entries are split like x.
    is_out_of_memory: whether an exception is the device's word for that; others, and a batch of 1, are raised.
    """
    largest = None

    def careful(x: Tensor, sigma: Tensor, **conditioning: Any) -> Tensor:
        nonlocal largest
        size = min(largest or x.shape[0], x.shape[0])
        while True:
            try:
                parts = [denoise(*part[0], **part[1]) for part in _split(x, sigma, conditioning, size)]
                return torch.cat(parts) if len(parts) > 1 else parts[0]
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            size = largest = size // 2  # outside the handler, where the failed tensors are no longer held

    return careful


def _split(x: Tensor, sigma: Tensor, conditioning: dict[str, Any], size: int):
    """((x, sigma), conditioning) of each part of at most `size` entries."""
    count = x.shape[0]
    if size >= count:
        yield (x, sigma), conditioning
        return

    def part(value: Any, begin: int) -> Any:
        is_batched = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == count
        return value[begin : begin + size] if is_batched else value

    for begin in range(0, count, size):
        named = {name: part(value, begin) for name, value in conditioning.items()}
        yield (part(x, begin), part(sigma, begin)), named
