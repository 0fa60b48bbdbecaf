"""Warnings at the node that they concern, in every run, and other nodes' patches: honoured, or said not to be."""

import numpy
import pytest
from comfyui_graphs import PROMPT, LumiereGraph
from comfyui_models import KNOWING
from comfyui_pixels import ONE_LEVEL

pytestmark = pytest.mark.comfyui


def region(graph: LumiereGraph, value: float, frames: int):
    """BuildConditioningMask with a mask that is `value` everywhere."""
    texts = {"positive": graph.positive, "negative": graph.negative}
    mask = graph.add("SolidMask", value=value, width=32, height=32)
    images = graph.images(1, side=32)
    node = graph.add(
        "LumiereBuildConditioningMask",
        **texts,
        **{"images": images[0], "frames": frames, "width": 32, "height": 32, "fit": "crop", "mask": mask[0]},
        **{"mode": "region", "mode.grow": 0, "mode.feather": 0},
    )
    graph.save(node[3], "region")
    return node


def test_a_warning_shows_at_its_node_in_every_run_and_goes_with_its_cause(client):
    for frames in (4, 5):
        graph = LumiereGraph()
        node = region(graph, 0.0, frames)
        *_, text = client.succeed(graph.prompt).texts(node.id)
        assert text == "region: the mask is 0 everywhere, so nothing under it is made anew."
    for frames, texts in ((6, [" "]), (7, [])):
        graph = LumiereGraph()
        node = region(graph, 0.5, frames)
        assert client.succeed(graph.prompt).texts(node.id) == texts


def test_cores_text_node_says_that_a_prompt_is_cut(client):
    graph = LumiereGraph()
    node = graph.add("CLIPTextEncode", clip=graph.base[1], text="a red circle " * 50)
    graph.save(graph.stunet(positive=node[0], frames=1, steps=1)[0], "cut")
    (text,) = client.succeed(graph.prompt).texts(node.id)
    assert "it was cut after" in text


@pytest.mark.parametrize("node", ["LumiereTextEncode", "CLIPTextEncode"])
def test_a_word_that_the_network_never_heard_is_named_at_the_prompt(client, node):
    graph = LumiereGraph(base=KNOWING, text="A star moving right")
    known = graph.positive[0]
    encoded = graph.add(node, clip=graph.base[1], text=f"a zebra moving right {node}")
    graph.save(graph.stunet(positive=encoded[0], negative=graph.positive, frames=1, steps=1)[0], "words")
    outcome = client.succeed(graph.prompt)
    *_, text = outcome.texts(encoded.id)
    assert text.startswith("The prompt's 'zebra', 'lumieretextencode' are not" if node[0] == "L" else "The prompt's 'z")
    assert "they can draw: red circle, star" in text and not "".join(outcome.texts(known)).strip()


def test_a_length_that_the_network_does_not_know_is_named_at_both_samplers(client):
    graph = LumiereGraph(base=KNOWING)
    ours = graph.stunet(frames=4, steps=1)
    graph.save(ours[0], "short")
    windows = graph.context_windows(graph.base[0], 8, 2)
    for frames, model in ((4, graph.base), (12, windows), (12, graph.base)):
        graph.save(graph.ksampler(graph.empty_video(frames)[0], model=model[0], steps=1)[0], f"length-{frames}")
    outcome = client.succeed(graph.prompt)
    core = [id for id, node in graph.prompt.items() if node["class_type"] == "KSampler"]
    said = ["".join(outcome.texts(node)).strip() for node in (ours.id, *core)]
    expected = "the network sees 4 frames at once, and was trained on 8 to 160: expect faults, or choose what it knows."
    assert said == [expected, expected, "", ""]


