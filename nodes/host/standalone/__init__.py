"""The host of a machine without ComfyUI: plain torch, a bar on the terminal, Ctrl-C. Run by `lumiere run`."""

from . import io
from .io import ComfyExtension
from .models import (
    apply_style,
    checkpoint_names,
    checkpoint_path,
    encode_text,
    input_file,
    load_model,
    load_text_encoder,
    model_info,
    register_model_folder,
    serve,
)
from .notices import notices
from .sampling import placed, progress, sample_video, shown_clip

__all__ = [
    "ComfyExtension",
    "apply_style",
    "checkpoint_names",
    "checkpoint_path",
    "encode_text",
    "input_file",
    "io",
    "load_model",
    "load_text_encoder",
    "model_info",
    "notices",
    "placed",
    "progress",
    "register_model_folder",
    "sample_video",
    "serve",
    "shown_clip",
]
