"""Projections of files against FFmpeg's v360, py360convert and numbers by hand; meshes and what is wrong with them."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import py360convert
import pytest
import torch
from PIL import Image
from shared_data import data_path

from con360.errors import InputError
from con360.geometry.projections import CUBE_3X2, CUBE_6X1, CUBE_CBMP, Cubemap, EquiAngular, Equirectangular, Projection
from con360.geometry.sphere import directions, rotation
from con360.media.mesh_boxes import MAX_BYTES, MAX_COUNT, meshes_of
from con360.media.spherical_tags import box

STILL = np.eye(3)


def unfolded(projection: Projection, picture: np.ndarray, height: int, turn: np.ndarray = STILL) -> np.ndarray:
    """Read a panorama by linear interpolation."""
    x, y = projection.places((height, 2 * height), picture.shape[:2], turn)
    return cv2.remap(np.ascontiguousarray(projection.bordered(picture)), x, y, cv2.INTER_LINEAR)


def smooth(rows: int, columns: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (rows, columns, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def by_v360(picture: np.ndarray, options: str) -> np.ndarray:
    """Convert `[h, w, 3]` uint8 with FFmpeg."""
    graph = av.filter.Graph()
    rows, columns = picture.shape[:2]
    source = graph.add_buffer(width=columns, height=rows, format="gbrp", time_base=Fraction(1, 25))
    last = graph.add("buffersink")
    filters = [source, graph.add("v360", options), last]
    for one, other in zip(filters, filters[1:], strict=False):
        one.link_to(other)
    graph.configure()
    source.push(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="gbrp"))
    return last.pull().to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("projection", "size", "options"),
    [
        (EquiAngular(), (256, 384), "eac:e"),
        (EquiAngular(), (216, 384), "eac:e"),
        (Cubemap(CUBE_3X2), (128, 192), "c3x2:e"),
        (Cubemap(CUBE_6X1), (64, 384), "c6x1:e:in_forder=frblud"),
    ],
)
def test_equals_ffmpegs_v360(projection, size, options):
    picture = smooth(*size).round().astype(np.uint8)
    ours = unfolded(projection, picture, 128)
    error = np.abs(ours.astype(int) - by_v360(picture, f"{options}:w=256:h=128"))
    # Along cube edges FFmpeg reads a neighbour's nearest pixel, where ours is interpolated: 1 % of the pixels.
    assert np.percentile(error, 98 if isinstance(projection, Cubemap) else 100) <= 2 and error.mean() < 0.6


def test_cubemap_equals_py360convert():
    picture, (height, width) = smooth(64, 384), (128, 256)
    theirs = py360convert.c2e(picture, height, width, cube_format="horizon")
    # Its panorama is corner-aligned, and it reads faces half a pixel further to the right and down.
    rays = directions(torch.linspace(-180, 180, width)[None], torch.linspace(90, -90, height)[:, None]).double().numpy()
    cube = Cubemap(CUBE_6X1)
    x, y = (place.astype(np.float32) + 0.5 for place in cube.locate(rays, 64, 384))
    error = np.abs(cv2.remap(cube.bordered(picture), x, y, cv2.INTER_LINEAR) - theirs)
    # At the faces' edges it repeats whole rows of a neighbour, which lie half a pixel off.
    assert np.percentile(error, 90) < 0.1 and error.mean() < 1.0


def test_real_faces_join_to_the_real_panorama():
    files = [data_path(f"photo/psv_cubemap/{name}.jpg") for name in ("nz", "nx", "pz", "px", "py", "ny")]
    faces = [cv2.resize(np.asarray(Image.open(file)), (128, 128), interpolation=cv2.INTER_AREA) for file in files]
    # That viewer turns its upper and lower face by half a turn.
    row = np.concatenate((*faces[:4], *(np.rot90(face, 2) for face in faces[4:])), 1)
    true = np.asarray(Image.open(data_path("photo/psv_mercantour_2000x1000.jpg")).resize((512, 256))).astype(int)
    ours = unfolded(Cubemap(CUBE_6X1), row, 256)
    # 3.0 levels; turned by 42 degrees, the panorama is 30 levels from itself.
    assert np.abs(ours - true).mean() < 5 < np.abs(np.roll(true, 60, 1) - true).mean() / 4


@pytest.mark.parametrize(
    ("projection", "size", "ray", "place"),
    [
        # Half a panorama: straight ahead is its middle, 45 degrees to the right a quarter further.
        (Equirectangular(left=0.25, right=0.25), (100, 100), (1, 0, 1), (74.5, 49.5)),
        (Equirectangular(top=0.5), (50, 200), (0, -1, 1), (101.5, 24.5)),
        (Cubemap(CUBE_3X2), (20, 30), (1, 0, 0), (2 + 4.5, 2 + 4.5)),
        (Cubemap(CUBE_CBMP), (20, 30), (0, 1, 0.5), (2 * 14 + 2 + 4.5, 2 + 4.5 - 2.5)),
        (EquiAngular(), (204, 304), (0, 0, 1), (151.5, 50.5)),
    ],
)
def test_convention_place_of_a_direction(projection, size, ray, place):
    x, y = projection.locate(np.array([ray], float), *size)
    assert (x[0], y[0]) == pytest.approx(place)


def test_a_cropped_panorama_is_put_where_it_belongs_bit_for_bit():
    whole = np.random.default_rng(1).integers(0, 256, (60, 120, 3)).astype(np.uint8)
    part = Equirectangular(10 / 60, 8 / 60, 30 / 120, 13 / 120)
    assert part.size(42, 77) == (60, 120)
    x, y = part.places((60, 120), (42, 77), STILL)
    shown = ~np.isnan(x)
    made = cv2.remap(whole[10:52, 30:107], np.nan_to_num(x), np.nan_to_num(y), cv2.INTER_CUBIC)
    assert shown.sum() == 42 * 77 and np.array_equal(made[shown], whole[10:52, 30:107].reshape(-1, 3))


def test_a_turn_brings_the_panoramas_directions_to_the_pictures():
    picture = smooth(64, 128)
    turn = rotation(90.0, 0.0, dtype=torch.float64).numpy()
    assert np.abs(unfolded(Equirectangular(), picture, 64, turn) - np.roll(picture, -32, 1)).max() < 0.01


@pytest.mark.parametrize(
    ("projection", "size", "words"),
    [
        (Cubemap(CUBE_3X2), (64, 128), "ratio of 3:2"),
        (Cubemap(CUBE_6X1), (64, 96), "ratio of 6:1"),
        (Cubemap(CUBE_CBMP, padding=40), (128, 192), "no faces left"),
        (EquiAngular(), (64, 128), "ratio of 3:2"),
    ],
)
def test_a_wrong_ratio_is_a_sentence(projection, size, words):
    with pytest.raises(InputError, match=words):
        projection.size(*size)


def test_a_part_that_makes_no_sense_is_a_sentence():
    for sides in ((0.5, 0.5, 0, 0), (0, 0, -0.1, 0), (float("nan"), 0, 0, 0)):
        with pytest.raises(InputError, match="makes no sense"):
            Equirectangular(*sides)


# Meshes ---------------------------------------------------------------------------------------------------------------


def packed(values: np.ndarray, choices: int) -> bytes:
    """Store rows of numbers as zigzag steps in as few bits as the specification says."""
    steps = np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))
    coded, width = np.where(steps >= 0, 2 * steps, -2 * steps - 1).ravel(), max(1, (2 * choices - 1).bit_length())
    return np.packbits((coded[:, None] >> np.arange(width - 1, -1, -1)) & 1).tobytes()


def mesh_box(corners: np.ndarray, texture: np.ndarray, order: np.ndarray, form: int = 0) -> bytes:
    """Make a mesh box of vertices and one list."""
    numbers, index = np.unique(np.concatenate((corners * (1, 1, -1), texture), 1), return_inverse=True)
    index = index.reshape(-1, 5)
    return box(
        b"mesh", struct.pack(">I", len(numbers)), numbers.astype(">f4").tobytes(), struct.pack(">I", len(index)),
        packed(index, len(numbers)), struct.pack(">IBBI", 1, 0, form, len(order)), packed(order[:, None], len(index)),
    )  # fmt: skip


def dome(rows: int = 24, columns: int = 24) -> bytes:
    """Make a mesh that shows the front half of the sphere as VR180 lays it out, in strips joined to one."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(1, 0, rows + 1))
    rays = directions(torch.from_numpy((u.ravel() - 0.5) * 180), torch.from_numpy((v.ravel() - 0.5) * 180)).numpy()
    number = np.arange(u.size).reshape(u.shape)
    strips = [np.stack((upper, lower), 1).ravel() for upper, lower in zip(number, number[1:], strict=False)]
    order = np.concatenate([np.concatenate((strip[:1], strip, strip[-1:])) for strip in strips])
    return mesh_box(rays, np.stack((u.ravel(), v.ravel()), 1), order, form=1)


