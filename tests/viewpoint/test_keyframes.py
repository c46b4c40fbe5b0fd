"""Keyframes: their JSON form, what is refused, and the track between them."""

from __future__ import annotations

import json
import math

import pytest

from con360.errors import InputError
from con360.geometry.perspective import camera_rotation
from con360.geometry.sphere import angle_between_deg
from con360.records import View, ViewTrack
from con360.viewpoint.keyframes import (
    Keyframe,
    keyframed_track,
    keyframes_from_json,
    keyframes_of,
    keyframes_to_json,
    view_at,
)

PAN = (Keyframe(0.0, View(-30.0, 0.0, 90.0)), Keyframe(2.0, View(30.0, 20.0, 60.0)))


def test_convention_even_motion_and_held_ends() -> None:
    track = keyframed_track(PAN, 2.0, 6)
    assert [v.yaw_deg for v in track.views] == [-30, -15, 0, 15, 30, 30]
    assert [v.pitch_deg for v in track.views] == [0, 5, 10, 15, 20, 20]
    assert [v.fov_deg for v in track.views] == [90, 82.5, 75, 67.5, 60, 60]


@pytest.mark.parametrize(
    ("start", "end", "half_way"), [(170, -170, -180), (-170, 170, -180), (100, -100, -180), (0, 180, -90), (10, 50, 30)]
)
def test_yaw_takes_the_shorter_way_round(start: float, end: float, half_way: float) -> None:
    pair = (Keyframe(0.0, View(start)), Keyframe(1.0, View(end)))
    assert view_at(pair, 0.5).yaw_deg == half_way


def test_keyframes_are_met_exactly_and_held_before_the_first() -> None:
    late = (Keyframe(1.0, View(5.0)), Keyframe(3.0, View(9.0, 1.0, 40.0)))
    assert view_at(late, 0.0) == view_at(late, 1.0) == View(5.0)
    assert view_at(late, 3.0) == view_at(late, 99.0) == View(9.0, 1.0, 40.0)


def test_roll_takes_the_shorter_way_round() -> None:
    pair = (Keyframe(0.0, View(0.0, roll_deg=170.0)), Keyframe(1.0, View(0.0, roll_deg=-170.0)))
    assert view_at(pair, 0.25).roll_deg == 175.0
    assert view_at(pair, 0.75).roll_deg == -175.0


def test_a_held_keyframe_cuts_to_the_next() -> None:
    pair = (Keyframe(0.0, View(10.0), "hold"), Keyframe(1.0, View(50.0)))
    assert [view_at(pair, t).yaw_deg for t in (0.0, 0.5, 0.999, 1.0)] == [10, 10, 10, 50]


def test_two_smooth_keyframes_start_and_end_at_rest() -> None:
    pair = (Keyframe(0.0, View(0.0), "smooth"), Keyframe(4.0, View(100.0), "smooth"))
    for share in (0.1, 0.25, 0.5, 0.8):
        assert view_at(pair, 4 * share).yaw_deg == pytest.approx(100 * share**2 * (3 - 2 * share))


# Turns back at 3 s; at 2 s it goes on in the same direction, from 20 to 40 degrees per second.
PATH = tuple(
    Keyframe(t, View(yaw, pitch), "smooth")
    for t, yaw, pitch in ((0, 170, 0), (2, -150, 5), (3, -110, 9), (5, -170, 30))
)


def _yaw_from_the_first(time_s: float) -> float:
    return (view_at(PATH, time_s).yaw_deg - 170.0 + 180.0) % 360.0 - 180.0


def test_a_smooth_path_has_no_jump_in_speed_and_never_overshoots() -> None:
    step, moments = 1e-4, [i / 100 for i in range(1, 500)]
    for key in (2.0, 3.0):
        before, after = (
            (_yaw_from_the_first(key + d) - _yaw_from_the_first(key + d - step)) / step for d in (0.0, step)
        )
        assert before == pytest.approx(after, abs=0.05)
    assert _yaw_from_the_first(2.0 + step) - _yaw_from_the_first(2.0) == pytest.approx(80 / 3 * step, rel=1e-3)
    assert max(map(_yaw_from_the_first, moments)) <= 80.0 + 1e-9
    pitches = [view_at(PATH, t).pitch_deg for t in moments]
    assert pitches == sorted(pitches) and pitches[-1] <= 30.0


def test_roll_and_ease_are_written_where_they_say_something() -> None:
    path = (
        Keyframe(0.0, View(0.0, 0.0, 90.0, 12.5), "smooth"),
        Keyframe(1.0, View(5.0), "hold"),
        Keyframe(2.0, View(9.0)),
    )
    text = keyframes_to_json(path)
    assert keyframes_from_json(text) == path
    assert json.loads(text)[2] == {"time": 2.0, "yaw": 9.0, "pitch": 0.0, "fov": 90.0}
    first, last = '"yaw": -30.0, "pitch": 0.0, "fov": 90.0', '"yaw": 30.0, "pitch": 20.0, "fov": 60.0'
    assert keyframes_to_json(PAN) == f'[{{"time": 0.0, {first}}}, {{"time": 2.0, {last}}}]'


