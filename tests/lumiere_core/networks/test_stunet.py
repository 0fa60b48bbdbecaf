"""The network's parts and promises: temporal blocks in closed form, injectable layers, low precision, torch.compile."""

import ast
import collections
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from lumiere_video.lumiere_core import networks
from lumiere_video.lumiere_core.networks import LevelConfig, STUNet, TemporalConfig, TemporalLevelConfig, UNetConfig
from lumiere_video.lumiere_core.networks.attention import attention
from lumiere_video.lumiere_core.networks.operations import LAYERS, activation, bind
from lumiere_video.lumiere_core.networks.stunet import fold, unfold
from lumiere_video.lumiere_core.networks.temporal import (
    AttentionInflation,
    ClipPosition,
    ConvInflation,
    ConvOverTime,
    TemporalCondition,
    TemporalDownsample,
    TemporalUpsample,
    rotate,
)

OPS = bind()
CONFIG = UNetConfig(
    levels=(LevelConfig(8), LevelConfig(16, 1, attention=True)),
    text_dim=16,
    cross_attention_dim=32,
    attention_head_dim=8,
    norm_groups=4,
    in_channels=6,
    noise_level_embedding=True,
    temporal=TemporalConfig(
        levels=(TemporalLevelConfig("conv", halve=True), TemporalLevelConfig("attention")),
        attention_head_dim=8,
        embedding_dim=16,
    ),
)
FIELDS = {
    "levels": (LevelConfig(8), LevelConfig(16)),
    "norm_groups": 4,
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
}
LEVELS = (TemporalLevelConfig("conv"), TemporalLevelConfig("attention"))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(dtype=torch.float32):
    """A clip of 5 frames of 7 x 9 pixels with all that the net of CONFIG is told."""
    return {
        "x": randn(2, 6, 5, 7, 9).to(dtype),
        "timesteps": torch.tensor([10.0, 999.0]),
        "text": randn(2, 4, 16).to(dtype),
        "noise_level": torch.tensor([0, 500]),
    }


def network(**keywords) -> STUNet:
    torch.manual_seed(0)
    return STUNet(CONFIG, **keywords).eval()


# Time


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@torch.no_grad()
def test_conv_over_time_is_a_conv1d_over_frames(frames, stride):
    ours = ConvOverTime(6, OPS, stride)
    plain = nn.Conv1d(6, 6, 3, stride=stride, padding=1)
    plain.weight.copy_(ours.conv.weight[..., 0])
    plain.bias.copy_(ours.conv.bias)
    x = randn(2, frames, 6, 4, 3)
    rows = plain(rearrange(x, "b t c h w -> (b h w) c t"))
    expected = rearrange(rows, "(b h w) c t -> (b t) c h w", b=2, h=4)
    assert expected.shape[0] == 2 * -(-frames // stride)
    torch.testing.assert_close(ours(x.flatten(0, 1), 2), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_conv_over_time_reads_channels_last_memory_in_place():
    conv, seen = ConvOverTime(6, OPS), []
    conv.conv.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].data_ptr()))
    x = randn(10, 6, 4, 3).contiguous(memory_format=torch.channels_last)
    result = conv(x, 2)
    assert seen == [x.data_ptr()]
    assert result.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_temporal_resize_with_identity_weights():
    """Down keeps every other frame, up shows every frame twice and crops to the length asked for."""
    down, up = TemporalDownsample(4, OPS), TemporalUpsample(4, OPS)
    for resize in (down, up):
        nn.init.dirac_(resize.conv.conv.weight)
        nn.init.zeros_(resize.conv.conv.bias)
    x = randn(2, 5, 4, 3, 3)  # B T C H W
    few = down(x.flatten(0, 1), 2).unflatten(0, (2, 3))
    torch.testing.assert_close(few, x[:, [0, 2, 4]])
    for frames in (5, 6):
        many = up(few.flatten(0, 1), 2, frames).unflatten(0, (2, frames))
        torch.testing.assert_close(many, few[:, [0, 0, 1, 1, 2, 2][:frames]])


