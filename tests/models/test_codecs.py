"""Codecs: recorded mels, waveforms and latents; ranges; chunks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL
from published_svg import fill_by_name, read_json, relative_error, tensors
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from con360.errors import InputError
from con360.models.codecs import (
    EDGE_FRAMES,
    MelCodec,
    decode_frames,
    decode_mel,
    encode_frames,
    encode_mel,
    mend_mel_edges,
    vocode,
)
from con360.models.joint import JointModel
from con360.records import View, ViewTrack
from con360.scenes import Scene, random_scene
from con360.sound.mels import log_mel, mel_filters
from con360.timing import ClipSpec
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model

TOLERANCE = 1e-4


def recorded_vae(name: str) -> AutoencoderKL:
    return fill_by_name(AutoencoderKL(**read_json("pipeline_tiny.json")[name]), f"{name}.")


def recorded_vocoder() -> SpeechT5HifiGan:
    config = SpeechT5HifiGanConfig(**read_json("mel_vocoder.json")["vocoder_config"])
    return fill_by_name(SpeechT5HifiGan(config), "vocoder.")


@pytest.mark.parametrize(("wave", "mel"), [("wave4", "mel4"), ("wave1_b2", "mel1_b2")])
def test_log_mel_matches_published(wave, mel):
    recorded = tensors("mel_vocoder.safetensors")
    error = relative_error(log_mel(recorded[wave].view(-1, recorded[wave].shape[-1])), recorded[mel])
    print(f"{mel}: {error:.1e}")
    assert error < TOLERANCE


def test_mel_filters_match_published():
    assert (mel_filters() - tensors("mel_vocoder.safetensors")["mel_filters"]).abs().max() < 1e-6


def test_convention_mel_time_and_pitch():
    """A 1 kHz burst in the second half sits in Slaney's linear bands, and in the second half of the frames."""
    t = torch.arange(16000) / 16000
    wave = torch.where(t >= 0.5, torch.sin(2 * math.pi * 1000 * t), torch.zeros(()))
    mel = log_mel(wave[None])[0]
    assert mel.shape == (100, 64)
    assert mel[:45].max() == pytest.approx(math.log(1e-5), abs=1e-3)
    # 64 bands to 8 kHz: 45.245 mel in 65 steps; 1 kHz is 15 mel, band 15 / 0.69608 - 1 = 20.55 from 0.
    assert int(mel[75].argmax()) in (20, 21)


@pytest.mark.parametrize(("samples", "rate", "says"), [(16000, 44100, "44100"), (512, 16000, "512")])
def test_unusable_sound_is_named(samples, rate, says):
    with pytest.raises(InputError, match=says):
        log_mel(torch.zeros(1, samples), rate)


def test_vocoder_matches_published():
    recorded, vocoder = tensors("mel_vocoder.safetensors"), recorded_vocoder()
    assert relative_error(vocode(vocoder, recorded["mel1_b2"], 16032), recorded["vocoder/out"]) < TOLERANCE
    assert vocode(vocoder, recorded["mel1_b2"], 16000).shape == (2, 16000)
    assert vocode(vocoder, recorded["mel1_b2"], 16100)[:, 16032:].abs().max() == 0
    with pytest.raises(ValueError, match="20000"):
        vocode(vocoder, recorded["mel1_b2"], 20000)


@torch.no_grad()
def test_latents_decode_as_published():
    recorded = tensors("pipeline_tiny.safetensors")
    frames = decode_frames(recorded_vae("vae_v"), recorded["gamma_1.5/video/latents"][-1], chunk=3)
    mel = decode_mel(recorded_vae("vae_a"), recorded["gamma_1.5/audio/latents"][-1])
    wave = vocode(recorded_vocoder(), recorded["gamma_1.5/mel"][:, 0], 16000)
    strided = frames[..., ::4, ::4].permute(0, 1, 3, 4, 2)
    assert relative_error(strided, recorded["gamma_1.5/video_rgb_stride4"]) < TOLERANCE
    assert relative_error(mel[:, None], recorded["gamma_1.5/mel"]) < TOLERANCE
    assert relative_error(wave, recorded["gamma_1.5/waveform"]) < TOLERANCE


@torch.no_grad()
def test_encoders_match_published():
    recorded = tensors("pipeline_tiny.safetensors")
    for name, encode in (("vae_v", _encode_as_frames), ("vae_a", _encode_as_mel)):
        vae, x = recorded_vae(name), recorded[f"{name}/enc_in"]
        wanted = recorded[f"{name}/enc_moments"].chunk(2, dim=1)[0] * vae.config.scaling_factor
        assert relative_error(encode(vae, x), wanted) < TOLERANCE, name


def _encode_as_frames(vae, x):
    return encode_frames(vae, (x + 1) / 2, chunk=1).transpose(0, 1)


def _encode_as_mel(vae, x):
    return encode_mel(vae, x[:, 0])


