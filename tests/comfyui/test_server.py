"""The pack in a running ComfyUI: loading, shipped workflows, cancelling, caching, and bad input."""

import io
import json
import re
import subprocess
import time
from itertools import count, pairwise
from pathlib import Path
from statistics import median

import pytest
from comfyui_client import Client, Outcome, Refused
from comfyui_graphs import BASE, SSR, Graph, LumiereGraph
from comfyui_models import BROKEN, DAMAGED, DIFFERENCE, FULL, NO_TEXT, RESIDUAL
from comfyui_server import PACK_FOLDER, ROOT
from PIL import Image

pytestmark = pytest.mark.comfyui

NODES = {
    "LumiereLoadSTUNet",
    "LumiereLoadSSR",
    "LumiereTextEncode",
    "LumiereSTUNetSampler",
    "LumiereSSRConditioning",
    "LumiereTemporalMultiDiffusionSSR",
    "LumiereEmptyPixelVideo",
    "LumiereFramesToLatent",
    "LumiereLatentToFrames",
}
API_WORKFLOWS = sorted((ROOT / "workflows" / "api").glob("*.json"))
UI_WORKFLOWS = [ROOT / "workflows" / file.name for file in API_WORKFLOWS]
QUICK = {
    "LumiereSTUNetSampler": {"frames": 8, "steps": 2},
    "LumiereEmptyPixelVideo": {"frames": 8},
    "LumiereBuildConditioningMask": {"frames": 8, "mode.last": 3},
    "LumiereTemporalMultiDiffusionSSR": {"steps": 2},
    "KSampler": {"steps": 2},
    "BasicScheduler": {"steps": 2},
    "TrainLoraNode": {"steps": 2},
}
CONVERT = """
import json, sys
from comfy_cli.workflow_to_api import convert_ui_to_api
given = json.load(sys.stdin)
json.dump(convert_ui_to_api(given["workflow"], given["object_info"]), sys.stdout)
"""


# Loading


def test_the_pack_loads_under_an_odd_folder_name_without_a_warning(server):
    lines = server.start_log.splitlines()
    loaded = [line for line in lines if re.search(r"\d seconds", line) and PACK_FOLDER in line]
    assert len(loaded) == 1, server.start_log
    assert "IMPORT FAILED" not in server.start_log and "Traceback" not in server.start_log, server.start_log
    complaints = [line for line in lines if re.match(r"\[(WARNING|ERROR|CRITICAL)\]|.*\bWarning: ", line)]
    assert [line for line in complaints if "lumiere" in line.lower() or PACK_FOLDER in line] == []


def test_object_info_shows_every_node(object_info):
    ours = {name: node for name, node in object_info.items() if node["python_module"].endswith(PACK_FOLDER)}
    assert NODES <= ours.keys()
    assert {node["category"].split("/")[0] for node in ours.values()} == {"Lumiere"}
    assert [name for name, node in ours.items() if not (node["display_name"] and node["description"])] == []


def test_bundled_checkpoints_and_those_of_the_model_folder_are_listed_by_kind(object_info):
    assert {BASE, NO_TEXT} <= choices(object_info, "LumiereLoadSTUNet", "checkpoint")
    assert SSR not in choices(object_info, "LumiereLoadSTUNet", "checkpoint")
    unknown = {FULL, DIFFERENCE}  # files that do not say what they are
    assert choices(object_info, "LumiereLoadSSR", "checkpoint") == {SSR, RESIDUAL, *unknown}


def test_a_damaged_checkpoint_hides_itself_alone(server, object_info):
    for node, name in (("LoadSTUNet", "checkpoint"), ("LoadSSR", "checkpoint"), ("StyleWeightInterpolate", "style")):
        assert DAMAGED not in choices(object_info, f"Lumiere{node}", name)
    assert f"{DAMAGED}: the metadata key 'lumiere' is not what this pack writes" in server.log


def choices(object_info: dict, node: str, name: str) -> set[str]:
    kind, options = object_info[node]["input"]["required"][name]
    return set(options["options"] if kind == "COMBO" else kind)


# Shipped workflows


@pytest.mark.parametrize("file", API_WORKFLOWS, ids=lambda file: file.stem)
def test_a_shipped_workflow_runs(client, file):
    prompt = quick(json.loads(file.read_text(encoding="utf-8")))
    outcome = client.succeed(prompt)
    assert client.history(outcome.prompt_id)["status"]["status_str"] == "success"
    assert outcome.files, "no output node wrote anything"
    for written in outcome.files:
        assert len(client.view(written)) > 100, written


