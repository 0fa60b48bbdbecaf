"""The same frames by different ways: our sampler and core's, MultiDiffusion and core's windows, both hosts."""

import numpy
import pytest
from comfyui_graphs import PROMPT, SSR, TEXT_WIDTH, LumiereGraph
from comfyui_models import LORAS, RESIDUAL
from comfyui_pixels import ONE_LEVEL, difference, pixels, run_standalone

pytestmark = pytest.mark.comfyui

# Our samplers and core's


# Not euler_ancestral: from a cosine schedule's first sigma, core's step loses its noise to rounding.
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "ddpm"])
def test_stunet_sampler_equals_core_ksampler(frames, say, sampler):
    """ddpm draws from core's second stream of noise, seed + 1."""
    graph = LumiereGraph()
    ours = graph.stunet(sampler=sampler)
    core = graph.ksampler(graph.empty_video()[0], sampler_name=sampler)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{sampler}: {found:.2e}")
    assert result["ours"].std() > 0.01
    assert found <= ONE_LEVEL


@pytest.mark.parametrize("scheduler", ["simple", "sgm_uniform", "karras", "kl_optimal"])
def test_stunet_sampler_takes_cores_sigmas(frames, say, scheduler):
    graph = LumiereGraph()
    ours = graph.stunet(scheduler=scheduler)
    core = graph.ksampler(graph.empty_video()[0], scheduler=scheduler)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{scheduler}: {found:.2e}")
    assert found <= ONE_LEVEL


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_a_start_video_with_denoise_is_what_core_makes_of_it(frames, say, sampler):
    graph = LumiereGraph()
    start = graph.add("LumiereFramesToLatent", images=graph.images(12, side=32)[0])
    ours = graph.stunet(latent=start[0], denoise=0.5, sampler=sampler)
    core = graph.ksampler(start[0], denoise=0.5, sampler_name=sampler)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{sampler}, denoise 0.5: {found:.2e}")
    assert found <= ONE_LEVEL


def test_core_text_encode_takes_the_same_encoder(frames):
    graph = LumiereGraph()
    text = graph.add("CLIPTextEncode", clip=graph.base[1], text=PROMPT)
    result = frames(graph, {"ours": graph.stunet(steps=1)[0], "core": graph.stunet(steps=1, positive=text[0])[0]})
    assert difference(result["ours"], result["core"]) == 0


# MultiDiffusion and core's context windows, where their layouts coincide: (frames - window) % (window - overlap) == 0


@pytest.mark.parametrize("ssr", [SSR, RESIDUAL])
@pytest.mark.parametrize(("size", "window", "overlap", "cfg"), [(28, 15, 2, 1.0), (28, 15, 2, 2.0), (24, 12, 6, 1.0)])
def test_super_resolution_equals_core_context_windows(frames, say, ssr, size, window, overlap, cfg):
    graph = LumiereGraph(ssr=ssr)
    images = graph.images(size)[0]
    ours = graph.super_resolution(images, window=window, overlap=overlap, cfg=cfg)
    windows = graph.context_windows(graph.ssr[0], window, overlap)
    core = graph.conditioned_ksampler(images, model=windows[0], cfg=cfg)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{ssr}, {size} frames in windows of {window} and {overlap}, cfg {cfg}: {found:.2e}")
    assert found <= ONE_LEVEL


def test_windows_matter(frames):
    graph = LumiereGraph()
    images = graph.images(28)[0]
    windowed, whole = graph.super_resolution(images), graph.super_resolution(images, window=28)
    result = frames(graph, {"windowed": windowed[0], "whole": whole[0]})
    assert difference(result["windowed"], result["whole"]) > ONE_LEVEL


def test_a_clip_of_as_many_frames_as_the_text_is_wide_keeps_its_text(frames, say):
    graph = LumiereGraph()
    images = graph.images(TEXT_WIDTH)[0]
    ours = graph.super_resolution(images, window=16, overlap=4, steps=1)  # a loop of our own, without core's windows
    windows = graph.context_windows(graph.ssr[0], 16, 4)
    core = graph.conditioned_ksampler(images, model=windows[0], steps=1)
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{TEXT_WIDTH} frames, SSR: {found:.2e}")
    assert found <= ONE_LEVEL


