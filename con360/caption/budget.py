"""Measure how much text the text encoders read, and cut a caption to it where it hurts least."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from ..models.joint import JointModel
    from ..weights.parts import ModelParts

CLIP_TOKENS = 77
# Sentences first, then clauses, then words.
_PIECES = (
    ("sentences", re.compile(r"(?<=[.!?])\s+")),
    ("clauses", re.compile(r"(?<=;)\s+")),
    ("clauses", re.compile(r"(?<=,)\s+")),
    ("words", re.compile(r"\s+")),
)


@dataclass(frozen=True)
class TokenBudget:
    """Count the tokens that each text encoder reads of a caption.

    Args:
        readers: (name, tokens of a text with its special ones, how many it reads) for each encoder.
        estimated: whether tokens are estimated, because no tokenizer was at hand.
    """

    readers: tuple[tuple[str, Callable[[str], int], int], ...]
    estimated: bool = False

    def fits(self, text: str) -> bool:
        return all(count(text) <= limit for _, count, limit in self.readers)

    @property
    def description(self) -> str:
        """For notices: "the picture's text encoder reads 77 tokens"."""
        name, _, limit = min(self.readers, key=lambda reader: reader[2])
        return f"{name} reads {limit} tokens{' (estimated)' if self.estimated else ''}"

    @staticmethod
    def clip_estimate() -> TokenBudget:
        """CLIP's 77 tokens without CLIP's tokenizer: an estimate on the safe side."""
        return TokenBudget((("CLIP", _estimated_tokens, CLIP_TOKENS),), estimated=True)

    @staticmethod
    def of_model(model: JointModel) -> TokenBudget:
        """Count as a joint model's tokenizers do."""
        return _budget((model.tokenizer_v, model.text_encoder_v), (model.tokenizer_a, model.text_encoder_a))

    @staticmethod
    def of_files(model: str | Path | ModelParts) -> TokenBudget:
        """Count as a joint model's tokenizers do, from its files: no weights are read.

        Args:
            model: as for `load_joint_model`.

        Raises:
            InputError: a tokenizer or configuration is missing or damaged.
        """
        from ..weights.parts import ModelParts, model_parts

        parts = model if isinstance(model, ModelParts) else model_parts(model)
        return _budget(_text_side(parts, "v"), _text_side(parts, "a"))


def _text_side(parts: ModelParts, modality: str) -> tuple[Any, nn.Module]:
    """A text encoder's tokenizer, and the encoder without its weights."""
    from ..weights.build import networks_of
    from ..weights.load import load_part

    encoder = f"text_encoder_{modality}"
    network = networks_of({encoder: parts.sources[encoder]})[encoder]
    return load_part(parts, f"tokenizer_{modality}"), network.check()


def _budget(video: tuple[Any, Any], audio: tuple[Any, Any]) -> TokenBudget:
    from ..models.text import max_tokens

    sides = (("the picture's text encoder", *video), ("the sound's text encoder", *audio))
    return TokenBudget(tuple((name, _counter(tok), max_tokens(tok, encoder)) for name, tok, encoder in sides))


def _counter(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer(text, verbose=False)["input_ids"])


def _estimated_tokens(text: str) -> int:
    # CLIP splits long words; one token per five letters begun, and one per mark, is seldom too few for plain prose.
    pieces = re.findall(r"\w+|[^\w\s]", text)
    return 2 + sum(-(-len(piece) // 5) for piece in pieces)


def fit_caption(text: str, budget: TokenBudget) -> tuple[str, str | None]:
    """The beginning of a caption that the text encoders read whole.

    Whole sentences where one fits, else whole clauses, else whole words.

    Returns:
        The text, and a sentence that says what was cut; None where nothing was.
    """
    if budget.fits(text):
        return text, None
    for unit, separator in _PIECES:
        pieces = separator.split(text)
        kept = next((n for n in range(len(pieces) - 1, 0, -1) if budget.fits(_joined(pieces, n))), 0)
        if kept:
            where = "" if unit == "sentences" else ", within a sentence"
            return _joined(pieces, kept), (
                f"the short caption was cut to its first {kept} of {len(pieces)} {unit}{where}: {budget.description}"
            )
    return "", f"the short caption is empty: not one word of it fits, {budget.description}"


def _joined(pieces: list[str], count: int) -> str:
    return " ".join(pieces[:count]).rstrip(" ,;")


def whole_sentences(text: str) -> str:
    """A text up to the end of its last finished sentence; all of it where none is finished."""
    end = max((match.end() for match in re.finditer(r"[.!?][\"')\]]*(?=\s|$)", text)), default=len(text))
    return text[:end]
