"""Lumiere in plain torch: networks, diffusion, MultiDiffusion, training, evaluation. Knows nothing of ComfyUI.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module

_EXPORTS = {
    "Clip": "pipeline",
    "LumierePipeline": "pipeline",
    "CheckpointInfo": "checkpoint",
    "load_checkpoint": "checkpoint",
    "load_info": "checkpoint",
    "load_stunet": "checkpoint",
    "save_checkpoint": "checkpoint",
    "STUNet": "networks",
    "UNetConfig": "networks",
    "inflate": "networks",
    "TextEncoder": "text",
    "load_text_encoder": "text",
    "read_video": "video_io",
    "write_video": "video_io",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