def mshp(data: bytes, coding: bytes = b"raw ") -> bytes:
    if coding == b"dfl8":
        coder = zlib.compressobj(wbits=-15)
        data = coder.compress(data) + coder.flush()
    return bytes(8) + coding + data


@pytest.mark.parametrize("coding", [b"raw ", b"dfl8"])
def test_a_mesh_shows_what_its_corners_say(coding):
    (mesh,) = meshes_of(mshp(dome(), coding))
    assert not mesh.is_whole and mesh.size(100, 100)[0] in range(96, 110)
    turn = rotation(30.0, 20.0, 10.0, dtype=torch.float64).numpy()
    true = Equirectangular(left=0.25, right=0.25).places((90, 180), (100, 100), turn)
    ours = mesh.places((90, 180), (100, 100), turn)
    both = ~np.isnan(true[0]) & ~np.isnan(ours[0])
    assert both.mean() > 0.49 and np.isnan(ours[0]).mean() > 0.49
    # Flat triangles of 7.5 degrees, and a pole at which a whole row of corners meets.
    error = [np.abs(a - b)[both] for a, b in zip(ours, true, strict=True)]
    assert max(np.percentile(axis, 90) for axis in error) < 0.2


def test_a_mesh_for_each_eye():
    assert len(meshes_of(mshp(dome(2, 2) + box(b"free", b"") + dome(3, 3)))) == 2