# Patches


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_are_folded_and_unfolded_as_torch_does_it(patch):
    x = randn(3, 5, 8, 12)
    folded = fold(x, patch)
    assert folded.shape == (3, 5 * patch**2, 8 // patch, 12 // patch)
    assert torch.equal(folded, F.pixel_unshuffle(x, patch))
    assert torch.equal(unfold(folded, patch), F.pixel_shuffle(folded, patch))
    assert torch.equal(unfold(folded, patch), x)


def reach(block, frames=9, changed=4) -> list[int]:
    """Which frames of the output hear of a change in one frame of the input."""
    torch.manual_seed(0)
    x, condition = randn(frames, 8, 3, 3), randn(1, 16, seed=1)
    other = x.clone()
    other[changed] = 5 * randn(8, 3, 3, seed=2)
    difference = (block(x, condition) - block(other, condition)).abs().amax(dim=(1, 2, 3))
    return difference.gt(1e-6).nonzero().flatten().tolist()


@torch.no_grad()
def test_conv_inflation_reaches_one_frame_either_way():
    """Two convolutions, one of them over time; norms are per frame, or every frame would hear of the change."""
    assert reach(ConvInflation(8, 16, 4, "gelu", OPS)) == [3, 4, 5]


@torch.no_grad()
def test_attention_inflation_reaches_every_frame_of_its_own_pixel():
    block = AttentionInflation(8, 1, 8, 16, "gelu", OPS)
    assert reach(block) == list(range(9))
    x, condition = randn(5, 8, 3, 3), randn(1, 16)
    other = x.clone()
    other[:, :, 1, 2] += 1
    pixels = (block(x, condition) - block(other, condition)).abs().amax(dim=(0, 1)).gt(1e-6).nonzero().tolist()
    assert pixels == [[1, 2]]


@torch.no_grad()
def test_attention_inflation_knows_the_order_of_frames():
    """Without a position code, reversed frames would give the reversed output."""
    block = AttentionInflation(8, 1, 8, 16, "gelu", OPS)
    x, condition = 3 * randn(5, 8, 2, 2), randn(1, 16)
    assert (block(x.flip(0), condition).flip(0) - block(x, condition)).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("position", [False, True])
def test_position_tells_frames_and_pixels_of_a_uniform_clip_apart(position):
    """Rotary positions are relative: where all tokens are equal they tell nothing."""
    block = AttentionInflation(8, 1, 8, 16, "gelu", OPS, position=position)
    x, condition = randn(1, 8, 1, 1).expand(5, 8, 3, 4), randn(1, 16)
    out = block(x, condition)
    for axis in (0, 2, 3):
        differs = (out.diff(dim=axis).abs() > 1e-4).any(dim=1).all()
        assert differs == position


@torch.no_grad()
def test_position_is_that_of_the_whole_clip_at_any_stride():
    position = ClipPosition(8, OPS)
    long, short = (position(frames, 2, 2, like=randn(1)) for frames in (81, 21))
    torch.testing.assert_close(long[::4], short, rtol=0, atol=1e-5)
    assert torch.isfinite(position(1, 1, 1, like=randn(1))).all()


def test_rotary_scores_depend_on_relative_positions_only():
    heads, shift = 2, 11
    q, k = (randn(1, 6, 16, seed=seed).double() for seed in (0, 1))

    def scores(q, k):
        q, k = (rearrange(rotate(x, heads), "n t (h d) -> n h t d", h=heads) for x in (q, k))
        return q @ k.transpose(-1, -2)

    before = torch.zeros(1, shift, 16).double()
    later = scores(torch.cat([before, q], 1), torch.cat([before, k], 1))[..., shift:, shift:]
    torch.testing.assert_close(later, scores(q, k), rtol=0, atol=1e-4)
    unrotated = scores(q[:, :1], k[:, :1])  # position 0 is not turned
    plain = torch.einsum("nhd,nhd->nh", *(x[:, 0].unflatten(-1, (heads, 8)) for x in (q, k)))
    torch.testing.assert_close(unrotated.flatten(), plain.flatten(), rtol=0, atol=1e-5)
    same = q[:, :1].expand(-1, 6, -1)
    assert scores(same, same)[0, 0, 0].std() > 1e-2


def test_rotary_keeps_lengths_and_dtype():
    x = randn(2, 7, 16).to(torch.bfloat16)
    assert rotate(x, 2).dtype == torch.bfloat16
    torch.testing.assert_close(rotate(x.float(), 2).norm(dim=-1), x.float().norm(dim=-1))


def test_attention_is_softmax_of_scaled_products():
    q, k, v = (randn(2, 5, 12, seed=seed) for seed in range(3))
    expected = torch.cat(
        [
            (a @ b.transpose(1, 2) / 4**0.5).softmax(-1) @ c
            for a, b, c in zip(q.split(4, -1), k.split(4, -1), v.split(4, -1), strict=True)
        ],
        dim=-1,
    )
    torch.testing.assert_close(attention(q, k, v, 3), expected)


def test_attention_over_very_many_sequences_is_split(monkeypatch):
    """CUDA's kernels take fewer than 2**16; the split must not show."""
    q, k, v = (randn(5, 3, 8, seed=seed) for seed in range(3))
    whole, sizes = attention(q, k, v, 2), []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def counted(q, k, v):
        sizes.append(len(q))
        return kernel(q, k, v)

    monkeypatch.setattr("lumiere_video.lumiere_core.networks.attention.LARGEST_BATCH", 2)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    torch.testing.assert_close(attention(q, k, v, 2), whole)
    assert sizes == [2, 2, 1]


@torch.no_grad()
def test_the_pooled_text_of_the_temporal_half_can_favour_a_word():
    condition = TemporalCondition(32, 16, 16, "gelu", OPS)
    text, timesteps = randn(1, 4, 16), torch.tensor([5])
    nn.init.zeros_(condition.text_score.weight)
    nn.init.zeros_(condition.text_score.bias)
    torch.testing.assert_close(condition(timesteps, text), condition(timesteps, text[:, [2, 0, 3, 1]]))
    condition.text_score.weight.copy_(100 * condition.text_norm(text[:, 2]))
    lone = condition(timesteps, text[:, 2:3])
    torch.testing.assert_close(condition(timesteps, text), lone)


# Layers from outside


def counting_operations():
    """A namespace like comfy.ops: subclasses of the torch layers, and a count of what was built from it."""
    built = collections.Counter()

    def counted(name):
        def __init__(self, *arguments, **keywords):
            built[name] += 1
            super(layer, self).__init__(*arguments, **keywords)

        layer = type(name, (getattr(nn, name),), {"__init__": __init__})
        return layer

    return SimpleNamespace(**{name: counted(name) for name in LAYERS}), built


def test_every_layer_comes_from_the_injected_namespace():
    operations, built = counting_operations()
    modules = list(network(operations=operations).modules())
    weighty = [m for m in modules if any(True for _ in m.parameters(recurse=False))]
    bare = [m for m in weighty if type(m).__module__.startswith("torch.nn")]
    assert not bare
    injected = [m for m in weighty if type(m) in vars(operations).values()]
    assert len(injected) == sum(built.values())
    assert set(built) == set(LAYERS)
    assert {type(m).__name__ for m in weighty if m not in injected} == {"AttentionPooling"}  # its one bare Parameter


def test_layers_are_made_with_the_dtype_and_device_asked_for():
    made = network(dtype=torch.bfloat16, device="meta")
    assert {(p.dtype, p.device.type) for p in made.parameters()} == {(torch.bfloat16, "meta")}


NETWORK_FILES = sorted(Path(networks.__file__).parent.glob("*.py"))
PRECISIONS = {"float16", "half", "bfloat16", "float64", "double", "cuda", "cpu", "mps"}  # float32 is asked for by name
DEVICES = re.compile(r"(cpu|cuda|mps|xpu|meta)(:\d+)?")


def touched_weights(tree: ast.AST) -> list[str]:
    """`.weight` and `.bias` outside constructors, as 'line: name'."""
    constructors = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    allowed = {id(inner) for constructor in constructors for inner in ast.walk(constructor)}
    return [
        f"{node.lineno}: .{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("weight", "bias") and id(node) not in allowed
    ]


def literals(tree: ast.AST) -> list[str]:
    """Device names and precisions written into the code, as 'line: literal'."""
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in PRECISIONS]
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [f"{n.lineno}: .{n.attr}" for n in names] + [
        f"{n.lineno}: {n.value!r}" for n in texts if DEVICES.fullmatch(n.value)
    ]


