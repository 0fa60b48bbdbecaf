"""What a checkpoint says of itself is checked whole when it is read, in milliseconds, whatever it says."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lumiere_video.lumiere_core.checkpoints.format import METADATA_KEY, CheckpointInfo, load_info, load_stunet
from lumiere_video.lumiere_core.conditioning.text import load_text_encoder
from lumiere_video.lumiere_core.style import load_style

CAST = {"name": "shapes", "words": [["star"]], "phrases": ["on a"]}
DEEP = '{"a": ' * 60 + "1" + "}" * 60


def metadata_of(path) -> dict:
    return json.loads(load_info(path).to_json())


@pytest.fixture
def written(tiny, tmp_path):
    """A copy of a tiny checkpoint whose metadata are some text, or have other fields."""

    def written(text=None, source=tiny.base, **fields):
        path = tmp_path / source.name
        text = json.dumps(metadata_of(source) | fields) if text is None else text
        save_file(load_file(source), path, {METADATA_KEY: text})
        return path

    return written


WRONG_FIELDS = [
    ({"kind": 3}, "kind must be one of t2i, base, ssr, text, style; got 3"),
    ({"kind": ["base"]}, "kind must be one of"),
    ({"config": []}, r"config must be a table; got \[\]"),
    (
        {"schedule": {"timesteps": 10**9}},
        "NoiseSchedule: timesteps must be a whole number from 2 to 10000; got 1000000",
    ),
    ({"schedule": {"timesteps": "many"}}, "timesteps must be a whole number"),
    ({"schedule": {"timesteps": True}}, "timesteps must be a whole number"),
    ({"schedule": {"shift": 1e300}}, "shift must be a number from 0.001 to 1000"),
    ({"schedule": {"shift": None}}, "shift must be a number"),
    ({"schedule": {"name": ["linear"]}}, "NoiseSchedule: name must be one of squaredcos_cap_v2"),
    ({"schedule": {"wings": 1}}, "NoiseSchedule: unknown field wings"),
    ({"schedule": 3}, "NoiseSchedule must be a table of its fields; got 3"),
    ({"prediction": "x0"}, "prediction must be one of eps, v, residual; got 'x0'"),
    ({"prediction": "residual"}, "prediction residual are for kind ssr; got kind base"),
    ({"thresholding": 3}, "thresholding must be a table or null; got 3"),
    ({"thresholding": {"percentile": 0.9}}, "thresholding must be null or have percentile and maximum"),
    ({"thresholding": {"percentile": 2, "maximum": 1.5}}, "percentile must be between 0 and 1"),
    ({"thresholding": {"percentile": 0.9, "maximum": "1"}}, "thresholding: maximum must be a number; got '1'"),
    ({"thresholding": {"percentile": 0.9, "maximum": float("nan")}}, "maximum must be a number; got nan"),
    ({"steps": "many"}, "sampling: steps must be a whole number from 1 to 1000 or null; got 'many'"),
    ({"steps": 0}, "steps must be a whole number from 1"),
    ({"steps": 2.5}, "steps must be a whole number"),
    ({"steps": 10**30}, "steps must be a whole number"),
    ({"guidance": float("inf")}, "guidance must be a number from 0 to 100 or null; got inf"),
    ({"guidance": "3"}, "guidance must be a number"),
    ({"sampler": 5}, "sampler must be one of euler, .* or null; got 5"),
    ({"sampler": {"a": 1}}, "sampler must be one of"),
    ({"scheduler": "fast"}, "scheduler must be one of"),
    ({"window": "12"}, "window must be a whole number"),
    ({"window": 0}, "window must be a whole number"),
    ({"overlap": -1}, "overlap must be a whole number from 0"),
    ({"overlap": [1]}, "overlap must be a whole number"),
    ({"fuse": True}, "fuse must be one of flat"),
    ({"loop": 1}, "loop must be true or false or null; got 1"),
    ({"noise_level": 1e3}, "noise_level must be a whole number"),
    ({"tile": "x"}, "tile must be a whole number"),
    ({"sampling": {}}, "none called sampling"),
    ({"fps": 0}, "fps must be a number from 0.01 to 1000; got 0"),
    ({"fps": "16"}, "fps must be a number"),
    ({"fps": float("nan")}, "fps must be a number"),
    ({"frames": 0}, "frames must be a whole number from 1 to 16384; got 0"),
    ({"frames": [80]}, "frames must be a whole number"),
    ({"frames": None}, "frames must be a whole number"),
    ({"frames": 10**12}, "frames must be a whole number"),
    ({"size": "64"}, "size must be a whole number"),
    ({"size": [64, 64]}, "size must be a whole number"),
    ({"size": -8}, "size must be a whole number"),
    ({"scale": 0}, "scale must be a whole number from 1 to 16; got 0"),
    ({"scale": 4.0}, "scale must be a whole number"),
    ({"align_corners": "yes"}, "align_corners must be true or false; got 'yes'"),
    ({"text_encoder": 7}, "text_encoder must be text or null; got 7"),
    ({"text_encoder": "../../secret"}, "text_encoder must be a file's name without a path"),
    ({"text_encoder": "/etc"}, "text_encoder must be a file's name"),
    ({"text_encoder": ""}, "text_encoder must be a file's name"),
    ({"text_encoder": "a" * 300}, "text_encoder must be a file's name"),
    ({"training": []}, r"training must be a table; got \[\]"),
    ({"training": None}, "training must be a table; got None"),
    ({"training": {"cast": ["star"]}}, "training: cast must be a table"),
    (
        {"training": {"cast": CAST | {"words": ["star"]}}},
        "cast: words must be a list, each of it a list, each of it text",
    ),
    ({"training": {"cast": CAST | {"words": [[]]}}}, "words must have a name for each thing"),
    ({"training": {"cast": CAST | {"phrases": [1]}}}, "cast: phrases must be a list, each of it text"),
    ({"training": {"cast": CAST | {"name": 3}}}, "cast: name must be text"),
    ({"trained_frames": 8}, "trained_frames must be a list, each of it a whole number from 1 to 16384 or null; got 8"),
    ({"trained_frames": [8]}, r"trained_frames must be null or two numbers, the least and the most; got \[8\]"),
    ({"trained_frames": [80, 8]}, "trained_frames must be null or two numbers, the least and the most"),
    ({"trained_sides": [1, 2, 3]}, "trained_sides must be null or two numbers"),
    ({"trained_sides": [0, 64]}, "trained_sides must be a list, each of it a whole number from 1 to 16384 or null"),
    ({"training": {"character": 3}}, "training: character must be text or null"),
    ({"format": "1"}, "newer version of this pack"),
    ({"format": 2}, "newer version of this pack"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG_FIELDS, ids=[f"{fields}"[:40] for fields, _ in WRONG_FIELDS])
def test_wrong_fields_are_named_in_one_line(written, fields, message):
    refused(written(**fields), message)


def test_what_was_trained_on_is_said_or_not(written):
    """Older files have no such fields."""
    info = load_info(written(trained_frames=[8, 160], trained_sides=[48, 84]))
    assert (info.trained_frames, info.trained_sides) == ((8, 160), (48, 84))
    fields = {name: value for name, value in json.loads(info.to_json()).items() if not name.startswith("trained_")}
    assert load_info(written(json.dumps(fields))).trained_frames is None


def changed(config: dict, place: str, value) -> dict:
    """The config with the value at a place such as "levels.0.layers"."""
    config = json.loads(json.dumps(config))
    *parents, last = (int(name) if name.isdigit() else name for name in place.split("."))
    target = config
    for parent in parents:
        target = target[parent]
    target[last] = value
    return config


WRONG_CONFIGS = [
    ("levels.0.layers", 10**9, "config: LevelConfig: layers must be a whole number from 1 to 32; got 1000000000"),
    ("levels.0.layers", 2.0, "layers must be a whole number"),
    ("levels.0.channels", 10**30, "channels must be a whole number"),
    ("levels.0", 8, "LevelConfig must be a table of its fields; got 8"),
    ("levels", "ab", "levels must be a list, each of it a LevelConfig; got 'ab'"),
    ("levels", [], "at least one level"),
    ("norm_groups", 0, "norm_groups must be a whole number from 1"),
    ("attention_head_dim", 0, "attention_head_dim must be a whole number from 1"),
    ("pooled_text_heads", None, "pooled_text_heads must be a whole number"),
    ("patch", 2**40, "patch must be a whole number from 1 to 64"),
    ("activation", "exec", "activation must be one of gelu, silu; got 'exec'"),
    ("time_embedding_act", 3, "time_embedding_act must be one of gelu, silu or null; got 3"),
    ("resnet_scale_factor", 0, "resnet_scale_factor must be a number"),
    (
        "in_channels",
        5,
        "a network of kind base must have 3 or 7 input channels, and 3 or 6 output channels; got 5 and 3",
    ),
    ("out_channels", 1, "got 3 and 1"),
    ("noise_level_embedding", True, "noise_level_embedding .* for kind ssr; got kind base"),
    ("temporal", [], "TemporalConfig must be a table of its fields"),
    ("temporal.attention_blocks", 10**9, "attention_blocks must be a whole number from 1 to 32"),
    ("temporal.levels.0.kind", 3, "kind must be text; got 3"),
    ("temporal.levels.0.halve", "no", "halve must be true or false"),
]


@pytest.mark.parametrize(
    ("place", "value", "message"), WRONG_CONFIGS, ids=[f"{c[0]}={c[1]}"[:40] for c in WRONG_CONFIGS]
)
def test_wrong_configs_are_named_in_one_line(tiny, written, place, value, message):
    refused(written(config=changed(metadata_of(tiny.base)["config"], place, value)), message)


def test_a_config_far_larger_than_the_file_is_not_built(tiny, written):
    path = written(config=changed(metadata_of(tiny.base)["config"], "levels.0.layers", 32))
    refused(path, r"has at least \d+ tensors; the file has \d+\.", lambda: load_stunet(path, ("base",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply|must be a table"),
        ('{"training": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001, "nested too deeply"),
        ('{"training": ' + DEEP + "}", "nested at most 50 deep; got 61"),
        ('{"kind": "' + "a" * 2**22 + '"}', "at most 4194304 characters"),
        ('{"fps": 1' + "0" * 5000 + "}", "is not what this pack writes"),
        ('"' + "a" * 10**6 + '"', "must be a table of fields; got 'aaaa"),
        ("\x00", "is not what this pack writes"),
    ],
    ids=["lists", "tables", "60 deep", "long", "digits", "text", "nul"],
)
def test_metadata_that_no_program_should_choke_on(written, text, message):
    refused(written(text), message)


WRONG_TEXT_CONFIGS = [
    ("num_layers", 10**9, "config: TextConfig: num_layers must be a whole number from 1 to 64"),
    ("max_tokens", "77", "max_tokens must be a whole number"),
    ("tokenizer", "words", "tokenizer must be one of byte-level"),
    ("vocab_size", 10, "vocab_size must be a whole number from 384"),
    ("feed_forward_proj", "os.system", "feed_forward_proj must be one of relu"),
    ("relative_attention_max_distance", 8, "relative_attention_max_distance must be a whole number"),
    ("wings", 2, "TextConfig: unknown field wings"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG_TEXT_CONFIGS, ids=[case[0] for case in WRONG_TEXT_CONFIGS])
def test_wrong_text_encoders_are_named(tiny, written, name, value, message):
    refused(written(source=tiny.text, config=metadata_of(tiny.text)["config"] | {name: value}), message)


def test_a_text_encoder_larger_than_its_file_costs_no_memory(tiny, written):
    config = metadata_of(tiny.text)["config"] | {"d_model": 2**14, "d_ff": 2**16, "num_layers": 64}
    path = written(source=tiny.text, config=config)
    refused(path, "text.safetensors: the file lacks tensor", lambda: load_text_encoder(path))


def test_what_a_config_leaves_out_has_its_default(tiny, written):
    config = metadata_of(tiny.base)["config"]
    assert config.pop("in_channels") == 3 and config.pop("patch") == 1
    assert load_info(written(config=config)).config["in_channels"] == 3


def test_a_style_with_broken_metadata_is_refused_and_one_without_is_not(tiny, written, tmp_path):
    path = written(source=tiny.restyled, fps=0)
    refused(path, "fps must be a number", lambda: load_style(path))
    lora = tmp_path / "lora.safetensors"
    save_file({"conv_in.lora_down.weight": torch.zeros(1, 3), "conv_in.lora_up.weight": torch.zeros(8, 1)}, lora)
    assert load_style(lora).character is None


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_file_without_metadata_whose_shapes_are_none(tmp_path, shape):
    names = ("conv_in.weight", "conv_out.weight", "encoder_hid_proj.weight", "time_embedding.linear_1.weight")
    path = tmp_path / "net.safetensors"
    save_file({name: torch.zeros(shape) for name in names}, path)
    refused(path, "neither metadata of this pack nor a DeepFloyd IF U-Net: tensor .* must have two dimensions")


def test_an_info_that_could_not_be_read_again_cannot_be_made():
    with pytest.raises(ValueError, match="CheckpointInfo: frames must be a whole number"):
        CheckpointInfo(kind="base", config={}, frames=2.5)


def refused(path, message, load=None):
    with pytest.raises(ValueError, match=message) as caught:
        (load or (lambda: load_info(path)))()
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 800
