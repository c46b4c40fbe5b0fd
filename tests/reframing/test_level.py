"""Levelling: a tilt that a file states is undone as its specification turns it, and sound turns with the picture."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from drawn_panoramas import RATE, SIZE, about, frames, panorama, psnr, write
from shared_data import data_path
from synthetic_clips import write_video

from con360.errors import InputError
from con360.geometry.sphere import directions, rotation, rotation_angles
from con360.media.coders import PictureCoding
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.spherical import V1_UUID, parse_spherical_xml
from con360.media.spherical_tags import Packing, box, tag_file
from con360.media.writer import clip_stream
from con360.metrics.audio import foa_angles_deg
from con360.records import Sound
from con360.reframing.level import LevelSettings, level
from con360.sound.ambisonics import encode


def inverse(*angles: float) -> LevelSettings:
    return LevelSettings(*(float(a) for a in rotation_angles(rotation(*angles, dtype=torch.float64).T)))


# Picture --------------------------------------------------------------------------------------------------------------


def sv3d(path: Path, yaw: float, pitch: float, roll: float) -> None:
    """Write a pose as the V2 RFC's bytes stand in a file."""
    tag_file(path, panorama="mono", pose_deg=(1.0, 1.0, 1.0))
    pattern = b"prhd" + bytes(4)
    data = path.read_bytes()
    at = data.index(pattern) + len(pattern)
    path.write_bytes(data[:at] + struct.pack(">3i", *(round(v * 65536) for v in (yaw, pitch, roll))) + data[at + 12 :])


def gpano(path: Path, yaw: float, pitch: float, roll: float) -> None:
    """Write a pose in words, as GPano has them, into the V1 box."""
    words = f'GPano:ProjectionType="equirectangular" GPano:PosePitchDegrees="{pitch}" GPano:PoseRollDegrees="{roll}"'
    text = f'<rdf {words} GPano:PoseHeadingDegrees="{yaw}"/>'.encode()
    data = path.read_bytes()
    start = data.rindex(box(b"uuid", V1_UUID)[4:]) - 4
    (size,) = struct.unpack(">I", data[start : start + 4])
    room = size - 24
    assert len(text) <= room
    path.write_bytes(data[: start + 24] + text.ljust(room) + data[start + size :])


@pytest.mark.parametrize(
    ("write_pose", "pose", "to_world"),
    [
        # V2: counter-clockwise about up, then about right, then about backward (clockwise about forward).
        (sv3d, (30, 20, -25), about(1, 30) @ about(0, 20) @ about(2, -25)),
        (sv3d, (0, -12, 0), about(0, -12)), (sv3d, (0, 0, 9), about(2, 9)), (sv3d, (-70, 0, 0), about(1, -70)),
        # GPano: the centre's height over the horizon; by roll the horizon turns counter-clockwise in the picture, which
        # is a camera that turned clockwise. A compass heading is no tilt.
        (gpano, (123, 18, 10), about(0, 18) @ about(2, -10)),
    ],
)  # fmt: skip
def test_a_stated_tilt_is_undone(
    tmp_path: Path, write_pose: Callable, pose: tuple[float, float, float], to_world: np.ndarray
) -> None:
    source = write(tmp_path / "in.mp4", [panorama(to_world)] * 2)
    write_pose(source, *pose)
    made = level(source, tmp_path / "out.mp4", LevelSettings(auto=True))
    assert psnr(frames(source)[0], panorama()) < 30
    assert psnr(frames(tmp_path / "out.mp4")[0], panorama()) > 35
    assert any("was undone" in notice for notice in made.notices)
    assert probe(tmp_path / "out.mp4").spherical.pose_deg == (0.0, 0.0, 0.0)


def test_a_turn_by_hand_is_a_cameras(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 2)
    level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=40, pitch_deg=25, roll_deg=-15))
    # Right-positive yaw and a camera that leans to its right turn the other way round about OpenGL's axes.
    wanted = panorama(about(1, -40) @ about(0, 25) @ about(2, 15))
    assert psnr(frames(tmp_path / "out.mp4")[0], wanted) > 35


def test_there_and_back_is_the_source(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 2)
    level(source, tmp_path / "there.mp4", LevelSettings(20, 10, 15))
    level(tmp_path / "there.mp4", tmp_path / "back.mp4", inverse(20, 10, 15))
    assert psnr(frames(tmp_path / "back.mp4")[0], frames(source)[0]) > 35


