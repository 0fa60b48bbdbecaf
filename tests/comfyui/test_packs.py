"""Beside the node packs that people have: COMFYUI_PACKS names a folder of them, a folder each.

VideoHelperSuite, KJNodes, AnimateDiff-Evolved and Impact Pack; what they import must be in COMFYUI_PYTHON. All other
tests run beside them, too, where that variable is set.
"""

import json

import pytest
from comfyui_graphs import LumiereGraph
from comfyui_server import PACK_FOLDER, ROOT, other_packs

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.parametrize("server", [("--preview-method", "auto")], indirect=True, ids=["previews"]),
]

FRAMES = 12
QUICK = {"steps": 2, "frames": 8}
PREVIEWS_OF_VIDEO_HELPER_SUITE = {"extra_pnginfo": {"workflow": {"extra": {"VHS_latentpreview": True}}}}


@pytest.fixture
def beside():
    packs = [path.name for path in other_packs()]
    if not packs:
        pytest.skip("needs other people's packs: COMFYUI_PACKS=..., a folder of them")
    return packs


def test_all_packs_load(server, beside):
    failed = [line for line in server.start_log.splitlines() if "IMPORT FAILED" in line]
    assert [line for line in failed if any(name in line for name in (PACK_FOLDER, *beside))] == []


def test_the_animated_previews_of_video_helper_suite_play_the_clip(server, beside):
    if "ComfyUI-VideoHelperSuite" not in beside:
        pytest.skip("VideoHelperSuite is not among the packs")
    graph = LumiereGraph()
    graph.save(graph.ksampler(graph.empty_video(FRAMES)[0], steps=6)[0], "animated")
    client = server.client
    outcome = client.wait(client.queue(graph.prompt, PREVIEWS_OF_VIDEO_HELPER_SUITE))
    assert outcome.ending.kind == "execution_success", outcome.message
    (announced,) = outcome.of("VHS_latentpreview")
    assert announced.data["length"] == FRAMES
    assert outcome.of("preview"), "frames of it came"


@pytest.mark.parametrize("name", ["image_to_video", "ksampler"])
def test_our_workflows_run_with_their_previews_on(server, beside, name):
    prompt = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        node["inputs"] |= {key: few for key, few in QUICK.items() if isinstance(node["inputs"].get(key), int)}
    client = server.client
    outcome = client.wait(client.queue(prompt, PREVIEWS_OF_VIDEO_HELPER_SUITE))
    assert outcome.ending.kind == "execution_success", outcome.message
    assert outcome.files
