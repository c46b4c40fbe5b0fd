"""Build the tiny bundle's untrained networks: sized for two CPU cores, in the published layout.

The denoisers keep the published topology (four levels, cross-attention where AudioLDM and SD 1.5 have it) with one
layer per block and small widths. The first width is at least 64: group norm splits half of it into 32 groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from con360.scenes import caption_vocabulary

WIDTHS_V = (64, 96, 128, 96)
WIDTHS_A = (64, 64, 96, 96)
TEXT_DIM_V = 96
TEXT_DIM_A = 96
MAX_TOKENS = 48


def make_unet_v() -> nn.Module:
    """Build AnimateDiff's motion U-Net for 4x16x16 latents; no text at 16x16, which would double a step's time."""
    from diffusers import UNetMotionModel

    return UNetMotionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=WIDTHS_V, layers_per_block=1,
        cross_attention_dim=TEXT_DIM_V, num_attention_heads=2, motion_num_attention_heads=4, motion_max_seq_length=32,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion", "UpBlockMotion"),
    )  # fmt: skip


def make_unet_a() -> nn.Module:
    """Build AudioLDM's U-Net for 8x104x16 latents, with the text as a class embedding."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=32, in_channels=8, out_channels=8, block_out_channels=WIDTHS_A, layers_per_block=1,
        cross_attention_dim=list(WIDTHS_A), attention_head_dim=2, class_embed_type="simple_projection",
        class_embeddings_concat=True, projection_class_embeddings_input_dim=TEXT_DIM_A,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
    )  # fmt: skip


def make_tokenizer(words: Iterable[str] | None = None, max_tokens: int = MAX_TOKENS) -> Any:
    """Build a word-level tokenizer of `words` (default: the captions' grammar); other words become "unknown"."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate(specials + list(words or caption_vocabulary()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        model_max_length=max_tokens,
    )  # fmt: skip


def special_ids(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens that a text encoder's configuration names."""
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def make_text_encoder_v(tokenizer: Any) -> nn.Module:
    """Build CLIP's text model: one vector per token, for the picture's cross-attention."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_DIM_V, intermediate_size=4 * TEXT_DIM_V, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=MAX_TOKENS, projection_dim=TEXT_DIM_V,
            **special_ids(tokenizer),
        )
    )  # fmt: skip


def make_text_encoder_a(tokenizer: Any) -> nn.Module:
    """Build CLAP's text model with projection: one vector per caption, for the sound's class embedding."""
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    return ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_DIM_A, intermediate_size=2 * TEXT_DIM_A, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=MAX_TOKENS + 2, projection_dim=TEXT_DIM_A,
            type_vocab_size=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **special_ids(tokenizer),
        )
    )  # fmt: skip


SCHEDULER = dict(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
    set_alpha_to_one=True, steps_offset=0, prediction_type="v_prediction", timestep_spacing="trailing",
    rescale_betas_zero_snr=True,
)  # fmt: skip


def make_scheduler() -> Any:
    """Build a v-prediction scheduler with zero terminal SNR: flat skies need a first step of pure noise."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(**SCHEDULER)
