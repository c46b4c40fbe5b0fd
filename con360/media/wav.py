"""Write a WAV block by block: any number of channels, any length.

A file above 4 GiB becomes RF64, for which a chunk at its head keeps room.

Source: Microsoft, WAVEFORMATEXTENSIBLE; EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from .files import atomic_path

_FLOAT, _INTEGER, _EXTENSIBLE = 3, 1, 0xFFFE
# The rest of the format's GUID, behind its number.
_GUID = bytes.fromhex("000000001000800000aa00389b71")
# Bytes that a plain WAV counts, and what RF64 writes in their place.
_MOST, _UNKNOWN = 2**32 - 1, 2**32 - 1
_DS64_BYTES = 28


class WavStream:
    """A WAV that is being written: add blocks one after the other."""

    def __init__(self, file: BinaryIO, channels: int, rate_hz: int, bits: int) -> None:
        self._file, self._channels, self._bits = file, channels, bits
        self.clipped = 0
        self._data_bytes = 0
        head = _format(channels, rate_hz, bits)
        # The sizes are filled in at the end.
        file.write(b"RIFF" + bytes(4) + b"WAVE" + _chunk(b"JUNK", bytes(_DS64_BYTES)) + head + b"data" + bytes(4))
        self._begin = file.tell()

    def add(self, block: np.ndarray) -> None:
        """Add `block [C, n]` float32; 16 bits round, and clip at full scale (`clipped` counts the samples)."""
        values = np.ascontiguousarray(block.T, "<f4")
        if self._bits == 16:
            self.clipped += int((np.abs(values) > 1.0).sum())
            values = np.clip(np.rint(values * 32768.0), -32768, 32767).astype("<i2")
        self._file.write(values.tobytes())
        self._data_bytes += values.nbytes

    def finish(self) -> None:
        """Fill in the sizes: the file can be read. More blocks may follow."""
        whole, large = self._file.tell() - 8, self._file.tell() > _MOST
        samples = self._data_bytes // (self._channels * self._bits // 8)
        self._file.seek(0)
        self._file.write((b"RF64" if large else b"RIFF") + struct.pack("<I", _UNKNOWN if large else whole))
        if large:
            self._file.seek(12)
            self._file.write(_chunk(b"ds64", struct.pack("<QQQI", whole, self._data_bytes, samples, 0)))
        self._file.seek(self._begin - 4)
        self._file.write(struct.pack("<I", _UNKNOWN if large else self._data_bytes))
        self._file.seek(0, os.SEEK_END)
        self._file.flush()


@contextmanager
def wav_stream(path: str | os.PathLike, channels: int, rate_hz: int, bits: int = 32) -> Iterator[WavStream]:
    """Write a WAV block by block; it gets its name when the block ends.

    Args:
        bits: 32 keeps the floats as they are, 16 rounds and clips at full scale.

    Raises:
        InputError: another number of bits, or a place that cannot be written to.
    """
    if bits not in (16, 32):
        raise InputError(f"a WAV with {bits} bits was asked for; choose 16 (integer) or 32 (float).")
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            stream = WavStream(file, channels, rate_hz, bits)
            yield stream
            stream.finish()


def _format(channels: int, rate_hz: int, bits: int) -> bytes:
    """Make the format chunk; more than two channels name no loudspeakers."""
    frame, kind = channels * bits // 8, _FLOAT if bits == 32 else _INTEGER
    extensible = channels > 2
    plain = struct.pack(
        "<HHIIHH", _EXTENSIBLE if extensible else kind, channels, rate_hz, frame * rate_hz, frame, bits
    )  # fmt: skip
    extra = struct.pack("<HHIH", 22, bits, 0, kind) + _GUID if extensible else b"" if bits == 16 else b"\0\0"
    return _chunk(b"fmt ", plain + extra)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body
