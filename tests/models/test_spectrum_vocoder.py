"""The vocoder of spectra: its sound, its folder, and the ends of clips by what a model's folder says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.models.codecs import (
    HELD_FRAMES,
    MelCodec,
    decode_mel,
    mel_between_ends,
    mend_mel_edges,
    sound_ends,
    vocode,
)
from con360.models.spectrum_vocoder import LOUDEST, SpectrumVocoder, SpectrumVocoderConfig
from con360.records import OnsetTrack, TimeTrack
from con360.sampling.when import TimeGuide
from con360.timing import ClipSpec
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model, load_vocoder
from con360.weights.save import save_joint_model, save_vocoder

SMALL = SpectrumVocoderConfig(width=16, layers=2)


def small_vocoder(seed: int = 0) -> SpectrumVocoder:
    torch.manual_seed(seed)
    return SpectrumVocoder(SMALL).eval().requires_grad_(False)


def some_mel(frames: int = 60) -> torch.Tensor:
    return torch.randn(2, frames, 64, generator=torch.Generator().manual_seed(1)) * 2 - 7


def tone_maker(hz: float, amplitude: float) -> SpectrumVocoder:
    """Answer every mel with one tone: all weights are zero but the head's constants of three bins."""
    vocoder = small_vocoder()
    for parameter in vocoder.parameters():
        parameter.zero_()
    bins, middle = SMALL.n_fft // 2 + 1, round(hz * SMALL.n_fft / 16000)
    vocoder.head.bias[:bins] = -30.0
    # A Hann window of n samples makes n / 4 and -n / 8 of a tone of amplitude 1.
    for bin_, height, phase in ((middle - 1, 8, math.pi), (middle, 4, 0.0), (middle + 1, 8, math.pi)):
        vocoder.head.bias[bin_] = math.log(amplitude * SMALL.n_fft / height)
        # Frames begin half a window before their centres.
        vocoder.head.bias[bins + bin_] = phase - math.pi / 2 - math.pi * middle
    return vocoder


def test_constants_of_the_head_are_a_tone_without_clicks_up_to_both_ends():
    wave = tone_maker(2400.0, 0.3)(some_mel(30))
    time_s = torch.arange(30 * 160, dtype=torch.float64) / 16000
    wanted = 0.3 * torch.sin(2 * math.pi * 2400.0 * time_s)
    assert wave.shape == (2, 4800) and wave.dtype == torch.float32
    assert (wave - wanted).abs().max() < 1e-4


def test_a_clips_sound_is_its_own_and_as_long_as_its_mel():
    vocoder, mel = small_vocoder(), some_mel()
    wave = vocoder(mel)
    assert wave.shape == (2, 60 * 160) and wave.abs().max() > 1e-4
    assert torch.allclose(vocoder(mel[1:]), wave[1:], atol=1e-6)
    assert torch.equal(vocoder(mel), wave)


def test_half_precision_gives_float32_near_the_same():
    vocoder, mel = small_vocoder(), some_mel()
    wave, half = vocoder(mel), vocode(small_vocoder().bfloat16(), mel, 60 * 160)
    assert half.dtype == torch.float32
    assert (half - wave).norm() < 0.1 * wave.norm()


def test_absurd_mels_stay_finite():
    vocoder = small_vocoder()
    for mel in (torch.full((1, 8, 64), 1e4), torch.full((1, 8, 64), -1e4)):
        wave = vocoder(mel)
        assert wave.isfinite().all() and wave.abs().max() <= math.exp(LOUDEST)


