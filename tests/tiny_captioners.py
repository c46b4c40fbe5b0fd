"""Make small random caption models of the published classes, in folders as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    BlipForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

WORDS = """a photo of man woman drummer band tree sky wall floor crowd guitar red blue sits plays stands left right in
front behind on the above below . , : ; 0 1 2 3 4 5 6 7 8 9 s user assistant captions shorten describe""".split()
SIZE = 16
QUERIES = 4
CHAT_TEMPLATE = (
    "{{ bos_token }} {% for message in messages %}user : {{ message['content'] }}\n{% endfor %}"
    "{% if date_string is defined %}{{ date_string }}{% else %}today{% endif %}"
    "{% if add_generation_prompt %} assistant :{% endif %}"
)


def tiny_tokenizer(*, begins: bool = True, image: bool = False) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per word or punctuation mark."""
    specials = ["<pad>", "<s>", "</s>", "<unk>", *(["<image>"] if image else [])]
    vocabulary = {word: i for i, word in enumerate([*specials, *dict.fromkeys(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    extra = {"additional_special_tokens": ["<image>"]} if image else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", **extra
    )


def _vision(kind: str) -> dict:
    return {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": SIZE, "patch_size": 8, "initializer_range": 0.5, "model_type": kind,
    }  # fmt: skip


def _write_processor(folder: Path, kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "BlipImageProcessor", "processor_class": kind, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": SIZE, "width": SIZE},
    })  # fmt: skip


def write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def _lively(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Draw weights large enough that the words depend on the picture."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.6
    return network.eval()


def write_blip2(folder: Path, seed: int = 0, **save: object) -> Path:
    """Write a BLIP-2 with OPT."""
    tokenizer = tiny_tokenizer(image=True)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = Blip2Config(
        vision_config=_vision("blip_2_vision_model"),
        qformer_config={
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
            "encoder_hidden_size": 32, "vocab_size": 50, "hidden_dropout_prob": 0.0,
        },
        text_config={
            "model_type": "opt", "hidden_size": 32, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": len(tokenizer), "word_embed_proj_dim": 32, "max_position_embeddings": 128, **ids,
        },
        num_query_tokens=QUERIES, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(seed)
    _lively(Blip2ForConditionalGeneration(config), seed).save_pretrained(folder, **save)
    _write_processor(folder, "Blip2Processor", tokenizer)
    write_json(folder / "processor_config.json", {"num_query_tokens": QUERIES, "processor_class": "Blip2Processor"})
    return folder


def write_blip(folder: Path, seed: int = 0) -> Path:
    """Write a first-generation BLIP."""
    tokenizer = tiny_tokenizer()
    config = BlipConfig(
        vision_config=_vision("blip_vision_model"),
        text_config={
            "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0,
            "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2,
        },
        projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(seed)
    _lively(BlipForConditionalGeneration(config), seed).save_pretrained(folder)
    _write_processor(folder, "BlipProcessor", tokenizer)
    return folder


def write_llama(folder: Path, seed: int = 0, *, chat: bool = True, positions: int = 1024) -> Path:
    """Write a Llama, with or without a chat template."""
    tokenizer = tiny_tokenizer()
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=positions, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = _lively(LlamaForCausalLM(config), seed)
    network.save_pretrained(folder)
    # Llama 3.2's folder asks for sampling like this; captions must not sample.
    write_json(folder / "generation_config.json", {
        "do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0,
    })  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder
