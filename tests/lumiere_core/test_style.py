"""Style interpolation in closed form for every kind of file, what it shares and refuses, and the node around it."""

import dataclasses
import warnings

import pytest
import torch
from safetensors.torch import save_file

from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, load_stunet, save_checkpoint
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.networks import STUNet, text_to_image, widen_input
from lumiere_video.lumiere_core.sampling import plan_sampling
from lumiere_video.lumiere_core.style import load_style, stylize
from lumiere_video.nodes.extension import NODES
from lumiere_video.nodes.host import standalone
from lumiere_video.nodes.host.standalone.models import Settings, using
from lumiere_video.nodes.loaders import BASE_KINDS

CONV, LINEAR, OUT = "down_blocks.0.resnets.0.conv1", "mid_block.attentions.0.to_q", "mid_block.attentions.0.to_out.0"
MODULES = (CONV, LINEAR, OUT)
RANK = 2


@pytest.fixture
def base(tiny) -> STUNet:
    """A video net of 3 channels."""
    return load_stunet(tiny.base, ("base",))[1]


@pytest.fixture
def wide(base) -> STUNet:
    """The same with the input <J, C, M>, whose last four columns are not zero."""
    wide = widen_input(base, 7)
    with torch.no_grad():
        wide.conv_in.weight[:, 3:] = random(*wide.conv_in.weight[:, 3:].shape, seed=1)
    return wide.eval()


@pytest.fixture
def still_style(base) -> STUNet:
    """A text-to-image net of the same backbone with other weights in every tensor."""
    still = text_to_image(base)
    for index, tensor in enumerate(still.state_dict().values()):
        tensor.copy_(random(*tensor.shape, seed=100 + index))
    return still


@pytest.fixture
def style_file(tmp_path):
    """Write tensors as a style file and read it: a function ({name: tensor}, name) -> Style."""

    def write(tensors, name="style.safetensors"):
        save_file({key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}, tmp_path / name)
        return load_style(tmp_path / name)

    return write


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spatial(network):
    return {name: x for name, x in network.state_dict().items() if not name.startswith("temporal.")}


def lora_pairs(network, modules=MODULES):
    """{module: (down, up)}, of rank RANK."""
    pairs = {}
    for seed, module in enumerate(modules):
        shape = network.get_submodule(module).weight.shape
        up = random(shape[0], RANK, *[1] * len(shape[2:]), seed=2 * seed)
        pairs[module] = random(RANK, *shape[1:], seed=2 * seed + 1), up
    return pairs


def named_lora(pairs, down, up, alpha=None, rename=lambda module: module):
    """A file's tensors: names of the halves are templates with the module in place of {}."""
    tensors = {}
    for module, (down_half, up_half) in pairs.items():
        tensors |= {down.format(rename(module)): down_half, up.format(rename(module)): up_half}
        if alpha is not None:
            tensors[f"diffusion_model.{module}.alpha"] = torch.tensor(float(alpha))
    return tensors


def core_lora(pairs, alpha=None):
    return named_lora(pairs, "diffusion_model.{}.lora_down.weight", "diffusion_model.{}.lora_up.weight", alpha)