def test_the_base_network_has_its_text_whole_in_every_window(frames, say):
    graph = LumiereGraph()
    ours = graph.stunet(frames=TEXT_WIDTH, window=24, overlap=4)
    windows = graph.context_windows(graph.base[0], 24, 4)
    core = graph.ksampler(graph.empty_video(TEXT_WIDTH)[0], model=windows[0])
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"{TEXT_WIDTH} frames, base: {found:.2e}")
    assert found <= ONE_LEVEL


# Core patches on the MODEL


def lora(graph: LumiereGraph, model, strength: float):
    name = LORAS[graph.prompt[model.id]["inputs"]["checkpoint"]]
    return graph.add("LoraLoaderModelOnly", model=model[0], lora_name=name, strength_model=strength)


@pytest.mark.parametrize("network", ["base", "ssr"])
def test_a_lora_changes_the_output_and_strength_zero_does_not(frames, say, network):
    graph = LumiereGraph()
    loaded, images = getattr(graph, network), graph.images(4)[0]

    def sampled(model) -> list:
        node = graph.stunet(model=model[0]) if network == "base" else graph.super_resolution(images, model=model[0])
        return node[0]

    models = {"plain": loaded, "zero": lora(graph, loaded, 0.0), "patched": lora(graph, loaded, 1.0)}
    result = frames(graph, {name: sampled(model) for name, model in models.items()})
    found = difference(result["plain"], result["patched"])
    say(f"LoRA on the {network}: {found:.3f}")
    assert difference(result["plain"], result["zero"]) == 0
    assert found > ONE_LEVEL


def test_a_lora_counts_alike_in_super_resolution_and_in_cores_sampler(frames, say):
    graph = LumiereGraph()
    images, model = graph.images(8)[0], lora(graph, graph.ssr, 1.0)
    ours = graph.super_resolution(images, model=model[0])
    core = graph.conditioned_ksampler(images, model=model[0])
    result = frames(graph, {"ours": ours[0], "core": core[0]})
    found = difference(result["ours"], result["core"])
    say(f"LoRA, ours and core: {found:.2e}")
    assert found <= ONE_LEVEL


def test_merging_with_a_patched_copy_is_half_the_patch(frames, say):
    graph = LumiereGraph()
    patched = lora(graph, graph.base, 1.0)
    models = {
        "plain": graph.base,
        "half_lora": lora(graph, graph.base, 0.5),
        "merged": graph.add("ModelMergeSimple", model1=graph.base[0], model2=patched[0], ratio=0.5),
        "unmerged": graph.add("ModelMergeSimple", model1=graph.base[0], model2=patched[0], ratio=1.0),
    }
    result = frames(graph, {name: graph.stunet(model=model[0])[0] for name, model in models.items()})
    say(f"merge and half a LoRA: {difference(result['merged'], result['half_lora']):.2e}")
    assert difference(result["plain"], result["unmerged"]) < 1e-4
    assert difference(result["plain"], result["merged"]) > ONE_LEVEL
    assert difference(result["merged"], result["half_lora"]) <= ONE_LEVEL


def test_rescale_cfg_counts_alike_in_both_samplers(frames, say):
    graph = LumiereGraph()
    model = graph.add("RescaleCFG", model=graph.base[0], multiplier=0.7)
    values = {
        "plain": graph.stunet(cfg=6.0),
        "ours": graph.stunet(cfg=6.0, model=model[0]),
        "core": graph.ksampler(graph.empty_video()[0], cfg=6.0, model=model[0]),
    }
    result = frames(graph, {name: value[0] for name, value in values.items()})
    say(f"RescaleCFG: changes {difference(result['plain'], result['ours']):.3f}")
    assert difference(result["plain"], result["ours"]) > ONE_LEVEL
    assert difference(result["ours"], result["core"]) <= ONE_LEVEL


# Both hosts


def test_both_hosts_make_the_same_frames(server, comfyui_paths, say, tmp_path):
    graph = LumiereGraph()
    small = graph.stunet(frames=20)
    large = graph.super_resolution(small[0])
    graph.add("SaveImage", images=large[0], filename_prefix="hosts")
    outcome = server.client.succeed(graph.prompt)
    in_comfyui = [pixels(server.client.view(file)) for file in outcome.files]

    standalone = run_standalone(graph.prompt, comfyui_paths[1], tmp_path)

    assert len(in_comfyui) == len(standalone) == 20
    found = max(int(numpy.abs(a - b).max()) for a, b in zip(in_comfyui, standalone, strict=True))
    say(f"both hosts: {found} / 255")
    assert found <= 1
