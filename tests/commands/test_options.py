"""Every sampling option, from every entrance, changes the plan of the network that it is meant for, and no other."""

import dataclasses

import pytest
import torch

from lumiere_video.commands import main as cli
from lumiere_video.commands.sampling_flags import sampling_flags
from lumiere_video.lumiere_core import pipeline as pipelines
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, save_checkpoint
from lumiere_video.lumiere_core.diffusion.options import KNOBS, UNSAID, SamplingOptions
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.sampling import plan_sampling
from lumiere_video.nodes import host
from lumiere_video.nodes import sampler as sampler_node
from lumiere_video.nodes import super_resolution as ssr_node

# None of them is a default, or a bundled or tiny checkpoint's own.
VALUES = {
    "steps": 3,
    "guidance": 1.5,
    "sampler": "euler",
    "scheduler": "karras",
    "window": 5,
    "overlap": 1,
    "fuse": "hann",
    "loop": True,
    "noise_level": 7,
    "tile": 9,
    "tile_overlap": 3,
}
every_option = pytest.mark.parametrize("option", KNOBS)


def with_company(option):
    """The option, and what it means nothing without."""
    together = ("tile", "tile_overlap")
    return {name: VALUES[name] for name in (together if option in together else (option,))}


@pytest.fixture
def plans(monkeypatch):
    """The plans of both networks, by stage, of runs that sample nothing."""
    seen = {}

    def sample_base(plan, **_):
        seen["base"] = plan
        return torch.zeros(plan.shape)

    def super_resolve(plan, **_):
        seen["ssr"] = plan
        return torch.zeros(plan.shape)

    monkeypatch.setattr(pipelines, "sample_base", sample_base)
    monkeypatch.setattr(pipelines, "super_resolve", super_resolve)
    monkeypatch.setattr(ssr_node, "super_resolve", super_resolve)
    monkeypatch.setattr(host, "sample_video", lambda model, plan, *_: sample_base(plan))
    return seen


@pytest.fixture(scope="module")
def pipeline(tiny):
    return LumierePipeline.load(tiny.base, tiny.ssr, device="cpu", dtype="float32")


def test_every_option_is_tried():
    assert list(VALUES) == list(KNOBS) == [field.name for field in dataclasses.fields(SamplingOptions)]
    assert UNSAID.said() == {} and SamplingOptions(**VALUES).said() == VALUES


@every_option
@pytest.mark.parametrize("network", ["base", "ssr"])
def test_generate_and_upscale(pipeline, plans, option, network):
    said = SamplingOptions(**with_company(option))
    pipeline.generate("a star", **{network: said})
    other = {"base": "ssr", "ssr": "base"}[network]
    assert getattr(plans[network], option) == VALUES[option] != getattr(plans[other], option)
    pipeline.upscale(torch.zeros(6, 8, 8, 3), "a star", ssr=said)
    assert getattr(plans["ssr"], option) == VALUES[option]
    pipeline.with_defaults(**{network: said}).generate("a star")
    assert getattr(plans[network], option) == VALUES[option] != getattr(plans[other], option)


@every_option
def test_a_checkpoints_own(tiny, plans, tmp_path, option):
    info, tensors = load_checkpoint(tiny.ssr)
    sampling = SamplingOptions(**with_company(option)).over(info.sampling)
    save_checkpoint(tmp_path / "own.safetensors", tensors, dataclasses.replace(info, sampling=sampling))
    own = load_checkpoint(tmp_path / "own.safetensors")[0]
    assert getattr(own.sampling, option) == VALUES[option]
    assert getattr(plan_sampling(own, 12, (32, 32)), option) == VALUES[option]


@pytest.mark.parametrize("flag", sampling_flags(), ids=lambda flag: flag.flag)
def test_the_command_line(tiny, plans, tmp_path, flag):
    company = with_company(flag.option)
    words = []
    for other in sampling_flags():
        if other.option in company and other.network == flag.network:
            words += [other.flag] if company[other.option] is True else [other.flag, str(company[other.option])]
    files = ["--checkpoint", str(tiny.base), "--ssr-checkpoint", str(tiny.ssr), "--device", "cpu"]
    assert cli.main(["generate", "a star", "--output", f"{tmp_path}/a.gif", *files, *words]) == 0
    networks = (flag.network,) if flag.network else ("base", "ssr")
    for network in ("base", "ssr"):
        assert (getattr(plans[network], flag.option) == VALUES[flag.option]) == (network in networks)


def test_the_command_line_has_a_flag_for_every_option_of_each_network():
    flags = [
        (flag.option, network)
        for flag in sampling_flags()
        for network in ([flag.network] if flag.network else ["base", "ssr"])
    ]
    assert sorted(flags) == sorted(
        (option, network)
        for option in KNOBS
        for network in ("base", "ssr")
        if (option, network) != ("noise_level", "base")
    )
    released = {"--steps", "--guidance", "--sampler", "--scheduler", "--ssr-steps", "--window", "--overlap", "--fuse"}
    assert released | {"--base-window", "--base-overlap", "--loop"} <= {flag.flag for flag in sampling_flags()}


@every_option
@pytest.mark.parametrize("node", [sampler_node.STUNetSampler, ssr_node.TemporalMultiDiffusionSSR], ids=["base", "ssr"])
def test_the_nodes(tiny, plans, option, node):
    network = "base" if node is sampler_node.STUNetSampler else "ssr"
    model = host.load_model(getattr(tiny, network), ("base", "ssr"), "float32")
    text = [[torch.zeros(1, 4, 32), {}]]
    widgets = {spec.id: spec.default for spec in node.define_schema().inputs if spec.default is not None}
    sockets = {"model": model, "positive": text, "negative": text}
    sockets |= {"images": torch.zeros(6, 8, 8, 3)} if network == "ssr" else {}
    named = {{"guidance": "cfg"}.get(name, name): value for name, value in with_company(option).items()}
    if not named.keys() <= widgets.keys():
        assert network == "base" and option in ("noise_level", "tile", "tile_overlap")
        pytest.skip("this node has no such widget: released inputs are frozen")
    node.execute(**sockets, **(widgets | named))
    assert getattr(plans[network], option) == VALUES[option]
