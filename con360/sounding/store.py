"""Keep tensors under keys in the user's cache folder, the least used ones only as long as there is room.

Keys are made of contents, so nothing kept is ever out of date. `$CON360_CACHE` names another folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InputError
from ..media.files import atomic_path

CACHE_VARIABLE, DEFAULT_FOLDER = "CON360_CACHE", "~/.cache/con360/sounding"
MOST_BYTES = 512 * 2**20
# Counts the ways in which what is kept was computed: another number, and nothing kept before is found.
VERSION = 1


class Store:
    """A folder of safetensors named by their keys.

    Args:
        folder: None takes the user's.
        most_bytes: of all files together.

    Attributes:
        problem: why something could not be kept; None while all could.
    """

    def __init__(self, folder: str | Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        self.folder = Path(folder or os.environ.get(CACHE_VARIABLE) or DEFAULT_FOLDER).expanduser()
        self.most_bytes = most_bytes
        self.problem: str | None = None

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Read the tensors of a key; None where nothing is kept, or where it is damaged."""
        path = self._path(key)
        try:
            found = load_file(path)
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        return found

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors; a place that cannot be written to becomes `problem`."""
        try:
            with atomic_path(self._path(key)) as temporary:
                save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
            self._sweep()
        except (InputError, OSError) as error:
            self.problem = f"nothing could be kept for the next run: {str(error).rstrip('.')}"

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _sweep(self) -> None:
        """Remove the files that were not used for longest, down to `most_bytes`."""
        kept = sorted(
            ((path.stat(), path) for path in self.folder.glob("*.safetensors")), key=lambda one: one[0].st_mtime_ns
        )
        total = sum(stat.st_size for stat, _ in kept)
        for stat, path in kept[:-1]:
            if total <= self.most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size


def key_of(*facts: object) -> str:
    """A key made of facts whose `repr` tells them apart."""
    return hashlib.blake2b(repr((VERSION, *facts)).encode(), digest_size=16).hexdigest()


def file_key(path: Path) -> str:
    """A key made of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