def quick(prompt: dict) -> dict:
    """The same graph with few frames and steps."""
    for node in list(prompt.values()):
        inputs = node["inputs"]
        for name, value in QUICK.get(node["class_type"], {}).items():
            if not isinstance(inputs.get(name), list):
                inputs[name] = value
        source = prompt.get(inputs["images"][0]) if isinstance(inputs.get("images"), list) else None
        if source and source["class_type"] in ("GetVideoComponents", "LumiereSampleMedia"):
            prompt["first frames"] = {
                "class_type": "ImageFromBatch",
                "inputs": {"image": inputs["images"], "batch_index": 0, "length": 8},
            }
            inputs["images"] = ["first frames", 0]
    return prompt


@pytest.mark.parametrize("file", UI_WORKFLOWS, ids=lambda file: file.stem)
def test_a_canvas_workflow_converts_to_its_api_form(comfyui_paths, object_info, file):
    python = comfyui_paths[1]
    given = {"workflow": json.loads(file.read_text(encoding="utf-8")), "object_info": object_info}
    if subprocess.run([python, "-c", "import comfy_cli.workflow_to_api"], capture_output=True).returncode:
        pytest.skip("comfy-cli is not installed beside ComfyUI")
    command = [python, "-c", CONVERT]
    ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    shipped = json.loads((file.parent / "api" / file.name).read_text(encoding="utf-8"))
    assert bare(json.loads(ran.stdout)) == bare(shipped)


def bare(prompt: dict) -> dict:
    return {id: (node["class_type"], node["inputs"]) for id, node in prompt.items()}


# Progress, cancelling, caching


def test_progress_counts_steps_times_windows_and_previews_show_the_clip(client):
    graph = LumiereGraph()
    sampled = graph.super_resolution(graph.images(28, side=16)[0], steps=3)
    graph.save(sampled[0], "progress")
    outcome = client.succeed(graph.prompt)
    progress = [event.data for event in outcome.of("progress") if event.data["node"] == sampled.id]
    assert {data["max"] for data in progress} == {3 * 2}
    assert progress[-1]["value"] == 3 * 2
    previews = [Image.open(io.BytesIO(event.data)) for event in outcome.of("preview")]
    assert previews and all((image.format, image.n_frames) == ("PNG", 28) for image in previews), "the clip plays"


def test_previews_come_by_default_and_the_finished_clip_stays(client):
    """Also where core previews nothing: the front end plays an animated picture in the node."""
    graph = LumiereGraph()
    sampled = graph.super_resolution(graph.images(28, side=16)[0], steps=1)
    graph.save(sampled[0], "shown")
    outcome = client.succeed(graph.prompt)
    (output,) = [event.data["output"] for event in outcome.of("executed") if event.data["node"] == sampled.id]
    assert output["animated"] == [True] and [file["type"] for file in output["images"]] == ["temp"]
    with Image.open(io.BytesIO(client.view(output["images"][0]))) as image:
        assert (image.format, image.n_frames, image.size) == ("WEBP", 28, (64, 64))


def test_cancelling_during_super_resolution_acts_within_one_window(client, capsys):
    graph = LumiereGraph()
    sampled = graph.super_resolution(graph.images(60, side=32)[0], steps=20)
    graph.save(sampled[0], "cancelled")
    prompt_id = client.queue(graph.prompt)
    events, cancelled = [], None
    for event in client.events(prompt_id):
        events.append(event)
        if cancelled is None and event.kind == "progress" and event.data["value"] >= 4:
            cancelled = time.monotonic()
            client.interrupt()
    outcome = Outcome(prompt_id, events)
    assert outcome.ending.kind == "execution_interrupted"
    assert outcome.ending.data["node_type"] == "LumiereTemporalMultiDiffusionSSR"

    progress = [event for event in outcome.of("progress") if event.data["node"] == sampled.id]
    before = [event.time for event in progress if event.time <= cancelled]
    window = median(later - earlier for earlier, later in pairwise(before))
    latency = outcome.ending.time - cancelled
    with capsys.disabled():
        print(f"\ncancelled after {latency:.3f} s; one window takes {window:.3f} s")
    assert len([event for event in progress if event.time > cancelled]) <= 1
    assert latency <= 2 * window + 0.5

    graph = LumiereGraph()
    graph.save(graph.super_resolution(graph.images(4)[0])[0], "after")
    client.succeed(graph.prompt)


def test_the_same_prompt_is_served_from_the_cache_and_another_seed_is_not(client):
    def prompt(seed: int) -> tuple[dict, str]:
        graph = LumiereGraph()
        sampled = graph.stunet(seed=seed, frames=8, steps=2)
        graph.add("PreviewImage", images=sampled[0])
        return graph.prompt, sampled.id

    first, sampler = prompt(seed=100)
    assert sampler not in client.succeed(first).cached
    assert sampler in client.succeed(first).cached
    assert sampler not in client.succeed(prompt(seed=101)[0]).cached


# Bad input: a graph that must fail, and what the message must name: the node, what it wants, what it got


