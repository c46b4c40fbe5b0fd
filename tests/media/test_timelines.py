"""Files of onsets, envelopes and time tracks."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.media.timelines import (
    read_envelope,
    read_onsets,
    read_time_track,
    write_envelope,
    write_onsets,
    write_time_track,
)
from con360.media.writer import write_wav
from con360.records import Envelope, OnsetTrack, Sound, TimeTrack
from con360.sound.envelopes import envelope_of

TRACK = OnsetTrack((0.5, 2.0), (1.0, 0.5), ("hit", "hit"), source="file")


@pytest.mark.parametrize("name", ["a.json", "clip.times.csv", "labels.txt"])
def test_onset_files_round_trip(tmp_path, name):
    write_onsets(tmp_path / name, TRACK)
    found = read_onsets(tmp_path / name)
    assert (found.times_s, found.labels) == (TRACK.times_s, TRACK.labels)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_envelopes_come_from_json_and_from_sound(tmp_path):
    envelope = Envelope(torch.tensor([0.0, 0.5, 1.0]))
    write_envelope(tmp_path / "e.json", envelope)
    assert torch.equal(read_envelope(tmp_path / "e.json").values, envelope.values)
    sound = Sound(torch.sin(torch.arange(16000) / 5.0)[None], 16000)
    write_wav(tmp_path / "s.wav", sound)
    assert torch.allclose(read_envelope(tmp_path / "s.wav").values, envelope_of(sound).values, atol=1e-6)


def test_files_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.midi").write_text("0.5,hit")
    for name, says in (("a.csv", "UTF-8"), ("a.midi", "by its name"), ("none.csv", "no file")):
        with pytest.raises(InputError, match=says):
            read_onsets(tmp_path / name)
    with pytest.raises(InputError, match=r"\.json"):
        write_envelope(tmp_path / "e.csv", Envelope(torch.ones(2)))
    with pytest.raises(InputError, match="order"):
        write_onsets(tmp_path / "b.csv", OnsetTrack((2.0, 1.0)))
    assert not (tmp_path / "b.csv").exists()


def test_time_tracks_come_from_every_kind_of_file(tmp_path):
    for name in ("a.json", "a.csv", "a.txt"):
        write_time_track(tmp_path / name, TimeTrack(TRACK))
        found = read_time_track(tmp_path / name, 4.0)
        assert (found.onsets.times_s, found.onsets.labels, found.envelope) == (TRACK.times_s, TRACK.labels, None)
    times = torch.arange(48000) / 16000
    clicks = sum(torch.exp(-(times - at) / 0.05) * (times >= at) for at in (0.5, 2.0))
    write_wav(tmp_path / "s.wav", Sound((clicks * torch.sin(times * 6000))[None] / 2, 16000))
    heard = read_time_track(tmp_path / "s.wav", 1.0)
    assert heard.onsets.times_s == pytest.approx((0.5,), abs=0.02) and len(heard.envelope.values) == 125


def test_a_track_without_onsets_is_no_table(tmp_path):
    with pytest.raises(InputError, match="no onsets"):
        write_time_track(tmp_path / "a.csv", TimeTrack(envelope=Envelope(torch.ones(5))))
    assert not list(tmp_path.iterdir())
