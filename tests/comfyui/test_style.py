"""Styles as weight patches in ComfyUI are the styles of the library, alone and together with core's LoRAs."""

import numpy
import pytest
from comfyui_graphs import BASE, LumiereGraph
from comfyui_models import FULL, LINES, LORAS, STYLED_LORA, STYLES, WIDE, styled
from comfyui_pixels import ONE_LEVEL, difference

pytestmark = pytest.mark.comfyui


class StyleGraph(LumiereGraph):
    """A graph on WIDE, the base with the input <J, C, M>; samplings by name in `values`."""

    def __init__(self):
        super().__init__(base=WIDE)
        self.values: dict[str, list] = {}

    def sample(self, name: str, model) -> None:
        self.values[name] = self.stunet(model=model[0])[0]

    def style(self, name: str, alpha: float, model=None):
        model = (model or self.base)[0]
        return self.add("LumiereStyleWeightInterpolate", model=model, style=name, alpha=alpha)

    def load(self, name: str):
        return self.add("LumiereLoadSTUNet", checkpoint=name, dtype="float32")

    def lora(self, name: str, strength: float):
        return self.add("LoraLoaderModelOnly", model=self.base[0], lora_name=name, strength_model=strength)


@pytest.fixture
def sampled(server):
    """Run a StyleGraph: {name: frames}. run: a name of its own, as ComfyUI does not save again what it has saved."""

    def sampled(graph: StyleGraph, run: str) -> dict[str, numpy.ndarray]:
        for name, value in graph.values.items():
            graph.save(value, f"{run}-{name}")
        server.client.succeed(graph.prompt)
        return {name: numpy.load(server.folder / "output" / f"{run}-{name}.npy") for name in graph.values}

    return sampled


@pytest.mark.parametrize("style", STYLES)
def test_a_patched_model_is_the_stylized_network(sampled, say, style):
    """And alpha 0, in the same graph, is the original bit for bit: patching leaves the source as it is."""
    graph = StyleGraph()
    graph.sample("plain", graph.base)
    graph.sample("patched", graph.style(style, 0.5))
    graph.sample("zero", graph.style(style, 0.0))
    graph.sample("expected", graph.load(styled(style)))
    frames = sampled(graph, style)
    say(f"{style}: {difference(frames['patched'], frames['expected']):.2e}")
    assert difference(frames["plain"], frames["zero"]) == 0
    assert difference(frames["plain"], frames["patched"]) > ONE_LEVEL
    assert difference(frames["patched"], frames["expected"]) <= ONE_LEVEL


def test_a_style_on_top_of_a_lora_is_blended_with_the_patched_weights(sampled, say):
    graph = StyleGraph()
    lora = graph.lora(LORAS[BASE], 1.0)
    graph.sample("plain", graph.style(FULL, 0.5))
    graph.sample("patched", graph.style(FULL, 0.5, model=lora))
    graph.sample("expected", graph.load(STYLED_LORA))
    frames = sampled(graph, "on-a-lora")
    say(f"on a LoRA: {difference(frames['patched'], frames['expected']):.2e}")
    assert difference(frames["plain"], frames["patched"]) > ONE_LEVEL
    assert difference(frames["patched"], frames["expected"]) <= ONE_LEVEL


def test_a_bundled_style_is_a_lora_for_core(sampled, say):
    graph = StyleGraph()
    graph.sample("plain", graph.base)
    graph.sample("ours", graph.style(LINES, 1.0))
    graph.sample("core", graph.lora(LINES, 1.0))
    frames = sampled(graph, "by-core")
    say(f"ours and core's loader: {difference(frames['ours'], frames['core']):.2e}")
    assert difference(frames["plain"], frames["ours"]) > ONE_LEVEL
    assert difference(frames["ours"], frames["core"]) <= ONE_LEVEL


def test_a_network_that_has_no_style_is_refused(server):
    graph = StyleGraph()
    model = graph.add("LumiereStyleWeightInterpolate", model=graph.ssr[0], style=FULL, alpha=0.5)
    graph.save(graph.super_resolution(graph.images(2)[0], model=model[0])[0], "refused")
    said = server.client.fail(graph.prompt)
    assert said.startswith("Style Weight Interpolate: model must be of kind t2i or base; got ssr.")
