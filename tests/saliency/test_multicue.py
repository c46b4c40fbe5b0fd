"""The cues of the multi-cue method, each compared with the method without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_data import data_path

from con360.choices import MULTICUE, TRAINING_FREE
from con360.errors import InputError
from con360.geometry.erp import erp_directions, sample_erp
from con360.geometry.sphere import angle_between_deg, angles, directions, rotation
from con360.media.reader import read_panorama
from con360.records import PanoramaClip, Sound
from con360.saliency.heard import Listener, sound_intensity
from con360.saliency.human_faces import HumanFace, draw_faces, find_faces
from con360.saliency.motion import camera_rotation, grey_rows, own_motion_deg
from con360.saliency.multicue import CueStrengths, multicue_saliency
from con360.saliency.predict import clip_saliency, predict_saliency
from con360.sound.ambisonics import encode
from con360.sound.rotation import turn_matrices
from con360.viewpoint.choose import viewpoints

FPS, RATE = 4.0, 8000


def textured(seed: int = 0, height: int = 128) -> torch.Tensor:
    """`[3, H, 2H]`: soft noise of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.nn.functional.interpolate(torch.rand(1, 3, n, 2 * n, generator=generator), (height, 2 * height),
                                              mode="bicubic") for n in (6, 12, 24)]  # fmt: skip
    return (torch.stack(layers).mean(0)[0]).clamp(0, 1)


def peak(one_map: torch.Tensor) -> torch.Tensor:
    row, column = divmod(int(one_map.argmax()), one_map.shape[1])
    return directions((column + 0.5) / one_map.shape[1] * 360 - 180, 90 - (row + 0.5) / one_map.shape[0] * 180)


def tone_from(yaw: float, pitch: float = 0.0, seconds: float = 2.0) -> Sound:
    mono = 0.3 * torch.randn(int(seconds * RATE), generator=torch.Generator().manual_seed(3))
    return Sound(encode(mono, yaw, pitch), RATE, "ambix")


# Sound ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (70, 20), (-120, -35), (180, 0)])
def test_a_plane_wave_is_heard_where_it_comes_from(yaw, pitch):
    heard = sound_intensity(tone_from(yaw, pitch), FPS, 8)
    assert heard.shape == (8, 4)
    found = angles(heard[:, :3].double())
    for at in range(8):
        there = directions(float(found[0][at]), float(found[1][at]))
        assert float(angle_between_deg(there, directions(float(yaw), float(pitch)))) < 0.1
    assert torch.allclose(heard[:, :3].norm(dim=1), heard[:, 3], rtol=1e-4), "one plane wave is all direction"


def test_sound_from_everywhere_has_no_direction():
    generator = torch.Generator().manual_seed(1)
    waves = [encode(torch.randn(2 * RATE, generator=generator), yaw, 0.0) for yaw in range(-180, 180, 30)]
    heard = sound_intensity(Sound(torch.stack(waves).sum(0), RATE, "ambix"), FPS, 8)
    assert (heard[:, :3].norm(dim=1) < 0.15 * heard[:, 3]).all()


def test_blocks_equal_the_whole_and_keep_time():
    halves = torch.cat((tone_from(90.0, seconds=2).waveform, tone_from(-90.0, seconds=2).waveform), 1)
    whole = sound_intensity(Sound(halves, RATE, "ambix"), FPS, 16)
    listener = Listener(RATE, FPS)
    for block in torch.split(halves, 777, dim=1):
        listener.add(block.numpy())
    assert torch.allclose(listener.intensity(16), whole, rtol=1e-5, atol=1e-3)
    # To the right in the first two seconds, then to the left; half a second around the change mixes both.
    assert (whole[:7, 0] > 0).all() and (whole[10:, 0] < 0).all()


def test_sound_without_directions_is_no_cue():
    for layout, channels in (("mono", 1), ("stereo", 2), ("other", 6)):
        assert sound_intensity(Sound(torch.rand(channels, 100), RATE, layout), FPS, 4) is None
    assert sound_intensity(None, FPS, 4) is None


def test_sound_draws_the_map_to_where_it_comes_from():
    frames = textured()[None].expand(4, -1, -1, -1)
    heard = sound_intensity(tone_from(100.0), FPS, 4)
    with_sound = predict_saliency(frames, fps=FPS, heard=heard, height=64).maps[1]
    without = predict_saliency(frames, fps=FPS, height=64).maps[1]
    there = (erp_directions(64) @ directions(100.0, 0.0)) > np.cos(np.radians(25))
    assert with_sound[there].mean() / with_sound.mean() > 2 * without[there].mean() / without.mean()
    left_out = multicue_saliency(frames, FPS, 64, heard=heard, strengths=CueStrengths(sound=0.0))[1]
    assert torch.equal(left_out, without)


def test_a_black_picture_is_salient_where_sound_comes_from():
    frames = torch.zeros(4, 3, 32, 64)
    maps = predict_saliency(frames, fps=FPS, heard=sound_intensity(tone_from(-60.0), FPS, 4), height=64).maps
    assert float(angle_between_deg(peak(maps[1]), directions(-60.0, 0.0))) < 5
    silent = torch.zeros(4, 4)
    assert (predict_saliency(frames, fps=FPS, heard=silent, height=64).maps == 1).all()


# Motion ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [(1, 0, 0), (4, 1, 0), (0, 3, 2), (6, 0, 0)])
def test_the_cameras_turn_is_found_and_is_no_motion(turn):
    erp = textured(height=256)[None]
    turned = sample_erp(erp, erp_directions(256) @ rotation(*turn).T)
    before, after = grey_rows(torch.cat((erp, turned)).permute(0, 2, 3, 1).numpy())
    found = camera_rotation(before, after) @ rotation(*turn).double().numpy()
    assert np.degrees(np.arccos(np.clip((np.trace(found) - 1) / 2, -1, 1))) < 0.15
    assert np.quantile(own_motion_deg(before, after)[20:-20], 0.99) < 0.6