@pytest.mark.slow
def test_there_and_back_with_a_real_clip(tmp_path: Path) -> None:
    source = data_path("video/congo_eye_1024x512_h264_foa_aac_v2meta.mp4")
    level(source, tmp_path / "there.mp4", LevelSettings(20, 10, 15))
    level(tmp_path / "there.mp4", tmp_path / "back.mp4", inverse(20, 10, 15))
    for one, other in list(zip(frames(source), frames(tmp_path / "back.mp4"), strict=True))[::50]:
        assert psnr(one, other) > 39.2  # two codings included


def test_recentre_keeps_the_horizon_level(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama(about(0, 20))] * 2)
    made = level(source, tmp_path / "out.mp4", LevelSettings(pitch_deg=-20, recentre=90))
    assert psnr(frames(tmp_path / "out.mp4")[0], panorama(about(1, -90))) > 35
    assert any("Yaw 90" in notice for notice in made.notices)


def test_recentre_on_the_view_that_the_file_begins_with(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 2)
    data = source.read_bytes()
    new = b"<GSpherical:InitialViewHeadingDegrees>75</GSpherical:InitialViewHeadingDegrees>"
    at = data.index(b"<GSpherical:Stitched>")
    old = data[at : data.index(b"<GSpherical:ProjectionType>")]
    source.write_bytes(data.replace(old, new.ljust(len(old))))
    level(source, tmp_path / "out.mp4", LevelSettings(recentre="initial"))
    assert psnr(frames(tmp_path / "out.mp4")[0], panorama(about(1, -75))) > 35


def test_each_frame_keeps_its_time(tmp_path: Path) -> None:
    ticks = [0, 33, 66, 200, 233, 500]
    with clip_stream(tmp_path / "in.mp4", SIZE, Fraction(1, 1000), 30) as clip:
        for tick in ticks:
            clip.add_frame(panorama(), tick)
    made = level(tmp_path / "in.mp4", tmp_path / "out.mp4", LevelSettings(yaw_deg=10))
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times == pytest.approx([tick / 1000 for tick in ticks], abs=1 / 90000)
    assert made.num_frames == 6 and any("varies" in notice for notice in made.notices)


