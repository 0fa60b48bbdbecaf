"""Checkpoint files: their format, those that come with the pack, and a summary for people."""
