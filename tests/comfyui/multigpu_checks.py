"""Runs inside ComfyUI's interpreter, without a server: a MODEL split over devices as core's MultiGPU CFG Split does it.

The CPU goes by two names, cpu and cpu:0, which core takes for two devices: all of its way but the copies between GPUs.

Usage: python multigpu_checks.py COMFYUI_PATH PACKAGES WEIGHTS; PACKAGES holds lumiere_video. Prints one JSON object.
"""

import json
import sys
from pathlib import Path

comfyui, packages, weights = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path[:0] = [comfyui, packages]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.model_management as management  # noqa: E402
import torch  # noqa: E402
from comfy.multigpu import create_multigpu_deepclones  # noqa: E402

from lumiere_video.lumiere_core.diffusion.options import SamplingOptions  # noqa: E402
from lumiere_video.lumiere_core.runtime.notices import heard_by  # noqa: E402
from lumiere_video.lumiere_core.sampling import plan_sampling  # noqa: E402
from lumiere_video.nodes.host.comfyui import model, sampling  # noqa: E402

LAYER = "conv_in.weight"


def load(name: str):
    kind = "ssr" if "ssr" in name else "base"
    patcher = model.load_model(Path(weights) / name, (kind,), "float32")
    with torch.no_grad():
        weight = patcher.model.diffusion_model.get_parameter(LAYER)
        change = 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    patched = patcher.clone()
    assert patched.add_patches({f"diffusion_model.{LAYER}": ("diff", (change,))})
    return patched


def split(patcher):
    """What the node makes of a MODEL on a machine with two devices."""
    given = management.get_all_torch_devices
    management.get_all_torch_devices = lambda exclude_current=False: [patcher.load_device, torch.device("cpu", 0)]
    try:
        return create_multigpu_deepclones(patcher, 2, reuse_loaded=True)
    finally:
        management.get_all_torch_devices = given


def counted(patcher) -> list[int]:
    """Videos that the placed network has seen, counted from now on."""
    seen = []
    patcher.model.diffusion_model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def text(patcher, seed: int) -> list:
    width = patcher.model.diffusion_model.config.text_dim
    return [[torch.randn(1, 8, width, generator=torch.Generator().manual_seed(seed)), {}]]


def sample(patcher, window: int | None = None) -> torch.Tensor:
    options = SamplingOptions(steps=3, guidance=4.0, window=window, overlap=None if window is None else 2)
    plan = plan_sampling(patcher.model.info, 12, (16, 16), options)
    return sampling.sample_video(patcher, plan, text(patcher, 1), text(patcher, 2), 5, None, None, True)


def placed_warnings(patcher) -> list[str]:
    said, plan = [], plan_sampling(patcher.model.info, 4, (16, 16), SamplingOptions(steps=1))
    with heard_by(said.append), sampling.placed(patcher, plan, "Node"):
        pass
    return said


alone, shared = load("toy-base.safetensors"), split(load("toy-base.safetensors"))
(clone,) = shared.get_additional_models_with_key("multigpu")
result = {
    "own_network": clone.model is not shared.model,
    "differences": [float((sample(alone, window) - sample(shared, window)).abs().max()) for window in (None, 6)],
}
seen = [counted(shared), counted(clone)]
sample(shared)
result["seen"] = [sum(videos) for videos in seen]
result["ssr"] = [placed_warnings(load("toy-ssr.safetensors")), placed_warnings(split(load("toy-ssr.safetensors")))]
print(json.dumps(result))