@pytest.mark.parametrize("packing", ["top-bottom", "left-right"])
def test_both_eyes_turn_each_by_itself(tmp_path: Path, packing: Packing) -> None:
    second = panorama() // 2 + 60
    axis = 0 if packing == "top-bottom" else 1
    source = write(tmp_path / "in.mp4", [np.concatenate((panorama(), second), axis)] * 2, packing=packing)
    made = level(source, tmp_path / "out.mp4", LevelSettings(roll_deg=30))
    turned = panorama(about(2, -30))
    assert psnr(frames(tmp_path / "out.mp4")[0], np.concatenate((turned, turned // 2 + 60), axis)) > 34
    assert probe(tmp_path / "out.mp4").spherical.stereo == packing
    assert not any("stretched" in notice for notice in made.notices)
    assert any("Each eye" in notice for notice in made.notices)
    one = level(source, tmp_path / "one.mp4", LevelSettings(roll_deg=30, eye="right"))
    assert (one.width, one.height) == SIZE and probe(tmp_path / "one.mp4").stereo == "mono"
    assert psnr(frames(tmp_path / "one.mp4")[0], turned // 2 + 60) > 34


def test_odd_sizes_lose_a_pixel_and_no_direction(tmp_path: Path) -> None:
    odd = panorama(size=(257, 129))
    source = write_video(
        tmp_path / "in.mkv", [0.0, 0.1], size=(257, 129), codec="ffv1", pix_fmt="bgr0", pictures=[odd] * 2
    )
    made = level(source, tmp_path / "out.mp4", LevelSettings(roll_deg=20))
    assert (made.width, made.height) == SIZE
    assert psnr(frames(tmp_path / "out.mp4")[0], panorama(about(2, -20))) > 35


def test_the_coding_is_chosen(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 5)
    small = LevelSettings(coding=PictureCoding("H.265", "small"))
    made = level(source, tmp_path / "out.mp4", small)
    assert probe(tmp_path / "out.mp4").codec == "hevc"
    assert any("Nothing is turned" in notice for notice in made.notices)


# Sound ----------------------------------------------------------------------------------------------------------------


def tone(seconds: float = 1.0, hz: float = 440.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ambisonics_turns_with_the_picture(tmp_path: Path, order: int) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 10, encode(tone(), 50.0, 20.0, order))
    made = level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=30, pitch_deg=-10, roll_deg=40))
    assert made.sound == "ambisonics"
    heard, _ = read_sound(tmp_path / "out.mp4")
    assert heard.ambisonic_order == order
    # In the turned picture lies R^T d, where the picture has it too.
    where = directions(50.0, 20.0, dtype=torch.float64) @ rotation(30, -10, 40, dtype=torch.float64)
    first = Sound(heard.waveform[:4], heard.sample_rate_hz, "ambix")
    yaw, pitch = foa_angles_deg(first)
    assert float(directions(yaw, pitch, dtype=torch.float64) @ where) > math.cos(math.radians(1.0))
    middle = heard.waveform[:, RATE // 4 : RATE // 2]
    assert middle[0].std() == pytest.approx(0.3 / math.sqrt(2), rel=0.03)
    wanted = encode(torch.ones(1), *map(float, (yaw, pitch)), order)[:, 0]
    gains = middle @ middle[0] / (middle[0] @ middle[0])
    assert torch.allclose(gains, wanted, atol=0.03)


def test_a_head_locked_pair_stays(tmp_path: Path) -> None:
    pair = torch.stack((tone(hz=700.0), 0.3 * tone(hz=900.0)))
    source = write(tmp_path / "in.mp4", [panorama()] * 10, torch.cat((encode(tone(), 90.0, 0.0), pair)))
    made = level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=90))
    track = probe(tmp_path / "out.mp4").audio_tracks[0]
    assert track.tags is not None and track.tags.head_locked and track.channels == 6
    heard = read_sound(tmp_path / "out.mp4")[0].waveform[:, RATE // 4 : RATE // 2]
    assert made.sound == "ambisonics" and heard.shape[0] == 6
    front, left = heard[3].std(), heard[1].std()
    assert front > 30 * left
    assert heard[4:].std(1).tolist() == pytest.approx(pair.std(1).tolist(), rel=0.05)


@pytest.mark.parametrize("channels", [1, 2])
def test_other_sound_stays_as_recorded(tmp_path: Path, channels: int) -> None:
    sound = torch.stack([tone(hz=400.0 + 100 * i) for i in range(channels)])
    source = write(tmp_path / "in.mp4", [panorama()] * 10, sound)
    made = level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=90))
    heard = read_sound(tmp_path / "out.mp4")[0].waveform
    assert made.sound == "as recorded" and any("no directions" in notice for notice in made.notices)
    assert heard.shape == sound.shape
    assert torch.allclose(heard[:, 4000:-4000], sound[:, 4000:-4000], atol=0.01)


# Errors ---------------------------------------------------------------------------------------------------------------


def test_what_the_file_does_not_state_is_told(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.mp4", [panorama()] * 2), tmp_path / "out.mp4"
    with pytest.raises(InputError, match="states no tilt .* by hand"):
        level(source, out, LevelSettings(auto=True))
    with pytest.raises(InputError, match="names no view to begin with"):
        level(source, out, LevelSettings(recentre="initial"))
    with pytest.raises(InputError, match="both read and written"):
        level(source, source)
    assert not out.exists()


@pytest.mark.parametrize("settings", [{"yaw_deg": math.nan}, {"roll_deg": math.inf}, {"recentre": "left"}])
def test_angles_are_finite_numbers(settings: dict) -> None:
    with pytest.raises(InputError, match="finite"):
        LevelSettings(**settings)


def test_a_tilt_that_is_left_alone_is_told(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 2)
    sv3d(source, 0, 12, 0)
    made = level(source, tmp_path / "out.mp4", LevelSettings(yaw_deg=5))
    [said] = [notice for notice in made.notices if "tilt" in notice]
    assert "dropped" in said and "auto" in said
    assert any("not levelled" in notice for notice in probe(source).notices)


@pytest.mark.parametrize("value", ["nan", "inf", "much", ""])
def test_words_that_are_no_angle_say_nothing(value: str) -> None:
    text = f"<GSpherical:Spherical>true</GSpherical:Spherical><GPano:PosePitchDegrees>{value}</GPano:PosePitchDegrees>"
    assert parse_spherical_xml(text).pose_deg == (0.0, 0.0, 0.0)


def test_a_cancel_leaves_no_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", [panorama()] * 4)

    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        level(source, tmp_path / "out.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == [source]
