from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.geometry.sphere import directions
from con360.placing.finding import find_in_blocks, find_places, find_rhythms, most_moving
from con360.placing.generated import place_generated
from con360.placing.movement import Movement
from con360.records import Sound, ViewpointClip
from con360.sound.ambisonics import harmonics
from con360.sound.bands import BANDS, band_centres_hz
from con360.sound.fields import ROW_S

RATE, FPS = 16000, 15.0
PLACES = ((-100.0, 10.0), (40.0, -5.0))
RATES_HZ = (1.0, 2.5)


def pulses(rate_hz: float, times_s: np.ndarray, phase: float = 0.0) -> np.ndarray:
    """Half a period loud and half silent, with soft edges."""
    return 1 / (1 + np.exp(-20 * np.sin(2 * np.pi * (rate_hz * times_s + phase))))


def window(start_s: float = 0.0, seconds: float = 4.0, fps: float = FPS) -> Movement:
    """Two still regions, one that pulses once a second and one that pulses 2.5 times."""
    times_s = start_s + np.arange(round(seconds * fps)) / fps
    curves = np.stack([0.01 + 0.005 * pulses(rate, times_s) for rate in RATES_HZ])
    paths = torch.stack([directions(*place).expand(len(times_s), 3) for place in PLACES])
    return Movement(start_s, fps, paths, torch.from_numpy(curves).float(), torch.tensor([0.4, 0.8]))


def voice(hz: float, rate_hz: float, seconds: float = 4.0, phase: float = 0.0) -> torch.Tensor:
    times_s = np.arange(round(seconds * RATE)) / RATE
    return torch.from_numpy(0.2 * np.sin(2 * np.pi * hz * times_s) * pulses(rate_hz, times_s, phase)).float()


def two_voices(seconds: float = 4.0) -> Sound:
    """Pulses as the first region at 500 Hz, pulses as the second one at 4 kHz."""
    return Sound((voice(500, RATES_HZ[0], seconds) + voice(4000, RATES_HZ[1], seconds))[None], RATE)


def band_at(hz: float) -> int:
    return int((band_centres_hz() - hz).abs().argmin())


def degrees_off(vectors: torch.Tensor, place: tuple[float, float]) -> float:
    true = harmonics(torch.tensor(place[0]), torch.tensor(place[1]), 1)[1:]
    return float(torch.rad2deg((vectors @ true).clamp(-1, 1).acos()).max())


def test_each_band_goes_where_its_movement_is():
    found = find_places([window()], two_voices())
    vectors = found.field.vectors
    assert vectors.shape == (100, BANDS, 3) and found.field.residual.shape == (100, BANDS)
    assert degrees_off(vectors[:, band_at(500)], PLACES[0]) < 0.1
    assert degrees_off(vectors[:, band_at(4000)], PLACES[1]) < 0.1
    assert found.share > 0.99 and found.start_s == (0.0,)
    assert found.bands.shape == found.confidence.shape == (1, BANDS)
    assert "is placed there" in found.notices[0]
    torch.testing.assert_close(found.field.residual[:, band_at(500)], torch.zeros(100))


def test_pulses_that_nothing_follows_and_steady_noise_stay_diffuse():
    noise = 0.05 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(1))
    found = find_places([window()], Sound((voice(500, 1.7) + noise)[None], RATE))
    assert (found.bands == -1).all() and found.share == 0.0
    assert not found.field.vectors.any()
    torch.testing.assert_close(found.field.residual, torch.ones(100, BANDS))
    assert "stays diffuse" in found.notices[0]


def test_an_arpeggio_is_one_voice_though_no_single_band_lasts():
    position = np.arange(4 * RATE) / RATE / 0.8 % 1
    hz = 2400.0 + 200.0 * np.minimum((12 * position).astype(int), 5)
    tones = np.where(position < 0.5, 0.2 * np.sin(2 * np.pi * np.cumsum(hz) / RATE), 0.0)
    curve = 0.01 + 0.005 * (np.arange(60) / FPS / 0.8 % 1 < 0.5)
    picture = replace(window(), curves=torch.from_numpy(np.stack((curve, np.full(60, 0.01)))).float())
    found = find_places([picture], Sound(torch.from_numpy(tones).float()[None], RATE))
    assert found.share > 0.8


@pytest.mark.parametrize(("late_s", "placed"), [(-0.05, True), (0.05, True), (0.3, False), (-0.3, False)])
def test_sound_may_be_a_little_early_or_late(late_s, placed):
    """Pulses once a second: 0.3 s late is nobody's movement."""
    sound = Sound(voice(500, RATES_HZ[0], phase=-late_s * RATES_HZ[0])[None], RATE)
    assert bool(find_places([window()], sound).field.vectors[:, band_at(500)].any()) == placed


def test_a_place_fades_into_the_next_windows():
    moved = replace(window(2.0), paths=window().paths.flip(0))
    found = find_places([window(), moved], two_voices(6.0))
    vectors = found.field.vectors[:, band_at(500)]
    assert degrees_off(vectors[:50], PLACES[0]) < 0.1 and degrees_off(vectors[100:], PLACES[1]) < 0.1
    assert vectors.diff(dim=0).norm(dim=-1).max() < 0.1
    assert found.start_s == (0.0, 2.0) and len(vectors) == 150