GOOD = dome(2, 2)
FLAT = mesh_box(np.eye(3)[[0, 0, 0]], np.zeros((3, 2)), np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "kind that is not known"),
        (bytes(8) + b"lzma", "kind that is not known"),
        (mshp(GOOD, b"dfl8")[:-9], "cut off"),
        (bytes(8) + b"dfl8" + b"\xff" * 40, "damaged"),
        (mshp(bytes(MAX_BYTES + 1), b"dfl8"), "unpacks to more than"),
        (mshp(GOOD[:-1]), "cut off"),
        (mshp(b""), "no mesh"),
        (mshp(box(b"mesh", struct.pack(">I", MAX_COUNT + 1))), "claims"),
        (mshp(box(b"mesh", struct.pack(">I", 2**31 - 1))), "claims"),
        (mshp(box(b"mesh", struct.pack(">I", 9))), "cut off"),
        (mshp(box(b"mesh", struct.pack(">IfI", 1, float("nan"), 0))), "no finite numbers"),
        (mshp(box(b"mesh", struct.pack(">IfIB", 1, 1.0, 1, 0b01010101))), "names number"),
        (mshp(box(b"mesh", struct.pack(">IfII", 1, 1.0, 0, 2**20))), "claims"),
        (mshp(box(b"mesh", struct.pack(">IfIIBBI", 1, 1.0, 0, 1, 0, 7, 0))), "list of a kind"),
        (mshp(box(b"mesh", struct.pack(">IfII", 1, 1.0, 0, 0))), "no triangle"),
        (mshp(FLAT), "no triangle"),
    ],
)  # fmt: skip
def test_a_mesh_that_lies_is_a_sentence(body, words):
    with pytest.raises(InputError, match=words):
        meshes_of(body)


def test_a_mesh_of_endless_layers_is_a_sentence():
    corners = np.array([[0.0, 1, 0.01], [-1, -1, 0.01], [1, -1, 0.01]])
    body = mshp(mesh_box(corners, np.zeros((3, 2)), np.tile([0, 1, 2], 200)))
    with pytest.raises(InputError, match="over each other"):
        meshes_of(body)[0].places((32, 64), (10, 10), STILL)
