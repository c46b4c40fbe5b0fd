from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import PanoramaStream
from con360.media.writer import write_clip
from con360.placing.finding import find_places
from con360.placing.movement import movement_fps, movement_of_clip, movement_of_stream
from con360.records import PanoramaClip, SaliencyMaps, Sound
from con360.scenes import Performer, Scene
from con360.sound.ambisonics import harmonics
from con360.sound.bands import band_centres_hz
from con360.timing import ClipSpec

SCENE = Scene(
    (
        Performer("red", "disc", "beep", -110.0, 14.0, 8.0, phase=0.2),
        Performer("yellow", "square", "bell", 50.0, -12.0, 8.0, phase=0.6),
    )
)
HEIGHT = 64


@pytest.fixture(scope="module")
def clip() -> PanoramaClip:
    return SCENE.panorama(HEIGHT, ClipSpec(fps=15.0))


def test_scene_voices_go_to_their_moving_shapes_by_estimated_saliency(clip):
    found = find_places(movement_of_clip(clip), Sound(clip.sound.waveform[:1], 16000))
    for performer, hz in zip(SCENE.performers, (900.0, 1500.0), strict=True):
        band = int((band_centres_hz() - hz).abs().argmin())
        yaws = torch.tensor([performer.yaw_at((row + 0.5) * 0.04) for row in range(100)])
        true = harmonics(yaws, torch.full_like(yaws, performer.pitch_deg), 1)[:, 1:]
        off = torch.rad2deg((found.field.vectors[:, band] * true).sum(-1).clamp(-1, 1).acos())
        assert off.max() < 10


def test_windows_step_by_two_seconds_and_the_last_ends_with_the_clip(clip):
    maps = SaliencyMaps(SCENE.saliency(HEIGHT, ClipSpec(fps=15.0)).maps, "")
    longer = replace(clip, frames=torch.cat((clip.frames, clip.frames[:41])))
    maps = SaliencyMaps(torch.cat((maps.maps, maps.maps[:41])), "")
    windows = list(movement_of_clip(longer, maps))
    assert [round(window.start_s, 2) for window in windows] == [0.0, 2.0, 2.6]
    assert windows[-1].stop_s == pytest.approx(101 / 15)
    assert all(len(window.paths) == len(window.curves) == len(window.movement) >= 2 for window in windows)
    lengths = torch.cat([window.paths.norm(dim=-1).flatten() for window in windows])
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-4, rtol=0)


def test_a_still_plain_picture_has_no_region(clip):
    (window,) = movement_of_clip(replace(clip, frames=torch.full_like(clip.frames[:36], 0.5)))
    assert window.paths.shape == (0, 36, 3) and window.stop_s == 2.4


def test_a_short_clip_gives_no_window(clip):
    assert list(movement_of_clip(replace(clip, frames=clip.frames[:20]))) == []


def test_a_file_is_watched_as_the_clip_is(clip, tmp_path):
    path = tmp_path / "scene.mp4"
    short = replace(clip, frames=clip.frames[:36])
    write_clip(path, short.frames, short.fps)
    (ours,), (files,) = movement_of_clip(short), movement_of_stream(PanoramaStream(probe(path)))
    assert files.fps == pytest.approx(15.0) and files.curves.shape[1] == 36
    off = torch.rad2deg((ours.paths[:2] * files.paths[:2]).sum(-1).clamp(-1, 1).acos())
    assert off.max() < 5


@pytest.mark.parametrize(
    ("recorded", "read"), [(None, 15), (8, 8), (15, 15), (24, 24), (29.97, 14.985), (30, 15), (50, 50 / 3), (60, 15)]
)
def test_frames_are_read_evenly_at_about_fifteen_a_second(recorded, read):
    assert movement_fps(recorded) == pytest.approx(read)


def test_what_cannot_be_used_is_a_sentence(clip):
    with pytest.raises(InputError, match="NaN"):
        movement_of_clip(replace(clip, frames=torch.full_like(clip.frames, math.nan)))
    with pytest.raises(InputError, match="one per frame"):
        movement_of_clip(clip, SaliencyMaps(torch.ones(3, HEIGHT, 2 * HEIGHT), ""))
