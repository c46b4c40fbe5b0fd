"""Write spherical metadata into a finished MP4 or MOV, so that players show a panorama.

Pictures get Spherical Video V2 (st3d, sv3d in the sample entry) and V1 (XML in a uuid box of the track), since players
read one or the other; Ambisonic sound gets SA3D. `moov` is rebuilt in memory, the media is copied as it is.

Source: Spherical Video RFC (V1), Spherical Video V2 RFC, Spatial Audio RFC (google/spatial-media docs);
ISO/IEC 14496-12.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..sound.channels import ORDERS, PAIR
from .spherical import LEVEL, QUICKTIME_FIELDS, V1_UUID, Pose, pose_of_prhd

Packing = Literal["mono", "top-bottom", "left-right"]
STEREO_MODES: dict[str, int] = {"mono": 0, "top-bottom": 1, "left-right": 2}
SOFTWARE = "Con360-AV"
MAX_MOOV_BYTES = 2**30
# Where the boxes inside a box begin, behind its fixed fields.
CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8}
PICTURE_FIELDS, SOUND_FIELDS = 78, 28
Edit = Callable[[bytes, bytes], bytes]


def tag_file(
    path: Path, *, panorama: Packing | None = None, ambisonic: bool = False, pose_deg: Pose = LEVEL,
    light: Mapping[bytes, bytes] | None = None,
) -> None:  # fmt: skip
    """Add metadata to every track of a kind, in place.

    Args:
        path: an MP4 or MOV. The new file is written beside it and takes its name when complete.
        panorama: tag picture tracks as full equirectangular, with this packing of the eyes.
        ambisonic: tag sound tracks of 4, 9 or 16 channels as AmbiX, of 6, 11 or 18 as AmbiX with a head-locked pair.
        pose_deg: of the camera that recorded, as in `SphericalTags`; players turn the panorama by it.
        light: further boxes of picture tracks, such as those of an HDR's display (`Mastering.boxes`).

    Raises:
        InputError: the file has no `moov` box, it is larger than 1 GiB, or damaged.
    """
    boxes = top_boxes(path)
    found = next(((start, size) for kind, start, size in boxes if kind == b"moov"), None)
    if found is None or found[1] > MAX_MOOV_BYTES:
        raise InputError(f"{path.name} has no usable moov box; only complete MP4 and MOV files can be tagged.")
    start, size = found
    with open(path, "rb") as file:
        file.seek(start)
        old = file.read(size)
    try:
        new = _tagged(old, panorama, ambisonic, pose_deg, light or {})
        if any(kind == b"mdat" and at > start for kind, at, _ in boxes):
            new = _shifted(new, len(new) - len(old))
    except (struct.error, RecursionError) as error:  # tables that claim more than they hold, boxes a thousand deep
        raise InputError(
            f"{path.name} has damaged boxes ({error}); only complete MP4 and MOV files can be tagged."
        ) from error
    _replace(path, start, size, new)


def _replace(path: Path, start: int, size: int, new: bytes) -> None:
    temporary = path.with_name(f".{secrets.token_hex(6)}.tags{path.suffix}")
    try:
        with open(path, "rb") as source, open(temporary, "wb") as target:
            _copy(source, target, start)
            target.write(new)
            source.seek(start + size)
            shutil.copyfileobj(source, target, 2**20)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source, target, count: int) -> None:
    while count:
        part = source.read(min(count, 2**20))
        target.write(part)
        count -= len(part)


def top_boxes(path: Path) -> list[tuple[bytes, int, int]]:
    """Yield type, start and whole size of each box of a file."""
    found, end = [], path.stat().st_size
    with open(path, "rb") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            size = int.from_bytes(header[8:16], "big") if size == 1 else size or end - at
            if size < 8:
                break
            found.append((header[4:8], at, size))
            at += size
    return found


def box(kind: bytes, *parts: bytes) -> bytes:
    """Make a box of a type with its body."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def edited(data: bytes, edit: Edit, at: int = 0) -> bytes:
    """Replace the body of each box from `at` on by `edit(kind, body)`; keep the bytes before them."""
    parts = [data[:at]]
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        # No box of a moov needs 64 bits, and QuickTime ends lists of boxes with 32 zero bits.
        if size < 8 or at + size > len(data):
            break
        kind = data[at + 4 : at + 8]
        parts.append(box(kind, edit(kind, data[at + 8 : at + size])))
        at += size
    return b"".join((*parts, data[at:]))


def kinds_of(boxes: bytes) -> set[bytes]:
    """Types of boxes in a row."""
    found = set()

    def look(kind: bytes, body: bytes) -> bytes:
        found.add(kind)
        return body

    edited(boxes, look)
    return found