def quietly(network, style, alpha):
    """`stylize` of a file that covers a part, which is said elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stylize(network, style, alpha)


# Closed forms


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "unet.", "model.diffusion_model."])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_a_whole_network_is_interpolated(base, still_style, style_file, prefix, alpha):
    style = style_file({prefix + name: x for name, x in still_style.state_dict().items()})
    stylized, its, bases = stylize(base, style, alpha), still_style.state_dict(), base.state_dict()
    assert spatial(stylized).keys() == its.keys()
    for name, found in spatial(stylized).items():
        expected = alpha * its[name].double() + (1 - alpha) * bases[name].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


def test_alpha_1_is_the_style_and_the_temporal_half_stays(base, still_style, style_file):
    stylized = stylize(base, style_file(still_style.state_dict()), 1.0)
    bases, its = base.state_dict(), still_style.state_dict()
    for name, tensor in stylized.state_dict().items():
        assert torch.equal(tensor, (bases if name.startswith("temporal.") else its)[name]), name
    assert not stylized.training and stylized.config == base.config


def test_a_checkpoint_with_a_temporal_half_gives_its_spatial_one(base, still_style, style_file):
    """A fine-tune of the whole video net, as this pack writes it."""
    tensors = {**base.state_dict(), **still_style.state_dict()}
    tensors = {name: x + 1 if name.startswith("temporal.") else x for name, x in tensors.items()}
    stylized = stylize(base, style_file(tensors), 1.0)
    assert torch.equal(stylized.conv_out.weight, still_style.conv_out.weight)
    assert torch.equal(stylized.temporal.mid_block.units[0].out.weight, base.temporal.mid_block.units[0].out.weight)


@pytest.mark.parametrize(
    "name", [lambda name: f"{name}.diff", lambda name: name.replace(".weight", ".diff").replace(".bias", ".diff_b")]
)
def test_a_difference_is_added(base, still_style, style_file, name):
    """By the tensors' names, and by core's: <module>.diff for weights, <module>.diff_b for biases."""
    deltas = {key: random(*x.shape, seed=index) for index, (key, x) in enumerate(still_style.state_dict().items())}
    named = {f"diffusion_model.{name(key)}": delta for key, delta in deltas.items()}
    embedding = "add_embedding.pool.positional_embedding"
    named = {(f"{key}.diff" if key.endswith(embedding) else key): x for key, x in named.items()}
    stylized = stylize(base, style_file(named), 0.3)
    for key, delta in deltas.items():
        torch.testing.assert_close(stylized.state_dict()[key], base.state_dict()[key] + 0.3 * delta)


def test_a_difference_is_the_style_it_was_taken_from(base, still_style, style_file):
    full = style_file(still_style.state_dict(), "full.safetensors")
    pairs = still_style.state_dict().items()
    difference = style_file({f"{name}.diff": x - base.state_dict()[name] for name, x in pairs}, "diff.safetensors")
    found, expected = (spatial(stylize(base, style, 0.4)) for style in (difference, full))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (3.0, 1.5)])
def test_a_lora_is_added_with_its_scale(base, style_file, alpha, scale):
    pairs = lora_pairs(base)
    stylized = quietly(base, style_file(core_lora(pairs, alpha)), 0.5)
    for module, (down, up) in pairs.items():
        delta = torch.einsum("or,r...->o...", up.flatten(1), down)
        expected = base.get_submodule(module).weight + 0.5 * scale * delta
        torch.testing.assert_close(stylized.get_submodule(module).weight, expected, rtol=1e-5, atol=1e-5)


def processor_name(module):
    """As diffusers' attention processors had it."""
    parent, _, name = module.removesuffix(".0").rpartition(".")
    return f"{parent}.processor.{name}" if name.startswith("to_") else module


LORA_NAMES = {
    "bare": ("{}.lora_down.weight", "{}.lora_up.weight", str),
    "unet": ("unet.{}.lora_down.weight", "unet.{}.lora_up.weight", str),
    "peft": ("unet.{}.lora_A.weight", "unet.{}.lora_B.weight", str),
    "peft adapter": ("base_model.model.{}.lora_A.default.weight", "base_model.model.{}.lora_B.default.weight", str),
    "diffusers": ("unet.{}.lora.down.weight", "unet.{}.lora.up.weight", str),
    "linear layer": ("unet.{}.lora_linear_layer.down.weight", "unet.{}.lora_linear_layer.up.weight", str),
    "processors": ("unet.{}_lora.down.weight", "unet.{}_lora.up.weight", processor_name),
    "kohya": ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight", lambda name: name.replace(".", "_")),
}


