"""Our T5 encoder and byte tokenizer against those of transformers, which are too slow to import."""

import pytest
import torch
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from lumiere_video.lumiere_core.checkpoints.metadata import T5Shape
from lumiere_video.lumiere_core.conditioning.byte_level import ByteTokenizer
from lumiere_video.lumiere_core.conditioning.t5 import T5Encoder

SHAPE = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "num_heads": 3, "num_layers": 2, "d_ff": 32}
TEXTS = ["a red circle", "", "né — 鳥 🦊", "tab\tand\nline", "a" * 300]


def both(**fields):
    """(ours, transformers') with the same weights."""
    torch.manual_seed(0)
    config = SHAPE | fields
    theirs, ours = T5EncoderModel(T5Config(**config)).eval(), T5Encoder(T5Shape(**config)).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("projection", ["relu", "gelu", "silu", "gated-gelu", "gated-silu"])
def test_the_same_weights_give_what_transformers_gives(projection):
    ours, theirs = both(feed_forward_proj=projection)
    ids = torch.randint(3, 384, (2, 200))  # further apart than the position bias tells distances
    mask = torch.ones_like(ids)
    mask[1, 50:] = 0
    with torch.no_grad():
        got, expected = (model(input_ids=ids, attention_mask=mask).last_hidden_state for model in (ours, theirs))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_few_buckets_and_a_short_reach():
    ours, theirs = both(relative_attention_num_buckets=8, relative_attention_max_distance=64, layer_norm_epsilon=1e-3)
    ids = torch.randint(3, 384, (1, 100))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids)[0], theirs(input_ids=ids)[0], rtol=1e-4, atol=1e-4)


def test_bfloat16_is_as_near_as_transformers_is():
    ours, theirs = (model.to(torch.bfloat16) for model in both(feed_forward_proj="gated-gelu"))
    ids = torch.randint(3, 384, (1, 40))
    with torch.no_grad():
        got, expected = ours(ids)[0], theirs(input_ids=ids)[0]
    assert got.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05)


def test_random_weights_start_as_those_of_transformers():
    wide = {"d_model": 64, "d_kv": 16, "d_ff": 128, "feed_forward_proj": "gated-gelu", "initializer_factor": 0.5}
    theirs = T5EncoderModel(T5Config(**SHAPE | wide)).state_dict()
    ours = T5Encoder(T5Shape(**SHAPE | wide)).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        expected = tensor.pow(2).mean().sqrt().item()
        assert ours[name].pow(2).mean().sqrt().item() == pytest.approx(expected, rel=0.25), name


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_byt5(text):
    ours, theirs = ByteTokenizer(), ByT5Tokenizer()
    ids = theirs(text).input_ids
    assert ours(text).input_ids == ids
    for kept in (ids, ids[:-1], ids[:5], [*ids, 0, 0]):
        assert ours.decode(kept, skip_special_tokens=True) == theirs.decode(kept, skip_special_tokens=True)


def test_names_of_special_tokens_are_text():
    ids = ByteTokenizer()("a </s> b").input_ids
    assert ids == [byte + 3 for byte in b"a </s> b"] + [1]