def _tagged(
    moov: bytes, panorama: Packing | None, ambisonic: bool, pose_deg: Pose, light: Mapping[bytes, bytes]
) -> bytes:
    shown = b"".join(box(kind, body) for kind, body in light.items())

    def track(kind: bytes, body: bytes) -> bytes:
        if kind == b"moov":
            return edited(body, track)
        if kind != b"trak":
            return body
        handler = handler_of(body)
        if handler == b"vide" and (panorama or shown):
            extra = box(b"uuid", V1_UUID, spherical_xml(panorama).encode()) if panorama else b""
            boxes = (_v2_boxes(panorama, pose_deg) if panorama else b"") + shown
            return edited(body, _in_entries(PICTURE_FIELDS, lambda _: boxes)) + extra
        if handler == b"soun" and ambisonic:
            return edited(body, _in_entries(SOUND_FIELDS, _sa3d_box))
        return body

    return edited(moov, track)


def handler_of(trak: bytes) -> bytes:
    found = [b""]

    def look(kind: bytes, body: bytes) -> bytes:
        if kind == b"mdia":
            return edited(body, look)
        if kind == b"hdlr":
            found[0] = body[8:12]
        return body

    edited(trak, look)
    return found[0]


def _in_entries(plain: int, made: Callable[[bytes], bytes]) -> Edit:
    """Make an edit that appends boxes to each sample entry, by its fields, and drops old ones of the same types."""

    def entry(kind: bytes, body: bytes) -> bytes:
        version = int.from_bytes(body[8:10], "big") if plain == SOUND_FIELDS else 0
        fields = plain + QUICKTIME_FIELDS.get(version, 0)
        extra = made(body[:fields])
        if not extra:
            return body
        kinds, kept, at = kinds_of(extra), [body[:fields]], fields
        while at + 8 <= len(body) and (size := int.from_bytes(body[at : at + 4], "big")) >= 8:
            if body[at + 4 : at + 8] not in kinds:
                kept.append(body[at : at + size])
            at += size
        return b"".join((*kept, extra, body[at:]))

    def edit(kind: bytes, body: bytes) -> bytes:
        if kind == b"stsd":
            return edited(body, entry, at=CONTAINERS[kind])
        return edited(body, edit) if kind in CONTAINERS else body

    return edit


def _shifted(moov: bytes, by: int) -> bytes:
    """Adapt a moov to media that lies `by` bytes later."""

    def edit(kind: bytes, body: bytes) -> bytes:
        if kind in CONTAINERS and kind != b"stsd":
            return edited(body, edit)
        if kind in (b"stco", b"co64"):
            form = "I" if kind == b"stco" else "Q"
            count = int.from_bytes(body[4:8], "big")
            offsets = struct.unpack(f">{count}{form}", body[8 : 8 + count * struct.calcsize(form)])
            return body[:8] + struct.pack(f">{count}{form}", *(offset + by for offset in offsets))
        return body

    return edited(moov, edit)


def _v2_boxes(packing: Packing, pose_deg: Pose) -> bytes:
    """Make st3d and sv3d of a full equirectangular picture."""
    full = bytes(4)  # version and flags
    turned = struct.pack(">3i", *(round(angle * 65536) for angle in pose_of_prhd(*pose_deg)))
    projection = box(b"proj", box(b"prhd", full, turned), box(b"equi", full, bytes(16)))
    made_by = box(b"svhd", full, SOFTWARE.encode() + b"\0")
    return box(b"st3d", full, bytes([STEREO_MODES[packing]])) + box(b"sv3d", made_by, projection)


def _sa3d_box(fields: bytes) -> bytes:
    """Make SA3D of a sample entry of Ambisonics: version 0, periphonic, ACN, SN3D, channels in ACN order.

    The highest bit of the kind says that a head-locked pair follows.
    """
    count = int.from_bytes(fields[16:18], "big")
    own, kind = (count, 0) if count in ORDERS else (count - PAIR, 0x80)
    if own not in ORDERS:
        return b""
    return box(b"SA3D", struct.pack(f">BBIBBI{count}I", 0, kind, ORDERS[own], 0, 0, count, *range(count)))


def spherical_xml(packing: Packing) -> str:
    """Write the V1 description of a full equirectangular picture."""
    words = {"Spherical": "true", "Stitched": "true", "StitchingSoftware": SOFTWARE,
             "ProjectionType": "equirectangular"}  # fmt: skip
    if packing != "mono":
        words["StereoMode"] = packing
    lines = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in words.items())
    return (
        '<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/">{lines}</rdf:SphericalVideo>'
    )