@pytest.mark.parametrize("wrong", [{"n_fft": 639}, {"n_fft": 160}, {"kernel": 4}, {"width": 0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(InputError, match="vocoder"):
        SpectrumVocoderConfig(**wrong)


# Folders --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A joint model with this vocoder, in half precision."""
    path = tmp_path_factory.mktemp("models") / "spectrum"
    metadata = {"name": "spectrum", "picture_size_px": 32, "sound_ends": "cut"}
    save_joint_model(
        replace(make_tiny_joint_model(), vocoder=small_vocoder(), metadata=metadata), path, dtype=torch.float16
    )
    return path


def test_a_models_folder_names_the_vocoders_class_and_brings_it_back(folder):
    config = json.loads((folder / "vocoder" / "config.json").read_text())
    assert config["architectures"] == ["SpectrumVocoder"] and config["width"] == 16
    model, spec = load_joint_model(folder), ClipSpec(0.5)
    rounded = small_vocoder().half().float()
    assert model.codecs.audio.ends == "cut" and torch.equal(model.vocoder(some_mel()), rounded(some_mel()))
    latents = torch.randn(model.codecs.audio.latent_shape(spec), generator=torch.Generator().manual_seed(0))
    wanted = rounded(mel_between_ends(model.vae_a, latents[None], spec))
    assert torch.equal(model.codecs.audio.decode(latents, spec).waveform, wanted)


def test_a_vocoder_is_saved_and_loaded_alone(tmp_path):
    save_vocoder(small_vocoder(3), tmp_path / "vocoder")
    assert torch.equal(load_vocoder(tmp_path / "vocoder")(some_mel()), small_vocoder(3)(some_mel()))
    assert [path.name for path in tmp_path.iterdir()] == ["vocoder"]


def test_damaged_folders_are_refused_by_name(tmp_path):
    path = tmp_path / "vocoder"
    save_vocoder(small_vocoder(), path)
    weights = load_file(path / "model.safetensors")
    save_file({**weights, "skip.weight": weights["skip.weight"] * math.nan}, path / "model.safetensors")
    with pytest.raises(InputError, match="skip.weight"):
        load_vocoder(path)
    del weights["skip.weight"]
    save_file(weights, path / "model.safetensors")
    with pytest.raises(InputError, match="skip.weight"):
        load_vocoder(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "width": "wide"}))
    with pytest.raises(InputError, match="config.json"):
        load_vocoder(path)


# Ends -----------------------------------------------------------------------------------------------------------------


def test_a_folder_says_how_ends_are_decoded():
    assert sound_ends({}) == "published"
    assert sound_ends({"mend_sound_edges": True}) == "mended"
    assert sound_ends({"sound_ends": "cut", "mend_sound_edges": True}) == "cut"
    with pytest.raises(InputError, match="'folded'"):
        sound_ends({"sound_ends": "folded"})


@torch.no_grad()
def test_version_3s_folder_decodes_as_it_always_did():
    model, spec = load_joint_model(model_folder()), ClipSpec(1.0)
    codec = replace(model, metadata={"mend_sound_edges": True}).codecs.audio
    latents = torch.randn(codec.latent_shape(spec), generator=torch.Generator().manual_seed(0))
    rows = latents[None, :, :25]
    mel = mend_mel_edges(decode_mel(model.vae_a, torch.cat((rows, *[rows[:, :, -1:]] * 4), dim=2))[:, :100])
    held = torch.cat((*[mel[:, :1]] * HELD_FRAMES, mel, *[mel[:, -1:]] * HELD_FRAMES), dim=1)
    wanted = vocode(model.vocoder, held, HELD_FRAMES * 160 + 16000)[:, HELD_FRAMES * 160 :]
    assert torch.equal(codec.decode(latents, spec).waveform, wanted)


@torch.no_grad()
def test_cut_ends_read_no_row_past_the_clip():
    model, spec = make_tiny_joint_model(), ClipSpec(0.5)
    codec = MelCodec(model.vae_a, small_vocoder(), ends="cut")
    latents = torch.randn(codec.latent_shape(spec), generator=torch.Generator().manual_seed(0))
    other = latents.clone()
    other[:, spec.num_latent_rows :] += 1
    assert latents.shape[1] > spec.num_latent_rows
    assert torch.equal(codec.decode(latents, spec).waveform, codec.decode(other, spec).waveform)
    # The time guide hears the very mel that is vocoded.
    guide = TimeGuide(codec, TimeTrack(OnsetTrack((0.2,))), spec)
    heard = codec.log_mel(latents[None, :, : guide.rows])[:, : len(guide.target.levels)]
    assert torch.equal(heard, mel_between_ends(model.vae_a, latents[None], spec))
    assert not torch.equal(
        MelCodec(model.vae_a, small_vocoder()).decode(latents, spec).waveform,
        MelCodec(model.vae_a, small_vocoder()).decode(other, spec).waveform,
    )
