"""Read spherical metadata: a file's projection, its two eyes and its Ambisonic channels.

FFmpeg reports a cropped VR180 mesh as equirectangular and knows no SA3D, so the boxes are read here: MP4 and MOV
boxes, Matroska elements, and the XML of Spherical Video V1, whose words photos use as well (GPano). Sizes found in
a file are never trusted: each box ends where its parent ends, and every list is capped.

Source: Spherical Video RFC (V1), Spherical Video V2 RFC, Spatial Audio RFC (google/spatial-media docs);
Matroska specification, Projection element; Photo Sphere XMP metadata (GPano).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from ..sound.channels import AmbisonicTags

# What metadata says, and behind it what users say in its place.
Projection = Literal[
    "", "equirectangular", "cropped", "mesh", "cubemap", "flat", "vr180", "cubemap-3x2", "cubemap-6x1", "eac"
]
Stereo = Literal["", "mono", "top-bottom", "left-right", "custom"]

V1_UUID = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
MAX_BOXES = 4096
MAX_XML_BYTES = 65536
# Of a projection's own box; a camera's mesh has some 40 kB.
MAX_PRIVATE_BYTES = 1 << 22
Span = tuple[int, int]
# Yaw, pitch and roll in degrees.
Pose = tuple[float, float, float]
LEVEL: Pose = (0.0, 0.0, 0.0)
# Fractions of the panorama that a picture lacks at its top, bottom, left and right.
Bounds = tuple[float, float, float, float]
WHOLE: Bounds = (0.0, 0.0, 0.0, 0.0)

# How the eyes lie, and whether the left one comes first.
_STEREO_MODES: dict[int, tuple[Stereo, bool]] = {
    0: ("mono", True), 1: ("top-bottom", True), 2: ("left-right", True), 3: ("custom", True), 4: ("left-right", False),
}  # fmt: skip


@dataclass(frozen=True)
class SphericalTags:
    """Statements of one picture track; empty strings where nothing is said.

    Args:
        projection: `cropped` is an equirectangular picture of a part of the sphere; VR180 says `cropped` or `mesh`.
        stereo: how the two eyes are packed; `custom` leaves it to a mesh for each eye.
        left_first: the left eye is the top or left half.
        pose_deg: yaw, pitch, roll of the camera that recorded, as in `geometry.sphere.rotation`: it brings the
            picture's directions to those of the level world.
        initial_deg: heading, pitch, roll of the view that players begin with, in the picture; None where nothing is
            said.
        bounds: of a `cropped` picture.
        private: body of the box that describes a `cubemap` or `mesh`.
    """

    projection: Projection = ""
    stereo: Stereo = ""
    left_first: bool = True
    pose_deg: Pose = LEVEL
    initial_deg: Pose | None = None
    bounds: Bounds = WHOLE
    private: bytes = b""


@dataclass(frozen=True)
class TrackTags:
    spherical: SphericalTags = SphericalTags()
    ambisonic: AmbisonicTags | None = None


def parse_spherical_xml(text: str) -> SphericalTags:
    """Read the V1 (`GSpherical`) or photo (`GPano`) words, as elements or as attributes.

    Returns:
        Tags; `cropped` when the picture says that it covers less than the full panorama. A missing size is not a crop.
    """
    found = dict(re.findall(r"(?<!/)\bG(?:Spherical|Pano):(\w+)\s*(?:>|=\s*[\"'])\s*([^<\"']*)", text[:MAX_XML_BYTES]))

    def pixels(name: str) -> int:
        value = found.get(name, "").strip()
        return int(value) if value.isdigit() else 0

    projection = found.get("ProjectionType", "").strip().lower()
    spherical = projection == "equirectangular" or found.get("Spherical", "").strip().lower() == "true"
    tags = SphericalTags("equirectangular" if spherical else "cubemap" if projection == "cubemap" else "")
    edges: list[tuple[float, float]] = []
    for side, edge in (("Height", "Top"), ("Width", "Left")):
        full, part = pixels(f"FullPano{side}Pixels"), pixels(f"CroppedAreaImage{side}Pixels")
        if full and part and part < full:
            before = pixels(f"CroppedArea{edge}Pixels")
            tags = replace(tags, projection="cropped")
            edges.append((before / full, (full - part - before) / full))
        else:
            edges.append((0.0, 0.0))
    tags = replace(tags, bounds=(*edges[0], *edges[1]))
    stereo = found.get("StereoMode", "").strip().lower()
    # The pose's heading is a compass's, which says nothing of where the picture's front should be.
    pose = (0.0, _degrees(found.get("PosePitchDegrees")), _degrees(found.get("PoseRollDegrees")))
    view = [found.get(f"InitialView{name}Degrees") for name in ("Heading", "Pitch", "Roll")]
    heading, pitch, roll = map(_degrees, view)
    return replace(
        tags, stereo=stereo if stereo in ("mono", "top-bottom", "left-right") else "", pose_deg=pose,
        initial_deg=(heading, pitch, roll) if any(view) else None,
    )  # fmt: skip


def _degrees(value: str | float | None) -> float:
    """Read an angle; anything but a finite number counts as nothing said, 0."""
    try:
        angle = float(value or 0.0)
    except ValueError:
        return 0.0
    return angle if math.isfinite(angle) else 0.0


def pose_of_prhd(yaw: float, pitch: float, roll: float) -> Pose:
    """Convert a pose from prhd to the package's signs, and back alike.

    The V2 RFC turns counter-clockwise about the axes right, up and backward: yaw to the left, pitch up, and the picture
    to the left by roll. (Its text before December 2016, and FFmpeg's comments, have yaw and roll the other way.)
    """
    return (0.0 - yaw, pitch, 0.0 - roll)


def merge_tags(first: SphericalTags, second: SphericalTags) -> SphericalTags:
    """Merge two descriptions of one track: a projection that is no full panorama wins, else the first one given."""
    refused = [p for p in (first.projection, second.projection) if p not in ("", "equirectangular")]
    projection = refused[0] if refused else first.projection or second.projection
    named = first if first.stereo else second
    pose = first.pose_deg if any(first.pose_deg) else second.pose_deg
    source = first if first.projection == projection else second
    return SphericalTags(
        projection, named.stereo, named.left_first, pose, first.initial_deg or second.initial_deg, source.bounds,
        source.private,
    )  # fmt: skip


def read_track_tags(path: Path) -> dict[int, TrackTags]:
    """Read tags by track id (MP4, MOV) or position (Matroska, WebM); none for other files and unreadable boxes."""
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        head = read_at(file, 0, 12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            return {number: tags for span in _inside(file, (0, end), b"moov") for number, tags in _tracks(file, span)}
        return dict(enumerate(_matroska_tracks(file, end))) if head[:4] == b"\x1a\x45\xdf\xa3" else {}


def read_at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(max(0, count))


# MP4 and MOV ----------------------------------------------------------------------------------------------------------


def _boxes(file: BinaryIO, span: Span) -> Iterator[tuple[bytes, Span]]:
    """Yield type and body of each box in a span, up to the first size that makes no sense."""
    position, end = span
    for _ in range(MAX_BOXES):
        header = read_at(file, position, 16)
        if position + 8 > end or len(header) < 8:
            return
        size, body = struct.unpack(">I", header[:4])[0], 8
        if size == 1 and len(header) == 16:
            size, body = struct.unpack(">Q", header[8:])[0], 16
        elif size == 0:
            size = end - position
        if size < body:
            return
        stop = min(position + size, end)
        yield header[4:8], (position + body, stop)
        position = stop


def _inside(file: BinaryIO, span: Span, *kinds: bytes) -> Iterator[Span]:
    """Yield the bodies of the boxes at a path of types."""
    for kind, body in _boxes(file, span):
        if kind == kinds[0]:
            yield from _inside(file, body, *kinds[1:]) if len(kinds) > 1 else (body,)


def _tracks(file: BinaryIO, moov: Span) -> Iterator[tuple[int, TrackTags]]:
    for trak in _inside(file, moov, b"trak"):
        number = 0
        for start, _ in _inside(file, trak, b"tkhd"):
            header = read_at(file, start, 24)
            at = 20 if header[:1] == b"\x01" else 12
            number = int.from_bytes(header[at : at + 4], "big")
        spherical, ambisonic = SphericalTags(), None
        for start, stop in _inside(file, trak, b"mdia", b"minf", b"stbl", b"stsd"):
            for _, entry in _boxes(file, (start + 8, stop)):
                spherical = merge_tags(spherical, _picture_entry(file, entry))
                ambisonic = ambisonic or _sound_entry(file, entry)
        for start, stop in _inside(file, trak, b"uuid"):
            if read_at(file, start, 16) == V1_UUID:
                text = read_at(file, start + 16, min(stop - start - 16, MAX_XML_BYTES)).decode("utf-8", "replace")
                spherical = merge_tags(spherical, parse_spherical_xml(text))
        yield number, TrackTags(spherical, ambisonic)


def _picture_entry(file: BinaryIO, entry: Span) -> SphericalTags:
    """Read st3d and sv3d, which follow the 78 fixed bytes of a picture's sample entry."""
    tags = SphericalTags()
    children = (entry[0] + 78, entry[1])
    for start, stop in _inside(file, children, b"st3d"):
        mode = int.from_bytes(read_at(file, start, min(5, stop - start))[4:] or b"\xff", "big")
        stereo, left_first = _STEREO_MODES.get(mode, ("", True))
        tags = replace(tags, stereo=stereo, left_first=left_first)
    for projection in _inside(file, children, b"sv3d", b"proj"):
        for kind, (start, stop) in _boxes(file, projection):
            body = read_at(file, start, min(20, stop - start))
            if kind == b"prhd" and len(body) >= 16:
                yaw, pitch, roll = (v / 65536 for v in struct.unpack(">3i", body[4:16]))
                tags = replace(tags, pose_deg=pose_of_prhd(yaw, pitch, roll))
            elif kind in (b"mshp", b"cbmp"):
                private = read_at(file, start, min(MAX_PRIVATE_BYTES, stop - start))
                tags = replace(tags, projection="mesh" if kind == b"mshp" else "cubemap", private=private)
            elif kind == b"equi":
                tags = _with_bounds(tags, body)
    return tags


def _with_bounds(tags: SphericalTags, body: bytes) -> SphericalTags:
    # Bounds are fractions of the panorama (0.32 fixed point) that are cut off; a unit in the last place is rounding.
    raw = struct.unpack(">4I", body[4:20]) if len(body) >= 20 else (0, 0, 0, 0)
    if all(bound <= 2**16 for bound in raw):
        return replace(tags, projection="equirectangular")
    top, bottom, left, right = (0.0 if bound <= 2**16 else bound / 2**32 for bound in raw)
    return replace(tags, projection="cropped", bounds=(top, bottom, left, right))


# Further bytes of a sound's entry in QuickTime, by its version.
QUICKTIME_FIELDS = {1: 16, 2: 36}


def _sound_entry(file: BinaryIO, entry: Span) -> AmbisonicTags | None:
    """Read SA3D, which follows the 28 fixed bytes of a sound's sample entry (more in QuickTime's versions 1 and 2)."""
    version = int.from_bytes(read_at(file, entry[0] + 8, 2), "big")
    children = (entry[0] + 28 + QUICKTIME_FIELDS.get(version, 0), entry[1])
    wrapped = (found for wave in _inside(file, children, b"wave") for found in _boxes(file, wave))
    for kind, (start, stop) in (*_boxes(file, children), *wrapped):
        body = read_at(file, start, min(stop - start, 12 + 4 * 64))
        if kind == b"SA3D" and len(body) >= 12:
            _, layout, order, ordering, normalization, count = struct.unpack(">BBIBBI", body[:12])
            if order > 16 or count > 64 or len(body) < 12 + 4 * count:
                return None
            channel_map = struct.unpack(f">{count}I", body[12 : 12 + 4 * count])
            known = (layout & 0x7F, ordering) == (0, 0)
            kinds: dict[int, Literal["ambix", "n3d"]] = {0: "ambix", 1: "n3d"}
            return AmbisonicTags(order, channel_map, kinds.get(normalization, "") if known else "", layout > 0x7F)
    return None


# Matroska and WebM ----------------------------------------------------------------------------------------------------

SEGMENT, TRACKS, CLUSTER, ENTRY = 0x18538067, 0x1654AE6B, 0x1F43B675, 0xAE
_VIDEO, _STEREO, _PROJECTION, _PROJECTION_TYPE, _PROJECTION_PRIVATE = 0xE0, 0x53B8, 0x7670, 0x7671, 0x7672
_POSE = (0x7673, 0x7674, 0x7675)
_MATROSKA_STEREO: dict[int, tuple[Stereo, bool]] = {
    0: ("mono", True), 1: ("left-right", True), 11: ("left-right", False),
    3: ("top-bottom", True), 2: ("top-bottom", False), 15: ("custom", True),
}  # fmt: skip


def elements(file: BinaryIO, span: Span) -> Iterator[tuple[int, Span]]:
    """Yield id and body of each EBML element in a span; an unknown size reaches to the parent's end."""
    position, end = span
    for _ in range(MAX_BOXES):
        head = read_at(file, position, 12)
        id_length = 9 - head[0].bit_length() if head and head[0] else 9
        if position >= end or id_length > 4 or len(head) <= id_length or not head[id_length]:
            return
        size_length = 9 - head[id_length].bit_length()
        raw = head[id_length : id_length + size_length]
        size = int.from_bytes(raw, "big") & ((1 << 7 * size_length) - 1)
        start = position + id_length + size_length
        stop = end if size == (1 << 7 * size_length) - 1 else min(start + size, end)
        yield int.from_bytes(head[:id_length], "big"), (start, stop)
        position = stop


def _values(file: BinaryIO, span: Span) -> dict[int, bytes]:
    return {
        number: read_at(file, start, min(stop - start, MAX_PRIVATE_BYTES if number == _PROJECTION_PRIVATE else 64))
        for number, (start, stop) in elements(file, span)
    }


def _matroska_tracks(file: BinaryIO, end: int) -> Iterator[TrackTags]:
    for kind, segment in elements(file, (0, end)):
        for inner, tracks in elements(file, segment) if kind == SEGMENT else ():
            if inner == CLUSTER:  # the media itself: nothing about tracks follows that players rely on
                return
            for entry_kind, entry in elements(file, tracks) if inner == TRACKS else ():
                if entry_kind == ENTRY:
                    yield _matroska_entry(file, entry)


def _matroska_entry(file: BinaryIO, entry: Span) -> TrackTags:
    tags = SphericalTags()
    for kind, video in elements(file, entry):
        if kind != _VIDEO:
            continue
        values = _values(file, video)
        if _STEREO in values:
            stereo, left_first = _MATROSKA_STEREO.get(int.from_bytes(values[_STEREO], "big"), ("", True))
            tags = replace(tags, stereo=stereo, left_first=left_first)
        for inner, projection in elements(file, video):
            if inner == _PROJECTION:
                tags = _matroska_projection(tags, _values(file, projection))
    return TrackTags(tags)


def _matroska_projection(tags: SphericalTags, values: dict[int, bytes]) -> SphericalTags:
    kinds: tuple[Projection, ...] = ("flat", "equirectangular", "cubemap", "mesh")
    number = int.from_bytes(values.get(_PROJECTION_TYPE, b"\x00"), "big")
    projection = kinds[number] if number < len(kinds) else ""
    private = values.get(_PROJECTION_PRIVATE, b"")
    tags = replace(tags, projection=projection, private=private)
    if projection == "equirectangular":
        tags = replace(_with_bounds(tags, private), private=b"")
    raw = [values.get(name, b"") for name in _POSE]
    yaw, pitch, roll = (struct.unpack(">f" if len(v) == 4 else ">d", v)[0] if len(v) in (4, 8) else 0.0 for v in raw)
    # Matroska turns clockwise about the up vector, and the picture to the left by roll.
    pose = (_degrees(yaw), _degrees(pitch), 0.0 - _degrees(roll))
    return replace(tags, pose_deg=pose)
