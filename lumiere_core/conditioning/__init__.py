"""What a network hears beside noise: text, known pixels, a small clip."""

from .given import Given

__all__ = ["Given"]
