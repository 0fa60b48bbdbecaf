"""The host without ComfyUI: schema classes, model files, sampling with known pixels, and the promise of both hosts."""

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from lumiere_video.lumiere_core import sampling as core_sampling
from lumiere_video.lumiere_core.checkpoints.format import load_checkpoint, save_checkpoint
from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.sampling import plan_sampling
from lumiere_video.nodes import host
from lumiere_video.nodes.extension import NODES, LumiereExtension
from lumiere_video.nodes.host import standalone
from lumiere_video.nodes.host.standalone import io, models
from lumiere_video.nodes.host.standalone.models import Settings, using
from lumiere_video.nodes.loaders import BASE_KINDS, SSR_KINDS
from lumiere_video.nodes.masks import change_mask
from lumiere_video.nodes.sampler import STUNetSampler
from lumiere_video.runner.core_nodes import CORE_NODES


@pytest.fixture
def folder(tiny):
    """The tiny checkpoints as the folder of models, on the CPU."""
    with using(Settings(device="cpu", models=tiny.base.parent)):
        yield tiny.base.parent


@pytest.fixture
def base(folder):
    return standalone.load_model(folder / "base.safetensors", BASE_KINDS, "float32")


def sampled(base, **changes):
    text = [[torch.zeros(1, 3, base.info.config["text_dim"]), {}]]
    options = {"seed": 0, "steps": 2, "cfg": 1.0, "sampler": "euler", "scheduler": "normal", "fuse": "flat"}
    options |= {"frames": 2, "width": 8, "height": 8, "window": 0, "overlap": -1, "loop": False, "keep_known": True}
    return STUNetSampler.execute(base, text, text, **{"denoise": 1.0, **options, **changes})


def test_lengths_and_shapes_that_the_network_does_not_know_are_named(base, recwarn):
    base = dataclasses.replace(base, info=dataclasses.replace(base.info, trained_frames=(4, 6), trained_sides=(8, 16)))
    sampled(base, frames=7, window=4, overlap=1, width=16)
    assert not list(recwarn), "a longer clip is made of windows"
    with pytest.warns(UserWarning, match="sees 7 frames at once, and was trained on 4 to 6; frames of 24 x 8 pixels"):
        sampled(base, frames=7, width=24)


@pytest.mark.parametrize("denoise, warned", [(0.5, True), (1.0, False)])
def test_denoise_below_one_without_a_latent_is_said_to_start_from_grey(base, recwarn, denoise, warned):
    sampled(base, denoise=denoise)
    said = [str(warning.message) for warning in recwarn]
    assert warned == any("no latent is connected: the clip starts from mid-grey" in text for text in said)


@pytest.fixture
def knowing(tiny, tmp_path):
    """A folder with a base that says which words it knows, and its text encoder: its CLIP."""
    info, tensors = load_checkpoint(tiny.base)
    record = {"cast": {"name": "few", "words": [["fox"], ["bear"]], "phrases": ["a", "jumping"]}}
    save_checkpoint(tmp_path / "knowing.safetensors", tensors, dataclasses.replace(info, training=record))
    (tmp_path / tiny.text.name).symlink_to(tiny.text)
    with using(Settings(device="cpu", models=tmp_path)):
        yield standalone.load_text_encoder(tmp_path / "knowing.safetensors")


def test_words_that_the_network_never_heard_are_named(knowing):
    with pytest.warns(UserWarning, match="prompt's 'zebra' is not among the words these weights know; they can draw: "):
        standalone.encode_text(knowing, "a (zebra:1.4) jumping")


def test_words_that_are_known_are_not(knowing, recwarn):
    for prompt in ("A Fox jumping ", "(foxes:1.4)", "a (zebra:0) fox", ""):
        standalone.encode_text(knowing, prompt)
    assert not list(recwarn)


def test_a_character_that_a_style_teaches_is_known(knowing, tiny, tmp_path, recwarn):
    info, tensors = load_checkpoint(tiny.t2i)
    info = dataclasses.replace(info, kind="style", training={"character": "zorp"})
    save_checkpoint(tmp_path / "zorp.safetensors", tensors, info)
    standalone.encode_text(knowing, "a zorp jumping")
    assert not list(recwarn)


