from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.records import Sound, View, ViewTrack
from con360.sound.ambisonics import ambisonic_azimuth_deg, encode, field_and_pair, first_order, to_ambix
from con360.sound.levels import fit_length, for_clip, omni_sound, resample, to_mono
from con360.sound.views import view_sound

RATE = 16000


def tone(seconds: float = 1.0, rate: int = RATE, hz: float = 440.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate)) / rate)


def gain_seen_from(view: View, yaw: float, pitch: float = 0.0) -> float:
    mono = tone()
    heard = view_sound(Sound(encode(mono, yaw, pitch), RATE, "ambix"), view, 8.0)
    assert heard.layout == "mono" and heard.waveform.shape == (1, RATE)
    return float((heard.waveform[0] @ mono) / (mono @ mono))


@pytest.mark.parametrize(("yaw", "azimuth"), [(0, 0), (90, -90), (-45, 45), (-180, -180), (180, -180), (370, -10)])
def test_convention_azimuth_is_left_positive(yaw, azimuth):
    assert ambisonic_azimuth_deg(yaw) == azimuth
    assert ambisonic_azimuth_deg(torch.tensor(float(yaw))) == azimuth


@pytest.mark.parametrize(
    ("yaw", "pitch", "wyzx"),
    [(0, 0, (1, 0, 0, 1)), (-90, 0, (1, 1, 0, 0)), (90, 0, (1, -1, 0, 0)), (0, 90, (1, 0, 1, 0)),
     (180, 0, (1, 0, 0, -1)), (-60, 30, (1, 0.75, 0.5, math.sqrt(3) / 4))],
)  # fmt: skip
def test_convention_ambix_channels(yaw, pitch, wyzx):
    assert torch.allclose(encode(torch.ones(2), yaw, pitch)[:, 0], torch.tensor(wyzx, dtype=torch.float32), atol=1e-6)


def test_encoding_takes_a_direction_per_sample():
    foa = encode(torch.ones(3), torch.tensor([0.0, 90.0, -90.0]), torch.zeros(3))
    assert torch.allclose(foa[1], torch.tensor([0.0, -1.0, 1.0]), atol=1e-6)


@pytest.mark.parametrize(
    ("view", "yaw", "pitch", "gain"),
    [
        (View(0.0), 0, 0, 1.0),
        (View(0.0), 180, 0, 0.5),
        (View(0.0), 90, 0, 0.75),
        (View(60.0), 60, 0, 1.0),
        (View(60.0), -60, 0, 0.75 + 0.25 * math.cos(math.radians(120))),
        (View(0.0, 90.0), 33, 90, 1.0),
        (View(0.0, 45.0), 0, -45, 0.75),
        (View(170.0, 20.0), -10, -20, 0.5),
    ],
)
def test_convention_gain_by_angle(view, yaw, pitch, gain):
    assert gain_seen_from(view, yaw, pitch) == pytest.approx(gain, abs=1e-4)


