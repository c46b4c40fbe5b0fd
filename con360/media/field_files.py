"""Write and read direction fields: safetensors with metadata.

Tensors: `vectors [R, B, 3]` and `residual [R, B]`, float32. Metadata: `format` ("con360-field"), `format_version`,
`row_s` and `shares` (JSON).
"""

from __future__ import annotations

import json
import os

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..records import DirectionField
from ..sound.fields import check_field
from .files import atomic_path, existing_file

FORMAT = "con360-field"
FORMAT_VERSION = 1


def write_field(path: str | os.PathLike, field: DirectionField) -> None:
    """Write a direction field: to a temporary name, then renamed.

    Raises:
        InputError: the field cannot be used, or the place cannot be written to.
    """
    check_field(field)
    tensors = {name: getattr(field, name).detach().cpu().float().contiguous() for name in ("vectors", "residual")}
    metadata = {
        "format": FORMAT, "format_version": str(FORMAT_VERSION), "row_s": json.dumps(field.row_s),
        "shares": json.dumps(field.shares),
    }  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_field(path: str | os.PathLike) -> DirectionField:
    """Read a direction field.

    Raises:
        InputError: the file is missing, cut, no direction field, of a newer format, or its values are out of range.
    """
    found = existing_file(path)
    try:
        with safe_open(found, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(found.name, metadata)
            vectors, residual = (file.get_tensor(name).float() for name in ("vectors", "residual"))
    except SafetensorError as error:
        raise InputError(
            f"{found.name} cannot be read as a direction field ({error}): it is cut or damaged."
        ) from error
    return check_field(DirectionField(vectors, residual, *_numbers(found.name, metadata)))


def _numbers(name: str, metadata: dict[str, str]) -> tuple[float, tuple[float, float, float]]:
    try:
        y, z, x = json.loads(metadata["shares"])
        return float(metadata["row_s"]), (float(y), float(z), float(x))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the metadata of {name} is cut or damaged ({error}); write the field again.") from error


def _check_format(name: str, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{name} is no direction field (its metadata says format {metadata.get('format')!r}, wanted {FORMAT!r}); "
            f"choose a file that write_field wrote."
        )
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise InputError(
            f"{name} has field format version {metadata.get('format_version')!r}; this program reads {FORMAT_VERSION}. "
            f"Update it."
        )
