"""Build an encoder of meaning over any small model. Its weights are random: cosines mean nothing, yet have slopes."""

from __future__ import annotations

import torch

from con360.meaning.built_in import BuiltInMeaning
from con360.models.meaning_network import MeaningConfig, MeaningNetwork
from con360.models.system import AVSystem

WORDS = ("a", "red", "green", "blue", "disc", "ring", "square", "humming", "ticking")


def make_tiny_meaning(model: AVSystem, seed: int = 0, name: str = "tiny-meaning") -> BuiltInMeaning:
    """Vectors of 8 values."""
    torch.manual_seed(seed)
    network = MeaningNetwork(MeaningConfig(WORDS, width=16, size=8)).eval().requires_grad_(False)
    return BuiltInMeaning(network, model, name)
