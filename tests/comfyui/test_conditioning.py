"""Known pixels in a real ComfyUI: our sampler against core's, windows of a condition, and both hosts."""

import json
from pathlib import Path

import numpy
import pytest
from comfyui_graphs import LumiereGraph
from comfyui_pixels import ONE_LEVEL, pixels, run_standalone

pytestmark = pytest.mark.comfyui

ROOT = Path(__file__).parents[2]
MODES = {
    "first_frame": {},
    "keyframes": {"mode.indices": "0, 5"},
    "extend": {"mode.last": 0},
    "inpaint": {"mode.grow": 0, "mode.feather": 0},
    "region": {"mode.grow": 1, "mode.feather": 2},
}
IMAGES = {"keyframes": 2, "extend": 4, "inpaint": 12}
APPLICATIONS = (
    "cinemagraph",
    "extend_video",
    "first_last_frame",
    "image_to_video",
    "style_sweep",
    "video_inpainting",
    "video_to_video",
)


def conditioned(graph: LumiereGraph, mode: str, frames: int = 12):
    """BuildConditioningMask at 32 x 32 with random images, and a blocky mask where the mode takes one."""
    images = graph.images(IMAGES.get(mode, 1), side=32, seed=1)
    inputs = {"images": images[0], "frames": frames, "width": 32, "height": 32, "fit": "crop", "mode": mode}
    if mode in ("inpaint", "region"):
        coarse = graph.add("ImageToMask", image=graph.images(1, side=32, seed=2)[0], channel="red")
        inputs["mask"] = graph.add("ThresholdMask", mask=coarse[0], value=0.5)[0]
    texts = {"positive": graph.positive, "negative": graph.negative}
    return graph.add("LumiereBuildConditioningMask", **texts, **inputs, **MODES[mode])


@pytest.mark.parametrize("mode", MODES)
def test_known_pixels_are_exact_and_core_samples_the_same(frames, capsys, mode):
    graph = LumiereGraph()
    known = conditioned(graph, mode)
    texts = {"positive": known[0], "negative": known[1]}
    ours = graph.stunet(latent=known[2], frames=0, width=0, height=0, **texts)
    core = graph.ksampler(known[2], **texts)
    unheard = graph.stunet(latent=known[2], frames=0, width=0, height=0)
    mask = graph.add("MaskToImage", mask=known[4])
    result = frames(
        graph, {"ours": ours[0], "core": core[0], "unheard": unheard[0], "given": known[3], "mask": mask[0]}
    )
    kept = result["mask"][..., 0] == 0
    found = numpy.abs(result["ours"] - result["core"]).max()
    with capsys.disabled():
        print(f"\n{mode}: ours and core {found:.2e}, {kept.mean():.0%} kept")
    assert 0 < kept.mean() < 1
    assert numpy.array_equal(result["ours"][kept], result["given"][kept])
    assert numpy.abs(result["core"][kept] - result["given"][kept]).max() <= ONE_LEVEL
    assert found <= ONE_LEVEL
    assert numpy.abs(result["ours"] - result["unheard"]).max() > ONE_LEVEL, "the network hears the condition"


def test_every_window_hears_its_own_part_of_the_condition(frames):
    graph = LumiereGraph()
    known = conditioned(graph, "inpaint", frames=28)
    texts = {"positive": known[0], "negative": known[1]}
    ours = graph.stunet(latent=known[2], frames=0, width=0, height=0, window=15, overlap=2, **texts)
    core = graph.ksampler(known[2], model=graph.context_windows(graph.base[0], 15, 2)[0], **texts)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    assert numpy.abs(result["ours"] - result["core"]).max() <= ONE_LEVEL


def test_a_condition_of_another_length_is_named(client):
    graph = LumiereGraph()
    known = conditioned(graph, "first_frame", frames=8)
    graph.add("PreviewImage", images=graph.stunet(positive=known[0], negative=known[1])[0])
    assert "known pixels are of a clip of" in client.fail(graph.prompt)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_both_hosts_make_the_same_frames(server, comfyui_paths, capsys, tmp_path, name):
    """The shipped workflow, with fewer steps and frames, saved as PNGs."""
    prompt = quick(json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8")))
    outcome = server.client.succeed(prompt)
    in_comfyui = [pixels(server.client.view(file)) for file in outcome.files]

    standalone = run_standalone(prompt, comfyui_paths[1], tmp_path)

    assert len(in_comfyui) == len(standalone) > 1
    found = max(int(numpy.abs(a - b).max()) for a, b in zip(in_comfyui, standalone, strict=True))
    with capsys.disabled():
        print(f"\n{name}: both hosts {found} / 255")
    assert found <= 1


def quick(prompt: dict) -> dict:
    """Fewer steps and frames in float32, and PNGs instead of a video."""
    for node in prompt.values():
        inputs = node["inputs"]
        inputs |= {name: value for name, value in {"steps": 2, "dtype": "float32"}.items() if name in inputs}
        if node["class_type"] == "LumiereBuildConditioningMask":
            inputs["frames"] = 12
        if "mode.last" in inputs:
            inputs["mode.last"] = 6
        if node["class_type"] == "LumiereSTUNetSampler" and "latent" not in inputs:
            inputs["frames"] = 12
    (save,) = (node for node in prompt.values() if node["class_type"] == "SaveVideo")
    create = prompt.pop(save["inputs"]["video"][0])
    save |= {"class_type": "SaveImage", "inputs": {"images": create["inputs"]["images"], "filename_prefix": "same"}}
    return prompt