@pytest.mark.parametrize("names", LORA_NAMES.values(), ids=LORA_NAMES)
def test_every_spelling_of_a_lora_is_the_same(base, style_file, names):
    pairs = lora_pairs(base)
    expected = quietly(base, style_file(core_lora(pairs), "core.safetensors"), 0.7)
    found = quietly(base, style_file(named_lora(pairs, names[0], names[1], rename=names[2])), 0.7)
    assert all(torch.equal(a, b) for a, b in zip(spatial(expected).values(), spatial(found).values(), strict=True))
    assert not torch.equal(found.get_submodule(OUT).weight, base.get_submodule(OUT).weight)


def test_kohyas_alpha_and_flat_halves_count(base, style_file):
    pairs = lora_pairs(base, (CONV,))
    expected = quietly(base, style_file(core_lora(pairs, 3.0), "core.safetensors"), 1.0)
    flat = {CONV: tuple(half.flatten(1) for half in pairs[CONV])}
    tensors = named_lora(flat, *LORA_NAMES["kohya"][:2], rename=LORA_NAMES["kohya"][2])
    tensors[f"lora_unet_{CONV.replace('.', '_')}.alpha"] = torch.tensor(3.0)
    found = quietly(base, style_file(tensors), 1.0)
    assert torch.equal(found.get_submodule(CONV).weight, expected.get_submodule(CONV).weight)


def test_what_belongs_to_a_text_encoder_or_to_time_is_left_out(base, style_file):
    pairs = lora_pairs(base, (LINEAR,))
    others = {"lora_te_layer.lora_down.weight": random(2, 3), "text_encoder.layer.lora_A.weight": random(2, 3)}
    others |= {"diffusion_model.temporal.mid_block.units.0.out.lora_A.weight": random(2, 3)}
    assert set(style_file(core_lora(pairs) | others).changes) == {f"{LINEAR}.weight"}


# Widths and dtypes


def test_a_3_channel_style_keeps_the_columns_of_c_and_m(wide, still_style, style_file):
    own = wide.conv_in.weight.detach().clone()
    styles = {
        "full": {**still_style.state_dict()},
        "difference": {"conv_in.weight.diff": still_style.conv_in.weight - own[:, :3]},
    }
    for name, tensors in styles.items():
        found = quietly(wide, style_file(tensors, f"{name}.safetensors"), 0.25).conv_in.weight
        torch.testing.assert_close(found[:, :3], 0.25 * still_style.conv_in.weight + 0.75 * own[:, :3])
        assert torch.equal(found[:, 3:], own[:, 3:])


def test_a_3_channel_lora_changes_the_first_columns(wide, style_file):
    down, up = random(RANK, 3, 3, 3), random(8, RANK, 1, 1)
    stylized = quietly(wide, style_file(core_lora({"conv_in": (down, up)})), 0.5)
    delta = torch.einsum("or,rikl->oikl", up.flatten(1), down)
    torch.testing.assert_close(stylized.conv_in.weight[:, :3], wide.conv_in.weight[:, :3] + 0.5 * delta)
    assert torch.equal(stylized.conv_in.weight[:, 3:], wide.conv_in.weight[:, 3:])