def missing_checkpoint(graph):
    return graph.stunet(model=graph.add("LumiereLoadSTUNet", checkpoint="nothing.safetensors", dtype="auto")[0])


def wrong_kind_of_checkpoint(graph):
    return graph.stunet(model=graph.add("LumiereLoadSTUNet", checkpoint=SSR, dtype="auto")[0])


def ssr_in_the_base_sampler(graph):
    return graph.stunet(model=graph.ssr[0])


def base_in_super_resolution(graph):
    return graph.super_resolution(graph.images(4)[0], model=graph.base[0])


def text_of_another_width(graph):
    return graph.stunet(positive=graph.add("ProbeConditioning", width=32)[0])


def text_of_another_width_in_super_resolution(graph):
    return graph.super_resolution(graph.images(4)[0], negative=graph.add("ProbeConditioning", width=32)[0])


def text_of_another_width_in_core(graph):
    return graph.ksampler(graph.empty_video()[0], positive=graph.add("ProbeConditioning", width=32)[0])


def no_text_encoder(graph):
    loaded = graph.add("LumiereLoadSTUNet", checkpoint=NO_TEXT, dtype="float32")
    return graph.stunet(positive=graph.add("LumiereTextEncode", clip=loaded[1], text="a circle")[0])


def no_frames_to_enlarge(graph):
    return graph.super_resolution(graph.images(0)[0])


def no_frames_to_condition_on(graph):
    return graph.conditioned_ksampler(graph.images(0)[0])


def no_frames_to_start_from(graph):
    return graph.stunet(latent=graph.add("LumiereFramesToLatent", images=graph.images(0)[0])[0])


def overlap_as_large_as_the_window(graph):
    return graph.stunet(window=4, overlap=4)


def overlap_as_large_as_the_window_in_super_resolution(graph):
    return graph.super_resolution(graph.images(8)[0], window=4, overlap=5)


def a_mode_that_there_is_not(graph):
    texts = {"positive": graph.positive, "negative": graph.negative}
    sizes = {"frames": 4, "width": 32, "height": 32, "fit": "crop"}
    images = graph.images(1)[0]
    built = graph.add("LumiereBuildConditioningMask", **texts, images=images, **sizes, mode="nonsense")
    return graph.stunet(latent=built[2])


def more_than_the_memory(graph):
    return graph.stunet(frames=16384, width=16384, height=16384)


def more_than_the_memory_in_core(graph):
    return graph.empty_video(16384, 16384)


def a_batch_of_clips(graph):
    clips = graph.add("RepeatLatentBatch", samples=graph.empty_video(4)[0], amount=2)
    return graph.stunet(latent=clips[0], frames=0, width=0, height=0)


def image_latent(graph):
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    return graph.stunet(latent=latent[0], frames=0, width=0, height=0)


def weights_of_nan(graph):
    return graph.stunet(model=graph.add("LumiereLoadSTUNet", checkpoint=BROKEN, dtype="float32")[0])


def patches_of_nan(graph):
    return graph.stunet(model=graph.add("ProbeNaNModel", model=graph.base[0])[0])


def patches_of_nan_in_super_resolution(graph):
    return graph.super_resolution(graph.images(4)[0], model=graph.add("ProbeNaNModel", model=graph.ssr[0])[0])


BAD_INPUT = {
    missing_checkpoint: ("LoadSTUNet", BASE, "nothing.safetensors"),
    wrong_kind_of_checkpoint: ("LoadSTUNet", BASE, SSR),
    ssr_in_the_base_sampler: ("STUNet Sampler: ", "base", "ssr"),
    base_in_super_resolution: ("Temporal MultiDiffusion SSR: ", "ssr", "base"),
    text_of_another_width: ("STUNet Sampler: ", "width 64", "32"),
    text_of_another_width_in_super_resolution: ("Temporal MultiDiffusion SSR: ", "width 64", "32"),
    text_of_another_width_in_core: ("Lumiere", "width 64", "32"),
    no_text_encoder: ("Text Encode: ", "text encoder", "nothing"),
    no_frames_to_enlarge: ("Temporal MultiDiffusion SSR: ", "at least one", "(0, 8, 8, 3)"),
    no_frames_to_condition_on: ("SSR Conditioning: ", "at least one", "(0, 8, 8, 3)"),
    no_frames_to_start_from: ("Frames to Latent: ", "at least one", "(0, 8, 8, 3)"),
    overlap_as_large_as_the_window: ("STUNet Sampler: ", "larger than overlap", "window 4 and overlap 4"),
    overlap_as_large_as_the_window_in_super_resolution: (
        "Temporal MultiDiffusion SSR: ",
        "larger than overlap",
        "window 4 and overlap 5",
    ),
    a_mode_that_there_is_not: ("Build Conditioning Mask: ", "mode must be one of first_frame, keyframes"),
    more_than_the_memory: ("16384 frames, 16384 x 16384 pixels", "GiB is free"),
    more_than_the_memory_in_core: ("Empty Pixel Video: ", "16384 frames, 16384 x 16384 pixels", "GiB is free"),
    a_batch_of_clips: ("STUNet Sampler: ", "one clip", "a batch of 2"),
    image_latent: ("STUNet Sampler: ", "(1, 3, T, H, W)", "(1, 4, 8, 8)"),
    weights_of_nan: ("STUNet Sampler: ", "step", "NaN"),
    patches_of_nan: ("STUNet Sampler: ", "step", "NaN"),
    patches_of_nan_in_super_resolution: ("Temporal MultiDiffusion SSR: ", "step", "NaN"),
}


