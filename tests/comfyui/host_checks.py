"""Runs inside ComfyUI's interpreter, without a server: what a CPU machine can tell of the paths that accelerators take.

Usage: python host_checks.py COMFYUI_PATH PACKAGES CHECKPOINT; PACKAGES holds lumiere_video. Prints one JSON object.
"""

import json
import sys
from pathlib import Path

comfyui, packages, checkpoint = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path[:0] = [comfyui, packages]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.memory_management  # noqa: E402
import comfy.patcher_extension  # noqa: E402
import torch  # noqa: E402

from lumiere_video.lumiere_core.diffusion.options import SamplingOptions  # noqa: E402
from lumiere_video.lumiere_core.runtime.notices import heard_by  # noqa: E402
from lumiere_video.lumiere_core.sampling import plan_sampling  # noqa: E402
from lumiere_video.nodes.host.comfyui import model, sampling  # noqa: E402

PATH = Path(checkpoint)


def dynamic_memory(dtype: str) -> bool:
    """With dynamic memory core's layers come without weights, and keep what they are given."""
    comfy.memory_management.aimdo_enabled = True
    try:
        patcher = model.load_model(PATH, ("ssr",), dtype, disable_dynamic=True)
    finally:
        comfy.memory_management.aimdo_enabled = False
    network = patcher.model.diffusion_model
    x = torch.randn(1, 6, 2, 16, 16, dtype=network.dtype)
    text = torch.randn(1, 4, network.config.text_dim)
    with torch.inference_mode():
        out = network(x, torch.tensor([500.0]), text, noise_level=torch.tensor([3]))
    kept = {parameter.dtype for parameter in network.parameters()} == {getattr(torch, dtype)}
    return kept and out.dtype == network.dtype and bool(torch.isfinite(out).all())


def warnings_of(patch) -> list[str]:
    """What `placed` says of a MODEL after `patch(model)`."""
    patched = model.load_model(PATH, ("ssr",), "float32").clone()
    patch(patched)
    said = []
    plan = plan_sampling(patched.model.info, 4, (16, 16), SamplingOptions(steps=1))
    with heard_by(said.append), sampling.placed(patched, plan, "Node") as place:
        assert place["batch"] == 1
    return said


def wrap(patched):
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "probe", lambda *_: None)


def compute_dtype() -> str:
    patched = model.load_model(PATH, ("ssr",), "float32").clone()
    patched.add_object_patch("manual_cast_dtype", torch.bfloat16)
    plan = plan_sampling(patched.model.info, 1, (16, 16), SamplingOptions(steps=1))
    with sampling.placed(patched, plan, "Node") as place:
        return str(place["dtype"])


result = {
    "dynamic_memory": [dynamic_memory(dtype) for dtype in ("float32", "bfloat16")],
    "no_patch": warnings_of(lambda patched: None),
    "cfg_function": warnings_of(lambda patched: patched.set_model_sampler_cfg_function(lambda args: args["cond"])),
    "wrapper": warnings_of(wrap),
    "weights": warnings_of(lambda patched: patched.add_object_patch("diffusion_model.probe", None)),
    "compute_dtype": compute_dtype(),
}
print(json.dumps(result))
