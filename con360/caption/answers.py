"""Settings of language models' answers, and whether an answer ended by itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def ended(ids: Tensor, tokenizer: Any, max_new_tokens: int) -> bool:
    """Tell whether new tokens `[L]` ended by themselves, not at the limit."""
    return len(ids) < max_new_tokens or int(ids[-1]) in tokenizer.all_special_ids


def greedy(max_new_tokens: int) -> dict[str, Any]:
    """Make settings of `generate` that give the same words for the same input, against the folder's own."""
    return {
        "do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None,
        "max_new_tokens": max_new_tokens,
    }  # fmt: skip
