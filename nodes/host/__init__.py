"""What nodes need of their surroundings: from ComfyUI where it is running, from plain torch where it is not.

Both hosts offer the same names:

io: the classes of which schemas are made. ComfyExtension: what a pack's list of nodes derives from.
register_model_folder(): make the model folder known. checkpoint_names(kinds): files to choose from, bundled ones too.
checkpoint_path(name): where such a file lies. load_model(path, kinds, dtype) -> MODEL. load_text_encoder(path) -> CLIP,
or None where the checkpoint names no encoder. encode_text(clip, text) -> CONDITIONING. model_info(model, kinds) ->
CheckpointInfo; a MODEL of another kind is an error.
sample_video(model, plan, positive, negative, seed, start, mask, keep_known) -> clip (1, 3, T, H, W) in [-1, 1]: by a
base network, through whatever is patched onto the MODEL.
placed(model, plan, node): a context in which the bare network runs; gives Placed(network, dtype, batch).
progress(title, evaluations): a context; gives an object with `evaluated(done, total)`, called after each evaluation of
the network, where a cancelled run ends, and `step(step)`, a sampler callback that shows a contact sheet of the clip.
is_out_of_memory(error): whether it is torch's word for that.
"""

from importlib.util import find_spec

if find_spec("comfy_api") is not None:
    from .comfyui import (
        ComfyExtension,
        checkpoint_names,
        checkpoint_path,
        encode_text,
        io,
        is_out_of_memory,
        load_model,
        load_text_encoder,
        model_info,
        placed,
        progress,
        register_model_folder,
        sample_video,
    )
else:
    from .standalone import (
        ComfyExtension,
        checkpoint_names,
        checkpoint_path,
        encode_text,
        io,
        is_out_of_memory,
        load_model,
        load_text_encoder,
        model_info,
        placed,
        progress,
        register_model_folder,
        sample_video,
    )

__all__ = [
    "ComfyExtension",
    "checkpoint_names",
    "checkpoint_path",
    "encode_text",
    "io",
    "is_out_of_memory",
    "load_model",
    "load_text_encoder",
    "model_info",
    "placed",
    "progress",
    "register_model_folder",
    "sample_video",
]
