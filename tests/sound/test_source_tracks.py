"""Tracks of sources from JSON, views, depth maps and a stereo sound's own panning."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from con360.errors import InputError
from con360.geometry.sphere import angle_between_deg, directions
from con360.records import Sound, SourcePoint, SourceTrack, View, ViewTrack
from con360.sound.source_tracks import (
    panned_tracks,
    track_from_json,
    track_of_depth,
    track_of_views,
    track_to_json,
)
from con360.sound.sources import place, track_at
from con360.sound.stereo import law_gains
from con360.viewpoint.keyframes import keyframes_from_json, view_at

RATE = 16000


def test_json_and_back() -> None:
    track = SourceTrack((0.0, 2.5), (SourcePoint(-30.0, 5.0, 2.0, 10.0, -3.0), SourcePoint(40.0)))
    assert track_from_json(track_to_json(track)) == track


def test_keyframes_of_a_viewpoint_are_a_track_in_any_order() -> None:
    text = '[{"time": 1, "yaw": 10, "pitch": -5, "fov": 90}, {"time": 0, "yaw": 400, "distance": 3}]'
    assert track_from_json(text) == SourceTrack((0.0, 1.0), (SourcePoint(400.0, distance_m=3.0), SourcePoint(10.0, -5)))


def test_a_track_follows_a_cameras_eased_keyframes() -> None:
    text = (
        '[{"time": 0, "yaw": 170, "pitch": 0, "fov": 90, "ease": "smooth"},'
        ' {"time": 2, "yaw": -150, "pitch": 10, "fov": 60, "roll": 5, "ease": "smooth"},'
        ' {"time": 3, "yaw": -100, "pitch": 20, "fov": 60, "ease": "hold"},'
        ' {"time": 4, "yaw": 0, "pitch": 0, "fov": 90}]'
    )
    track, keyframes = track_from_json(text), keyframes_from_json(text)
    for time_s in (0.0, 0.4, 1.0, 1.93, 2.0, 2.5, 3.0, 3.99, 4.0, 9.0):
        view, (yaw, pitch, *_) = view_at(keyframes, time_s), track_at(track, [time_s])[0]
        apart = angle_between_deg(directions(view.yaw_deg, view.pitch_deg), directions(float(yaw), float(pitch)))
        assert float(apart) < 0.1, time_s


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no point"),
        ("[]", "no point"),
        ("nonsense", "no JSON"),
        ('{"yaw": 1}', "no list of at most"),
        ('[{"yaw": 1}]', "wanted the fields time, yaw, and only these besides: pitch, distance, spread, gain, fov"),
        ('[{"time": 0, "yaw": NaN}]', "its yaw is NaN"),
        ('[{"time": 0, "yaw": "left"}]', 'its yaw is "left"'),
        ('[{"time": -1, "yaw": 0}]', "stands at -1 s"),
        ('[{"time": 0, "yaw": 0}, {"time": 0, "yaw": 9}]', "two source points stand at 0 s"),
        ('[{"time": 2, "yaw": 0, "pitch": 95}]', "the source at 2 s has a pitch of 95"),
        ('[{"time": 0, "yaw": 0, "distance": -2}]', "a distance of -2 m"),
    ],
)
def test_unusable_json_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        track_from_json(text)
    assert words in str(caught.value)


def test_a_views_track_is_a_sources() -> None:
    assert track_of_views(ViewTrack.still(View(20.0, 5.0), 9), 8.0) == SourceTrack.still(SourcePoint(20.0, 5.0))
    moving = track_of_views(ViewTrack((View(0.0), View(8.0, 2.0))), 4.0)
    assert moving == SourceTrack((0.0, 0.25), (SourcePoint(0.0), SourcePoint(8.0, 2.0)))


# Depth ----------------------------------------------------------------------------------------------------------------


def ball(yaw_column: int, value: float) -> torch.Tensor:
    """A far panorama `[64, 128]` with a square at a column of the horizon."""
    depth = torch.zeros(64, 128)
    columns = (torch.arange(yaw_column - 4, yaw_column + 4)) % 128
    depth[28:36, columns] = value
    return depth


@pytest.mark.parametrize(("column", "yaw"), [(64, 0.0), (0, -180.0), (96, 90.0)])
def test_distance_comes_from_what_is_at_the_source(column: int, yaw: float) -> None:
    track = track_of_depth(SourceTrack.still(SourcePoint(yaw)), [ball(column, 0.75)] * 8, 4.0, near_m=2.0, far_m=10.0)
    assert [point.distance_m for point in track.points] == pytest.approx([4.0] * 8)
    beside = track_of_depth(SourceTrack.still(SourcePoint(yaw + 60)), [ball(column, 0.75)], 4.0, near_m=2.0, far_m=10.0)
    assert beside.points[0].distance_m == pytest.approx(10.0)


def test_depth_is_smoothed_and_keeps_the_tracks_own_points() -> None:
    source = SourceTrack((0.1, 1.0), (SourcePoint(0.0), SourcePoint(2.0, gain_db=-6.0)))
    track = track_of_depth(source, [ball(64, float(i >= 8)) for i in range(16)], 8.0)
    assert 0.1 in track.times_s and track_at(track, [1.0])[0, 4] == pytest.approx(-6)
    found = track_at(track, [0.1, 0.7, 1.3, 1.85])[:, 2]
    # 0.3 s before and after the jump it is a sixth, as a Gaussian of 0.3 s has it.
    assert found == pytest.approx([10.0, 8.4, 2.3, 1.0], abs=0.4) and 2 < track_at(track, [0.95])[0, 2] < 9


def test_unusable_depth_is_refused() -> None:
    still = SourceTrack.still(SourcePoint(0.0))
    for maps, options, words in (
        ([], {}, "no depth map"),
        ([ball(64, 1.0), ball(64, 7.0)], {}, "depth map 2 shows 7"),
        ([torch.full((64, 128), torch.nan)], {}, "depth map 1 shows nan"),
        ([ball(64, 1.0)], {"near_m": 5.0, "far_m": 2.0}, "0 < near < far"),
    ):
        with pytest.raises(InputError, match=words):
            track_of_depth(still, maps, 4.0, **options)


# Panning --------------------------------------------------------------------------------------------------------------


def noise(seed: int, seconds: float = 2.0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("yaw", [-30.0, -12.0, 0.0, 25.0])
def test_panning_is_read_back(yaw: float) -> None:
    pair = law_gains(torch.tensor(yaw), "tangent")[:, None] * noise(0)
    (voice, track), *rest = panned_tracks(Sound(pair, RATE, "stereo"))
    assert [point.yaw_deg for point in track.points] == pytest.approx([yaw] * 50, abs=0.1)
    assert (voice.waveform[0] - noise(0)).abs().max() < 1e-3
    for (side, at), where in zip(rest, (-30.0, 30.0), strict=True):
        assert side.waveform.abs().max() < 1e-3 and at.points[0].yaw_deg == where


def test_a_moving_voice_is_followed_and_reverberation_stays_beside() -> None:
    yaw = torch.linspace(-25, 25, 2 * RATE)
    around = torch.stack((noise(1), noise(2))) * 0.2
    sound = Sound(law_gains(yaw, "tangent").T * noise(0) + around, RATE, "stereo")
    (voice, track), (left, _), (right, _) = panned_tracks(sound)
    assert track_at(track, [0.5, 1.0, 1.5])[:, 0] == pytest.approx([-12.5, 0.0, 12.5], abs=2.0)
    gains = law_gains(torch.from_numpy(track_at(track, torch.arange(2 * RATE).numpy() / RATE)[:, 0]), "tangent").T
    again = gains * voice.waveform + torch.cat((left.waveform, right.waveform))
    assert (again - sound.waveform).abs().max() < 1e-3
    rest = float((left.waveform.square() + right.waveform.square()).sum() / sound.waveform.square().sum())
    assert 0.01 < rest < 0.1


def test_what_is_beside_a_louder_centre_stays_on_its_side() -> None:
    centre, guitar = noise(1), 0.3 * noise(2)
    sound = Sound(torch.stack((centre + guitar, centre)), RATE, "stereo")
    parts = panned_tracks(sound)
    field = sum(place(part, SourceTrack(to.times_s, tuple(replace(p, distance_m=100.0) for p in to.points))).waveform
                for part, to in parts)  # fmt: skip
    # What of the field is the guitar's: its level in W, and where it comes from.
    own = [float(channel @ guitar / (guitar @ guitar)) * 100 for channel in field]
    assert own[0] == pytest.approx(0.7, abs=0.1)
    assert math.degrees(math.atan2(own[1], own[3])) == pytest.approx(33, abs=6)


def test_wide_sound_pulls_to_the_centre_and_stays_beside() -> None:
    for pair in ((noise(1), noise(2)), (noise(1), -noise(1))):
        (voice, track), *rest = panned_tracks(Sound(torch.stack(pair), RATE, "stereo"))
        assert max(abs(point.yaw_deg) for point in track.points) < 6
        assert sum(float(side.waveform.square().sum()) for side, _ in rest) > 0.8 * voice.waveform.square().sum()
    with pytest.raises(InputError, match="a time for each"):
        track_of_depth(SourceTrack((), ()), [ball(64, 1.0)], 4.0)


def test_silence_is_straight_ahead_and_other_sounds_are_refused() -> None:
    (_, track), *_ = panned_tracks(Sound(torch.zeros(2, 100), RATE, "stereo"))
    assert track == SourceTrack.still(SourcePoint(0.0))
    assert panned_tracks(Sound(torch.zeros(2, 0), RATE, "stereo"))[1][0].waveform.shape == (1, 0)
    (voice, _), *_ = panned_tracks(Sound(torch.ones(2, 1), RATE, "stereo"))
    assert voice.waveform.tolist() == [[pytest.approx(2**0.5)]]
    with pytest.raises(InputError, match="a stereo sound was wanted; this is mono"):
        panned_tracks(Sound(torch.zeros(1, 100), RATE))
