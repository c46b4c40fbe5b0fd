"""Read and write the built-in model's meaning network, a part of its own in the model's folder.

Metadata keys: `meaning_config` (JSON of `MeaningConfig`), `meaning_training` (JSON record), `architecture`, `codecs`
(fingerprint of the networks whose latents it reads).
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
from ..models.meaning_network import MeaningConfig, MeaningNetwork
from .files import problems_of, read_tensors, short
from .kinds import MEANING, read_header_of

MEANING_FILE = "meaning.safetensors"
CONFIG, TRAINING, CODECS, ARCHITECTURE = "meaning_config", "meaning_training", "codecs", "architecture"


def load_meaning_network(
    path: str | Path, device: torch.device | str = "cpu", kind: type[MeaningNetwork] = MeaningNetwork
) -> tuple[MeaningNetwork, str]:
    """Read a network that `train.meaning.run` wrote, and the fingerprint of the codecs whose latents it reads.

    Args:
        kind: architecture that the file must hold.

    Raises:
        InputError: there is no such file, another model is in it, or its weights do not fit its facts.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path}; name a file of `python -m train.meaning.run`.")
    header = read_header_of(path, MEANING, "the meaning encoder")
    if (found := header.metadata.get(ARCHITECTURE)) != kind.architecture:
        raise InputError(f"{short(path)} is a network of {found}; wanted one of {kind.architecture}.")
    try:
        config = MeaningConfig.from_dict(json.loads(header.metadata[CONFIG]))
        with torch.device("meta"):
            network = kind(config)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{short(path)} does not say how its networks are built ({error}); get it again.") from error
    state = read_tensors(path)
    problems = list(problems_of(network.state_dict(), state))
    if problems:
        raise InputError(f"{short(path)} does not fit: {'; '.join(problems[:3])}. Get it again.")
    network.load_state_dict({name: t.float() for name, t in state.items()}, assign=True)
    return network.to(device).eval().requires_grad_(False), header.metadata.get(CODECS, "")


def save_meaning_network(network: MeaningNetwork, path: Path, training: Mapping[str, Any], codecs: str) -> None:
    """Write a network in half precision: to a temporary name, then renamed."""
    state = {name: t.detach().half().contiguous() for name, t in network.state_dict().items()}
    metadata = {
        "format": "con360-meaning", CONFIG: json.dumps(network.config.to_dict()), TRAINING: json.dumps(dict(training)),
        CODECS: codecs, ARCHITECTURE: network.architecture,
    }  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
