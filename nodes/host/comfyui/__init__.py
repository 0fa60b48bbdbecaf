"""The ComfyUI host: everything that touches core's runtime, through public sockets and ModelPatcher only."""

from comfy_api.latest import ComfyExtension, io

from .files import checkpoint_names, checkpoint_path, input_file, register_model_folder
from .model import load_model, model_info
from .notices import notices
from .preview import shown_clip
from .routes import serve
from .sampling import placed, progress, sample_video
from .style import apply_style
from .text import encode_text, load_text_encoder

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