def test_case_and_blanks_of_a_prompt_say_nothing_and_weights_count(frames):
    graph = LumiereGraph()
    texts = {"plain": PROMPT, "cased": f" {PROMPT.title()}  ", "weighed": PROMPT.replace("red", "(red:1.8)")}
    sampled = {name: graph.stunet(positive=graph.encode(text)[0], frames=4)[0] for name, text in texts.items()}
    result = frames(graph, sampled)
    assert numpy.array_equal(result["plain"], result["cased"])
    assert numpy.abs(result["plain"] - result["weighed"]).max() > ONE_LEVEL


# Patches of other nodes


def downscaled(graph):
    options = {"downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic"}
    options |= {"block_number": 1, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 1.0}
    return graph.add("PatchModelAddDownscale", model=graph.base[0], **options)


def free_u(graph):
    return graph.add("FreeU", model=graph.base[0], b1=1.3, b2=1.4, s1=0.9, s2=0.2)


def hyper_tile(graph):
    return graph.add("HyperTile", model=graph.base[0], tile_size=256, swap_size=2, max_depth=0, scale_depth=False)


def merged_tokens(graph):
    return graph.add("TomePatchModel", model=graph.base[0], ratio=0.3)


def self_attention_guidance(graph):
    return graph.add("SelfAttentionGuidance", model=graph.base[0], scale=0.5, blur_sigma=2.0)


def perturbed_attention(graph):
    return graph.add("PerturbedAttentionGuidance", model=graph.base[0], scale=3.0)


def skipped_layers(graph):
    percents = {"start_percent": 0.0, "end_percent": 1.0}
    layers = {"double_layers": "1", "single_layers": "1"}
    model = graph.base[0]
    return graph.add("SkipLayerGuidanceDiT", model=model, scale=3.0, rescaling_scale=0.0, **layers, **percents)


PATCHES = [downscaled, free_u]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_patches_of_blocks_count_alike_in_both_samplers(frames, patch):
    graph = LumiereGraph()
    model = patch(graph)
    seed = PATCHES.index(patch)  # what was computed once would not be saved again
    values = {
        "plain": graph.stunet(seed=seed),
        "ours": graph.stunet(model=model[0], seed=seed),
        "core": graph.ksampler(graph.empty_video()[0], model=model[0], seed=seed),
    }
    result = frames(graph, {name: value[0] for name, value in values.items()})
    assert numpy.abs(result["plain"] - result["ours"]).max() > ONE_LEVEL
    assert numpy.abs(result["ours"] - result["core"]).max() <= ONE_LEVEL


@pytest.mark.parametrize("patch", [hyper_tile, merged_tokens], ids=lambda patch: patch.__name__)
def test_attention_patches_without_effect_are_named_at_the_sampler(client, patch):
    graph = LumiereGraph()
    model = patch(graph)
    sampled = graph.stunet(model=model[0], frames=4, steps=1)
    graph.save(sampled[0], "patched")
    graph.save(graph.ksampler(graph.empty_video(4)[0], model=model[0], steps=1)[0], "core")
    (core,) = (id for id, node in graph.prompt.items() if node["class_type"] == "KSampler")
    outcome = client.succeed(graph.prompt)
    for node in (sampled.id, core):
        *_, text = outcome.texts(node)
        assert text.startswith("patches without effect here: attn1_output_patch, attn1_patch;")


@pytest.mark.parametrize("sampler", ["ours", "core"])
@pytest.mark.parametrize(
    "patch", [self_attention_guidance, perturbed_attention, skipped_layers], ids=lambda patch: patch.__name__
)
def test_guidance_by_replaced_attention_is_refused(client, patch, sampler):
    graph = LumiereGraph()
    model = patch(graph)[0]
    if sampler == "ours":
        graph.save(graph.stunet(model=model, frames=4, steps=1)[0], "refused")
    else:
        graph.save(graph.ksampler(graph.empty_video(4)[0], model=model, steps=1)[0], "refused")
    assert "of the network cannot be replaced: a STUNet's attention is over pixels and text" in client.fail(
        graph.prompt
    )