def test_a_7_channel_style_changes_all_columns(wide, style_file):
    tensors = {name: x + 1 for name, x in spatial(wide).items()}
    torch.testing.assert_close(stylize(wide, style_file(tensors), 1.0).conv_in.weight, wide.conv_in.weight + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_keeps_its_dtype_and_layout_whatever_the_files(tiny, still_style, style_file, dtype):
    base = load_stunet(tiny.base, ("base",), dtype)[1]
    stylized = stylize(base, style_file({name: x.half() for name, x in still_style.state_dict().items()}), 0.5)
    assert {x.dtype for x in stylized.state_dict().values()} == {dtype} and stylized.dtype == dtype
    assert stylized.get_submodule(CONV).weight.is_contiguous(memory_format=torch.channels_last)


# What is shared


def test_alpha_0_is_the_network_itself(base, still_style, style_file):
    assert stylize(base, style_file(still_style.state_dict()), 0.0) is base


def test_only_changed_tensors_take_memory_and_the_source_stays(base, style_file):
    before = {name: x.clone() for name, x in base.state_dict().items()}
    stylized = quietly(base, style_file(core_lora(lora_pairs(base))), 0.5)
    own = {name for name, x in stylized.state_dict().items() if x.data_ptr() != base.state_dict()[name].data_ptr()}
    assert own == {f"{module}.weight" for module in MODULES}
    assert all(torch.equal(x, before[name]) for name, x in base.state_dict().items())


@torch.no_grad()
def test_styles_follow_each_other_and_the_network_runs(base, style_file):
    first, second = (
        style_file(core_lora(lora_pairs(base, (module,))), f"{module}.safetensors") for module in (CONV, LINEAR)
    )
    both = quietly(quietly(base, first, 0.5), second, 0.25)
    assert torch.equal(both.get_submodule(CONV).weight, quietly(base, first, 0.5).get_submodule(CONV).weight)
    assert torch.equal(both.get_submodule(LINEAR).weight, quietly(base, second, 0.25).get_submodule(LINEAR).weight)
    x, text, time = random(1, 3, 4, 8, 8), random(1, 5, 32), torch.tensor([500])
    assert not torch.allclose(both(x, time, text), base(x, time, text))


def test_the_text_to_image_half_is_what_it_was_before_inflation(tiny, wide):
    still = load_stunet(tiny.t2i, ("t2i",))[1]
    found = text_to_image(wide)
    assert found.config == still.config
    assert all(torch.equal(x, still.state_dict()[name]) for name, x in found.state_dict().items())
    with pytest.raises(ValueError, match="a base or text-to-image net is needed; got a super-resolution net"):
        text_to_image(load_stunet(tiny.ssr, ("ssr",))[1])


# What is refused, and what is said


@pytest.mark.parametrize("alpha", [-0.01, 2.01, float("nan"), float("inf")])
def test_an_alpha_outside_0_to_2_is_refused(base, still_style, style_file, alpha):
    with pytest.raises(ValueError, match=r"alpha must be 0 \(the original\) to 1 \(the style\), or up to 2 .*; got "):
        stylize(base, style_file(still_style.state_dict()), alpha)


def test_extrapolation_warns(base, still_style, style_file):
    with pytest.warns(UserWarning, match="alpha 1.5 is above 1: the style is extrapolated"):
        stylized = stylize(base, style_file(still_style.state_dict()), 1.5)
    expected = 1.5 * still_style.conv_out.weight - 0.5 * base.conv_out.weight
    torch.testing.assert_close(stylized.conv_out.weight, expected)


def test_a_whole_file_warns_of_nothing(base, still_style, style_file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stylize(base, style_file(still_style.state_dict()), 1.0)


def test_a_partial_file_says_how_much_it_covers(base, still_style, style_file):
    state = still_style.state_dict()
    matrices = [name for name, x in state.items() if name.endswith(".weight") and x.ndim > 1]
    with pytest.warns(UserWarning, match=rf"some.safetensors covers 2 of {len(state)} spatial tensors; the others"):
        stylize(base, style_file({name: state[name] for name in list(state)[:2]}, "some.safetensors"), 0.5)
    message = rf"style.safetensors covers 3 of {len(matrices) - 1} spatial tensors that a LoRA can change;"
    with pytest.warns(UserWarning, match=message):
        stylize(base, style_file(core_lora(lora_pairs(base))), 0.5)


def test_styles_of_other_backbones_are_refused(tiny, base, still_style, style_file):
    state = still_style.state_dict()
    cases = [
        ({"blocks.0.attn.weight": random(2, 2)}, r"such as conv_in.weight, .*; got blocks.0.attn.weight, one of 1\."),
        ({"temporal.x.weight": random(2, 2)}, "such as conv_in.weight, .*; got none"),
        (state | {"blocks.0.weight": random(2, 2)}, r"the network has no tensor blocks.0.weight \(1 such in all\)"),
        (state | {"conv_out.weight": random(6, 8, 3, 3)}, r"its conv_out.weight does not fit .* shape \(3, 8, 3, 3\)"),
        (state | {"conv_in.weight": random(8, 6, 3, 3)}, r"its conv_in.weight does not fit .* shape \(8, 3, 3, 3\)"),
        (state | {"conv_in.weight": random(8, 2, 3, 3)}, r"its conv_in.weight does not fit .* shape \(8, 3, 3, 3\)"),
        (core_lora({"conv_out": (random(2, 4, 3, 3), random(3, 2, 1, 1))}), "its conv_out.weight does not fit"),
        (core_lora({"conv_out": (random(2, 8, 3, 3), random(4, 2, 1, 1))}), "its conv_out.weight does not fit"),
        ({"conv_out.weight.diff": random(3, 8, 1, 1)}, "its conv_out.weight does not fit"),
    ]
    for index, (tensors, message) in enumerate(cases):
        with pytest.raises(ValueError, match=rf"{index}.safetensors: .*{message}.* Choose a style of this"):
            stylize(base, style_file(tensors, f"{index}.safetensors"), 0.0)
    with pytest.raises(ValueError, match="another backbone: the network has no tensor class_embedding"):
        stylize(base, load_style(tiny.ssr), 0.5)
    with pytest.raises(ValueError, match="such as conv_in.weight"):
        stylize(base, load_style(tiny.text), 0.5)


def test_a_wider_style_does_not_fit_a_narrow_network(base, wide, style_file):
    with pytest.raises(ValueError, match=r"its conv_in.weight does not fit the network's, .* shape \(8, 3, 3, 3\)"):
        stylize(base, style_file(spatial(wide)), 0.5)


def test_broken_files_are_refused(tmp_path, style_file):
    down, up = random(RANK, 3, 3, 3), random(8, RANK, 1, 1)
    with pytest.raises(ValueError, match="LoRA of conv_in must have a down and an up half; got no up half"):
        style_file({"conv_in.lora_down.weight": down})
    with pytest.raises(ValueError, match="LoRA of conv_in must have a down and an up half; got no down half"):
        style_file({"conv_in.lora_B.weight": up})
    with pytest.raises(ValueError, match=r"the same rank in both halves; got down \(2, 3, 3, 3\) and up \(8, 4"):
        style_file({"conv_in.lora_down.weight": down, "conv_in.lora_up.weight": random(8, 4, 1, 1)})
    (tmp_path / "garbage.safetensors").write_text("nothing")
    for name, message in (("garbage.safetensors", "not a whole safetensors"), ("none.safetensors", "no such file")):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            load_style(tmp_path / name)
    with pytest.raises(ValueError, match="only .safetensors files are read; got .ckpt"):
        load_style(tmp_path / "a.ckpt")


# The node, on the standalone host


@pytest.fixture
def folder(tiny, tmp_path, base, still_style):
    """A models folder with the tiny base, a whole style of it, a partial LoRA, and a style of another backbone."""
    for path in (tiny.base, tiny.text, tiny.ssr):
        (tmp_path / path.name).symlink_to(path)
    info, _ = load_checkpoint(tiny.t2i)
    save_checkpoint(tmp_path / "full.safetensors", still_style.state_dict(), info)
    save_file(core_lora(lora_pairs(base)), tmp_path / "lora.safetensors")
    with using(Settings(device="cpu", models=tmp_path)):
        yield tmp_path


@pytest.fixture
def model(folder):
    return standalone.load_model(folder / "base.safetensors", BASE_KINDS, "float32")


Node = {node.__name__: node for node in NODES}["StyleWeightInterpolate"]


def styled(model, style, alpha):
    (result,) = Node.execute(model=model, style=style, alpha=alpha).args
    return result


def sampled(model):
    texts = [[[random(1, 32, 32, seed=seed), {}]] for seed in (0, 1)]
    plan = plan_sampling(model.info, 3, (8, 8), SamplingOptions(steps=2, guidance=2.0))
    return standalone.sample_video(model, plan, *texts, 5, None, None, True)


def test_the_node_lists_styles_networks_and_files_of_no_telling(folder):
    (combo,) = (spec for spec in Node.define_schema().inputs if spec.id == "style")
    assert {"full.safetensors", "lora.safetensors", "base.safetensors"} <= set(combo.options)
    assert not {"ssr.safetensors", "text.safetensors"} & set(combo.options)


def test_the_node_blends_when_the_network_is_needed(model, folder):
    before = sampled(model)
    half = styled(model, "full.safetensors", 0.5)
    assert half.network is model.network and model.styles == ()
    expected = stylize(model.network, load_style(folder / "full.safetensors"), 0.5)
    assert torch.equal(half.stylized().conv_out.weight, expected.conv_out.weight)
    assert not torch.allclose(sampled(half), before, atol=1e-3)
    assert torch.equal(sampled(model), before)
    assert torch.equal(sampled(styled(model, "full.safetensors", 0.0)), before)


def test_the_node_can_follow_itself(model):
    with pytest.warns(UserWarning, match="lora.safetensors covers 3 of"):
        lora = styled(model, "lora.safetensors", 1.0)
    both = styled(lora, "full.safetensors", 0.25)
    assert len(both.styles) == 2
    name = f"{LINEAR}.weight"
    full = stylize(lora.stylized(), load_style(standalone.checkpoint_path("full.safetensors")), 0.25)
    assert torch.equal(both.stylized().state_dict()[name], full.state_dict()[name])


def test_the_node_names_itself_in_what_it_refuses(model):
    for style, alpha, message in (
        ("full.safetensors", -0.5, "alpha must be 0"),
        ("ssr.safetensors", 0.5, "another backbone"),
        ("none.safetensors", 0.5, "was not found; searched"),
    ):
        with pytest.raises(ValueError, match=f"^Style Weight Interpolate: .*{message}"):
            styled(model, style, alpha)
    with pytest.warns(UserWarning, match="extrapolated"):
        styled(model, "full.safetensors", 1.25)
    ssr = standalone.load_model(standalone.checkpoint_path("ssr.safetensors"), ("ssr",), "float32")
    with pytest.raises(ValueError, match="^Style Weight Interpolate: model must be of kind t2i or base; got ssr"):
        styled(ssr, "full.safetensors", 0.5)


def test_a_file_that_was_trained_anew_is_read_anew(folder):
    before = Node.fingerprint_inputs(None, "full.safetensors", 0.5)
    (folder / "full.safetensors").touch()
    assert Node.fingerprint_inputs(None, "full.safetensors", 0.5) != before


def test_a_style_of_a_patched_net_has_the_columns_of_all_its_pixels(base, style_file):
    """With patches conv_in has patch^2 columns a channel: J's come first, and C's and M's stay."""
    config = dataclasses.replace(base.config, patch=2, in_channels=7)
    wide = STUNet(config)
    still = text_to_image(wide)
    weight = random(*still.conv_in.weight.shape, seed=7)
    styled = stylize(wide, style_file(still.state_dict() | {"conv_in.weight": weight}), 0.25)
    assert weight.shape[1] == 12
    torch.testing.assert_close(styled.conv_in.weight[:, :12], 0.25 * weight + 0.75 * wide.conv_in.weight[:, :12])
    assert torch.equal(styled.conv_in.weight[:, 12:], wide.conv_in.weight[:, 12:])