@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda path: path.stem)
def test_forward_leaves_weights_devices_and_precision_to_the_host(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert literals(tree) == []
    if path.name != "inflation.py":  # initialisation is its business
        assert touched_weights(tree) == []


def test_the_two_checks_above_can_fail():
    tree = ast.parse(
        "def forward(self, x):\n  x = x.to('cuda:0').half()\n  return self.conv.weight * x.to(torch.float16)"
    )
    assert touched_weights(tree) == ["3: .weight"]
    assert sorted(literals(tree)) == ["2: 'cuda:0'", "2: .half", "3: .float16"]


# Precision, compilation, configuration


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_low_precision_is_close_to_float32(dtype):
    expected = network()(**inputs())
    result = network().to(dtype)(**inputs(dtype))
    assert result.dtype == dtype
    assert result.isfinite().all()
    assert (result.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.slow
def test_compiles_to_one_graph():
    """fullgraph raises at a graph break; the counting backend says how many graphs there were."""
    graphs, net = [], network()

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    with torch.no_grad():
        result = torch.compile(net, fullgraph=True, dynamic=False, backend=backend)(**inputs())
        torch.testing.assert_close(result, net(**inputs()))
    assert len(graphs) == 1


def test_config_survives_json():
    assert UNetConfig.from_dict(CONFIG.to_dict()) == CONFIG
    assert UNetConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG  # lists for tuples


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": ()}, "at least one level"),
        ({"levels": (LevelConfig(8),) * 9}, "at most 8; got 9"),
        ({"levels": (LevelConfig(7), LevelConfig(16))}, "channels of level 0 must be even; got 7"),
        ({"patch": 0}, "patch must be a whole number from 1 to 64; got 0"),
        ({"norm_groups": 0}, "norm_groups must be a whole number from 1 to 65536; got 0"),
        ({"text_dim": "16"}, "text_dim must be a whole number from 1 to 65536; got '16'"),
        ({"text_dim": 16.0}, "text_dim must be a whole number .*; got 16.0"),
        ({"text_dim": True}, "text_dim must be a whole number .*; got True"),
        ({"resnet_scale_factor": float("nan")}, "resnet_scale_factor must be a number from 0.001 to 1000; got nan"),
        ({"skip_time_act": 1}, "skip_time_act must be true or false; got 1"),
        ({"temporal": {}}, "temporal must be a TemporalConfig or null; got {}"),
        ({"norm_groups": 3}, "level 0 must be a multiple of norm_groups=3; got 8"),
        ({"attention_head_dim": 12}, "level 1 must be a multiple of attention_head_dim=12; got 16"),
        ({"cross_attention_dim": 40}, "cross_attention_dim must be a multiple of 32; got 40"),
        ({"text_dim": 10}, "text_dim must be a multiple of pooled_text_heads=4; got 10"),
        ({"activation": "relu6"}, "activation must be one of gelu, silu; got 'relu6'"),
        ({"temporal": TemporalConfig(LEVELS[:1])}, "one entry per U-Net level is needed, 2; got 1"),
        ({"temporal": TemporalConfig((LEVELS[0], TemporalLevelConfig("attention", True)))}, "coarsest level"),
        ({"temporal": TemporalConfig((TemporalLevelConfig("mean"), LEVELS[1]))}, "conv or attention; got 'mean'"),
        ({"temporal": TemporalConfig(LEVELS, attention_head_dim=12)}, "multiple of attention_head_dim=12; got 16"),
        ({"temporal": TemporalConfig(LEVELS, attention_head_dim=1)}, "attention_head_dim must be even.*; got 1"),
    ],
)
def test_an_impossible_config_is_refused_with_both_numbers(fields, message):
    with pytest.raises(ValueError, match=message):
        STUNet(UNetConfig(**(FIELDS | fields)))


