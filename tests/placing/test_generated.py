"""Test the renderings of a generated clip's sound: all are of one sound and its directions."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.placing.generated import FALLBACK, heard_from, sound_around
from con360.records import Sound, SourcePoint, SourceTrack, View, ViewpointClip, ViewTrack
from con360.sound.fields import field_of_track
from con360.sound.levels import omni_sound
from con360.sound.stereo import to_stereo
from con360.sound.views import view_ears, view_stereo

RATE, YAW = 16000, 70.0
TRACK = ViewTrack.still(View(YAW), 8)


@pytest.fixture(scope="module")
def clip() -> ViewpointClip:
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    field = field_of_track(SourceTrack.still(SourcePoint(YAW)), 1.0)
    return ViewpointClip(torch.zeros(8, 3, 8, 8), 8.0, Sound(noise, RATE), directions=field)


def never() -> list:
    raise AssertionError("a clip that has directions is not watched")


def rms_db(sound: Sound) -> torch.Tensor:
    return 10 * sound.waveform.square().mean(1).log10()


def test_a_clip_that_has_directions_is_placed_by_them(clip):
    around, said = sound_around(clip, never)
    assert said == () and torch.equal(around.waveform[:1], clip.sound.waveform)
    left, up, front = (around.waveform[1:] * around.waveform[0]).sum(1) / around.waveform[0].square().sum()
    assert torch.rad2deg(torch.atan2(-left, front)) == pytest.approx(YAW, abs=0.5) and abs(up) < 0.01


def test_one_sound_is_heard_by_every_view(clip):
    around, _ = sound_around(clip, never)
    ahead, behind = (heard_from(around, "view", ViewTrack.still(View(y), 8), 8.0) for y in (YAW, YAW - 180))
    assert float(rms_db(ahead) - rms_db(behind)) == pytest.approx(6.02, abs=0.1)
    assert torch.equal(heard_from(around, "omni", TRACK, 8.0).waveform, omni_sound(around).waveform)
    ears = heard_from(around, "headphones", TRACK, 8.0)
    assert torch.equal(ears.waveform, view_ears(around, TRACK, 8.0).waveform)
    assert torch.diff(rms_db(ears)).abs() < 0.5, "what lies ahead is as loud in both ears"
    with pytest.raises(InputError, match="one of view, omni, stereo, headphones"):
        heard_from(around, "quad", TRACK, 8.0)


def test_stereo_turns_with_the_view(clip):
    around, _ = sound_around(clip, never)
    ahead, left = (heard_from(around, "stereo", ViewTrack.still(View(y), 8), 8.0) for y in (YAW, YAW + 60))
    assert torch.diff(rms_db(ahead)).abs() < 0.1
    assert float(rms_db(left)[0] - rms_db(left)[1]) > 3
    still = view_stereo(around, View(0.0), 8.0).waveform
    torch.testing.assert_close(still, to_stereo(around).waveform, atol=1e-5, rtol=0)


def test_a_clip_without_directions_is_placed_by_name(clip):
    bare = ViewpointClip(clip.frames, clip.fps, clip.sound, notices=("Said before.",))
    around, said = sound_around(bare, list)
    assert around.waveform.shape == (4, RATE) and said[0] == FALLBACK and "Said before." not in said
