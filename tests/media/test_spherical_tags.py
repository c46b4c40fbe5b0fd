"""Test the parser on boxes built by hand, byte for byte from the specification."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import data_path

from con360.errors import InputError
from con360.media.spherical import V1_UUID, SphericalTags, merge_tags, parse_spherical_xml, read_track_tags
from con360.media.spherical_tags import tag_file


def box(kind: bytes, *body: bytes) -> bytes:
    content = b"".join(body)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def movie(*tracks: bytes) -> bytes:
    return box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", *tracks)


def track(number: int, entry: bytes, *extra: bytes) -> bytes:
    tkhd = box(b"tkhd", struct.pack(">4I", 0, 0, 0, number), bytes(68))
    stsd = box(b"stsd", struct.pack(">2I", 0, 1), entry)
    return box(b"trak", tkhd, box(b"mdia", box(b"minf", box(b"stbl", stsd))), *extra)


def picture_track(*children: bytes, extra: tuple[bytes, ...] = ()) -> bytes:
    return track(1, box(b"avc1", bytes(78), *children), *extra)


def sv3d(projection: bytes, pose: tuple[float, float, float] = (0, 0, 0)) -> bytes:
    prhd = box(b"prhd", bytes(4), struct.pack(">3i", *(round(v * 65536) for v in pose)))
    return box(b"sv3d", box(b"svhd", bytes(5)), box(b"proj", prhd, projection))


def equi(top: float = 0, bottom: float = 0, left: float = 0, right: float = 0) -> bytes:
    return box(b"equi", bytes(4), struct.pack(">4I", *(round(v * 2**32) for v in (top, bottom, left, right))))


def sa3d(order: int, channels: tuple[int, ...], ordering: int = 0) -> bytes:
    fields = struct.pack(">BBIBBI", 0, 0, order, ordering, 0, len(channels))
    return box(b"SA3D", fields, struct.pack(f">{len(channels)}I", *channels))


def tags_of(tmp_path: Path, content: bytes):
    path = tmp_path / "boxes.mp4"
    path.write_bytes(content)
    return read_track_tags(path)


def nested(deep: int) -> bytes:
    """Build a moov with `deep` nested trak boxes."""
    sizes = [8 * (deep - i) for i in range(deep)]
    return box(b"moov", b"".join(struct.pack(">I4s", size, b"trak") for size in sizes))


@pytest.mark.parametrize(
    "moov",
    [movie(box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", box(b"stco", bytes(4), b"\xa0\0\0\0", bytes(8))))))),
     nested(3000)],
    ids=["a table that claims more than it holds", "boxes in boxes"],
)  # fmt: skip
def test_damaged_boxes_are_refused_before_anything_is_written(tmp_path, moov):
    path = tmp_path / "boxes.mp4"
    path.write_bytes(moov + box(b"mdat", bytes(8)))
    before = path.read_bytes()
    with pytest.raises(InputError, match="damaged boxes"):
        tag_file(path, panorama="mono")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_v2_boxes(tmp_path):
    stereo = box(b"st3d", bytes(4), b"\x02")
    tags = tags_of(tmp_path, movie(picture_track(stereo, sv3d(equi(), (90, -10, 1.5)))))[1].spherical
    # The RFC's yaw and roll turn the other way round than the package's.
    assert tags == SphericalTags("equirectangular", "left-right", True, (-90.0, -10.0, -1.5))


@pytest.mark.parametrize(
    ("projection", "name"),
    [(equi(left=0.25, right=0.25), "cropped"), (box(b"mshp", bytes(40)), "mesh"), (box(b"cbmp", bytes(12)), "cubemap")],
)
def test_v2_projections_that_are_no_panorama(tmp_path, projection, name):
    xml = box(b"uuid", V1_UUID, b"<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>")
    # V1 metadata beside it claims a full panorama, as in real VR180 files: V2, which rules it out, wins.
    assert tags_of(tmp_path, movie(picture_track(sv3d(projection), extra=(xml,))))[1].spherical.projection == name


@pytest.mark.parametrize("version_bytes", [0, 16, 36])
def test_sa3d_in_each_sound_entry_version(tmp_path, version_bytes):
    version = {0: 0, 16: 1, 36: 2}[version_bytes]
    fixed = bytes(8) + struct.pack(">H", version) + bytes(18 + version_bytes)
    tags = tags_of(tmp_path, movie(track(7, box(b"mp4a", fixed, sa3d(1, (0, 3, 1, 2))))))[7].ambisonic
    assert tags.order == 1 and tags.channel_map == (0, 3, 1, 2)
    assert (tags.normalization, tags.head_locked) == ("ambix", False)


def test_sa3d_of_another_ordering_is_no_ambix(tmp_path):
    tags = tags_of(tmp_path, movie(track(1, box(b"mp4a", bytes(28), sa3d(1, (0, 1, 2, 3), ordering=1)))))
    assert tags[1].ambisonic.normalization == ""


def test_xml_words():
    text = (
        "<GSpherical:Spherical> true </GSpherical:Spherical><GSpherical:StereoMode>top-bottom</GSpherical:StereoMode>"
    )
    assert parse_spherical_xml(text) == SphericalTags("equirectangular", "top-bottom")
    photo = '<x GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="8000" '
    photo += 'GPano:CroppedAreaImageWidthPixels="{}"/>'
    assert parse_spherical_xml(photo.format(8000)).projection == "equirectangular"
    assert parse_spherical_xml(photo.format(7000)).projection == "cropped"
    assert parse_spherical_xml("<html>nothing</html>") == SphericalTags()


def test_merge_keeps_the_first_statement():
    first, second = SphericalTags("equirectangular"), SphericalTags("equirectangular", "top-bottom", False)
    assert merge_tags(first, second) == SphericalTags("equirectangular", "top-bottom", False)
    assert merge_tags(second, SphericalTags("mesh", "mono")).projection == "mesh"


def element(number: int, body: bytes) -> bytes:
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return name + struct.pack(">Q", 1 << 56 | len(body)) + body


@pytest.mark.parametrize(
    ("stereo", "kind", "bounds", "expected"),
    [
        (1, 1, (0, 0, 0, 0), SphericalTags("equirectangular", "left-right", True)),
        (2, 1, (0, 0, 2**30, 2**30), SphericalTags("cropped", "top-bottom", False, bounds=(0.0, 0.0, 0.25, 0.25))),
        (3, 3, (0, 0, 0, 0), SphericalTags("mesh", "top-bottom", True)),
        (0, 0, (0, 0, 0, 0), SphericalTags("flat", "mono", True)),
    ],
)
def test_matroska_projection(tmp_path, stereo, kind, bounds, expected):
    private = element(0x7672, bytes(4) + struct.pack(">4I", *bounds))
    projection = element(0x7670, element(0x7671, bytes([kind])) + (private if kind == 1 else b""))
    video = element(0xE0, element(0x53B8, bytes([stereo])) + projection)
    tracks = element(0x1654AE6B, element(0xAE, element(0xD7, b"\1") + video) + element(0xAE, element(0xD7, b"\2")))
    content = element(0x1A45DFA3, b"") + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + tracks  # a live segment: size unknown
    assert [t.spherical for t in tags_of(tmp_path, content).values()] == [expected, SphericalTags()]


@pytest.mark.parametrize(("form", "angle", "read"), [(">f", 15.0, -15.0), (">d", 15.0, -15.0), (">f", math.nan, 0.0)])
def test_matroska_pose(tmp_path, form, angle, read):
    pose = b"".join(element(0x7673 + i, struct.pack(form, value)) for i, value in enumerate((30.0, 10.0, angle)))
    video = element(0xE0, element(0x7670, element(0x7671, b"\1") + pose))
    content = element(0x1A45DFA3, b"") + element(0x18538067, element(0x1654AE6B, element(0xAE, video)))
    # Clockwise about up, counter-clockwise about right, and the picture counter-clockwise by roll.
    assert tags_of(tmp_path, content)[0].spherical.pose_deg == (30.0, 10.0, read)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b[: len(b) // 2], lambda b: b.replace(b"stsd", b"\0\0\0\0"), lambda b: b + b"\0" * 7],
)
def test_damaged_boxes_end_quietly(tmp_path, damage):
    whole = movie(picture_track(sv3d(equi())), track(2, box(b"mp4a", bytes(28), sa3d(1, (0, 1, 2, 3)))))
    assert isinstance(tags_of(tmp_path, damage(whole)), dict)


def test_box_sizes_are_not_trusted(tmp_path):
    huge = struct.pack(">I4sQ", 1, b"moov", 2**62) + picture_track(sv3d(equi()))
    assert tags_of(tmp_path, box(b"ftyp", bytes(8)) + huge)[1].spherical.projection == "equirectangular"
    assert tags_of(tmp_path, box(b"ftyp", bytes(8)) + struct.pack(">I4s", 3, b"moov")) == {}
    liar = box(b"SA3D", struct.pack(">BBIBBI", 0, 0, 1, 0, 0, 2**31), bytes(64))
    assert tags_of(tmp_path, movie(track(1, box(b"mp4a", bytes(28), liar))))[1].ambisonic is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_give_tags_or_nothing(data, tmp_path_factory):
    whole = bytearray(movie(picture_track(sv3d(equi())), track(2, box(b"mp4a", bytes(28), sa3d(1, (0, 1, 2, 3))))))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(8, len(whole) - 1))] = data.draw(st.integers(0, 255))
    head = data.draw(st.sampled_from([bytes(whole), b"\x1a\x45\xdf\xa3" + bytes(whole)]))
    path = tmp_path_factory.mktemp("fuzz") / "any.mp4"
    path.write_bytes(head + data.draw(st.binary(max_size=64)))
    assert isinstance(read_track_tags(path), dict)


@pytest.mark.parametrize(
    ("name", "projection", "stereo"),
    [
        ("video/gvr_congo_1920x1080_TB_stereo3d.mp4", "equirectangular", "top-bottom"),
        ("video/gvr_sphericalv2_VR180_mesh_NOT360.mp4", "mesh", "top-bottom"),
        ("video/congo_eye_1024x512_h264_foa_aac_v2meta.mp4", "equirectangular", ""),
        ("video/congo_eye_1920x1080_stretched_v1meta.mp4", "equirectangular", ""),
        ("video/congo_eye_960x480_24fps_av1_opus.webm", "equirectangular", "top-bottom"),
    ],
)
def test_real_files(name, projection, stereo):
    tags = next(iter(read_track_tags(data_path(name)).values())).spherical
    assert (tags.projection, tags.stereo) == (projection, stereo)
