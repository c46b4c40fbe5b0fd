"""Read and write the layer that adds meaning to the sound's class vector.

Metadata keys: `format` ("con360-class-vector"), `encoder` (fingerprint of the encoder whose vectors it reads),
`training` (JSON record).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..errors import InputError
from ..media.files import atomic_path
from ..models.class_vector import PLACES, ClassVector
from .files import read_header, read_tensors, short

FORMAT, WEIGHT = "con360-class-vector", "linear.weight"


def load_class_vector(path: str | Path, device: torch.device | str = "cpu") -> tuple[ClassVector, str]:
    """Read a layer that `train.meaning.condition` wrote, and the fingerprint of its encoder.

    Raises:
        InputError: there is no such file, or another model is in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path}; name a file of `python -m train.meaning.condition`.")
    header = read_header(path)
    if header.metadata.get("format") != FORMAT:
        raise InputError(f"{short(path)} holds no class vector; name a file of `python -m train.meaning.condition`.")
    state = read_tensors(path)
    weight = state.get(WEIGHT)
    if weight is None or weight.ndim != 2 or weight.shape[1] % len(PLACES):
        raise InputError(f"{short(path)} does not hold one layer of {len(PLACES)} vectors; get it again.")
    module = ClassVector(weight.shape[1] // len(PLACES), weight.shape[0])
    module.load_state_dict({WEIGHT: weight.float()})
    return module.to(device).eval().requires_grad_(False), header.metadata.get("encoder", "")


def save_class_vector(module: ClassVector, path: Path, encoder: str, training: Mapping[str, Any]) -> None:
    """Write a layer in half precision: to a temporary name, then renamed."""
    metadata = {"format": FORMAT, "encoder": encoder, "training": json.dumps(dict(training))}
    with atomic_path(path) as temporary:
        save_file({WEIGHT: module.linear.weight.detach().half().contiguous()}, temporary, metadata=metadata)
