"""End the picture of a finished MP4 earlier than its last packet, by its edit list.

Packets are in decoding order: behind a part's last picture lie some that are shown later, which it needs.

Source: ISO/IEC 14496-12 (mvhd, tkhd, elst).
"""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import InputError
from .spherical_tags import edited, handler_of, top_boxes

# Offset of the duration in a header of 32 and of 64 bits, behind version, times, and time scale or track number.
_DURATION_AT = {b"mvhd": (16, 24), b"tkhd": (20, 28)}


def end_picture(path: Path, end_s: float) -> None:
    """Have players stop the picture at `end_s`, in place; nothing else changes.

    Raises:
        InputError: the file has no `moov` box.
    """
    found = next(((start, size) for kind, start, size in top_boxes(path) if kind == b"moov"), None)
    if found is None:
        raise InputError(f"{path.name} has no moov box; only complete MP4 and MOV files can be cut.")
    start, size = found
    with open(path, "r+b") as file:
        file.seek(start)
        moov = file.read(size)
        file.seek(start)
        file.write(_ended(moov, end_s))


def _ended(moov: bytes, end_s: float) -> bytes:
    ticks = 0

    def track(kind: bytes, body: bytes) -> bytes:
        if kind == b"tkhd":
            return _shorter(kind, body, ticks)
        if kind == b"elst":
            return _shorter_edits(body, ticks)
        return edited(body, track) if kind == b"edts" else body

    def movie(kind: bytes, body: bytes) -> bytes:
        nonlocal ticks
        if kind == b"mvhd":
            (scale,) = struct.unpack_from(">I", body, 20 if body[0] else 12)
            ticks = round(end_s * scale)
            return _shorter(kind, body, ticks)
        return edited(body, track) if kind == b"trak" and handler_of(body) == b"vide" else body

    return edited(moov, lambda kind, body: edited(body, movie) if kind == b"moov" else body)


def _shorter(kind: bytes, body: bytes, ticks: int) -> bytes:
    """A header whose duration is at most `ticks`."""
    at, form = (_DURATION_AT[kind][1], ">Q") if body[0] else (_DURATION_AT[kind][0], ">I")
    (own,) = struct.unpack_from(form, body, at)
    new = bytearray(body)
    struct.pack_into(form, new, at, min(own, ticks))
    return bytes(new)


def _shorter_edits(body: bytes, ticks: int) -> bytes:
    """An edit list whose entries last `ticks` together at most."""
    form = ">QqI" if body[0] else ">IiI"
    parts, left = [body[:8]], ticks
    for duration, media_time, rate in struct.iter_unpack(form, body[8:]):
        duration = min(duration, left)
        left -= duration
        parts.append(struct.pack(form, duration, media_time, rate))
    return b"".join(parts)
