"""Caption pictures by a network from a local folder: BLIP-2 (OPT or T5), or BLIP.

Source: paper section 2.1 (BLIP-2); networks and processors are transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights.transformers_folder import check_folder, class_name, load_network
from .answers import ended, greedy

if TYPE_CHECKING:
    from PIL.Image import Image

ROLE = "captioner"
CLASSES = ("Blip2ForConditionalGeneration", "BlipForConditionalGeneration")


@dataclass(frozen=True)
class Captioner:
    """A captioning network with its processor.

    Args:
        size_px: side of the square pictures that it reads.
        max_new_tokens: most tokens of a caption.
    """

    model: nn.Module
    processor: Any
    name: str
    size_px: int
    max_new_tokens: int = 40

    @torch.no_grad()
    def describe(self, pictures: Sequence[Image], prompt: str = "") -> list[tuple[str, bool]]:
        """Continue `prompt` for each picture, all in one batch, greedily.

        Returns:
            The words after the prompt, spaces tidied, empty where the network wrote none; and whether they ended by
            themselves, not at `max_new_tokens`.
        """
        # Without a prompt the network begins as it was trained to.
        text = {"text": [prompt] * len(pictures)} if prompt else {}
        inputs = self.processor(images=list(pictures), return_tensors="pt", **text)
        inputs = {name: inputs[name] for name in ("pixel_values", "input_ids", "attention_mask") if name in inputs}
        inputs = {name: values.to(self.model.device) for name, values in inputs.items()}
        self._check_image_tokens(inputs.get("input_ids"))
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        ids = self.model.generate(**inputs, **greedy(self.max_new_tokens))
        ids = _without_prompt(ids, inputs.get("input_ids"))
        words = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        ends = [ended(row, self.processor.tokenizer, self.max_new_tokens) for row in ids]
        return [(" ".join(text.split()), end) for text, end in zip(words, ends, strict=True)]

    def _check_image_tokens(self, ids: Tensor | None) -> None:
        """Refuse a prompt without BLIP-2's image tokens: its continuation would ignore the picture."""
        config = self.model.config
        if ids is None or config.model_type != "blip-2":
            return
        found = int((ids[0] == config.image_token_index).sum())
        if found != config.num_query_tokens:
            raise InputError(
                f"the tokenizer of the captioner {self.name} gives {found} places for the picture, its network wants "
                f"{config.num_query_tokens}; get the folder again (processor_config.json, tokenizer)."
            )


def _without_prompt(ids: Tensor, prompt: Tensor | None) -> Tensor:
    """Cut the prompt off the answer: BLIP-2 with OPT and BLIP (less its last token) repeat it, T5 does not."""
    if prompt is None:
        return ids
    for length in (prompt.shape[1], prompt.shape[1] - 1):
        if torch.equal(ids[:, :length], prompt[:, :length]):
            return ids[:, length:]
    return ids


def check_captioner(folder: str | Path) -> None:
    """Refuse a folder that holds no captioner, before anything long starts.

    Raises:
        InputError: it holds no captioner, or files are missing.
    """
    found = class_name(check_folder(folder, ROLE))
    if found not in CLASSES:
        raise InputError(
            f"the captioner folder {folder} holds a {found}, which does not caption pictures here; wanted "
            f"{' or '.join(CLASSES)}."
        )


def load_captioner(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Captioner:
    """Read a captioner from a local folder.

    Raises:
        InputError: the folder holds no captioner, lacks files, or its weights are cut, misshapen or not finite.
    """
    check_captioner(folder)
    from transformers import AutoModelForImageTextToText

    path = Path(folder).expanduser()
    processor = _load_processor(path)
    model = load_network(path, AutoModelForImageTextToText, ROLE, dtype, device)
    if model.config.model_type == "blip-2":
        _make_places_for_the_picture(model, processor)
    size = model.config.vision_config.image_size
    return Captioner(model, processor, path.resolve().name, int(size))


def _load_processor(path: Path) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        _ = processor.image_processor, processor.tokenizer
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(
            f"the captioner folder {path} lacks its processor or tokenizer, or they are damaged ({reason}); get "
            f"preprocessor_config.json, processor_config.json and the tokenizer's files again."
        ) from error
    return processor


def _make_places_for_the_picture(model: nn.Module, processor: Any) -> None:
    """Add image tokens to older BLIP-2 folders, which do not say how many stand for the picture, or which."""
    config = model.config
    if processor.num_query_tokens is None:
        processor.num_query_tokens = config.num_query_tokens
    if config.image_token_index is None:
        config.image_token_index = processor.tokenizer.convert_tokens_to_ids("<image>")
    rows = model.get_input_embeddings().num_embeddings
    if config.image_token_index >= rows:
        model.resize_token_embeddings(config.image_token_index + 1)
