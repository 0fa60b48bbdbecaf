"""Clips as tensors, as files and as pictures to look at."""
