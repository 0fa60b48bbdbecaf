"""One clip made by several processes: what the diffusion code asks of those who share the work."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Share(Protocol):
    """One process's part. All run the same steps on the same clip, and share what the network evaluates."""

    def part(self, count: int) -> range:
        """Which of `count` pieces of work are its own; each piece is somebody's, and nobody else's."""

    def total(self, tensor: Tensor) -> None:
        """Replace the tensor by the sum of everybody's, the same for all; each must come here, and as often."""