def test_blocks_give_what_the_whole_gives():
    sound, windows = two_voices(6.0), [window(), window(2.0)]
    whole = find_places(windows, sound)
    pieces = find_in_blocks(iter(windows), sound.waveform.split(1777, 1), RATE)
    assert torch.equal(whole.field.vectors, pieces.field.vectors) and whole.notices == pieces.notices


def test_a_sound_that_outlasts_the_picture_ends_diffuse():
    found = find_places([window()], two_voices(5.0))
    assert len(found.field.vectors) == 125 and not found.field.vectors[100:].any()
    assert any("ends at 4.00 s" in notice for notice in found.notices)


@pytest.mark.parametrize("samples", [1, RATE, 3 * RATE + 77])
def test_a_sound_that_ends_before_the_picture_gets_its_own_length(samples):
    found = find_places([window()], Sound(two_voices().waveform[:, :samples], RATE))
    assert len(found.field.vectors) == math.ceil(samples / (ROW_S * RATE))
    # Less than two seconds are not compared.
    assert (found.share > 0.9) == (samples > 2 * RATE)


def test_a_film_is_not_watched_beyond_the_sound():
    def film():
        yield window()
        yield window(2.0)
        yield window(4.0)
        pytest.fail("the sound had ended")

    assert find_places(film(), two_voices(3.0)).start_s == (0.0, 2.0)


def test_nothing_is_invented_without_regions_sound_or_picture():
    blind = Movement(0.0, FPS, torch.zeros(0, 60, 3), torch.zeros(0, 60), torch.zeros(0))
    for windows, sound, said in (
        ([blind], two_voices(), "Nothing stands out"),
        ([window()], Sound(torch.zeros(1, 4 * RATE), RATE), "silent"),
        ([], two_voices(), "too short"),
    ):
        for find in (find_places, most_moving, find_rhythms):
            found = find(windows, sound)
            assert not found.field.vectors.any() and found.share == 0.0
            assert said in found.notices[0]


def test_the_most_moving_region_gets_everything_unless_nothing_moves():
    found = most_moving([window()], two_voices())
    assert degrees_off(found.field.vectors.flatten(0, 1), PLACES[1]) < 0.1
    assert "nothing tells that it comes from there" in found.notices[0]
    still = replace(window(), movement=torch.tensor([0.001, 0.002]))
    assert not most_moving([still], two_voices()).field.vectors.any()


def test_eight_frames_a_second_are_said_to_alias():
    found = find_places([window(fps=8.0)], two_voices())
    assert any("faster than 4 times a second" in notice for notice in found.notices)


def test_two_frames_a_second_are_too_few_to_compare():
    found = find_places([window(fps=2.0)], two_voices())
    assert found.share == 0.0 and "2 frames a second" in found.notices[0]


def test_rhythm_needs_no_phase():
    turned = Sound((voice(500, RATES_HZ[0], phase=0.25) + voice(4000, RATES_HZ[1], phase=0.4))[None], RATE)
    found = find_rhythms([window()], turned)
    assert degrees_off(found.field.vectors[:, band_at(500)], PLACES[0]) < 0.1
    assert degrees_off(found.field.vectors[:, band_at(4000)], PLACES[1]) < 0.1
    assert find_places([window()], turned).share < 0.5


def test_a_generated_clip_comes_out_in_ambisonics():
    clip = ViewpointClip(torch.zeros(1, 3, 8, 8), 8.0, two_voices(), notices=("Said before.",))
    sound, found = place_generated(clip, [window()])
    assert sound.layout == "ambix" and sound.waveform.shape == (4, 4 * RATE)
    torch.testing.assert_close(sound.waveform[:1], clip.sound.waveform)
    assert found.notices[0] == "Said before." and "rhythm" in found.notices[1]
    with pytest.raises(InputError, match="already"):
        place_generated(replace(clip, sound=sound), [window()])


@pytest.mark.parametrize("rate", [11025, 44100, 48000])
def test_other_rates_and_channels_are_read(rate):
    times_s = np.arange(4 * rate) / rate
    wave = torch.from_numpy(0.2 * np.sin(2 * np.pi * 500 * times_s) * pulses(RATES_HZ[0], times_s)).float()
    found = find_places([window()], Sound(wave.expand(6, -1), rate, "other"))
    assert degrees_off(found.field.vectors[:, band_at(500)], PLACES[0]) < 0.1


def test_what_cannot_be_used_is_a_sentence():
    with pytest.raises(InputError, match="NaN"):
        find_places([window()], Sound(torch.full((1, RATE), torch.nan), RATE))
    with pytest.raises(InputError, match="at least one sample"):
        find_places([window()], Sound(torch.zeros(1, 0), RATE))
    for confidence in (0.0, 1.1, math.nan):
        with pytest.raises(InputError, match="confidence"):
            find_places([window()], two_voices(), confidence)