def test_both_hosts_offer_the_same_names():
    other = Path(host.__file__).parent / "comfyui" / "__init__.py"
    (names,) = re.findall(r"__all__ = (\[.*?\])", other.read_text(encoding="utf-8"), re.DOTALL)
    assert ast.literal_eval(names) == standalone.__all__ and all(hasattr(host, name) for name in standalone.__all__)


@pytest.mark.parametrize("node", [*NODES, *CORE_NODES], ids=lambda node: node.__name__)
def test_inputs_are_the_arguments_of_execute(node):
    schema = node.define_schema()
    parameters = inspect.signature(node.execute).parameters
    assert {spec.id for spec in schema.inputs} == set(parameters)
    optional = {spec.id for spec in schema.inputs if spec.optional}
    assert optional <= {name for name, parameter in parameters.items() if parameter.default is not parameter.empty}


def test_the_extension_lists_the_nodes():
    def finish(coroutine):
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        return stopped.value.value

    extension = LumiereExtension()
    assert finish(extension.on_load()) is None
    assert finish(extension.get_node_list()) == list(NODES)


def test_an_option_that_core_does_not_know_is_an_error():
    with pytest.raises(TypeError, match="maximum"):
        io.Int.Input("steps", maximum=3)


def test_dynamic_combos_bring_inputs_with_dotted_names_and_optional_inputs_come_last():
    amount = io.Float.Input("amount", default=1.0)
    inner = io.DynamicCombo.Input("how", options=[io.DynamicCombo.Option("plain", []), io.Option("more", [amount])])
    inputs = [
        io.Int.Input("late", optional=True),
        io.DynamicCombo.Input("mode", options=[io.Option("off"), io.Option("on", [inner])]),
        io.Image.Input("images"),
    ]
    values = {"mode": "on", "mode.how": "more", "mode.how.amount": 0.5, "images": "tensor", "stray": 1}
    names = [name for name, _ in io.live_inputs(inputs, values)]
    assert names == ["mode", "mode.how", "mode.how.amount", "images", "late"]
    assert [name for name, _ in io.live_inputs(inputs, {"mode": "off"})] == ["mode", "images", "late"]
    nested = {"mode": "on", "how": {"how": "more", "amount": 0.5}}
    assert io.keywords(inputs, values) == {"mode": nested, "images": "tensor"}


