"""A small model of Ambisonics with random weights, written as the built-in one is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from con360.models.flow_transformer import FlowTransformer, FlowTransformerConfig
from con360.models.oobleck import Oobleck, OobleckConfig
from con360.models.picture_features import PictureEmbedders
from con360.sounding.model import CONFIG, NETWORK, PICTURES
from con360.sounding.small_encoder import SmallEncoder

WIDTH, FEATURES, LATENTS = 64, 6, 4


def write_small_model(folder: Path, seed: int = 0) -> Path:
    """Write a folder that `load_ambisonics_model` reads: 16 kHz, 4 s, a panorama per frame."""
    torch.manual_seed(seed)
    codec = OobleckConfig(4, 8, (1, 1), (1, 1), LATENTS, stem_hop=640, stem_width=8)
    networks = {
        "model.model.": FlowTransformer(FlowTransformerConfig(LATENTS, WIDTH, 1, 1)),
        "conditioner.": PictureEmbedders(FEATURES, WIDTH), "pretransform.model.": Oobleck(codec),
    }  # fmt: skip
    folder.mkdir(parents=True)
    state = {prefix + name: t for prefix, network in networks.items() for name, t in network.state_dict().items()}
    save_file(state, folder / NETWORK)
    save_file(SmallEncoder(FEATURES, 3).state_dict(), folder / PICTURES)
    config = {
        "panorama": "per_frame", "sample_rate_hz": 16000, "trained_s": 4.0, "knows": "It knows nothing.",
        "defaults": {"steps": 1, "cfg_audio": 2.0},
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config))
    return folder
