"""Envelopes: Video-Foley's recorded curves and classes, drawn ones, and sounds that take them on."""

from __future__ import annotations

import math

import pytest
import torch
from golden.filler import wave
from published_svg import read_json, tensors

from con360.errors import InputError
from con360.records import Envelope, OnsetTrack, Sound
from con360.sound.envelopes import (
    check_envelope,
    class_edges,
    envelope_of,
    envelope_of_onsets,
    from_classes,
    inverse_mu_law,
    mu_law,
    rms_curve,
    shape_sound,
    to_classes,
)
from con360.sound.onset_text import envelope_from_text, envelope_to_text
from con360.sound.onsets import find_onsets

RATE = 16000


def noise(seconds: float = 4.0, rate: int = RATE) -> Sound:
    generator = torch.Generator().manual_seed(0)
    return Sound(0.1 * torch.randn(1, round(seconds * rate), generator=generator), rate)


def test_rms_curves_are_the_published_ones():
    kept = tensors("rms_envelope.safetensors")
    facts = read_json("rms_envelope.json")["wave"]
    for name in ("rms4", "rms10", "rms_odd"):
        curve = rms_curve(wave(f"when/{name}", facts[name]["n"]))
        assert curve.shape == kept[f"{name}/rms"].shape and (curve - kept[f"{name}/rms"]).abs().max() < 1e-6
    wide = rms_curve(wave("when/rms10", 160000), 1024, 160)
    assert (wide - kept["rms10/rms_1024_160"]).abs().max() < 1e-6


def test_classes_are_the_published_ones():
    kept = tensors("rms_envelope.safetensors")
    assert (class_edges() - kept["mu/bins"]).abs().max() < 1e-6
    assert (mu_law(kept["mu/law_in"]) - kept["mu/law_63"]).abs().max() < 1e-6
    assert (mu_law(kept["mu/law_in"], 255) - kept["mu/law_255"]).abs().max() < 1e-6
    assert (inverse_mu_law(kept["mu/law_63"]) - kept["mu/inverse_63"]).abs().max() < 1e-6
    # A probe on an edge falls to either side by the last bit of this machine's exponential.
    probe = kept["mu/probe"]
    clear = (probe[:, None] - kept["mu/bins"]).abs().amin(1) > 1e-6
    clear |= (to_classes(probe) - kept["mu/probe_index"]).abs() == 0
    assert torch.equal(to_classes(probe)[clear], kept["mu/probe_index"][clear]) and clear.float().mean() > 0.97
    assert torch.equal(to_classes(kept["rms4/filtered"].float()), kept["rms4/index"])
    published = from_classes(kept["rms4/index"], upper_edges=True)
    assert (published - kept["rms4/restored"]).abs().max() < 1e-6
    error = (published - kept["rms4/filtered"].float().clamp_min(0)).abs().mean().item()
    assert error == pytest.approx(read_json("rms_envelope.json")["restored_l1"], rel=1e-3)
    index = kept["mu/probe_index"]
    decoded = from_classes(index, upper_edges=True)
    assert (decoded - kept["mu/undiscretised_ignore_min"]).abs().max() < 1e-6
    # The published code can also leave silence at its least value.
    assert (torch.where(index == 0, 0.01, decoded) - kept["mu/undiscretised_keep_min"]).abs().max() < 1e-6


def test_class_middles_are_nearer_than_the_published_edges():
    values = torch.linspace(0.02, 0.99, 500)
    index = to_classes(values)
    ours, published = ((from_classes(index, upper_edges=edges) - values).abs().mean() for edges in (False, True))
    assert ours < 0.6 * published
    assert from_classes(torch.tensor([0, 64])).tolist() == [0.0, pytest.approx(1.0)]


