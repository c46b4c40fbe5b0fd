"""Procedural scenes: all modalities of a seed agree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.geometry.perspective import erp_to_perspective
from con360.records import View, ViewTrack
from con360.scenes import (
    COLOURS,
    VOICES,
    Performer,
    Scene,
    _spread_yaws,
    caption_vocabulary,
    demo_scene,
    is_scene_caption,
    random_scene,
    voice_waveform,
)
from con360.timing import ClipSpec

SHORT = ClipSpec(0.5)
ONE = Performer("red", "disc", "beep", 40.0, 10.0)


def band_level(waveform: torch.Tensor, band_hz: tuple[float, float], rate: int = 16000) -> float:
    spectrum = torch.fft.rfft(waveform).abs()
    hz = torch.fft.rfftfreq(waveform.shape[-1], 1 / rate)
    return float(spectrum[(hz >= band_hz[0]) & (hz <= band_hz[1])].square().sum().sqrt())


def test_same_seed_same_scene():
    assert random_scene(7) == random_scene(7)
    assert random_scene(7) != random_scene(8)
    assert torch.equal(random_scene(7).panorama(16, SHORT).frames, random_scene(7).panorama(16, SHORT).frames)


@pytest.mark.parametrize("seed", range(20))
def test_random_scenes_have_distinct_performers_well_apart(seed):
    performers = random_scene(seed).performers
    assert 2 <= len(performers) <= 4
    for trait in ("colour", "shape", "voice"):
        assert len({getattr(p, trait) for p in performers}) == len(performers)
    for i, a in enumerate(performers):
        for b in performers[:i]:
            gap = abs((a.yaw_deg - b.yaw_deg + 180) % 360 - 180)
            assert gap >= 50 - 1e-6


def test_convention_performer_at_yaw_90_is_in_the_right_half():
    """Yaw 90 is a quarter of the panorama right of its centre; pitch 0 is its middle row."""
    scene = Scene((replace(ONE, yaw_deg=90.0, pitch_deg=0.0),), sky="night", ground="moss")
    red = scene.panorama(32, SHORT).frames[0, 0] > 0.6
    rows, columns = torch.nonzero(red, as_tuple=True)
    assert abs(columns.float().mean() - (48 - 0.5)) < 0.6
    assert abs(rows.float().mean() - (16 - 0.5)) < 0.6


def test_view_rendered_directly_equals_view_cut_from_the_panorama():
    scene, view = random_scene(3), View(35.0, 8.0, 80.0)
    track = ViewTrack.still(view, SHORT.num_frames)
    direct = scene.view_frames(track, 48, SHORT)
    cut = erp_to_perspective(scene.panorama(384, SHORT).frames, track, 48)
    assert (direct - cut).abs().mean() < 0.01


def test_saliency_peaks_on_the_performer_and_wraps():
    scene = Scene((replace(ONE, yaw_deg=-179.9, pitch_deg=0.0),))
    saliency = scene.saliency(64, SHORT).maps[0]
    assert saliency.max() == 1.0
    assert torch.allclose(saliency[:, 0], saliency[:, -1], atol=0.02)
    assert int(saliency[32].argmax()) in (0, 127)


def test_empty_scene_has_flat_saliency_and_silence():
    scene = Scene(())
    assert torch.equal(scene.saliency(16, SHORT).maps, torch.ones(4, 16, 32))
    assert scene.foa(SHORT).waveform.abs().max() == 0
    assert "nobody" in scene.caption().short


@pytest.mark.parametrize("voice", VOICES)
def test_voices_stay_in_their_bands(voice):
    time_s = np.arange(64000) / 16000
    wave = torch.from_numpy(voice_waveform(voice, time_s, 0.3))
    inside = band_level(wave, VOICES[voice].band_hz)
    assert inside > 0.98 * band_level(wave, (0, 8000))
    assert 0.05 < wave.abs().max() < 2.0
    for other, kind in VOICES.items():
        if other != voice:
            low, high = kind.band_hz
            assert high < VOICES[voice].band_hz[0] or low > VOICES[voice].band_hz[1]


@pytest.mark.parametrize(("angle", "gain"), [(0, 1.0), (90, 0.75), (180, 0.5), (60, 0.875)])
def test_view_sound_gain_is_the_wide_microphone(angle, gain):
    """0.75 + 0.25 cos a, hand-computed."""
    scene = Scene((replace(ONE, yaw_deg=20.0, pitch_deg=0.0),))
    omni = scene.foa(SHORT).waveform[0]
    heard = scene.view_sound(ViewTrack.still(View(20.0 + angle), SHORT.num_frames), SHORT).waveform[0]
    assert torch.allclose(heard, gain * omni, atol=1e-5)


def test_convention_ambisonic_azimuth_is_left_positive():
    """A performer on the right (yaw +90) has Y = -W."""
    foa = Scene((replace(ONE, yaw_deg=90.0, pitch_deg=0.0),)).foa(SHORT).waveform
    assert torch.allclose(foa[1], -foa[0], atol=1e-5)
    assert foa[3].abs().max() < 1e-4


def test_taking_one_performer_out_removes_its_sound_only():
    scene = demo_scene()
    whole, alone = scene.foa().waveform[0], scene.without(2).foa().waveform[0]
    gone = VOICES[scene.performers[2].voice].band_hz
    assert band_level(alone, gone) < 0.02 * band_level(whole, gone)
    kept = VOICES[scene.performers[0].voice].band_hz
    assert math.isclose(band_level(alone, kept), band_level(whole, kept), rel_tol=1e-3)


def test_captions_bind_colour_shape_sound_and_direction():
    caption = demo_scene().caption()
    assert caption.short.startswith("a red disc hums in front, a green triangle chirps on the right")
    assert caption.origin == "scene"


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_vocabulary_covers_every_caption(seed):
    words = random_scene(seed).caption().short.replace(",", " ,").split()
    assert set(words) <= set(caption_vocabulary())


@pytest.mark.parametrize("seed", range(20))
def test_a_scene_caption_is_recognised_by_its_form(seed):
    own = random_scene(seed).caption().short
    assert is_scene_caption(own) and is_scene_caption(Scene(()).caption().short)
    for other in (own.replace("sky", "roof"), f"{own}, at night", own.partition(", under")[0], own.upper(), ""):
        assert not is_scene_caption(other), other


def test_too_many_performers_is_refused():
    with pytest.raises(InputError, match="8 performers do not fit"):
        _spread_yaws(np.random.default_rng(0), 8, 50.0)


def test_colours_are_in_range():
    assert all(0 <= c <= 1 for colour in COLOURS.values() for c in colour)
    frames = random_scene(1).panorama(32, SHORT).frames
    assert frames.min() >= 0 and frames.max() <= 1