def test_json_round_trip_in_any_order_with_yaw_wrapped() -> None:
    assert keyframes_from_json(keyframes_to_json(PAN[::-1])) == PAN
    assert keyframes_from_json('[{"time": 0, "yaw": 190, "pitch": 0, "fov": 90}]')[0].view.yaw_deg == -170
    assert keyframes_from_json(" ") == keyframes_from_json("[]") == ()


GOOD = {"time": 0, "yaw": 0, "pitch": 0, "fov": 90}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "no list"),
        ("[1]", "keyframe 1 is 1; wanted the fields time, yaw, pitch, fov"),
        (json.dumps([{**GOOD, "tilt": 1}]), "and only these besides: roll, ease"),
        (json.dumps([{**GOOD, "roll": "left"}]), 'its roll is "left"; wanted a number'),
        (json.dumps([{**GOOD, "ease": "bounce"}]), 'its ease is "bounce"; wanted one of linear, smooth, hold'),
        (json.dumps([{**GOOD, "ease": ["hold"]}]), "wanted one of linear, smooth, hold"),
        (json.dumps([GOOD, {**GOOD, "time": 1, "yaw": "left"}]), 'keyframe 2: its yaw is "left"; wanted a number'),
        (json.dumps([{**GOOD, "fov": True}]), "its fov is true"),
        ('[{"time": 0, "yaw": 1' + "0" * 400 + ', "pitch": 0, "fov": 90}]', "its yaw is 1000"),
        ('[{"time": 0, "yaw": 1' + "0" * 9000 + "}]", "no JSON"),
        ('[{"time": 0, "yaw": NaN, "pitch": 0, "fov": 90}]', "its yaw is NaN"),
        (json.dumps([{**GOOD, "time": -1}]), "stands at -1 s"),
        (json.dumps([{**GOOD, "pitch": 91}]), "the keyframe at 0 s: a pitch of 91 degrees"),
        (json.dumps([{**GOOD, "fov": 10}]), "the keyframe at 0 s: a field of view of 10 degrees"),
        (json.dumps([GOOD, GOOD]), "two keyframes stand at 0 s"),
        (json.dumps([GOOD] * 10001), "at most 10000"),
    ],
)
def test_unusable_keyframes_are_named(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        keyframes_from_json(text)
    assert words in str(caught.value)


def test_a_track_needs_a_keyframe() -> None:
    with pytest.raises(InputError, match="no keyframes"):
        keyframed_track((), 8.0, 4)


# A path made sparse ---------------------------------------------------------------------------------------------------


def _wandering(frames: int = 240) -> ViewTrack:
    """Over the seam and close to a pole, with roll and zoom: 60 s at 4 views per second."""
    return ViewTrack(
        tuple(
            View(
                (170 + 50 * math.sin(t / 9) + 180) % 360 - 180, 45 + 40 * math.sin(t / 15),
                90 + 20 * math.cos(t / 20), 170 + 8 * math.sin(t / 11),
            )
            for t in range(frames)
        ),
        16 / 9,
    )  # fmt: skip


def _error_deg(keyframes: tuple[Keyframe, ...], track: ViewTrack, fps: float) -> float:
    """The largest angle that any of the camera's axes is off, or its field of view."""
    errors = [0.0]
    for i, view in enumerate(track.views):
        found = view_at(keyframes, i / fps)
        axes = angle_between_deg(camera_rotation(found).T, camera_rotation(view).T)
        errors += [float(axes.max()), abs(found.fov_deg - view.fov_deg)]
    return max(errors)


@pytest.mark.parametrize(("error_deg", "at_most"), [(0.25, 130), (1.0, 70), (4.0, 40)])
def test_a_sparse_path_stays_within_its_error(error_deg: float, at_most: int) -> None:
    track = _wandering()
    found = keyframes_of(track, 4.0, error_deg)
    assert _error_deg(found, track, 4.0) <= error_deg
    assert len(found) <= at_most
    assert found[0].time_s == 0.0 and found[-1].time_s == 59.75
    assert keyframes_from_json(keyframes_to_json(found)) == found


def test_a_cut_stays_a_cut_and_a_still_view_is_one_keyframe() -> None:
    cut = ViewTrack((View(-60.0),) * 40 + (View(110.0, 20.0),) * 40)
    found = keyframes_of(cut, 30.0)
    assert _error_deg(found, cut, 30.0) <= 1.0 and len(found) == 4
    assert keyframes_of(ViewTrack.still(View(12.346, 5.0, 70.0), 9), 8.0) == (Keyframe(0.0, View(12.35, 5.0, 70.0)),)


def test_a_smooth_pan_is_its_two_ends() -> None:
    pair = (Keyframe(0.0, View(-30.0), "smooth"), Keyframe(5.0, View(60.0, 10.0), "smooth"))
    assert keyframes_of(keyframed_track(pair, 8.0, 41), 8.0) == pair


def test_where_too_many_keyframes_are_needed_the_error_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    track = _wandering()
    monkeypatch.setattr("con360.viewpoint.keyframes.MAX_KEYFRAMES", 30)
    found = keyframes_of(track, 4.0, 0.5)
    assert len(found) <= 30 and 0.5 < _error_deg(found, track, 4.0) <= 16.0