@pytest.mark.parametrize("where", ["UNetConfig", "LevelConfig", "TemporalConfig", "TemporalLevelConfig"])
def test_an_unknown_config_field_is_named(where):
    data = CONFIG.to_dict()
    target = {
        "UNetConfig": data,
        "LevelConfig": data["levels"][0],
        "TemporalConfig": data["temporal"],
        "TemporalLevelConfig": data["temporal"]["levels"][0],
    }[where]
    target["wings"] = 2
    with pytest.raises(ValueError, match=f"{where}: unknown field wings"):
        UNetConfig.from_dict(data)


@pytest.mark.parametrize("fields", [{"layers": 10**9}, {"layers": 0}, {"channels": 2**60}, {"attention": "no"}])
def test_an_impossible_level_is_refused_before_it_is_built(fields):
    ((name, _),) = fields.items()
    with pytest.raises(ValueError, match=f"LevelConfig: {name} must be "):
        LevelConfig(**({"channels": 8} | fields))


@pytest.mark.parametrize("temporal", [None, CONFIG.temporal, TemporalConfig(LEVELS, 9, 8)])
def test_the_least_number_of_tensors_is_no_more_than_there_are(temporal):
    config = dataclasses.replace(CONFIG, temporal=temporal)
    assert 8 * 6 <= config.least_tensors <= len(STUNet(config, device="meta").state_dict())


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="got 'tanh'"):
        activation("tanh")
    assert activation("silu") is F.silu
