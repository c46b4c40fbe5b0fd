"""Read and write control files: safetensors with metadata.

Metadata keys: `format` ("con360-control"), `format_version`, `config` (JSON of `ControlConfig`), `base` (name of the
base model), `base_fingerprint`, `saliency` (method of the maps that it was trained with; the first files lack it and
were trained with "training-free"), `training` (JSON record: data, steps, seed, losses); a direction head's are in
`field_file`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..choices import TRAINING_FREE
from ..errors import InputError
from ..media.files import atomic_path
from ..weights.files import problems_of
from .config import ControlConfig
from .field_file import PREFIX, TRAINING, contents_of, head_in, load_head, metadata_of, tensors_of
from .field_head import FieldHead
from .module import ControlModule

FORMAT = "con360-control"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class LoadedControl:
    """A control module and the metadata of its file.

    Args:
        field_head: gives the generated sound its directions; stays on the CPU. None where the file has none.
    """

    module: ControlModule
    base: str = ""
    base_fingerprint: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    saliency: str = TRAINING_FREE
    field_head: FieldHead | None = None

    def mismatch(self, base_name: str, base_fingerprint: str) -> str | None:
        """Warn when this module was trained over another base model: a sentence, else None."""
        if not self.base_fingerprint or self.base_fingerprint == base_fingerprint:
            return None
        return (
            f"the control file {Path(self.path).name} was trained over '{self.base}' and is used over '{base_name}', "
            f"whose weights differ; expect poor control."
        )


def fingerprint(*modules: nn.Module) -> str:
    """Identify networks by their weights: names, shapes and the first 16 values of each tensor, at half precision.

    Half precision makes the fingerprint the same for float32 and float16 copies of the same weights.
    """
    digest = hashlib.sha256()
    for index, module in enumerate(modules):
        for name, tensor in sorted(module.state_dict().items()):
            head = tensor.detach().flatten()[:16].to("cpu", torch.float16)
            digest.update(f"{index}.{name}{tuple(tensor.shape)}".encode())
            digest.update(head.numpy().tobytes())
    return digest.hexdigest()[:16]


def save_control(
    path: str | Path, module: ControlModule, *, base: str, base_fingerprint: str, training: dict[str, Any],
    saliency: str, half: bool = False,
) -> None:  # fmt: skip
    """Write a control module: to a temporary name, then renamed.

    Args:
        base, base_fingerprint: name and `fingerprint` of the base model.
        training: record of the training, kept as JSON.
        saliency: method of the maps that it was trained with, as `predict_saliency` names it.
        half: store float16 instead of float32.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in module.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(module.config.to_dict()),
        "base": base,
        "base_fingerprint": base_fingerprint,
        "saliency": saliency,
        "training": json.dumps(training),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def add_head(control: str | Path, source: str | Path, out: str | Path) -> None:
    """Copy a control file and let the copy carry the direction head of another file; the rest stays bit for bit.

    Args:
        source: file with the head, a control or a head by itself. out: file to write.

    Raises:
        InputError: a file is missing or damaged, the first is no control, or the second has no head.
    """
    head = load_head(source)
    load_control(control)  # says what is wrong with it
    metadata, tensors = contents_of(Path(control))
    kept = {name: t for name, t in tensors.items() if not name.startswith(PREFIX)}
    record = _read_json(Path(source), contents_of(Path(source))[0].get(TRAINING, "{}"))
    # In the precision of the file that carries it.
    dtype = next(t.dtype for t in kept.values() if t.is_floating_point())
    with atomic_path(out) as temporary:
        save_file({**kept, **tensors_of(head, dtype)}, temporary, metadata={**metadata, **metadata_of(head, record)})


def load_control(path: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedControl:
    """Read a control file.

    Raises:
        InputError: the file is missing, is not a control file, is of a newer format, or its tensors do not fit its
            own configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no control file at {path}; give the path of a file that train/train.py wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path.name} cannot be read as safetensors ({error}); it may be cut or of another kind."
        ) from error
    head = head_in(path, metadata, tensors)
    module = _build(path, metadata, {name: t for name, t in tensors.items() if not name.startswith(PREFIX)})
    return LoadedControl(
        module.to(device=device, dtype=dtype).eval().requires_grad_(False),
        base=metadata.get("base", ""),
        base_fingerprint=metadata.get("base_fingerprint", ""),
        training=_read_json(path, metadata.get("training", "{}")),
        path=str(path),
        saliency=metadata.get("saliency", TRAINING_FREE),
        field_head=head,
    )


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path.name} is not a Con360 control file (its metadata says format {metadata.get('format')!r}, wanted "
            f"{FORMAT!r}); choose a file that train/train.py wrote."
        )
    version = metadata.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise InputError(
            f"{path.name} has control format version {version!r}; this program reads {FORMAT_VERSION}. Update it."
        )


def _read_json(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the metadata of {path.name} is damaged: {error}; get the file again.") from error
    if not isinstance(value, dict):
        raise InputError(f"the metadata of {path.name} is damaged: wanted a JSON object, got {type(value).__name__}.")
    return value


def _build(path: Path, metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> ControlModule:
    try:
        config = ControlConfig.from_dict(_read_json(path, metadata.get("config", "{}")))
        # On the meta device, so that a wrong configuration allocates nothing.
        with torch.device("meta"):
            wanted = ControlModule(config).state_dict()
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"the configuration in {path.name} cannot be used: {error}") from error
    problems = list(problems_of(wanted, tensors))
    if problems:
        raise InputError(f"{path.name} does not fit its own configuration: {'; '.join(problems[:3])}.")
    module = ControlModule(config)
    module.load_state_dict({name: t.float() for name, t in tensors.items()})
    return module
