"""Sound metrics against signals whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.metrics.audio import (
    band_classes,
    band_level_db,
    class_divergence,
    codec_sound_embedding,
    energy_l1,
    energy_l1_to,
    foa_angles_deg,
    inception_score,
    load_clap,
    load_classifier,
    log_mel_distance,
    sound_distance,
)
from con360.records import Envelope, Sound
from con360.sound.ambisonics import encode

RATE = 16000


def tone(hz: float, amplitude: float = 0.5, seconds: float = 1.0, gate=None) -> Sound:
    time_s = torch.arange(round(seconds * RATE)) / RATE
    wave = amplitude * torch.sin(2 * math.pi * hz * time_s)
    return Sound((wave if gate is None else wave * gate(time_s))[None], RATE)


def test_energy_l1_of_two_amplitudes_is_the_difference_of_their_rms():
    assert energy_l1(tone(1000, 0.5), tone(1000, 0.2)) == pytest.approx(0.3 / math.sqrt(2), rel=1e-3)
    assert energy_l1(tone(1000), tone(1000)) == 0.0


def test_energy_l1_to_an_envelope_counts_where_that_is_meant():
    sound = tone(1000, 0.5)
    asked = torch.full((125,), 0.2 / math.sqrt(2))
    assert energy_l1_to(sound, Envelope(asked)) == pytest.approx((0.3 / math.sqrt(2), 0.2 / math.sqrt(2)), rel=1e-3)
    half = torch.arange(125) < 60
    wild = torch.where(half, asked, 9.0)
    in_half = energy_l1_to(sound, Envelope(wild, 125.0, half.float()))
    assert in_half == pytest.approx(energy_l1_to(sound, Envelope(asked)), rel=1e-2)
    with pytest.raises(InputError, match="free everywhere"):
        energy_l1_to(sound, Envelope(asked, 125.0, torch.zeros(125)))


def test_energy_l1_uses_windows_of_512_every_128():
    # 1024 samples have 8 windows. A click of energy 1 lies in 4 of them, with an RMS of sqrt(1 / 512) in each.
    clicks = torch.zeros(1, 1024)
    clicks[0, 500] = 1.0
    silent = Sound(torch.zeros(1, 1024), RATE)
    assert energy_l1(Sound(clicks, RATE), silent) == pytest.approx(4 / 8 * math.sqrt(1 / 512))
    with pytest.raises(InputError, match="193"):
        energy_l1(Sound(torch.zeros(1, 100), RATE), silent)


def test_a_band_level_is_the_level_of_what_is_in_the_band():
    assert band_level_db(tone(1000, 1.0), (900, 1100)) == pytest.approx(-3.01, abs=0.01)
    assert band_level_db(tone(1000, 0.1), (900, 1100)) == pytest.approx(-23.01, abs=0.01)
    assert band_level_db(tone(1000, 1.0), (2000, 3000)) < -80
    assert band_level_db(Sound(torch.zeros(1, RATE), RATE), (900, 1100)) == -120.0


def test_sound_distance_hears_a_gain_and_not_a_shift_in_time():
    pulses = tone(1000, gate=lambda t: ((t * 4) % 1 < 0.5).float())
    later = tone(1000, gate=lambda t: (((t - 0.125) * 4) % 1 < 0.5).float())
    assert 3 * sound_distance(pulses, later) < log_mel_distance(pulses, later)
    quiet = Sound(pulses.waveform / 2, RATE)
    loud_bands = sound_distance(pulses, quiet)
    assert 0 < loud_bands <= 6.03
    assert sound_distance(pulses, pulses) == 0.0


def test_band_classes_and_their_divergence():
    bands = ((100, 650), (1300, 2200))
    both = Sound(tone(400).waveform + tone(1500).waveform, RATE)
    assert band_classes(both, bands) == pytest.approx([0.5, 0.5], abs=1e-3)
    assert class_divergence(np.array([0.75, 0.25]), np.array([0.5, 0.5])) == pytest.approx(
        0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    )
    assert class_divergence(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == pytest.approx(0.0, abs=1e-9)


def test_inception_score_spans_one_to_the_number_of_classes():
    assert inception_score(np.eye(5)) == pytest.approx(5.0)
    assert inception_score(np.full((7, 5), 0.2)) == pytest.approx(1.0)
    assert inception_score(np.tile(np.eye(5)[0], (4, 1))) == pytest.approx(1.0)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (90.0, 0.0), (-120.0, 35.0), (170.0, -20.0)])
def test_convention_foa_angles_are_yaw_right_positive(yaw, pitch):
    wave = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    found = foa_angles_deg(Sound(encode(wave, yaw, pitch), RATE, "ambix"))
    assert found == pytest.approx((yaw, pitch), abs=1e-3)


def test_the_codec_embedding_has_means_and_spreads_of_four_bands():
    latents = torch.zeros(2, 10, 16)
    latents[1, :, 12:] = 3.0
    embedding = codec_sound_embedding(latents)
    assert embedding.shape == (16,)
    assert embedding[7] == 3.0 and embedding.abs().sum() == 3.0


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory):
    """Save a real ClapModel, small and random, as the published ones are saved."""
    import transformers
    from tiny_model import MAX_TOKENS, WORDS

    from train.tiny.networks import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer(WORDS, MAX_TOKENS)
    audio = {
        "window_size": 8, "spec_size": 256, "hidden_size": 32, "patch_embeds_hidden_size": 16, "depths": [1, 1],
        "num_attention_heads": [2, 2], "num_hidden_layers": 2, "projection_dim": 16, "num_mel_bins": 64,
    }  # fmt: skip
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16, "projection_dim": 16,
    }  # fmt: skip
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16))
    folder = tmp_path_factory.mktemp("clap") / "clap-random"
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_clap_from_a_local_folder_gives_unit_vectors_and_the_cosine_as_score(clap_folder):
    clap = load_clap(clap_folder)
    sound, text = clap.of_sound(tone(440)), clap.of_text("a red disc")
    assert float(sound.norm()) == pytest.approx(1.0, abs=1e-5) and sound.shape == text.shape == (16,)
    assert clap.score(tone(440), "a red disc") == pytest.approx(float(sound @ text), abs=1e-6)
    assert clap.name == "clap-random"


def test_a_missing_or_wrong_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        load_clap(tmp_path / "absent")
    with pytest.raises(InputError, match="AutoModelForAudioClassification"):
        load_classifier(tmp_path)