def test_files_of_the_wanted_kinds_and_of_no_telling_are_listed(tiny, tmp_path):
    for path in (tiny.base, tiny.ssr, tiny.t2i, tiny.text):
        (tmp_path / path.name).symlink_to(path)
    save_file({"some.lora_up.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    (tmp_path / "notes.txt").write_text("nothing")
    with using(Settings(models=tmp_path)):
        bases, ssrs = (standalone.checkpoint_names(kinds) for kinds in (BASE_KINDS, SSR_KINDS))
    assert bases == ["base.safetensors", "lora.safetensors", "t2i.safetensors", "toy-base.safetensors"]
    assert ssrs == ["lora.safetensors", "ssr.safetensors", "toy-ssr.safetensors"]
    assert standalone.checkpoint_names(SSR_KINDS) == ["toy-ssr.safetensors"]  # the settings are gone with their block


def unreadable(path):
    path.symlink_to("/proc/self/mem")  # a file by its looks, which cannot be read


BAD_FILES = {
    "garbage": lambda path: path.write_text("nothing"),
    "nested": lambda path: save_file({"x": torch.zeros(1)}, path, {"lumiere": "[" * 100_000 + "]" * 100_000}),
    "timesteps": lambda path: save_file({"x": torch.zeros(1)}, path, {"lumiere": '{"kind": "base", "frames": "x"}'}),
    "unreadable": unreadable,
}


@pytest.mark.parametrize("damage", BAD_FILES)
def test_a_bad_file_hides_itself_alone_with_a_warning(tiny, tmp_path, damage):
    if damage == "unreadable" and not Path("/proc/self/mem").is_file():
        pytest.skip("there is no such file here")
    (tmp_path / "base.safetensors").symlink_to(tiny.base)
    BAD_FILES[damage](tmp_path / "bad.safetensors")
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    with using(Settings(models=tmp_path)), pytest.warns(UserWarning, match="left out .*: .*") as warned:
        assert standalone.checkpoint_names(BASE_KINDS) == ["base.safetensors", "toy-base.safetensors"]
    assert len(warned) == 1 and "bad.safetensors" in str(warned[0].message)


def test_the_given_folder_comes_before_the_bundled_files(tiny, tmp_path):
    (tmp_path / "toy-base.safetensors").write_bytes(tiny.ssr.read_bytes())
    with using(Settings(models=tmp_path)):
        assert standalone.checkpoint_path("toy-base.safetensors") == tmp_path / "toy-base.safetensors"
        assert "toy-base.safetensors" not in standalone.checkpoint_names(BASE_KINDS)


def test_files_in_subfolders_have_names_with_slashes_and_those_outside_have_none(tiny, tmp_path):
    (tmp_path / "outside.safetensors").write_bytes(tiny.base.read_bytes())
    (tmp_path / "linked" / "deep").mkdir(parents=True)
    (tmp_path / "linked" / "deep" / "base.safetensors").write_bytes(tiny.base.read_bytes())
    models = tmp_path / "models"
    (models / "sub").mkdir(parents=True)
    (models / "sub" / "base.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (models / "linked").symlink_to(tmp_path / "linked")
    with using(Settings(models=models)):
        names = ["linked/deep/base.safetensors", "sub/base.safetensors"]
        assert standalone.checkpoint_names(BASE_KINDS) == [*names, "toy-base.safetensors"]
        assert [standalone.checkpoint_path(name) for name in names] == [models / name for name in names]
        for name in ("none.safetensors", "../outside.safetensors", str(tmp_path / "outside.safetensors")):
            with pytest.raises(ValueError, match=rf"{name}' was not found; searched {models} and .*weights"):
                standalone.checkpoint_path(name)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_links_that_lead_back_are_followed_no_further(tiny, tmp_path):
    models = tmp_path / "models"
    (models / "sub").mkdir(parents=True)
    (models / "sub" / "base.safetensors").symlink_to(tiny.base)
    (models / "same").symlink_to(models / "sub")  # another name, as it is no loop
    for name, target in (("a", models), ("b", models), ("sub/c", models), ("sub/d", models / "sub"), ("e", "e")):
        (models / name).symlink_to(target)
    with using(Settings(models=models)):
        names = standalone.checkpoint_names(BASE_KINDS)
    assert names == ["same/base.safetensors", "sub/base.safetensors", "toy-base.safetensors"]


def test_models_carry_what_sampling_needs(base):
    assert (base.info.kind, base.device.type, base.dtype) == ("base", "cpu", torch.float32)
    assert standalone.model_info(base, BASE_KINDS) is base.info
    with pytest.raises(ValueError, match="^model must be of kind ssr; got base. Wire Load SSR.$"):
        standalone.model_info(base, SSR_KINDS)


def test_a_file_of_another_kind_is_refused(folder):
    with pytest.raises(ValueError, match="ssr.safetensors: a checkpoint of kind base or t2i is needed here"):
        standalone.load_model(folder / "ssr.safetensors", BASE_KINDS, "auto")


def test_text_becomes_conditioning_as_core_has_it(folder):
    clip = standalone.load_text_encoder(folder / "base.safetensors")
    ((text, extra),) = standalone.encode_text(clip, "a red circle")
    assert text.shape == (1, 32, 32) and text.dtype == torch.float32 and text.device.type == "cpu"
    assert extra == {} and torch.equal(text, clip.encoder.encode(["a red circle"]))


def test_a_checkpoint_without_a_text_encoder_gives_none(tiny, tmp_path):
    info, tensors = load_checkpoint(tiny.t2i)
    path = tmp_path / "mute.safetensors"
    save_checkpoint(path, tensors, dataclasses.replace(info, text_encoder=None))
    assert standalone.load_text_encoder(path) is None


def test_a_text_encoder_that_is_not_there_gives_none_and_a_damaged_one_is_an_error(tiny, tmp_path):
    info, tensors = load_checkpoint(tiny.t2i)
    path = tmp_path / "far.safetensors"
    save_checkpoint(path, tensors, dataclasses.replace(info, text_encoder="t5.safetensors"))
    with pytest.warns(UserWarning, match=rf"far.safetensors: .* t5.safetensors was not found; searched {tmp_path} and"):
        assert standalone.load_text_encoder(path) is None
    (tmp_path / "t5.safetensors").write_text("nothing")
    with pytest.raises(ValueError, match="t5.safetensors: not a whole safetensors file"):
        standalone.load_text_encoder(path)


MASK = torch.linspace(-1, 2, 2 * 6 * 4).reshape(2, 6, 4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MASK[0], MASK[:1]),
        (MASK[:1], MASK[:1]),
        (MASK, MASK),
        (MASK[:1, None], MASK[:1]),
        (MASK[:, None], MASK),
        (MASK[None, None], MASK),
        (MASK[None, None, :1], MASK[:1]),
    ],
    ids=lambda mask: "x".join(map(str, mask.shape)),
)
def test_noise_masks_of_every_shape(given, expected):
    assert torch.equal(change_mask(given, (2, 6, 4)), expected.clamp(0, 1)[None, None])


@pytest.mark.parametrize("shape", [(3, 6, 4), (2, 2, 6, 4), (1, 3, 2, 6, 4), (4,), (1, 3, 2)])
def test_a_noise_mask_that_fits_nothing_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"one for the clip or one a frame; got {shape}.")):
        change_mask(torch.zeros(shape), (2, 6, 4))


