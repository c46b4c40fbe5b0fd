"""Public encoders of meaning in small: the same layouts, weights from names or at random, no folder of theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from golden.filler import fill
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

from con360.models.imagebind import ImageBind, ImageBindConfig

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "blue", "disc", "square", "hums", "rings")
# A block of each transformer in place of dozens, an eighth of a head's width.
ENCODER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16
}  # fmt: skip
SIDE_PX, HOP = 28, 8


def tokenizer() -> PreTrainedTokenizerFast:
    """One word, one token, between a start and an end."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def pe_av(vision: Any) -> nn.Module:
    """PE-AV at random; `vision` is the configuration of what reads its pictures."""
    from transformers import PeAudioVideoConfig, PeAudioVideoEncoderConfig, PeAudioVideoModel
    from transformers.models.pe_audio import PeAudioEncoderConfig
    from transformers.models.pe_video import PeVideoEncoderConfig

    codec = {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "codebook_dim": 8, "hop_length": HOP}
    both = PeAudioVideoEncoderConfig(
        audio_config=PeAudioEncoderConfig(dac_config=codec, **ENCODER),
        video_config=PeVideoEncoderConfig(vision_config=vision, **ENCODER), **ENCODER,
    )  # fmt: skip
    text = {
        "model_type": "modernbert", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "cls_token_id": 1, "sep_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    return PeAudioVideoModel(PeAudioVideoConfig(text_config=text, audio_video_config=both)).eval().requires_grad_(False)


def pe_av_settings(side_px: int = SIDE_PX) -> dict[str, Any]:
    """PE-AV's `processor_config.json`."""
    return {
        "feature_extractor": {"sampling_rate": 16000, "hop_length": HOP},
        "video_processor": {
            "size": {"height": side_px, "width": side_px}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            "num_frames": None,
        },
    }  # fmt: skip


def write_pe_av(folder: Path) -> Path:
    """A folder of PE-AV; its pictures are read by timm."""
    # 160 px: the side of timm's smallest transformer.
    vision = {"architecture": "test_vit", "num_classes": 24, "do_pooling": True, "global_pool": "avg"}
    pe_av(vision).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(pe_av_settings(160)))
    return folder


def write_clap_and_clip(folder: Path) -> tuple[Path, Path]:
    """Folders of CLAP and CLIP."""
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
    )

    words = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    hearing = {"hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2],
               "num_hidden_layers": 2, "spec_size": 64, "num_mel_bins": 16, "window_size": 4,
               "projection_dim": 12}  # fmt: skip
    torch.manual_seed(0)
    clap = ClapModel(ClapConfig(text_config=words | {"projection_dim": 12}, audio_config=hearing, projection_dim=12))
    looking = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
               "image_size": SIDE_PX, "patch_size": 14}  # fmt: skip
    clip = CLIPModel(CLIPConfig(text_config=words, vision_config=looking, projection_dim=10))
    extractor = ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc", frequency_min=50)
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX})
    for name, parts in (("clap", (clap, extractor)), ("clip", (clip, pictures))):
        for part in (*parts, tokenizer()):
            part.save_pretrained(folder / name)
    return folder / "clap", folder / "clip"


def imagebind() -> ImageBind:
    """ImageBind with two narrow blocks each; its values come from the published names."""
    network = ImageBind(ImageBindConfig((80, 64, 64), (2, 2, 2), 49408, 8))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(fill(f"imagebind.{name}", parameter.shape))
    return network.eval().requires_grad_(False)
