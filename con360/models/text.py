"""Encode captions for the U-Nets: CLIP tokens for the picture, one CLAP vector for the sound.

Shape legend: B captions, L tokens, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextEncoders(Protocol):
    """A model with a tokenizer and a text encoder for each modality."""

    tokenizer_v: Any
    text_encoder_v: nn.Module
    tokenizer_a: Any
    text_encoder_a: nn.Module


@dataclass(frozen=True)
class TextFeatures:
    """Encoded captions.

    Args:
        text_v: `[B, L, D]`, for the picture's cross-attention.
        text_a: `[B, D]`, unit norm, the sound's class embedding.
        unknown_words: words that a tokenizer cannot represent, in order of appearance.
        notices: sentences for people about words that the encoders do not know or cut off.
    """

    text_v: Tensor
    text_a: Tensor
    unknown_words: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@torch.no_grad()
def encode_captions(model: TextEncoders, captions: Sequence[str]) -> TextFeatures:
    """Encode captions for both U-Nets; an empty one is the unconditional text.

    Returns:
        Features on the encoders' device and in their dtype.
    """
    # Tokenizers reject lone surrogates, which broken JSON and undecodable arguments hold.
    captions = [text.encode("utf-8", "replace").decode("utf-8") for text in captions]
    text_v = encode_tokens(model.tokenizer_v, model.text_encoder_v, captions)
    text_a = encode_sentences(model.tokenizer_a, model.text_encoder_a, captions)
    sides = (("picture", model.tokenizer_v, model.text_encoder_v), ("sound", model.tokenizer_a, model.text_encoder_a))
    unknown = {word: None for _, tokenizer, _ in sides for text in captions for word in unknown_words(tokenizer, text)}
    cut = [_cut_notice(side, tokenizer, encoder, text) for side, tokenizer, encoder in sides for text in captions]
    notices = [notice for notice in cut if notice is not None]
    if unknown:
        notices.insert(0, f"the model's text encoders do not know: {', '.join(unknown)}; these words have no effect.")
    return TextFeatures(text_v, text_a, tuple(unknown), tuple(notices))


def encode_tokens(tokenizer: Any, encoder: nn.Module, captions: Sequence[str]) -> Tensor:
    """Encode captions, padded to L tokens, as CLIP's last hidden state `[B, L, D]`."""
    inputs = _tokenize(tokenizer, encoder, captions)
    # CLIP was trained without masking its padding, unless its configuration says otherwise.
    mask = inputs["attention_mask"] if getattr(encoder.config, "use_attention_mask", False) else None
    return encoder(inputs["input_ids"], attention_mask=mask).last_hidden_state


def encode_sentences(tokenizer: Any, encoder: nn.Module, captions: Sequence[str]) -> Tensor:
    """Encode captions as CLAP's projected sentence embedding `[B, D]`, unit norm."""
    inputs = _tokenize(tokenizer, encoder, captions)
    embedding = encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"]).text_embeds
    # Take the length in float32: in half precision it is off by a percent.
    return F.normalize(embedding.float(), dim=-1).to(embedding.dtype)


def unknown_words(tokenizer: Any, caption: str) -> tuple[str, ...]:
    """List words that become the unknown token; none for tokenizers that spell every word (CLIP, RoBERTa)."""
    unk = tokenizer.unk_token_id
    if unk is None:
        return ()
    words = dict.fromkeys(word.strip(".,;:!?\"'()") for word in caption.split())
    return tuple(w for w in words if w and unk in tokenizer(w, add_special_tokens=False)["input_ids"])


def max_tokens(tokenizer: Any, encoder: nn.Module) -> int:
    """Return the most tokens an encoder takes: its positions or its tokenizer's limit, the smaller one."""
    config = encoder.config
    # RoBERTa's positions start past the padding index.
    offset = config.pad_token_id + 1 if config.model_type in ("clap_text_model", "roberta") else 0
    return min(int(tokenizer.model_max_length), config.max_position_embeddings - offset)


def _tokenize(tokenizer: Any, encoder: nn.Module, captions: Sequence[str]) -> dict[str, Tensor]:
    length = max_tokens(tokenizer, encoder)
    inputs = tokenizer(list(captions), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return {name: inputs[name].to(encoder.device) for name in ("input_ids", "attention_mask")}


def _cut_notice(side: str, tokenizer: Any, encoder: nn.Module, caption: str) -> str | None:
    limit = max_tokens(tokenizer, encoder)
    count = len(tokenizer(caption, verbose=False)["input_ids"])
    if count <= limit:
        return None
    return f"the caption has {count} tokens for the {side}, whose encoder reads {limit}; its end is not seen."
