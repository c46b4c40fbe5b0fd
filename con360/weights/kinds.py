"""Tell what a weight file is from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .files import Header, State, read_header, short

CONTROL = "a Con360 control file"
LORA = "a LoRA"
MOTION = "a motion module for SD 1.5"
MOTION_XL = "a motion module for SDXL"
SD15 = "an SD 1.5 checkpoint"
VAE = "a VAE"
SALVIT360 = "SalViT360"
CONNECTORS = "SVG connectors"
OMNIAUDIO = "OmniAudio"
ONSETS = "an onset network of SyncFusion"
VIDEO2RMS = "Video2RMS of Video-Foley"
PICTURE_ENVELOPE = "a Con360 envelope network"
MEANING = "a Con360 meaning network"
IMAGEBIND = "ImageBind"

UNET_PREFIX, VAE_PREFIX, TEXT_PREFIX = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
_UNET_IN = UNET_PREFIX + "input_blocks.0.0.weight"

# Widths of text that other generations read; SD 1.5 reads 768.
_OTHER_TEXT_WIDTHS = {1024: "Stable Diffusion 2", 2048: "SDXL", 1280: "the SDXL refiner"}
_SPECIAL_INPUTS = {9: "an inpainting checkpoint", 8: "an InstructPix2Pix checkpoint"}


def kind_of(header: Header) -> str:
    """Name what a weight file holds, as a phrase ("an SD 1.5 checkpoint"); "of an unknown kind" when nothing fits."""
    for kind, fits in _RULES:
        if fits(header):
            return kind
    return "of an unknown kind"


def read_header_of(path: Path, wanted: str, role: str) -> Header:
    """Read the header of a file that must be of one kind.

    Args:
        wanted: one of this module's kinds.
        role: the part that it was given for, in messages.

    Raises:
        InputError: it is of another kind, or cannot be read.
    """
    header = read_header(path)
    kind = kind_of(header)
    if kind != wanted:
        raise InputError(f"{short(path)} is {kind}; {role} wants {wanted}, choose another file.")
    return header


def other_generation(text_width: int | None) -> str | None:
    """Name the model family whose U-Net reads text of this width, if known and not SD 1.5."""
    return _OTHER_TEXT_WIDTHS.get(text_width or 0)


def special_input(channels: int) -> str | None:
    """Name the purpose of a U-Net with that many latent input channels, if known."""
    return _SPECIAL_INPUTS.get(channels)


def _starts(*prefixes: str) -> Callable[[Header], bool]:
    return lambda header: any(name.startswith(prefixes) for name in header.tensors)


def _contains(*parts: str) -> Callable[[Header], bool]:
    return lambda header: any(part in name for name in header.tensors for part in parts)


def _is_motion(header: Header) -> bool:
    return _contains(".motion_modules.")(header) and not _contains(".resnets.")(header)


def _has_last_level(header: Header) -> bool:
    # SDXL has three levels, SD 1.5 four.
    return any(name.removeprefix("module.").startswith("down_blocks.3.") for name in header.tensors)


def _text_width(tensors: State) -> int | None:
    return next((t.shape[1] for n, t in tensors.items() if n.endswith("attn2.to_k.weight") and t.ndim == 2), None)


def _is_unet_of(generation: str) -> Callable[[Header], bool]:
    def fits(header: Header) -> bool:
        return _UNET_IN in header.tensors and other_generation(_text_width(header.tensors)) == generation

    return fits


def _takes(channels: int) -> Callable[[Header], bool]:
    return lambda header: _UNET_IN in header.tensors and header.tensors[_UNET_IN].shape[1] == channels


# The first match wins: specific rules first.
_RULES: tuple[tuple[str, Callable[[Header], bool]], ...] = (
    (CONTROL, lambda header: header.metadata.get("format") == "con360-control"),
    (PICTURE_ENVELOPE, lambda header: header.metadata.get("format") == "con360-envelope"),
    (MEANING, lambda header: header.metadata.get("format") == "con360-meaning"),
    (LORA, _contains(".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", "processor.to_q_lora")),
    ("a motion module of HotShot-XL, for SDXL", _contains(".temporal_attentions.")),
    (MOTION, lambda header: _is_motion(header) and _has_last_level(header)),
    (MOTION_XL, _is_motion),
    ("an SDXL checkpoint", _starts("conditioner.embedders.")),
    ("a Stable Diffusion 2 checkpoint", _starts("cond_stage_model.model.")),
    *((f"a checkpoint of {name}", _is_unet_of(name)) for name in _OTHER_TEXT_WIDTHS.values()),
    *((name, _takes(channels)) for channels, name in _SPECIAL_INPUTS.items()),
    (
        "a checkpoint of a transformer model (SD 3, Flux or newer)",
        _contains("joint_blocks.", "double_blocks.", "transformer_blocks.0.attn.add_q_proj"),
    ),
    (SD15, lambda header: _UNET_IN in header.tensors and _starts(TEXT_PREFIX)(header)),
    ("an SD 1.5 U-Net without text encoder", lambda header: _UNET_IN in header.tensors),
    (OMNIAUDIO, _contains("conditioner.conditioners.video_360.")),
    (IMAGEBIND, _starts("modality_trunks.vision.")),
    (ONSETS, _contains("net.model.stem.")),
    (VIDEO2RMS, _contains("encoder.BiLSTM_projs.")),
    (CONNECTORS, _starts("connector_in_", "connector_out_")),
    (SALVIT360, _starts("feature_extractor.", "module.feature_extractor.")),
    (VAE, lambda header: {"quant_conv.weight", "decoder.conv_in.weight"} <= _without_prefix(header.tensors)),
    ("a diffusers U-Net without its folder", _starts("down_blocks.0.resnets.")),
    ("a text encoder", _contains("embeddings.token_embedding.weight", "embeddings.word_embeddings.weight")),
)


def _without_prefix(tensors: State) -> set[str]:
    return {name.removeprefix(VAE_PREFIX) for name in tensors}