def conditioning(seed):
    return [[torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(seed)), {}]]


def small_plan(info, denoise=1.0, **options):
    defaults = SamplingOptions(steps=2, guidance=2.0, sampler="euler", scheduler="normal")
    return plan_sampling(info, 3, (8, 8), SamplingOptions(**options).over(defaults), denoise)


def test_sampling_is_the_librarys_and_shows_each_evaluation(base, capsys):
    positive, negative, plan = conditioning(0), conditioning(1), small_plan(base.info)
    video = standalone.sample_video(base, plan, positive, negative, 5, None, None, True)
    network = core_sampling.network_call(base.network, base.device, base.dtype)
    with torch.no_grad():
        texts = ({"text": entry[0][0]} for entry in (positive, negative))
        expected = core_sampling.sample(network, base.info, plan, *texts, 5)
    assert torch.equal(video, expected) and not video.requires_grad
    assert re.search(r"STUNet Sampler: 100%.* 4/4 ", capsys.readouterr().err)


def test_known_pixels_come_out_as_they_are(base):
    start = torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    mask = torch.zeros(1, 8, 8)
    mask[:, :, 4:] = 1
    video = standalone.sample_video(
        base, small_plan(base.info, denoise=0.7), conditioning(0), conditioning(1), 5, start, mask, True
    )
    assert torch.equal(video[..., :4], start[..., :4])
    assert not torch.isclose(video[..., 4:], start[..., 4:]).any(dim=1).all()


def test_combined_conditioning_is_refused(base):
    with pytest.raises(ValueError, match="negative must hold one text; got 2. Combined"):
        both = conditioning(0) * 2
        standalone.sample_video(base, small_plan(base.info), conditioning(0), both, 5, None, None, True)


def test_a_run_that_cannot_fit_is_refused(base):
    plan = plan_sampling(base.info, 10**6, (10**4, 10**4), SamplingOptions(steps=1))
    with (
        pytest.raises(ValueError, match=r"A clip of 1000000 frames, 10000 x 10000 pixels \(base\), needs about .* GiB"),
        standalone.placed(base, plan, "Node"),
    ):
        pass


def test_running_out_of_memory_is_one_clear_line(base):
    with (
        pytest.raises(ValueError, match="out of memory. Use a smaller size"),
        standalone.placed(base, small_plan(base.info), "Node"),
    ):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_tiles_need_the_memory_of_a_tile(base, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lumiere_video.lumiere_core.runtime.memory.require_memory",
        lambda what, needed: asked.append(sum(needed.values())),
    )
    for tile in (None, 4):
        with standalone.placed(base, small_plan(base.info, tile=tile), "Node"):
            pass
    assert asked[1] < asked[0]


def test_settings_are_the_defaults_outside_a_run():
    with using(Settings(device="cpu", metadata={"prompt": "{}"})):
        assert models.settings().metadata == {"prompt": "{}"}
    assert models.settings() == Settings() and Settings().input.parts[-2:] == ("workflows", "media")


def test_importing_the_nodes_loads_nothing_heavy():
    code = "import sys, lumiere_video.nodes.extension; print(*{'transformers', 'av', 'cv2'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert SimpleNamespace(code=result.returncode, heavy=result.stdout.split()) == SimpleNamespace(code=0, heavy=[])
