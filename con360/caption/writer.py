"""Ask a small instruct model from a local folder one request at a time: Llama 3.2, or any other causal model.

Source: paper section 2.1 (Llama 3.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..memory import is_out_of_memory
from ..records import Progress
from ..weights.transformers_folder import check_folder, class_name, load_network
from .answers import ended, greedy

ROLE = "language model"
# Llama 3.2's chat template writes today's date into the prompt; a fixed one gives the same words on every day.
CHAT_OPTIONS = {"date_string": "26 Jul 2024", "enable_thinking": False}


@dataclass(frozen=True)
class Writer:
    """A language model with its tokenizer."""

    model: nn.Module
    tokenizer: Any
    name: str

    @property
    def chats(self) -> bool:
        """Tell whether the folder has a chat template; a model without one is asked in plain text."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def encode(self, request: str) -> Tensor:
        """Encode a request by the model's chat template: token ids `[1, L]`."""
        if not self.chats:
            return self.tokenizer(request + "\n\n", return_tensors="pt")["input_ids"]
        messages = [{"role": "user", "content": request}]
        # As text first: the container of the ids differs between versions of transformers.
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **CHAT_OPTIONS)
        return self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]

    @torch.no_grad()
    def write(
        self, request: str, max_new_tokens: int, progress: Progress | None = None, what: str = ""
    ) -> tuple[str, bool]:
        """Answer a request, greedily.

        Args:
            progress: told of each token; may raise to cancel.

        Returns:
            The answer on one line, and whether it ended or was stopped at `max_new_tokens`.

        Raises:
            InputError: the request is longer than the model reads, or memory runs out.
        """
        ids = self.encode(request).to(self.model.device)
        self._check_length(ids.shape[1], max_new_tokens)

        def count(written: Tensor, scores: Any, **_: Any) -> Tensor:
            if progress is not None:
                progress(min(written.shape[1] - ids.shape[1], max_new_tokens), max_new_tokens, what)
            return torch.zeros(len(written), dtype=torch.bool, device=written.device)

        pad = self.tokenizer.pad_token_id
        settings = {**greedy(max_new_tokens), "pad_token_id": self.tokenizer.eos_token_id if pad is None else pad}
        try:
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), stopping_criteria=[count], **settings
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"memory ran out while {self.name} wrote; lower the caption times (fewer lines to read), or use a "
                f"smaller language model or another device."
            ) from error
        new = out[0, ids.shape[1] :]
        return _tidy(self.tokenizer.decode(new, skip_special_tokens=True)), ended(new, self.tokenizer, max_new_tokens)

    def _check_length(self, count: int, max_new_tokens: int) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and count + max_new_tokens > limit:
            raise InputError(
                f"the request to {self.name} has {count} tokens, and with {max_new_tokens} for the answer the model "
                f"reads {limit}; lower the caption times or shorten the prompt."
            )


def _tidy(text: str) -> str:
    """Tidy an answer to one line, without thinking aloud, markup and quotes."""
    text = re.sub(r"<think>.*?(</think>|$)", " ", text, flags=re.DOTALL)
    text = " ".join(text.replace("**", "").split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def check_writer(folder: str | Path) -> None:
    """Refuse a folder that holds no language model, before anything long starts.

    Raises:
        InputError: it holds another kind of network, or files are missing.
    """
    config = check_folder(folder, ROLE)
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.get("model_type") not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"the language model folder {folder} holds a {class_name(config)}, which writes no text; wanted a causal "
            f"language model such as LlamaForCausalLM."
        )


def load_writer(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Writer:
    """Read a language model from a local folder.

    Raises:
        InputError: the folder holds none, lacks files, or its weights are cut, misshapen or not finite.
    """
    check_writer(folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(folder).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(
            f"the language model folder {path} lacks its tokenizer, or it is damaged ({reason}); get tokenizer.json "
            f"and tokenizer_config.json again."
        ) from error
    model = load_network(path, AutoModelForCausalLM, ROLE, dtype, device)
    return Writer(model, tokenizer, path.resolve().name)
