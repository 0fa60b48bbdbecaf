"""Core trains LoRAs in the graph: a STUNet learns from a folder of captioned clips, and then makes other clips."""

import shutil

import numpy
import pytest
import torch
from comfyui_graphs import LumiereGraph
from comfyui_pixels import ONE_LEVEL, difference

from lumiere_video.lumiere_core.video.files import write_video

pytestmark = pytest.mark.comfyui

FOLDER, CAPTION = "footage", "stripes moving down"
STEPS, SIDE, FRAMES = 24, 16, 8
TRAINING = {"batch_size": 2, "grad_accumulation_steps": 1, "steps": STEPS, "learning_rate": 0.01, "rank": 4}
TRAINING |= {"optimizer": "AdamW", "loss_function": "MSE", "seed": 0, "training_dtype": "bf16", "lora_dtype": "bf16"}
TRAINING |= {"quantized_backward": False, "algorithm": "LoRA", "gradient_checkpointing": True, "checkpoint_depth": 1}
TRAINING |= {"offloading": False, "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False}
CLIP = {"frames": FRAMES, "width": SIDE, "height": SIDE}
CASES = {  # what differs from core's own defaults
    "default": {},
    "float32": {"training_dtype": "none", "lora_dtype": "fp32", "gradient_checkpointing": False},
    "bypass": {"bypass_mode": True, "algorithm": "LoKr"},
}


def write_footage(folder) -> None:
    """Two clips of what the bundled network never saw, each with its caption."""
    folder.mkdir(parents=True)
    rows = torch.arange(SIDE)[None, :, None, None]
    for number in range(2):
        shade = ((rows + torch.arange(FRAMES)[:, None, None, None] + number) // 4 % 2).float()
        write_video(folder / f"{number}.mp4", shade.expand(FRAMES, SIDE, SIDE, 3), 16)
        (folder / f"{number}.txt").write_text(CAPTION, encoding="utf-8")


def train(graph: LumiereGraph, **changes):
    """Core's nodes from the folder to the LoRA."""
    footage = graph.add("LoadVideoTextDataSetFromFolder", folder=FOLDER)
    images = graph.add("GetVideoComponents", video=footage[0])
    latents = graph.add("LumiereFramesToLatent", images=images[0])
    texts = graph.add("LumiereTextEncode", clip=graph.base[1], text=footage[1])
    given = {"model": graph.base[0], "latents": latents[0], "positive": texts[0]}
    return graph.add("TrainLoraNode", **given, **{**TRAINING, **changes})


@pytest.fixture
def footage(server) -> None:
    shutil.rmtree(server.folder / "input" / FOLDER, ignore_errors=True)
    write_footage(server.folder / "input" / FOLDER)


@pytest.mark.parametrize("case", CASES)
def test_the_loss_falls_and_the_lora_changes_the_clip(server, frames, footage, case, say):
    graph = LumiereGraph(text=CAPTION)
    trained = train(graph, **CASES[case])
    graph.add("LossGraphNode", loss=trained[1], filename_prefix="loss")
    graph.add("SaveLoRA", lora=trained[0], prefix=f"loras/{case}", steps=trained[2])
    graph.add("ProbeLoss", loss=trained[1], name=f"{case}-loss")
    patched = graph.add("LoraModelLoader", model=graph.base[0], lora=trained[0], strength_model=1.0, bypass=False)
    before, after = graph.stunet(**CLIP), graph.stunet(model=patched[0], **CLIP)
    clips = frames(graph, {f"{case}-before": before[0], f"{case}-after": after[0]})
    losses = numpy.load(server.folder / "output" / f"{case}-loss.npy")
    early, late = losses[: STEPS // 3].mean(), losses[-STEPS // 3 :].mean()
    say(f"train_lora, {case}: loss {early:.3f} -> {late:.3f}, clip changed by {difference(*clips.values()):.3f}")
    assert len(losses) == STEPS and numpy.isfinite(losses).all()
    assert late < 0.7 * early
    assert difference(*clips.values()) > 0.1


def test_the_saved_lora_is_the_trained_one(server, frames, footage):
    graph = LumiereGraph(text=CAPTION)
    trained = train(graph, seed=1, steps=4)
    graph.add("SaveLoRA", lora=trained[0], prefix="loras/kept", steps=trained[2])
    patched = graph.add("LoraModelLoader", model=graph.base[0], lora=trained[0], strength_model=1.0, bypass=False)
    made = frames(graph, {"trained": graph.stunet(model=patched[0], **CLIP)[0]})["trained"]
    (saved,) = (server.folder / "output" / "loras").glob("kept_4_steps_*.safetensors")
    shutil.copy(saved, server.folder / "models" / "loras" / "kept.safetensors")
    graph = LumiereGraph(text=CAPTION)
    loaded = graph.add("LoraLoaderModelOnly", model=graph.base[0], lora_name="kept.safetensors", strength_model=1.0)
    again = frames(graph, {"loaded": graph.stunet(model=loaded[0], **CLIP)[0]})["loaded"]
    assert difference(made, again) < ONE_LEVEL
