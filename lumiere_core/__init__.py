"""Lumiere in plain torch: networks, diffusion, MultiDiffusion, training. Knows nothing of ComfyUI.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module

_EXPORTS = {
    "Clip": "pipeline",
    "LumierePipeline": "pipeline",
    "CheckpointInfo": "checkpoints.format",
    "load_checkpoint": "checkpoints.format",
    "load_info": "checkpoints.format",
    "load_stunet": "checkpoints.format",
    "save_checkpoint": "checkpoints.format",
    "STUNet": "networks",
    "UNetConfig": "networks",
    "inflate": "networks",
    "TextEncoder": "conditioning.text",
    "load_text_encoder": "conditioning.text",
    "read_video": "video.files",
    "write_video": "video.files",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