@torch.no_grad()
def test_encoded_noise_has_the_posteriors_spread():
    vae, x = recorded_vae("vae_v"), tensors("pipeline_tiny.safetensors")["vae_v/enc_in"]
    moments = tensors("pipeline_tiny.safetensors")["vae_v/enc_moments"]
    frames = ((x + 1) / 2).repeat(64, 1, 1, 1)
    drawn = (
        encode_frames(vae, frames, generator=torch.Generator().manual_seed(0)).transpose(0, 1)
        / vae.config.scaling_factor
    )
    spread = (drawn.unflatten(0, (64, 2)) - moments[:, :4]).std(dim=0)
    assert float((spread / (moments[:, 4:] / 2).exp()).mean()) == pytest.approx(1.0, abs=0.03)


@torch.no_grad()
def test_chunks_change_nothing_and_report_progress():
    vae, seen = recorded_vae("vae_v"), []
    latents = tensors("pipeline_tiny.safetensors")["latents_v"][0]
    whole = decode_frames(vae, latents, chunk=8)
    parts = decode_frames(vae, latents, chunk=3, progress=lambda *a: seen.append(a))
    assert whole.shape == (8, 3, 128, 128) and torch.allclose(whole, parts, atol=1e-5)
    assert [s[:2] for s in seen] == [(3, 8), (6, 8), (8, 8)]
    assert torch.allclose(decode_frames(vae, latents[None])[0], whole, atol=1e-5)


def test_a_raising_progress_cancels():
    class Cancelled(Exception):
        pass

    def cancel(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        decode_frames(recorded_vae("vae_v"), torch.zeros(4, 4, 2, 2), chunk=1, progress=cancel)


@torch.no_grad()
def test_mel_rows_are_padded_with_zeros():
    vae = recorded_vae("vae_a")
    latents = encode_mel(vae, torch.zeros(1, 50, 64), rows=16)
    assert latents.shape == (1, 8, 16, 16) and latents[:, :, 12:].abs().max() == 0


# Edges ----------------------------------------------------------------------------------------------------------------


def edge_levels_db(codec: MelCodec, scenes: list[Scene]) -> list[float]:
    """Levels of the first and last 50 ms, through the codec, beside the truth: pooled over scenes."""
    power, spec = torch.zeros(2, 2), ClipSpec(1.0)
    for scene in scenes:
        # The vocoder cannot say chirps anywhere.
        quiet = Scene(tuple(p for p in scene.performers if p.voice != "chirp"))
        track = ViewTrack.still(View(scene.performers[0].yaw_deg), spec.num_frames)
        true = quiet.view_sound(track, spec)
        made = codec.decode(codec.encode(true, spec)[0], spec)
        for i, waveform in enumerate((made.waveform, true.waveform)):
            power[i] += torch.stack([waveform[:, :800].square().mean(), waveform[:, -800:].square().mean()])
    return (10 * (power[0] / power[1]).log10()).tolist()


@pytest.fixture(scope="module")
def built_in() -> JointModel:
    return load_joint_model(model_folder())


@torch.no_grad()
def test_the_built_in_models_sound_begins_and_ends_at_its_level(built_in):
    scenes = [random_scene(900_000 + i) for i in range(8)]
    cut = edge_levels_db(built_in.codecs.audio, scenes)
    published = edge_levels_db(MelCodec(built_in.vae_a, built_in.vocoder), scenes)
    print(f"first and last 50 ms: {cut} dB, as published {published} dB")
    assert max(map(abs, cut)) < 2.5 < max(map(abs, published))


@torch.no_grad()
def test_a_folder_that_does_not_ask_decodes_as_published(built_in):
    codec, spec = replace(built_in, metadata={}).codecs.audio, ClipSpec(0.5)
    latents = torch.randn(codec.latent_shape(spec), generator=torch.Generator().manual_seed(0))
    published = vocode(built_in.vocoder, decode_mel(built_in.vae_a, latents[None]), spec.num_samples)
    assert torch.equal(codec.decode(latents, spec).waveform, published)
    cut = built_in.codecs.audio.decode(latents, spec).waveform
    assert cut.shape == published.shape and not torch.allclose(cut, published, atol=1e-2)


def test_mended_mels_keep_their_middle_and_their_loud_bands():
    mel = torch.full((1, 32, 64), -11.0)
    mel[:, :, 20] = -2.0
    mel[:, :3] += 3.0  # the fold's click
    mel[:, 0, 40] = 2.0  # a sound that only the first frame has
    mended = mend_mel_edges(mel)
    assert torch.equal(mended[:, EDGE_FRAMES:-EDGE_FRAMES], mel[:, EDGE_FRAMES:-EDGE_FRAMES])
    assert mended[0, 0, 40] == 2.0 and mended[0, 1, 20] == 1.0
    assert (mended[0, :, 0] == -11.0).all()
