"""Build a complete joint model of real components, small and untrained."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNetMotionModel
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from con360.models.connector_config import ConnectorConfig
from con360.models.connectors import Connectors
from con360.models.dual_unet import DualUNet
from con360.models.joint import JointModel
from train.tiny.networks import make_scheduler, make_tokenizer, special_ids

WIDTHS = (64, 64, 64, 64)
TEXT_DIM = 16
MAX_TOKENS = 12
WORDS = "a red green blue disc ring square humming ticking in front behind on the left right , under sky".split()


def make_tiny_joint_model(seed: int = 0, *, kind: str = "additive") -> JointModel:
    """Random weights, 32 px pictures (8x8 latents), 16 kHz sound, v-prediction with zero terminal SNR."""
    torch.manual_seed(seed)
    unet_v, unet_a = _unet_v(), _unet_a()
    config = ConnectorConfig.for_unets(unet_v, unet_a, kind=kind, connector_channel=32, channel_mult=(1, 1))
    unet = DualUNet(unet_v, unet_a, _randomised(Connectors(config)))
    tokenizer = make_tokenizer(WORDS, MAX_TOKENS)
    parts = {
        "unet": unet,
        "vae_v": _vae(3, 4, 3),
        "vae_a": _vae(1, 8, 3),
        "vocoder": _vocoder(),
        "tokenizer_v": tokenizer,
        "text_encoder_v": _text_encoder_v(tokenizer),
        "tokenizer_a": tokenizer,
        "text_encoder_a": _text_encoder_a(tokenizer),
        "scheduler_v": make_scheduler(),
        "scheduler_a": make_scheduler(),
    }
    for module in parts.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return JointModel(**parts, name="tiny-random", metadata={"name": "tiny-random", "picture_size_px": 32})


def _unet_v() -> UNetMotionModel:
    return UNetMotionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=WIDTHS, layers_per_block=1,
        cross_attention_dim=TEXT_DIM, num_attention_heads=8, motion_num_attention_heads=2, motion_max_seq_length=32,
        down_block_types=("CrossAttnDownBlockMotion",) * 3 + ("DownBlockMotion",),
        up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * 3,
    )  # fmt: skip


def _unet_a() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=8, out_channels=8, block_out_channels=WIDTHS, layers_per_block=1,
        cross_attention_dim=list(WIDTHS), attention_head_dim=8, class_embed_type="simple_projection",
        class_embeddings_concat=True, projection_class_embeddings_input_dim=TEXT_DIM,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
    )  # fmt: skip


def _randomised(connectors: Connectors) -> Connectors:
    """Make zero-initialised projections random: an untrained bridge would hide faults in what flows over it."""
    for parameter in connectors.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    return connectors


def _vae(channels: int, latent_channels: int, levels: int) -> AutoencoderKL:
    return AutoencoderKL(
        channels, channels, ("DownEncoderBlock2D",) * levels, ("UpDecoderBlock2D",) * levels, (8,) * levels,
        layers_per_block=1, latent_channels=latent_channels, norm_num_groups=4, sample_size=32, scaling_factor=0.5,
    )  # fmt: skip


def _vocoder() -> SpeechT5HifiGan:
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64, sampling_rate=16000, upsample_initial_channel=32, upsample_rates=[5, 4, 4, 2],
            upsample_kernel_sizes=[11, 8, 8, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3, 5]],
            normalize_before=False,
        )
    )  # fmt: skip


def _text_encoder_v(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_DIM, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=MAX_TOKENS, projection_dim=TEXT_DIM,
            **special_ids(tokenizer),
        )
    )  # fmt: skip


def _text_encoder_a(tokenizer: PreTrainedTokenizerFast) -> ClapTextModelWithProjection:
    return ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_DIM, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=MAX_TOKENS + 2, projection_dim=TEXT_DIM,
            **special_ids(tokenizer),
        )
    )  # fmt: skip
