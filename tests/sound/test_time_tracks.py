"""Drawn time tracks: their JSON, their curve, and what a clip cannot follow."""

from __future__ import annotations

import json

import pytest
import torch

from con360.errors import InputError
from con360.records import Envelope, OnsetTrack, TimeTrack
from con360.sound.envelopes import RATE_HZ
from con360.sound.time_tracks import (
    FLOOR_DB,
    KEPT_DB,
    ONSET_RMS,
    check_time_track,
    envelope_of_track,
    fit_time_track,
    time_track_from_text,
    time_track_to_text,
)

NAN = float("nan")


def points(*pairs) -> str:
    return json.dumps({"envelope": {"points": [dict(zip(("time", "db", "free"), p, strict=False)) for p in pairs]}})


def db(envelope: Envelope) -> torch.Tensor:
    return 20 * envelope.values.log10().clamp_min(FLOOR_DB / 20)


def test_a_track_is_read_in_all_its_parts():
    text = '{"onsets": [{"time": 1.5}, {"time": 0.5, "strength": 0.5, "label": "hit"}], "decay_s": 0.1}'
    track = time_track_from_text(text, 4.0)
    assert track == TimeTrack(OnsetTrack((0.5, 1.5), (0.5, 1.0), ("hit", "")), None, 0.1)
    assert time_track_from_text(time_track_to_text(track)) == track
    assert time_track_from_text("") == TimeTrack() == time_track_from_text('{"onsets": [], "envelope": {}}')
    assert time_track_from_text('[{"time": 2}]').onsets.times_s == (2.0,)
    assert time_track_from_text('{"rate": 125, "values": [0, 0.5]}').envelope.values.tolist() == [0.0, 0.5]


def test_levels_between_points_are_monotone_and_hold_to_the_ends():
    drawn = time_track_from_text(points((1, -60), (2, -20), (3, -10), (3.5, -60)), 4.0).envelope
    levels = db(drawn)
    assert len(drawn.values) == 500 and drawn.present is None
    assert drawn.values[:125].max() == 0 == drawn.values[440:].max()
    assert bool((levels[125:375].diff() >= 0).all()) and bool((levels[376:438].diff() <= 0).all())
    assert levels[249] == pytest.approx(-20, abs=0.3) and levels.max() == pytest.approx(-10, abs=0.1)


def test_free_spans_are_not_meant():
    drawn = time_track_from_text(points((0, -60, 1), (1, -20), (2, -20, 1), (3, -30)), 4.0).envelope
    assert drawn.present is not None
    spans = [slice(0, 124), slice(126, 249), slice(251, 374), slice(376, 500)]
    assert [drawn.present[span].mean().item() for span in spans] == [0, 1, 0, 1]
    assert db(drawn)[400] == pytest.approx(-30, abs=0.01) and db(drawn)[200] == pytest.approx(-20, abs=0.01)
    back = time_track_from_text(time_track_to_text(TimeTrack(envelope=drawn)), 4.0).envelope
    assert torch.equal(back.present, drawn.present) and (db(back) - db(drawn))[drawn.present > 0].abs().max() < 0.02


def test_a_measured_envelope_comes_back_by_fewer_points():
    track = TimeTrack(OnsetTrack((0.3, 1.1, 2.6)), None, 0.2)
    measured = envelope_of_track(track, 4.0)
    text = time_track_to_text(TimeTrack(envelope=measured))
    back = time_track_from_text(text).envelope
    loud = db(measured) > FLOOR_DB + 1
    assert len(back.values) == len(measured.values) == 500
    assert (db(back) - db(measured))[loud].abs().max() < KEPT_DB + 0.02
    assert len(json.loads(text)["envelope"]["points"]) < 60


def test_onsets_alone_rise_to_the_stated_level():
    envelope = envelope_of_track(TimeTrack(OnsetTrack((1.0, 2.0), (1.0, 0.5))), 4.0)
    assert envelope.values.max() == pytest.approx(ONSET_RMS, rel=0.05)
    assert envelope.values[252] == pytest.approx(ONSET_RMS / 2, rel=0.1) and len(envelope.values) == 500
    assert envelope.values[:124].max() == 0


def test_other_rates_and_short_envelopes_are_put_on_the_grid():
    short = envelope_of_track(TimeTrack(envelope=Envelope(torch.full((50,), 0.3), 25.0)), 4.0)
    assert short.rate_hz == RATE_HZ and short.present is not None
    assert short.present.sum() == 250 and short.values[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no", "no JSON"),
        ("3", "other JSON"),
        ('{"onset": []}', "onset came"),
        ('{"onsets": [{"time": NaN}]}', "other JSON"),
        ('{"onsets": [{"time": -1}]}', "-1"),
        ('{"onsets": [{"time": 1, "strength": 0}]}', "strength 0"),
        ('{"envelope": [1]}', "points"),
        ('{"envelope": {"points": [{"time": 0, "db": NaN}]}}', "db is NaN"),
        ('{"envelope": {"points": [{"time": 0}]}}', "fields time, db"),
        (points((1, -20), (1, -30)), "two points"),
        (points((1e6, -20)), "1e"),
        ('{"decay_s": 0}', "decay_s"),
        ("[" * 100000, "no JSON"),
    ],
)
def test_texts_that_are_no_tracks_are_named(text, says):
    with pytest.raises(InputError, match=says):
        time_track_from_text(text, 4.0)


@pytest.mark.parametrize(
    ("track", "says"),
    [
        (TimeTrack(), "empty"),
        (TimeTrack(OnsetTrack(())), "empty"),
        (TimeTrack(OnsetTrack((4.5,))), "4.5 s"),
        (TimeTrack(OnsetTrack((NAN,))), "nan"),
        (TimeTrack(OnsetTrack(tuple(k * 4e-4 for k in range(10_000)))), "10000 onsets"),
        (TimeTrack(envelope=Envelope(torch.full((500,), NAN))), "not numbers"),
        (TimeTrack(envelope=Envelope(torch.ones(600))), "lasts 4.8 s"),
        (TimeTrack(OnsetTrack((1.0,)), decay_s=NAN), "decay_s"),
    ],
)
def test_tracks_that_a_clip_cannot_follow_are_named(track, says):
    with pytest.raises(InputError, match=says):
        check_time_track(track, 4.0)


def test_a_longer_track_is_cut_and_said():
    long = TimeTrack(OnsetTrack((1.0, 5.0), (0.5, 1.0)), Envelope(torch.ones(1000)))
    track, said = fit_time_track(long, 4.0)
    assert track.onsets.times_s == (1.0,) and track.onsets.strengths == (0.5,)
    assert len(track.envelope.values) == 500 and len(said) == 2
    assert fit_time_track(track, 4.0) == (track, ())
    with pytest.raises(InputError, match="empty"):
        fit_time_track(TimeTrack(OnsetTrack((5.0,))), 4.0)
