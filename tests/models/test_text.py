"""Text encoders: shapes, unit norm, unknown words and cut captions."""

from __future__ import annotations

import pytest
import torch
from tiny_model import MAX_TOKENS, make_tiny_joint_model

from con360.models.text import encode_captions, max_tokens, unknown_words


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model(2)


def test_features_have_the_unets_shapes(model):
    features = encode_captions(model, ["a red disc humming", ""])
    assert features.text_v.shape == (2, MAX_TOKENS, 16) and features.text_a.shape == (2, 16)
    assert torch.allclose(features.text_a.norm(dim=-1), torch.ones(2), atol=1e-6)
    assert not torch.allclose(features.text_a[0], features.text_a[1])
    assert features.unknown_words == () and features.notices == ()


def test_features_do_not_depend_on_the_batch(model):
    pair, one = (
        encode_captions(model, ["a red disc", "a blue ring, ticking"]),
        encode_captions(model, ["a blue ring, ticking"]),
    )
    assert torch.allclose(pair.text_v[1:], one.text_v, atol=1e-6) and torch.allclose(
        pair.text_a[1:], one.text_a, atol=1e-6
    )


def test_wart_clip_reads_its_padding_and_clap_does_not(model):
    """CLIP's features of padding tokens differ and are read; CLAP masks padding out."""
    features = encode_captions(model, ["a red disc"])
    assert not torch.allclose(features.text_v[0, 6], features.text_v[0, 7])
    longer = model.tokenizer_a(["a red disc"], padding="max_length", max_length=8, return_tensors="pt")
    vector = model.text_encoder_a(longer["input_ids"], attention_mask=longer["attention_mask"]).text_embeds
    assert torch.allclose(torch.nn.functional.normalize(vector, dim=-1), features.text_a, atol=1e-5)


def test_unknown_words_are_named_once_and_in_order(model):
    features = encode_captions(model, ["a Dragon, behind a red dragon-fly", "a violin (behind)"])
    assert features.unknown_words == ("Dragon", "dragon-fly", "violin")
    assert len(features.notices) == 1 and "Dragon, dragon-fly, violin" in features.notices[0]


def test_a_cut_caption_is_noticed(model):
    features = encode_captions(model, ["a red disc in front, " * 4])
    assert features.unknown_words == ()
    assert [("picture" in n, "sound" in n) for n in features.notices] == [(True, False), (False, True)]
    assert str(MAX_TOKENS) in features.notices[0]


def test_positions_limit_the_tokens(model):
    """RoBERTa's first position follows its padding index: with padding 0, 14 positions hold 13 tokens."""
    assert max_tokens(model.tokenizer_v, model.text_encoder_v) == MAX_TOKENS
    assert max_tokens(model.tokenizer_a, model.text_encoder_a) == MAX_TOKENS
    free = make_tiny_joint_model(2).tokenizer_a
    free.model_max_length = 10**30
    assert max_tokens(free, model.text_encoder_a) == MAX_TOKENS + 1


def test_a_tokenizer_without_unknown_token_knows_everything():
    class Spelling:
        unk_token_id = None

    assert unknown_words(Spelling(), "anything at all") == ()
