"""Text to conditioning: the bundled byte-level encoder, and any T5 folder, through the same code."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from lumiere_video.lumiere_core.checkpoints.format import CheckpointInfo, save_checkpoint
from lumiere_video.lumiere_core.conditioning.text import (
    IF_TEXT_TOKENS,
    build_text_encoder,
    load_text_encoder,
    text_info,
    text_tensors,
)

CONFIG = {
    "vocab_size": 384,
    "d_model": 16,
    "d_kv": 8,
    "num_heads": 2,
    "num_layers": 2,
    "d_ff": 32,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.1,
}
LENGTH = 24
PROMPTS = ["a red circle", "", "a blue star"]
END, PAD = 1, 0


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_text_encoder(CONFIG, LENGTH)


@pytest.fixture
def t5_folder(tmp_path):
    """(folder, model, tokenizer): what transformers writes with save_pretrained."""
    torch.manual_seed(1)
    model, tokenizer = T5EncoderModel(T5Config(**CONFIG)).eval(), ByT5Tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "t5")
    return tmp_path / "t5", model, tokenizer


def save(encoder, path):
    save_checkpoint(path, text_tensors(encoder), text_info(CONFIG, encoder.max_tokens, {"steps": 3}))
    return path


def test_every_prompt_has_the_same_length_the_empty_one_too(encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = encoder.encode(PROMPTS)
    assert text.shape == (3, LENGTH, encoder.dim) == (3, 24, 16)
    assert text.isfinite().all()
    assert not text.requires_grad
    assert (text[0] - text[2]).abs().max() > 1e-3


def test_tokens_are_bytes_then_the_end_token_then_padding(encoder):
    ids, mask = encoder.tokenize(["né", ""])
    word = [byte + 3 for byte in "né".encode()]
    assert ids.tolist() == [word + [END] + [PAD] * (LENGTH - 4), [END] + [PAD] * (LENGTH - 1)]
    assert mask.sum(dim=1).tolist() == [4, 1]


def test_a_prompt_is_the_same_alone_and_in_a_batch(encoder):
    torch.testing.assert_close(encoder.encode(PROMPTS)[2:], encoder.encode(PROMPTS[2:]))


def test_padding_is_not_read_by_the_words(encoder):
    longer = build_text_encoder(CONFIG, 2 * LENGTH)
    longer.model.load_state_dict(encoder.model.state_dict())
    words = len(PROMPTS[0]) + 1
    torch.testing.assert_close(longer.encode(PROMPTS[:1])[:, :words], encoder.encode(PROMPTS[:1])[:, :words])


@pytest.mark.parametrize("prompt", ["A Red CIRCLE", " a red  circle\n", "(a red circle:1)", "a red (circle:1.0)"])
def test_case_blanks_and_weights_of_one_say_nothing(encoder, prompt):
    assert torch.equal(encoder.encode([prompt]), encoder.encode(["a red circle"]))


def test_a_weighted_word_is_so_many_times_as_far_from_nothing(encoder):
    plain, nothing = encoder.encode(["a red circle", ""])
    for weight in (0.0, 0.5, 1.4):
        (weighted,) = encoder.encode([f"a (red:{weight}) circle"])
        expected = plain.clone()
        expected[2:5] = nothing[2:5] + weight * (plain - nothing)[2:5]
        torch.testing.assert_close(weighted, expected)


def test_a_weighted_prompt_is_the_same_beside_others(encoder):
    prompts = ["a red circle", "a (red:2) circle", ""]
    torch.testing.assert_close(encoder.encode(prompts)[1:2], encoder.encode(prompts[1:2]))
    torch.testing.assert_close(encoder.encode(prompts)[:1], encoder.encode(prompts[:1]))


def test_parentheses_of_captions_are_text(encoder):
    ids, _ = encoder.tokenize(["A (red:2)"])
    assert ids[0, :9].tolist() == [byte + 3 for byte in b"a (red:2)"]


def test_an_over_long_prompt_is_cut_with_a_warning_that_says_where(encoder):
    prompt = "a red circle moving right, then left"
    kept = prompt[: LENGTH - 1]
    with pytest.warns(UserWarning, match=f"37 tokens.* reads {LENGTH}: it was cut after '{kept}'"):
        text = encoder.encode([prompt])
    assert torch.equal(text, encoder.encode([kept]))


def test_a_prompt_that_just_fits_is_not_warned_about(encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids, _ = encoder.tokenize(["x" * (LENGTH - 1)])
    assert ids[0, -1] == END
    with pytest.warns(UserWarning, match="cut"):
        ids, _ = encoder.tokenize(["x" * LENGTH])
    assert ids[0, -1] == END


def test_a_prompt_cut_inside_a_letter(encoder):
    """Bytes are the tokens, so the cut may split a letter; the warning shows the whole ones."""
    with pytest.warns(UserWarning, match="cut after 'éééééééééé'|cut after 'ééééééééééé'"):
        encoder.tokenize(["é" * LENGTH])


def test_save_and_load(encoder, tmp_path):
    loaded = load_text_encoder(save(encoder, tmp_path / "text.safetensors"))
    assert (loaded.max_tokens, loaded.dim) == (LENGTH, 16)
    assert torch.equal(loaded.encode(PROMPTS), encoder.encode(PROMPTS))
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_the_file_holds_the_tied_embedding_once(encoder):
    tensors = text_tensors(encoder)
    pointers = {tensor.data_ptr() for tensor in tensors.values()}
    assert len(pointers) == len(tensors) == len(list(encoder.model.parameters()))


def test_a_loaded_encoder_keeps_its_embedding_tied(encoder, tmp_path):
    model = load_text_encoder(save(encoder, tmp_path / "text.safetensors")).model
    assert model.shared.weight is model.encoder.embed_tokens.weight


def test_half_precision(encoder, tmp_path):
    loaded = load_text_encoder(save(encoder, tmp_path / "text.safetensors"), dtype=torch.bfloat16)
    text = loaded.encode(PROMPTS)
    assert text.dtype == torch.bfloat16
    torch.testing.assert_close(text.float(), encoder.encode(PROMPTS), rtol=0.1, atol=0.1)


def test_a_folder_of_transformers_gives_what_transformers_gives(t5_folder):
    folder, model, tokenizer = t5_folder
    loaded = load_text_encoder(folder)
    tokens = tokenizer(PROMPTS, padding="max_length", max_length=IF_TEXT_TOKENS, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state
    assert loaded.max_tokens == IF_TEXT_TOKENS
    assert torch.equal(loaded.encode(PROMPTS), expected)
    assert not loaded.model.training


def test_a_folder_laid_out_as_a_diffusers_pipeline(t5_folder, tmp_path):
    _, model, tokenizer = t5_folder
    model.save_pretrained(tmp_path / "if" / "text_encoder")
    tokenizer.save_pretrained(tmp_path / "if" / "tokenizer")
    expected = load_text_encoder(t5_folder[0]).encode(PROMPTS)
    assert torch.equal(load_text_encoder(tmp_path / "if").encode(PROMPTS), expected)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="needs config.json") as caught:
        load_text_encoder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_a_tokenizer_is_named(t5_folder):
    (t5_folder[0] / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match="needs tokenizer_config.json"):
        load_text_encoder(t5_folder[0])


def test_a_checkpoint_of_another_kind(tiny):
    with pytest.raises(ValueError, match="kind text is needed here; this file is base"):
        load_text_encoder(tiny.base)


def test_a_missing_file_and_a_missing_tensor_are_named(encoder, tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load_text_encoder(tmp_path / "none.safetensors")
    tensors = text_tensors(encoder)
    del tensors["encoder.final_layer_norm.weight"]
    save_checkpoint(tmp_path / "text.safetensors", tensors, text_info(CONFIG, LENGTH, {}))
    with pytest.raises(ValueError, match="lacks tensor encoder.final_layer_norm.weight"):
        load_text_encoder(tmp_path / "text.safetensors")


def test_a_file_without_the_embedding_is_named(encoder, tmp_path):
    tensors = text_tensors(encoder)
    del tensors["shared.weight"]
    save_checkpoint(tmp_path / "text.safetensors", tensors, text_info(CONFIG, LENGTH, {}))
    with pytest.raises(ValueError, match="lacks tensor encoder.embed_tokens.weight"):
        load_text_encoder(tmp_path / "text.safetensors")


def test_metadata_that_do_not_say_how_to_tokenize(encoder, tmp_path):
    info = CheckpointInfo(kind="text", config=CONFIG)
    save_checkpoint(tmp_path / "text.safetensors", text_tensors(encoder), info)
    with pytest.raises(ValueError, match="text.safetensors: .* TextConfig lacks the field max_tokens"):
        load_text_encoder(tmp_path / "text.safetensors")


@pytest.mark.parametrize("prompt", ["\udcff\udcfe star", "a \ud800"])
def test_a_prompt_that_is_no_text_is_refused(encoder, prompt):
    with pytest.raises(ValueError, match=r"prompt must be text that UTF-8 can hold; got '.*\\ud"):
        encoder.encode(["a star", prompt])


OTHER_FOLDERS = [
    ({"d_model": 32}, "of encoder.block.0.*, config.json asks for shape .*; the files have"),
    ({"num_layers": 3}, "of encoder.block.2.*, config.json asks for shape .*; the files have none"),
    ({"num_layers": 1}, "of encoder.block.1.*, config.json asks for no such tensor; the files have"),
    ({"vocab_size": 300}, r"of encoder.embed_tokens.weight, config.json asks for shape \(300, 16\)"),
    ({"num_layers": 10**9}, "config.json: num_layers must be a whole number from 1 to 64; got 1000000000"),
    ({"d_model": "16"}, "config.json: d_model must be a whole number .*; got '16'"),
    ({"model_type": "bert"}, "a T5 folder is needed; this one has a model of type 'bert'"),
]


@pytest.mark.parametrize(("fields", "message"), OTHER_FOLDERS, ids=[f"{fields}" for fields, _ in OTHER_FOLDERS])
def test_a_folder_of_another_shape_is_refused_and_never_filled_up_with_noise(t5_folder, fields, message):
    folder = t5_folder[0]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises(ValueError, match=message) as caught:
        load_text_encoder(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_without_one_of_its_tensors_is_refused(t5_folder):
    weights = t5_folder[0] / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.final_layer_norm.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="of encoder.final_layer_norm.weight, .* the files have none"):
        load_text_encoder(t5_folder[0])


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000])
def test_a_folder_whose_json_is_none_is_refused(t5_folder, name, text):
    (t5_folder[0] / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: (not a JSON file|must be a table of fields)"):
        load_text_encoder(t5_folder[0])


def test_a_tokenizer_with_more_words_than_the_model_is_refused(t5_folder):
    folder, _, _ = t5_folder
    T5EncoderModel(T5Config(**(CONFIG | {"vocab_size": 300}))).save_pretrained(folder)
    with pytest.raises(ValueError, match="the tokenizer must fit the model: it has 384 tokens, the model 300"):
        load_text_encoder(folder)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_folder_with_damaged_weights_is_named(t5_folder, damage):
    weights = t5_folder[0] / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if damage == "truncated":
        weights.write_bytes(whole[:100])
    with pytest.raises(ValueError, match="not a whole T5 folder") as caught:
        load_text_encoder(t5_folder[0])
    assert str(t5_folder[0]) in str(caught.value)
