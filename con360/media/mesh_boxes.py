"""Read the mesh of a file's projection: the body of an `mshp` box. Nothing that it says of its own size is trusted.

Source: Spherical Video V2 RFC, Mesh Projection Box.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from ..geometry.mesh import Mesh

# Numbers, vertices and corners of one mesh, and its lists; those of cameras have some thousand, in one list.
MAX_COUNT, MAX_LISTS = 1 << 17, 64
MAX_BYTES = 1 << 23
_RAW, _DEFLATED = b"raw ", b"dfl8"


def meshes_of(body: bytes) -> tuple[Mesh, ...]:
    """Read one mesh for both eyes, or one for each, left first.

    Args:
        body: of the box, from its version on.

    Raises:
        InputError: it is damaged, or larger than any camera's.
    """
    try:
        boxes = [box for kind, box in _boxes(_unpacked(body)) if kind == b"mesh"]
        meshes = tuple(_mesh(_Bits(box)) for box in boxes[:2])
    except struct.error as error:
        raise InputError("the mesh is cut off") from error
    if not meshes:
        raise InputError("the mesh box holds no mesh")
    return meshes


def _unpacked(body: bytes) -> bytes:
    coding, data = body[8:12], body[12:]
    if body[:1] != b"\0" or coding not in (_RAW, _DEFLATED):
        raise InputError(f"the mesh is of a kind that is not known (version {body[0:1].hex()}, {coding!r})")
    if coding == _RAW:
        return data
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise InputError(f"the mesh is damaged ({error})") from error
    if len(whole) > MAX_BYTES:
        raise InputError(f"the mesh unpacks to more than {MAX_BYTES >> 20} MiB")
    if not stream.eof:
        raise InputError("the mesh is cut off")
    return whole


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise InputError("the mesh is cut off")
        yield kind, data[at + 8 : at + size]
        at += size


class _Bits:
    """Read numbers out of bytes, none beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> int:
        """Read one number that `struct` knows."""
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def count(self, most: int = MAX_COUNT) -> int:
        """Read how many numbers follow."""
        number = self.take(">I")
        if number > most:
            raise InputError(f"the mesh claims {number} numbers where at most {most} make sense")
        return number

    def floats(self, number: int) -> np.ndarray:
        """Read 32-bit floats."""
        raw = self._bytes(4 * number)
        return np.frombuffer(raw, ">f4").astype(np.float64)

    def steps(self, rows: int, columns: int, choices: int) -> np.ndarray:
        """Read numbers `[rows, columns]` below `choices`, each stored as its zigzag step from the row before."""
        width = max(1, (2 * choices - 1).bit_length())
        raw = self._bytes(-(-rows * columns * width // 8))
        bits = np.unpackbits(np.frombuffer(raw, np.uint8))[: rows * columns * width].reshape(rows, columns, width)
        coded = bits @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
        found = np.cumsum((coded >> 1) ^ -(coded & 1), axis=0)
        if found.size and not (found.min() >= 0 and found.max() < choices):
            raise InputError(f"the mesh names number {found.max() if found.min() >= 0 else found.min()} of {choices}")
        return found

    def _bytes(self, number: int) -> bytes:
        if self._at + number > len(self._data):
            raise InputError("the mesh is cut off")
        self._at += number
        return self._data[self._at - number : self._at]


def _mesh(bits: _Bits) -> Mesh:
    numbers = bits.floats(bits.count())
    if not np.isfinite(numbers).all() or not numbers.size:
        raise InputError("the mesh has corners that are no finite numbers")
    vertices = numbers[bits.steps(bits.count(), 5, len(numbers))]
    lists = [_corners(bits, len(vertices)) for _ in range(bits.count(MAX_LISTS))]
    picked = vertices[np.concatenate(lists) if lists else np.zeros((0, 3), int)]
    # The file's forward axis is -z.
    return Mesh(picked[..., :3] * (1.0, 1.0, -1.0), picked[..., 3:])


def _corners(bits: _Bits, choices: int) -> np.ndarray:
    """Vertices `[N, 3]` of one list's triangles."""
    texture, form = bits.take(">B"), bits.take(">B")
    order = bits.steps(bits.count(), 1, choices)[:, 0]
    if texture or form not in _FORMS:
        raise InputError(f"the mesh has a list of a kind that is not known (picture {texture}, form {form})")
    return _FORMS[form](order)


def _strip(order: np.ndarray) -> np.ndarray:
    return np.stack((order[:-2], order[1:-1], order[2:]), -1)


def _fan(order: np.ndarray) -> np.ndarray:
    return np.stack((np.broadcast_to(order[:1], order[2:].shape), order[1:-1], order[2:]), -1)


_FORMS = {0: lambda order: order[: len(order) // 3 * 3].reshape(-1, 3), 1: _strip, 2: _fan}
