"""Store results on disk, one file per scene and part; a killed run resumes from them.

A folder belongs to one request (models, sampler, seed). Another request in the same folder is refused, because one
table must not mix both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.errors import InputError
from con360.media.files import atomic_path


class Store:
    """Store the results of one request under `folder/scenes`."""

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        self.folder = folder
        path = folder / "request.json"
        if path.is_file():
            self._check(read_json(path), request)
        write_json(path, request)

    def _check(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        differs = [name for name in wanted if found.get(name) != wanted[name]]
        if differs:
            name = differs[0]
            raise InputError(
                f"{self.folder} holds results with {name} {found.get(name)!r}, and {wanted[name]!r} was asked for; "
                f"choose another --out, or delete the folder."
            )

    def path(self, part: str, index: int) -> Path:
        return self.folder / "scenes" / part / f"{index:05d}.json"

    def has(self, part: str, index: int) -> bool:
        return self.path(part, index).is_file()

    def put(self, part: str, index: int, result: dict[str, Any], clips: dict[str, Tensor] | None = None) -> None:
        """Store a result. Write its clips first, so that a stored result never lacks them."""
        if clips:
            with atomic_path(self.path(part, index).with_suffix(".safetensors")) as temporary:
                save_file({name: t.contiguous() for name, t in clips.items()}, temporary)
        write_json(self.path(part, index), result)

    def get(self, part: str, index: int) -> dict[str, Any]:
        return read_json(self.path(part, index))

    def rows(self, part: str) -> list[dict[str, Any]]:
        """Read all results of a part, in the scenes' order."""
        return [read_json(path) for path in sorted((self.folder / "scenes" / part).glob("*.json"))]

    def clips(self, part: str) -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
        """Read the results that have clips, with the clips."""
        found = sorted((self.folder / "scenes" / part).glob("*.safetensors"))
        return [(read_json(path.with_suffix(".json")), load_file(path)) for path in found if _has_result(path)]


def _has_result(path: Path) -> bool:
    return path.with_suffix(".json").is_file()


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, and its scene is measured again.") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=True) + "\n", encoding="utf-8")
