"""Files of other layouts and projections, in through reading, reframing and levelling."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_panoramas import RATE, about, frames, panorama, psnr, write
from PIL import Image
from shared_data import data_path

from con360.choices import Layout, ProjectionWord
from con360.errors import InputError
from con360.media.info import probe
from con360.media.layouts import Reading
from con360.media.reader import PanoramaStream, read_panorama
from con360.media.spherical_tags import Packing, tag_file
from con360.media.unfolding import check_copied, unfolding_of
from con360.metrics.audio import foa_angles_deg
from con360.placing.run import packing_of
from con360.records import View
from con360.reframing.level import LevelSettings, level
from con360.reframing.run import ReframeSettings, reframe
from con360.sound.ambisonics import encode

VR180 = "video/gvr_sphericalv2_VR180_mesh_NOT360.mp4"
# The right eye sees all of it 4 degrees further left.
LEFT, RIGHT = panorama(), panorama(about(1, -4))
HALF = (slice(None), slice(64, 192))


def bounded(path: Path, top: float, bottom: float, left: float, right: float) -> Path:
    """Write into a tagged file which part of the sphere it shows."""
    data = path.read_bytes()
    at = data.index(b"equi") + 8
    bounds = struct.pack(">4I", *(round(side * 2**32) for side in (top, bottom, left, right)))
    path.write_bytes(data[:at] + bounds + data[at + 16 :])
    return path


def only(part: tuple[slice, slice], picture: np.ndarray) -> np.ndarray:
    shown = np.zeros_like(picture)
    shown[part] = picture[part]
    return shown


@pytest.mark.parametrize(
    ("layout", "axis", "squeezed"),
    [("top-bottom", 0, False), ("left-right", 1, False), ("top-bottom", 0, True), ("left-right", 1, True)],
)
def test_stereo_without_metadata_keeps_its_disparity(
    tmp_path: Path, layout: Layout, axis: int, squeezed: bool
) -> None:  # fmt: skip
    half = (slice(None, None, 2), slice(None)) if axis == 0 else (slice(None), slice(None, None, 2))
    eyes = [eye[half] if squeezed else eye for eye in (LEFT, RIGHT)]
    source = write(tmp_path / "in.mp4", [np.concatenate(eyes, axis)] * 2, packing=None)
    reading = Reading(layout)
    assert probe(source).taken_as(reading).projection == "equirectangular?"
    level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=40, reading=reading))
    turned = np.concatenate([panorama(about(1, turn))[half if squeezed else ...] for turn in (-40, -44)], axis)
    assert psnr(frames(tmp_path / "out.mp4")[0], turned) > (30 if squeezed else 35)
    assert probe(tmp_path / "out.mp4").stereo == layout
    view, size = View(70.0, 10.0, 80.0), (96, 96)
    for eye, plain in (("left", LEFT), ("right", RIGHT)):
        reframe(write(tmp_path / "plain.mp4", [plain] * 2), tmp_path / "a.mp4", view, ReframeSettings(size))
        reframe(source, tmp_path / "b.mp4", view, ReframeSettings(size, eye=eye, reading=reading))
        assert psnr(frames(tmp_path / "a.mp4")[0], frames(tmp_path / "b.mp4")[0]) > (30 if squeezed else 35)


def test_vr180_by_hand_finds_its_eyes_by_their_shape(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [np.concatenate((LEFT[HALF], RIGHT[HALF]), 1)] * 2, packing=None)
    made = level(source, tmp_path / "out.mp4", LevelSettings(reading=Reading(projection="vr180")))
    assert psnr(frames(tmp_path / "out.mp4")[0], np.concatenate((only(HALF, LEFT), only(HALF, RIGHT)), 1)) > 35
    assert any("part of the sphere (vr180)" in notice for notice in made.notices)
    assert any("laid out as a panorama" in notice for notice in made.notices)
    assert probe(tmp_path / "out.mp4").spherical.stereo == "left-right"
    whole = read_panorama(source, duration_s=0.1, fps=10, height=64, eye="whole", reading=Reading(projection="vr180"))
    right = read_panorama(source, duration_s=0.1, fps=10, height=64, eye="right", reading=Reading(projection="vr180"))
    assert whole.frames.shape == right.frames.shape == (1, 3, 64, 128)
    assert (whole.frames[..., 64:] - right.frames[..., ::2]).abs().mean() < 0.03


@pytest.mark.parametrize("packing", ["mono", "top-bottom"])
def test_bounds_put_a_part_where_it_belongs(tmp_path: Path, packing: Packing) -> None:
    part = (slice(16, 96), slice(32, 160))
    eyes = [LEFT[part], RIGHT[part]][: 1 if packing == "mono" else 2]
    source = write(tmp_path / "in.mp4", [np.concatenate(eyes)] * 2, packing=packing)
    bounded(source, 16 / 128, 32 / 128, 32 / 256, 96 / 256)
    shown = [only(part, eye) for eye in (LEFT, RIGHT)][: len(eyes)]
    level(source, tmp_path / "out.mp4", LevelSettings())
    assert psnr(frames(tmp_path / "out.mp4")[0], np.concatenate(shown)) > 35
    level(source, tmp_path / "turned.mp4", LevelSettings(yaw_deg=20, eye="whole" if packing == "mono" else None))
    assert frames(tmp_path / "turned.mp4")[0].shape == np.concatenate(shown).shape
    with pytest.raises(InputError, match="is copied as it is here"):
        check_copied(probe(source))
    # What is said by hand wins: taken for a whole panorama, nothing is laid out.
    assert unfolding_of(probe(source).taken_as(Reading(projection="equirectangular"))) is None


def test_a_cropped_photo_is_put_where_it_belongs(tmp_path: Path) -> None:
    words = "".join(
        f'GPano:{name}="{value}" ' for name, value in {
            "ProjectionType": "equirectangular", "FullPanoWidthPixels": 256, "FullPanoHeightPixels": 128,
            "CroppedAreaImageWidthPixels": 256, "CroppedAreaImageHeightPixels": 60, "CroppedAreaLeftPixels": 0,
            "CroppedAreaTopPixels": 30, "PosePitchDegrees": 0,
        }.items()
    )  # fmt: skip
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf {words}/></x:xmpmeta>'.encode()
    Image.fromarray(LEFT[30:90]).save(tmp_path / "part.jpg", quality=95, xmp=xmp)
    clip = read_panorama(tmp_path / "part.jpg", duration_s=0.5, fps=2, height=128)
    made = (clip.frames[0].permute(1, 2, 0).numpy() * 255).round()
    assert psnr(made, only((slice(30, 90), slice(None)), LEFT)) > 35
    with pytest.raises(InputError, match="makes no sense"):
        # An area that begins so far down that it reaches beyond the panorama.
        Image.fromarray(LEFT[30:90]).save(tmp_path / "lie.jpg", xmp=xmp.replace(b'TopPixels="30"', b'TopPixels="90"'))
        read_panorama(tmp_path / "lie.jpg", duration_s=0.5, fps=2, height=128)


def test_upright_turns_picture_and_sound_as_levelling_does(tmp_path: Path) -> None:
    talk = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32))
    source = write(tmp_path / "in.mp4", [panorama(about(0, 20) @ about(2, -25))] * 10, encode(talk, 90.0, 0.0))
    tag_file(source, panorama="mono", ambisonic=True, pose_deg=(0.0, 20.0, 25.0))
    level(source, tmp_path / "level.mp4", LevelSettings(auto=True))
    true = read_panorama(tmp_path / "level.mp4", duration_s=1.0, fps=2, height=128)
    lying = read_panorama(source, duration_s=1.0, fps=2, height=128)
    clip = read_panorama(source, duration_s=1.0, fps=2, height=128, reading=Reading(upright=True))
    pictures = [(frames_of.frames[0] * 255).numpy() for frames_of in (clip, true, lying)]
    assert psnr(*pictures[:2]) > 35 and psnr(pictures[2], pictures[1]) < 25
    heard = [foa_angles_deg(one.sound) for one in (clip, true, lying)]
    assert np.allclose(heard[0], heard[1], atol=1) and not np.allclose(heard[2], heard[1], atol=10)
    assert any("tilted" in notice for notice in lying.notices) and not any("tilted" in said for said in clip.notices)
    stream = PanoramaStream(probe(source).taken_as(Reading(upright=True)))
    blocks = torch.from_numpy(np.concatenate(list(stream.sound(0, 1)), 1))
    assert np.allclose(foa_angles_deg(replace(clip.sound, waveform=blocks)), heard[1], atol=1)
    with pytest.raises(InputError, match="leave upright out"):
        LevelSettings(auto=True, reading=Reading(upright=True))


@pytest.mark.parametrize("word", ["cubemap-3x2", "cubemap-6x1", "eac"])
def test_a_wrong_ratio_writes_nothing(tmp_path: Path, word: ProjectionWord) -> None:
    source = write(tmp_path / "in.mp4", [LEFT] * 2)
    with pytest.raises(InputError, match=r"in\.mp4: an? .*ratio of"):
        level(source, tmp_path / "out.mp4", LevelSettings(reading=Reading("mono", word)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_metadata_claims_no_size_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bounded(write(tmp_path / "in.mp4", [LEFT] * 2), 0.4999, 0.4999, 0.4999, 0.4999)
    monkeypatch.setenv("CON360_MAX_PIXELS", str(512 * 256))
    clip = read_panorama(source, duration_s=0.1, fps=10, height=64)
    assert clip.frames.shape == (1, 3, 64, 128)


def test_words_that_nobody_knows() -> None:
    for words in ({"layout": "diagonal"}, {"projection": "cylinder"}):
        with pytest.raises(InputError, match="is unknown; choose one of auto"):
            Reading(**words)


def test_one_picture_has_no_right_eye(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [LEFT[HALF]] * 2, packing=None)
    with pytest.raises(InputError, match="holds one picture, and its right eye"):
        read_panorama(source, height=64, eye="right", reading=Reading("mono", "vr180"))


@pytest.mark.slow
def test_a_real_vr180_file_is_laid_out_through_its_meshes() -> None:
    source = data_path(VR180)
    info = probe(source)
    assert info.projection == "mesh" and info.stereo == "top-bottom" and packing_of(info, None) == "top-bottom"
    whole = read_panorama(source, duration_s=0.1, fps=10, height=256, eye="whole").frames[0].numpy()
    left, right = whole[:, :128, ::2], whole[:, 128:, ::2]
    # Its older metadata, beside the meshes, says a cropped panorama: near by, without the lens.
    bounds = (328 / 1412, 330 / 1412, 876 / 2824, 876 / 2824)
    cropped = replace(info, spherical=replace(info.spherical, projection="cropped", bounds=bounds, private=b""))
    pixels = next(PanoramaStream(cropped, "left").frames())[1]()
    near = np.asarray(Image.fromarray(pixels).resize((256, 128), Image.Resampling.BOX)).transpose(2, 0, 1) / 255
    middle = (slice(None), slice(44, 84), slice(100, 156))
    assert np.corrcoef(left[middle].ravel(), near[middle].ravel())[0, 1] > 0.8
    # The eyes see the same from two places, each through its own mesh.
    assert 0.9 < np.corrcoef(left[middle].ravel(), right[middle].ravel())[0, 1] < 0.9999
    assert (left == 0).mean() > 0.8
    with pytest.raises(InputError, match="is copied as it is here"):
        check_copied(info)
