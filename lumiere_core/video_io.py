"""The old name of `video.files`, which scripts may still import."""

from .video.files import read_video, write_video  # noqa: F401
