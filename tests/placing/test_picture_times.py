"""Time tracks from the picture: pulsing shapes at several rates, and what a picture cannot tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.metrics.onsets import OnsetScore, onset_score
from con360.placing.picture_times import (
    picture_times_fps,
    time_track_of_curve,
    time_track_of_direction,
    time_track_of_region,
    time_track_of_view,
)
from con360.records import OnsetTrack, PanoramaClip, Signal, View, ViewTrack
from con360.scenes import VOICES, Performer, Scene

PHASES, YAW = 6, 40.0


def clip_of(scene: Scene, fps: float, seconds: float = 4.0) -> PanoramaClip:
    rays = erp_directions(32)
    return PanoramaClip(torch.stack([scene.render(rays, i / fps) for i in range(round(seconds * fps))]), fps)


def pulsing(voice: str, phase: float, fps: float):
    """The draft of one pulsing shape, and its true onsets; one at time 0 is not seen to begin."""
    clip = clip_of(Scene((Performer("red", "disc", voice, YAW, phase=phase),)), fps)
    rate = VOICES[voice].rate_hz
    true = [(k - phase) / rate for k in range(1, 20)]
    views = ViewTrack.still(View(YAW), clip.num_frames)
    return time_track_of_direction(clip, views), OnsetTrack(tuple(t for t in true if 0.02 < t < 4 - 1 / fps))


def scored(voice: str, fps: float, tolerance_s: float) -> OnsetScore:
    total = OnsetScore(0, 0, 0)
    for k in range(PHASES):
        (track, _), true = pulsing(voice, (k + 0.37) / PHASES, fps)
        total += onset_score(track.onsets or OnsetTrack(()), true, tolerance_s)
    return total


@pytest.mark.parametrize("voice", ["beep", "bell", "tick"])
def test_onsets_at_30_frames_a_second_are_right_within_50_ms(voice):
    assert scored(voice, 30.0, 0.05).f >= 0.95


@pytest.mark.parametrize("voice", ["beep", "bell", "chirp"])
def test_onsets_of_slow_rhythms_at_8_frames_are_right_within_the_stated_resolution(voice):
    # Half a frame, and half of the 40 ms in which a shape swells.
    assert scored(voice, 8.0, 0.0625 + 0.02).f >= 0.9


def test_a_rhythm_that_the_rate_cannot_tell_is_said_or_refused():
    for k in range(PHASES):
        try:
            (_, notices), _ = pulsing("tick", (k + 0.37) / PHASES, 8.0)
        except InputError as refused:
            assert "nothing grows" in str(refused)
        else:
            assert len(notices) > 1
    (_, notices), _ = pulsing("beep", 0.37, 30.0)
    assert notices == ("times from the picture are known to 17 ms, half a frame at 30 frames a second",)


def test_the_envelope_follows_what_is_seen():
    (track, _), _ = pulsing("hum", 0.0, 15.0)
    values = track.envelope.values
    times = (torch.arange(len(values)) + 0.5) / 125
    true = 0.5 - 0.5 * torch.cos(2 * torch.pi * times)
    assert len(values) == 500 and np.corrcoef(values, true)[0, 1] > 0.97
    assert values.max() == pytest.approx(0.2, rel=0.02) and values.min() < 0.01


def test_falls_are_no_onsets():
    curve = torch.ones(60)
    curve[20:40] = 0.1
    track, _ = time_track_of_curve(Signal(curve, 30.0))
    assert track.onsets.times_s == pytest.approx((39.5 / 30,)) and track.onsets.source == "picture"


def test_each_region_has_its_own_track():
    scene = Scene(
        (Performer("red", "disc", "beep", -80.0, phase=0.2), Performer("blue", "disc", "bell", 80.0, phase=0.6))
    )
    clip = clip_of(scene, 30.0)
    found = [time_track_of_region(clip, rank)[0].onsets.times_s for rank in (1, 2)]
    assert sorted(len(times) for times in found) == [4, 8]
    # The same frames as a file of 29.97 frames a second has them: a little more than four seconds.
    with pytest.raises(InputError, match="region 9"):
        time_track_of_region(replace(clip, fps=30000 / 1001), 9)
    with pytest.raises(InputError, match="2 to 4 s"):
        time_track_of_region(PanoramaClip(clip.frames[:30], 30.0))


def test_a_box_of_a_flat_picture_has_its_own_track():
    frames = torch.full((60, 3, 24, 32), 0.2)
    frames[20:26, :, 4:12, 4:12] = 0.9
    frames[40:46, :, 12:20, 20:28] = 0.9
    for box, wanted in (((0.0, 0.0, 0.5, 1.0), 19.5), ((0.5, 0.0, 1.0, 1.0), 39.5)):
        assert time_track_of_view(frames, 30.0, box)[0].onsets.times_s == pytest.approx((wanted / 30,))
    assert len(time_track_of_view(frames, 30.0)[0].onsets.times_s) == 2
    with pytest.raises(InputError, match="no pixel"):
        time_track_of_view(frames, 30.0, (0.9, 0.0, 0.1, 1.0))


def test_files_are_read_at_a_whole_part_of_their_rate():
    found = [picture_times_fps(fps) for fps in (60.0, 50.0, 30.0, 29.97, 25.0, 120.0, None)]
    assert found == [30.0, 50.0, 30.0, 29.97, 25.0, 30.0, 30.0]


def test_a_track_of_another_length_is_refused():
    clip = clip_of(Scene((Performer("red", "disc", "hum", 0.0),)), 8.0, 1.0)
    with pytest.raises(InputError, match="one per frame"):
        time_track_of_direction(clip, ViewTrack.still(View(0.0), 3))
