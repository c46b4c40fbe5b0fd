"""A tiny model of Ambisonics with random weights, in a small model's folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from con360.models.flow_transformer import FlowTransformer, FlowTransformerConfig
from con360.models.oobleck import Oobleck, OobleckConfig
from con360.models.picture_features import PictureEmbedders
from con360.sounding.model import AmbisonicsModel, load_ambisonics_model
from con360.sounding.small_encoder import SmallEncoder

# Five seconds are two groups of windows.
RATE_HZ, HOP, TRAINED_S = 16000, 640, 2.4
KNOWS = "It knows nothing: its weights are random."


def write_tiny_ambisonics(folder: Path, width: int = 16, latents: int = 8, stride: int = 4) -> Path:
    """Write the folder; `width` is that of the picture's features, and a `stride` of 1 makes the decoder quick."""
    torch.manual_seed(0)
    vae = Oobleck(OobleckConfig(4, 16, (1,), (stride,), latents, HOP // stride, 16))
    transformer = FlowTransformer(FlowTransformerConfig(latents, 64, 1, 1))
    parts = {"model.model.": transformer, "conditioner.": PictureEmbedders(width, 64), "pretransform.model.": vae}
    folder.mkdir(parents=True, exist_ok=True)
    state = {prefix + name: t.half() for prefix, part in parts.items() for name, t in part.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    encoder = SmallEncoder(width, 4)
    save_file({name: t.half() for name, t in encoder.state_dict().items()}, folder / "pictures.safetensors")
    facts = {"panorama": "per_frame", "sample_rate_hz": RATE_HZ, "trained_s": TRAINED_S, "knows": KNOWS}
    (folder / "config.json").write_text(json.dumps({**facts, "defaults": {"steps": 2, "cfg_audio": 2.0}}))
    return folder


def tiny_ambisonics(folder: Path) -> AmbisonicsModel:
    """Write and load it."""
    return load_ambisonics_model(write_tiny_ambisonics(folder))
