"""Read and write direction heads: tensors of the prefix `field.` in a control file, or in a file of their own.

Metadata keys: `field_config` (JSON of `FieldConfig`), `field_training` (JSON record: data, steps, seed, losses).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..media.files import atomic_path
from ..weights.files import problems_of
from .field_head import FieldConfig, FieldHead

PREFIX, CONFIG, TRAINING = "field.", "field_config", "field_training"


def tensors_of(head: FieldHead, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A head's weights by the names that they have in a file."""
    return {PREFIX + name: t.detach().to("cpu", dtype).contiguous() for name, t in head.state_dict().items()}


def metadata_of(head: FieldHead, training: Mapping[str, Any]) -> dict[str, str]:
    """A head's shape and the record of its training, as a file's metadata holds them."""
    return {CONFIG: json.dumps(head.config.to_dict()), TRAINING: json.dumps(dict(training))}


def head_in(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> FieldHead | None:
    """Build the head of a file; None where it has none.

    Args:
        path: named in errors. tensors: all of the file's.

    Raises:
        InputError: the configuration is damaged, or does not fit the tensors.
    """
    own = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
    if CONFIG not in metadata and not own:
        return None
    if CONFIG not in metadata or not own:
        lacks = "their configuration" if own else "the weights"
        raise InputError(f"{path.name} has part of a direction head and lacks {lacks}; get the file again.")
    try:
        config = FieldConfig.from_dict(json.loads(metadata[CONFIG]))
        head = FieldHead(config)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"the direction head's configuration in {path.name} cannot be used: {error}") from error
    problems = list(problems_of(head.state_dict(), own))
    if problems:
        raise InputError(f"the direction head in {path.name} does not fit its configuration: {problems[0]}.")
    head.load_state_dict({name: t.float() for name, t in own.items()})
    return head.eval().requires_grad_(False)


def save_head(path: str | Path, head: FieldHead, training: Mapping[str, Any]) -> None:
    """Write a head by itself: to a temporary name, then renamed."""
    with atomic_path(path) as temporary:
        save_file(tensors_of(head), temporary, metadata=metadata_of(head, training))


def load_head(path: str | Path) -> FieldHead:
    """Read the head of a file: of a control, or by itself.

    Raises:
        InputError: the file is missing, damaged, or has no head.
    """
    head = head_in(Path(path), *contents_of(Path(path)))
    if head is None:
        raise InputError(f"{Path(path).name} has no direction head; name a file of `python -m train.field.run`.")
    return head


def contents_of(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; name a control file or a direction head.")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path.name} cannot be read as safetensors ({error}); it may be cut or of another kind."
        ) from error
