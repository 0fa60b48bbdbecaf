"""What nodes need of their surroundings: from ComfyUI where it is running, from plain torch where it is not.

Both hosts offer the same names:

io: the classes of which schemas are made. ComfyExtension: what a pack's list of nodes derives from.
register_model_folder(): make the model folder known. serve(path, answer): answer the front end, where there is one.
checkpoint_names(kinds): files to choose from, bundled ones too. checkpoint_path(name): where such a file lies.
input_file(name): where a file of the input folder lies. load_model(path, kinds, dtype) -> MODEL.
load_text_encoder(path) -> CLIP, or None where the checkpoint names no encoder, or none that is there.
encode_text(clip, text) -> CONDITIONING.
model_info(model, kinds) -> CheckpointInfo; a MODEL of another kind is an error.
apply_style(model, style, alpha) -> MODEL: another one, whose spatial weights are blended with the style's when they are
needed; warns of what the style's plan notes.
sample_video(model, plan, positive, negative, seed, start, mask, keep_known) -> clip (1, 3, T, H, W) in [-1, 1]: by a
base network, through whatever is patched onto the MODEL.
placed(model, plan, node): a context in which the bare network runs; gives the keywords of lumiere_core's `sample` that
say how: network, dtype, and where it may run several windows at once batch and is_out_of_memory.
notices(node): a context that every node's `execute` runs in; what is warned of there shows at the node, each time.
progress(title, plan, fps): a context; gives the keywords that report: evaluated, where a cancelled run ends, and
callback, which shows the clip as it forms. shown_clip(frames, fps): keywords of NodeOutput that leave the clip playing.
"""

from importlib.util import find_spec

if find_spec("comfy_api") is not None:
    from .comfyui import *  # noqa: F403
else:
    from .standalone import *  # noqa: F403