def test_an_envelope_is_linear_rms_at_125_hz():
    t = torch.arange(4 * RATE) / RATE
    envelope = envelope_of(Sound(torch.sin(2 * math.pi * 1000 * t)[None], RATE))
    assert len(envelope.values) == 500 and envelope.rate_hz == 125 and envelope.duration_s == 4.0
    assert envelope.values[10:-10].mean() == pytest.approx(math.sqrt(0.5), abs=1e-3)
    # A click at 1 s: frame 124 is the last whose centre comes before it.
    click = torch.zeros(1, 2 * RATE)
    click[0, RATE] = 1.0
    heard = envelope_of(Sound(click, RATE)).values.nonzero().flatten()
    assert (heard[0] + heard[-1] + 1) / 2 / 125 == pytest.approx(1.0, abs=0.004)


def test_onsets_become_an_envelope_and_are_heard_again():
    track = OnsetTrack((0.5, 1.2, 2.0, 3.1), (1.0, 0.6, 1.0, 0.8))
    envelope = envelope_of_onsets(track, 4.0, decay_s=0.15)
    assert len(envelope.values) == 500 and envelope.values[:62].max() == 0.0
    assert envelope.values[149:155].max() == pytest.approx(0.6, abs=0.02)
    shaped, said = shape_sound(noise(), Envelope(0.2 * envelope.values))
    assert said == ()
    assert find_onsets(shaped).times_s == pytest.approx(track.times_s, abs=0.02)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_sound_takes_on_an_envelope(rate):
    wanted = Envelope(0.05 + 0.04 * torch.sin(2 * math.pi * torch.arange(100) / 50), 25.0)
    shaped, _ = shape_sound(Sound(noise(4.0, rate).waveform.expand(4, -1), rate, "ambix"), wanted)
    assert shaped.waveform.shape == (4, 4 * rate) and shaped.layout == "ambix"
    errors = envelope_of(shaped).values[::5][:100] - wanted.values
    assert errors.abs().mean() < 0.01 < wanted.values.mean() / 4


def test_what_is_free_or_silent_stays():
    sound = noise()
    free = Envelope(torch.full((500,), 0.5), present=torch.cat((torch.zeros(250), torch.ones(250))))
    shaped, _ = shape_sound(sound, free)
    assert torch.equal(shaped.waveform[:, :31000], sound.waveform[:, :31000])
    assert envelope_of(shaped).values[260:].mean() == pytest.approx(0.5, rel=0.05)
    silent, said = shape_sound(Sound(torch.zeros(1, RATE), RATE), Envelope(torch.full((125,), 0.5)))
    assert silent.waveform.abs().max() == 0 and "1.00 s" in said[0]


@pytest.mark.parametrize(
    ("envelope", "says"),
    [
        (Envelope(torch.tensor([])), "shape"),
        (Envelope(torch.tensor([-0.1])), "below 0"),
        (Envelope(torch.tensor([float("nan")])), "not numbers"),
        (Envelope(torch.ones(3), 0.0), "0 Hz"),
        (Envelope(torch.ones(3), present=torch.ones(2)), "mask"),
    ],
)
def test_envelopes_that_cannot_be_used_are_named(envelope, says):
    with pytest.raises(InputError, match=says):
        check_envelope(envelope)


def test_short_sounds_and_wrong_numbers_are_named():
    with pytest.raises(InputError, match="193"):
        rms_curve(torch.zeros(100))
    with pytest.raises(InputError, match="not numbers"):
        envelope_of(Sound(torch.full((1, RATE), float("inf")), RATE))
    with pytest.raises(InputError, match="decay"):
        envelope_of_onsets(OnsetTrack((1.0,)), 4.0, decay_s=0.0)


def test_envelope_text_round_trip():
    kept = Envelope(torch.tensor([0.0, 0.25, 1.0]), 50.0, torch.tensor([1.0, 0.0, 1.0]))
    back = envelope_from_text(envelope_to_text(kept))
    assert torch.equal(back.values, kept.values) and torch.equal(back.present, kept.present) and back.rate_hz == 50.0
    assert envelope_from_text('{"values": [0.5]}').present is None
    for text in ("[1]", '{"values": "loud"}', '{"values": [0.1], "rate": null}', "{", '{"rate": 5}'):
        with pytest.raises(InputError):
            envelope_from_text(text)
