"""Onsets of sounds: voices whose beginnings are known, tracks that cannot be used, and their texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.metrics.onsets import OnsetScore, onset_score
from con360.records import OnsetTrack, Sound
from con360.scenes import VOICES, voice_waveform
from con360.sound.onset_text import onsets_from_text, onsets_to_text
from con360.sound.onsets import check_onsets, find_onsets

RATE = 16000


def voice(name: str, phase: float, seconds: float = 4.0) -> tuple[Sound, OnsetTrack]:
    """A voice and the times at which its pulses begin."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    rate = VOICES[name].rate_hz
    times = ((k - phase) / rate for k in range(int(seconds * rate) + 2))
    begins = tuple(t for t in times if 0 <= t < seconds)
    return Sound(torch.from_numpy(voice_waveform(name, time_s, phase)).float()[None], RATE), OnsetTrack(begins)


@pytest.mark.parametrize("name", ["beep", "tick", "bell"])
def test_onsets_of_single_voices_are_found(name):
    total = OnsetScore(0, 0, 0)
    for k in range(4):
        sound, true = voice(name, (k + 0.5) / 4)
        total += onset_score(find_onsets(sound), true)
    print(f"{name}: F {total.f:.3f}, median offset {1000 * np.median(total.offsets_s):.1f} ms")
    assert total.f >= 0.98
    assert abs(np.median(total.offsets_s)) < 0.015


def test_onsets_of_other_rates_and_layouts_are_the_same():
    from con360.sound.levels import resample

    sound, _ = voice("bell", 0.3)
    wanted = find_onsets(sound)
    higher = resample(sound, 48000)
    field = Sound(torch.cat((higher.waveform, torch.zeros(3, higher.waveform.shape[1]))), 48000, "ambix")
    found = find_onsets(field)
    assert found.times_s == pytest.approx(wanted.times_s, abs=0.002)
    assert found.duration_s == 4.0 and found.source == "sound" and all(0 < s <= 1 for s in found.strengths)


def test_silence_steady_tones_and_short_sounds_have_no_onset():
    t = torch.arange(RATE) / RATE
    steady = torch.sin(2 * torch.pi * 400 * t)
    for wave in (torch.zeros(RATE), steady, torch.ones(1), torch.ones(600), torch.zeros(0)):
        assert find_onsets(Sound(wave[None], RATE)).times_s == ()
    with pytest.raises(InputError, match="not numbers"):
        find_onsets(Sound(torch.full((1, RATE), float("nan")), RATE))


def test_a_tone_that_is_cut_off_ends_without_an_onset():
    t = torch.arange(2 * RATE) / RATE
    gate = sum(((t >= begin) & (t < begin + 0.05)).float() for begin in (0.52, 1.27))
    for hz in (300, 1000, 1500, 3000, 6000):
        found = find_onsets(Sound((0.5 * torch.sin(2 * torch.pi * hz * t) * gate)[None], RATE))
        assert found.times_s == pytest.approx((0.52, 1.27), abs=0.02), hz


@pytest.mark.parametrize(
    ("track", "says"),
    [
        (OnsetTrack((-1.0,)), "-1"),
        (OnsetTrack((float("nan"),)), "nan"),
        (OnsetTrack((2.0, 1.0)), "order"),
        (OnsetTrack((5.0,), duration_s=4.0), "5 s"),
        (OnsetTrack((1.0,), (0.5, 0.5)), "2 strengths"),
        (OnsetTrack((1.0,), (0.0,)), "strength 0"),
        (OnsetTrack((1.0, 2.0), labels=("a",)), "1 labels"),
    ],
)
def test_tracks_that_cannot_be_used_are_named(track, says):
    with pytest.raises(InputError, match=says):
        check_onsets(track)


# Texts ----------------------------------------------------------------------------------------------------------------

TRACK = OnsetTrack((0.25, 1.5), (0.5, 1.0), ("hit, wood", "scratch"), source="file")


def test_texts_keep_times_and_labels():
    assert onsets_from_text(onsets_to_text(TRACK)) == TRACK
    for kind in ("table", "labels"):
        back = onsets_from_text(onsets_to_text(TRACK, kind), kind)
        assert (back.times_s, back.labels) == (TRACK.times_s, TRACK.labels)
    assert onsets_to_text(TRACK, "table") == "0.250000,hit, wood\n1.500000,scratch\n"
    assert onsets_to_text(TRACK, "labels").splitlines()[0] == "0.250000\t0.250000\thit, wood"


def test_texts_of_others_are_read():
    # Greatest Hits' tables are not always sorted; Audacity writes frequencies behind a backslash.
    assert onsets_from_text("1.5,metal\n0.5,wood\n\n", "table").labels == ("wood", "metal")
    assert onsets_from_text("0.5\t0.75\ta b\n\\\t100.0\t200.0\n", "labels").labels == ("a b",)
    assert onsets_from_text('[{"time": 2}, {"time": 1}]').times_s == (1.0, 2.0)
    assert onsets_from_text("").times_s == () == onsets_from_text("\n", "table").times_s


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("[1, 2]", "json", "other JSON"),
        ('{"time": 1}', "json", "other JSON"),
        ('[{"time": "later"}]', "json", "other JSON"),
        ("[" * 100000, "json", "no JSON"),
        ("time,label\n1,a", "table", "line 1"),
        ("0.5\t0.6\ta\nnan\t1\tb", "labels", "line 2"),
        ('[{"time": -1}]', "json", "-1"),
    ],
)
def test_texts_that_cannot_be_used_are_named(text, kind, says):
    with pytest.raises(InputError, match=says):
        onsets_from_text(text, kind)