@pytest.mark.parametrize("pan_px", [0, 3])
def test_what_moves_by_itself_is_found_beside_a_panning_camera(pan_px):
    background, patch = textured(0), textured(5)[:, 50:78, :28]
    frames = []
    for t in range(6):
        frame = background.clone()
        frame[:, 50:78, 150 + 4 * t : 178 + 4 * t] = patch
        frames.append(frame.roll(pan_px * t, -1))
    maps = multicue_saliency(torch.stack(frames), 8.0, 64, strengths=CueStrengths(structure=0.0, motion=6.0))
    t = 3
    yaw = (150 + 14 + (4 + pan_px) * t) / 256 * 360 - 180
    assert float(angle_between_deg(peak(maps[t]), directions(yaw, 0.0))) < 15


def test_chunks_change_nothing():
    frames = torch.stack([textured().roll(2 * t, -1) for t in range(9)])
    heard = sound_intensity(tone_from(30.0, seconds=3), FPS, 9)
    whole = multicue_saliency(frames, FPS, 64, heard=heard, chunk=16)
    assert torch.allclose(multicue_saliency(frames, FPS, 64, heard=heard, chunk=2), whole, atol=1e-5)


# Faces ----------------------------------------------------------------------------------------------------------------


def test_faces_draw_the_camera_down_to_their_bodies():
    faces = [[HumanFace(-75.0, 10.0, 5.0, 0.9)]] * 2
    frames = textured()[None].expand(2, -1, -1, -1)
    seen = predict_saliency(frames, faces=faces, height=64).maps[0]
    assert float(angle_between_deg(peak(seen), directions(-75.0, 0.0))) < 12
    drawn = draw_faces(tuple(faces[0]), 64, 6.0)
    assert float(drawn.max()) == pytest.approx(6.0 * 0.9, rel=0.02)
    assert float(draw_faces((replace(faces[0][0], half_size_deg=2.0),), 64, 6.0).max()) < 0.6 * float(drawn.max())
    assert float(draw_faces((), 64, 6.0).max()) == 0


class Counting:
    """A detector that finds one face and counts its calls."""

    looks = 0

    def find(self, frame: np.ndarray) -> tuple[HumanFace, ...]:
        assert frame.dtype == np.uint8 and frame.shape[1] == 2 * frame.shape[0]
        self.looks += 1
        return (HumanFace(float(self.looks), 0.0, 5.0, 0.9),)


def test_faces_are_looked_for_once_a_second_and_kept_between():
    detector = Counting()
    found = find_faces(detector, torch.rand(10, 3, 16, 32), 4.0)
    assert detector.looks == 3
    assert [faces[0].yaw_deg for faces in found] == [1.0] * 4 + [2.0] * 4 + [3.0] * 2


# The door -------------------------------------------------------------------------------------------------------------


def test_a_clip_brings_its_cues():
    clip = PanoramaClip(textured()[None].expand(4, -1, -1, -1), FPS, tone_from(100.0, seconds=1))
    detector = Counting()
    maps = clip_saliency(clip, detector=detector, height=64)
    faces = (((HumanFace(1.0, 0.0, 5.0, 0.9),)),) * 4
    heard = sound_intensity(clip.sound, FPS, 4)
    assert maps.method == MULTICUE and detector.looks == 1
    assert torch.equal(maps.maps, predict_saliency(clip.frames, fps=FPS, heard=heard, faces=faces, height=64).maps)
    old = clip_saliency(clip, TRAINING_FREE, detector=detector, height=64)
    assert old.method == TRAINING_FREE and detector.looks == 1, "it reads the picture alone"


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0.0, -8.0, 1e9])
def test_a_clip_of_no_usable_rate_is_named(fps):
    clip = PanoramaClip(torch.rand(2, 3, 16, 32), fps, tone_from(0.0, seconds=0.5))
    with pytest.raises(InputError, match="per second; give a rate above 0, up to 240"):
        clip_saliency(clip)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fps": 0.0}, "0 per second"),
        ({"heard": torch.zeros(3, 4)}, r"\[3, 4\] for 2 frames"),
        ({"faces": [[]]}, "faces of 1 frames"),
    ],
)
def test_cues_of_another_clip_are_named(options, words):
    with pytest.raises(InputError, match=words):
        predict_saliency(torch.rand(2, 3, 16, 32), **options)


@pytest.mark.parametrize(("clip", "yaw", "pitch"), [
    ("sph360_JUN314mwb90_49.webm", 1.0, -8.0), ("sph360_NdE7uYVaynQl_0.webm", 13.0, -2.0),
])  # fmt: skip
def test_real_performers_are_framed_wherever_the_front_is(clip, yaw, pitch):
    """The training-free map's centroid misses the performers of both clips."""
    columns = 177
    read = read_panorama(data_path(f"video_unlicensed/{clip}"), duration_s=2, fps=4, height=256)
    turned = turn_matrices(rotation(-columns * 360 / 512, 0.0)).float() @ read.sound.waveform
    rolled = replace(read, frames=read.frames.roll(columns, -1), sound=replace(read.sound, waveform=turned))
    place = directions(yaw + columns * 360 / 512, pitch)

    def off_deg(method: str, ranking: str) -> float:
        view = viewpoints(clip_saliency(rolled, method, height=128), 4.0, ranking=ranking)[0].track.views[0]
        return float(angle_between_deg(directions(view.yaw_deg, view.pitch_deg), place))

    assert off_deg(MULTICUE, "subject") < min(30, off_deg(TRAINING_FREE, "centroid"))