def test_moving_view_follows_the_frames_across_the_seam():
    # From 170 to -170 in four frames the view turns 20 degrees through the back, never through the front.
    track = ViewTrack(tuple(View(yaw) for yaw in (170.0, 176.0, -178.0, -170.0)))
    back = view_sound(Sound(encode(torch.ones(RATE), 180.0, 0.0), RATE, "ambix"), track, 4.0).waveform[0]
    assert back.min() > 0.75 + 0.25 * math.cos(math.radians(10.1))
    at_frame_1, at_frame_2 = back[RATE // 4], back[RATE // 2]
    assert at_frame_1 == pytest.approx(0.75 + 0.25 * math.cos(math.radians(4)), abs=1e-5)
    assert at_frame_2 == pytest.approx(0.75 + 0.25 * math.cos(math.radians(2)), abs=1e-5)
    # Halfway between frames 2 (-178) and 3 (-170): 6 degrees; after the last frame its view stays.
    assert back[RATE * 5 // 8] == pytest.approx(0.75 + 0.25 * math.cos(math.radians(6)), abs=1e-5)
    assert back[-1] == pytest.approx(0.75 + 0.25 * math.cos(math.radians(10)), abs=1e-5)


def test_still_track_equals_single_view():
    sound = Sound(torch.randn(4, 2000, generator=torch.Generator().manual_seed(0)), RATE, "ambix")
    view = View(-35.0, 12.0)
    assert torch.equal(
        view_sound(sound, ViewTrack.still(view, 32), 8.0).waveform, view_sound(sound, view, 8.0).waveform
    )


def test_sound_without_directions_has_no_view():
    for sound in (Sound(torch.zeros(2, 8), RATE, "stereo"), Sound(torch.zeros(4, 8), RATE, "other")):
        with pytest.raises(InputError, match="Ambisonics"):
            view_sound(sound, View(0.0), 8.0)


def test_downmix_by_layout():
    four = torch.arange(12.0).reshape(4, 3)
    assert torch.equal(to_mono(Sound(four, RATE, "ambix")).waveform, four[:1])
    assert torch.equal(omni_sound(Sound(four, RATE, "ambix")).waveform, four[:1])
    assert torch.equal(to_mono(Sound(four[:2], RATE, "stereo")).waveform, torch.tensor([[1.5, 2.5, 3.5]]))
    assert torch.equal(to_mono(Sound(four, RATE, "other")).waveform, four.mean(0, keepdim=True))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_needs_first_order_takes_it_from_any(order):
    draw = torch.Generator().manual_seed(3)
    first, pair = torch.randn(4, 50, generator=draw), torch.randn(2, 50, generator=draw)
    higher = torch.randn((order + 1) ** 2 - 4, 50, generator=draw)
    sound = Sound(torch.cat((first, higher, pair)), RATE, "ambix")
    plain = Sound(torch.cat((first, pair)), RATE, "ambix")
    assert sound.ambisonic_order == order and torch.equal(first_order(sound).waveform, plain.waveform)
    assert torch.equal(to_mono(sound).waveform, to_mono(plain).waveform)
    assert torch.equal(view_sound(sound, View(40.0), 8.0).waveform, view_sound(plain, View(40.0), 8.0).waveform)
    clip, notices = for_clip(sound)
    assert torch.equal(clip.waveform, first)
    assert [("first-order part" in said, "head-locked" in said) for said in notices] == (
        [(True, False)] * (order > 1) + [(False, True)]
    )
    field, split = field_and_pair(sound.waveform)
    assert torch.equal(split, pair) and field.shape[0] == (order + 1) ** 2


def test_convention_fuma():
    converted = to_ambix(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), "fuma")[:, 0]  # W, X, Y, Z
    assert torch.allclose(converted, torch.tensor([math.sqrt(2), 3.0, 4.0, 2.0]))


def test_fuma_recording_equals_its_ambix_twin():
    from shared_data import data_path

    from con360.media.reader import read_sound

    fuma, _ = read_sound(data_path("foa/violin_FuMa_az135_el0.wav"))
    ambix, _ = read_sound(data_path("foa/violin_SN3D_ACN_az135_el0.wav"))
    assert (to_ambix(fuma.waveform, "fuma") - ambix.waveform).abs().max() < 1e-3
    # A violin at azimuth 135 is behind to the left: loudest for a view there.
    heard = {
        yaw: float(view_sound(ambix, View(yaw), 8.0).waveform.square().mean()) for yaw in (-135.0, 45.0, 135.0, 0.0)
    }
    assert max(heard, key=heard.get) == -135.0 and min(heard, key=heard.get) == 45.0


@pytest.mark.parametrize("rate", [48000, 44100, 44099, 8000, 16000])
def test_resampling_keeps_the_tone_and_the_exact_length(rate):
    source = Sound(tone(0.5, rate)[None].repeat(2, 1), rate, "stereo")
    result = resample(source, RATE)
    assert result.waveform.shape == (2, round(source.waveform.shape[1] * RATE / rate)) and result.layout == "stereo"
    inner = slice(400, -400)
    assert (result.waveform[0] - tone(0.6)[: result.waveform.shape[1]])[inner].abs().max() < 5e-3


def test_resampling_is_refused_for_no_rate():
    with pytest.raises(InputError, match="positive"):
        resample(Sound(torch.zeros(1, 4), RATE), 0)


def test_fit_length_cuts_and_pads():
    sound = Sound(torch.ones(4, 5), RATE, "ambix")
    assert fit_length(sound, 3).waveform.shape == (4, 3)
    padded = fit_length(sound, 7)
    assert padded.waveform.shape == (4, 7) and padded.waveform[:, 5:].abs().sum() == 0 and padded.layout == "ambix"


def test_integer_blocks_become_full_scale_floats():
    import av

    from con360.media.track import float_samples

    for kind, value, expected in (
        ("s16", -32768, -1.0),
        ("s32p", 2**30, 0.5),
        ("u8", 255, 127 / 128),
        ("flt", 1.5, 1.5),
    ):
        dtype = {"s16": np.int16, "s32p": np.int32, "u8": np.uint8, "flt": np.float32}[kind]
        frame = av.AudioFrame.from_ndarray(np.full((1, 4), value, dtype), format=kind, layout="mono")
        assert float_samples(frame).dtype == np.float32 and float_samples(frame)[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(("order", "pair"), [(1, 0), (2, 0), (3, 2), (4, 0), (5, 2)])
def test_ambisonics_of_any_order_is_heard_by_its_first(order, pair):
    channels = (order + 1) ** 2
    sound = Sound(torch.randn(channels + pair, 800, generator=torch.Generator().manual_seed(order)), RATE, "ambix")
    first = Sound(torch.cat([sound.waveform[:4], sound.waveform[channels:]]), RATE, "ambix")
    assert (sound.ambisonic_order, first.ambisonic_order) == (order, 1)
    assert torch.equal(to_mono(sound).waveform, to_mono(first).waveform)
    assert torch.equal(view_sound(sound, View(30.0), 8.0).waveform, view_sound(first, View(30.0), 8.0).waveform)


def test_channels_that_are_not_ambisonics_have_no_order():
    assert Sound(torch.zeros(4, 8), RATE, "other").ambisonic_order is None
    assert Sound(torch.zeros(5, 8), RATE, "ambix").ambisonic_order is None