@pytest.mark.parametrize("bad", BAD_INPUT, ids=lambda bad: bad.__name__)
def test_bad_input_is_named_and_the_server_lives_on(client, bad):
    graph = LumiereGraph()
    graph.save(bad(graph)[0], "bad")
    message = client.fail(graph.prompt)
    missing = [words for words in BAD_INPUT[bad] if words not in message]
    assert not missing, f"not in the message: {missing}\n{message}"
    succeed_with_the_same_networks(client)


WRONG_IN_SUPER_RESOLUTION = {
    "overlap": {"overlap": 99},
    "tile": {"tile": 16, "tile_overlap": 16},
    "original": {"original": True},
}


@pytest.mark.parametrize("wrong", WRONG_IN_SUPER_RESOLUTION)
def test_super_resolution_that_cannot_be_is_refused_before_the_base_is_sampled(client, wrong):
    graph = LumiereGraph()
    small = graph.stunet(seed=1000 + next(SEEDS))
    changes = dict(WRONG_IN_SUPER_RESOLUTION[wrong])
    if "original" in changes:
        changes["original"] = graph.images(12, side=128)[0]
    graph.save(graph.super_resolution(small[0], **changes)[0], "early")
    outcome = client.run(graph.prompt)
    assert outcome.ending.kind == "execution_error" and outcome.message.startswith("Temporal MultiDiffusion SSR: ")
    assert [event for event in outcome.of("progress") if event.data["node"] == small.id] == []


def test_core_samples_a_batch_of_clips_and_they_become_frames(frames):
    graph = LumiereGraph()
    clips = graph.add("RepeatLatentBatch", samples=graph.empty_video(4)[0], amount=2)
    batch, alone = graph.ksampler(clips[0]), graph.ksampler(graph.empty_video(4)[0])
    result = frames(graph, {"batch": batch[0], "alone": alone[0]})
    assert result["batch"].shape == (8, 32, 32, 3)
    assert abs(result["batch"][:4] - result["alone"]).max() <= 1 / 255
    assert abs(result["batch"][4:] - result["alone"]).max() > 1 / 255, "each clip has noise of its own"


SEEDS = count()


def succeed_with_the_same_networks(client: Client) -> None:
    graph = LumiereGraph()
    small = graph.stunet(seed=next(SEEDS), frames=4, steps=1, width=16, height=16)  # nothing cached
    graph.save(graph.super_resolution(small[0], steps=1)[0], "good")
    client.succeed(graph.prompt)


# The harness itself, on core nodes alone


def test_core_nodes_run_and_their_files_can_be_fetched(client):
    graph = Graph()
    image = graph.add("EmptyImage", width=64, height=32, batch_size=2, color=0xFF0000)
    graph.add("SaveImage", images=image[0], filename_prefix="core")
    outcome = client.succeed(graph.prompt)
    images = [Image.open(io.BytesIO(client.view(file))) for file in outcome.files]
    assert [image.size for image in images] == [(64, 32)] * 2
    assert images[0].getpixel((0, 0)) == (255, 0, 0)


def test_refused_prompts_say_why(client):
    graph = Graph()
    graph.add("PreviewImage", images=graph.add("EmptyImage", width=0, height=32, batch_size=1, color=0)[0])
    with pytest.raises(Refused, match="EmptyImage 1: .*width"):
        client.queue(graph.prompt)


def test_probe_saves_tensors_and_uploads_reach_the_input_folder(server, tmp_path: Path):
    graph = Graph()
    probe = graph.add("ProbeImages", frames=3, height=8, width=16, seed=0)
    graph.add("ProbeSave", value=probe[0], name="probe")
    server.client.succeed(graph.prompt)
    assert (server.folder / "output" / "probe.npy").is_file()
    Image.new("RGB", (8, 8)).save(tmp_path / "uploaded.png")
    server.client.upload(tmp_path / "uploaded.png")
    assert (server.folder / "input" / "uploaded.png").read_bytes() == (tmp_path / "uploaded.png").read_bytes()
