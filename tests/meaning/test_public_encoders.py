"""Public encoders in small: their processors in torch against the published ones, their layouts, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.filler import normal
from safetensors.torch import save_file
from tiny_meanings import imagebind, pe_av, pe_av_settings, tokenizer, write_clap_and_clip, write_pe_av

from con360.errors import InputError
from con360.meaning.imagebind import ImageBindMeaning, filter_banks, part_starts
from con360.meaning.load import load_meaning
from con360.meaning.measure import check_shared, measure, read_captions
from con360.meaning.pe_av import PeAvMeaning
from con360.meaning.two_spaces import TwoSpacesMeaning
from con360.protocols import FrameMeaning, LatentMeaning, MeaningEncoder, PairTexts
from con360.sound.fbank import kaldi_fbank

CAPTIONS = ["a red disc hums", "a blue square rings"]


def tokens(captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    read = tokenizer()(list(captions), padding=True, return_tensors="pt")
    return read["input_ids"], read["attention_mask"]


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(2, 6, 3, 40, 60, generator=g), torch.rand(2, 16001, generator=g) - 0.5


def check_reads(encoder: MeaningEncoder) -> None:
    """Unit vectors of all three, and gradients of pictures and sounds."""
    assert isinstance(encoder, MeaningEncoder) and not isinstance(encoder, LatentMeaning)
    frames, sounds = (x.requires_grad_() for x in clips())
    text, picture, sound = (
        read_captions(encoder, CAPTIONS), encoder.read_picture(frames, 8.0), encoder.read_sound(sounds, 16000)
    )  # fmt: skip
    for vectors in (text.sound, text.picture, picture, sound):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    (text.picture * picture).sum().backward()
    (text.sound * sound).sum().backward()
    assert all(x.grad is not None and x.grad.abs().amax() > 0 for x in (frames, sounds))


@pytest.mark.slow
def test_pe_av_reads_as_transformers_does() -> None:
    transformers = pytest.importorskip("transformers.models.pe_audio_video")
    from transformers import PeAudioFeatureExtractor, ViTConfig

    assert transformers is not None
    looks = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, image_size=28,
                      patch_size=14, num_labels=24)  # fmt: skip
    network, (frames, sounds) = pe_av(looks), clips()
    ids, mask = tokens(CAPTIONS)
    heard = PeAudioFeatureExtractor(sampling_rate=16000, hop_length=8)(list(sounds.numpy()), sampling_rate=16000)
    small = torch.nn.functional.interpolate(frames.flatten(0, 1), (28, 28), mode="bilinear", antialias=True)
    with torch.no_grad():
        wanted = network(
            input_ids=ids, attention_mask=mask, input_values=torch.from_numpy(np.stack(heard["input_values"])),
            pixel_values_videos=((small - 0.5) / 0.5).unflatten(0, (2, 6)),
        )  # fmt: skip
        encoder = PeAvMeaning(network, tokens, pe_av_settings())
        for_sound, for_picture = encoder.read_pair_texts(CAPTIONS)
        found = {
            "text_audio_embeds": for_sound, "text_video_embeds": for_picture,
            "audio_embeds": encoder.read_sound(sounds, 16000), "video_embeds": encoder.read_picture(frames, 8.0),
        }  # fmt: skip
    for name, vectors in found.items():
        torch.testing.assert_close(vectors, torch.nn.functional.normalize(wanted[name], dim=-1), atol=1e-5, rtol=0)
    assert isinstance(encoder, PairTexts) and encoder.shared
    check_reads(encoder)


@pytest.mark.slow
def test_a_folder_of_pe_av_loads(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("transformers.models.pe_audio_video")
    encoder = load_meaning(write_pe_av(tmp_path / "pe-av-tiny"))
    assert encoder.name == "pe-av-tiny"
    check_reads(encoder)


def test_pe_av_without_timm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pe_audio_video"}))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="pip install"):
        load_meaning(tmp_path)


def test_clap_and_clip_have_pairs_alone(tmp_path: Path) -> None:
    encoder = load_meaning("+".join(map(str, write_clap_and_clip(tmp_path))))
    assert isinstance(encoder, TwoSpacesMeaning) and isinstance(encoder, FrameMeaning)
    check_reads(encoder)
    frames, sounds = clips()
    found = measure(encoder, CAPTIONS, frames, 8.0, sounds, 16000)
    assert found.ta.shape == found.tv.shape == (2,) and found.va is None and found.volume is None
    with pytest.raises(InputError, match="two spaces"):
        check_shared(encoder)
    with pytest.raises(InputError, match="no one vector"):
        encoder.read_text(CAPTIONS)


def test_their_processors_agree_with_the_published_ones(tmp_path: Path) -> None:
    from transformers import ClapFeatureExtractor, CLIPImageProcessor

    clap, clip = write_clap_and_clip(tmp_path)
    encoder = load_meaning(f"{clap}+{clip}")
    frames, sounds = clips()
    sound = sounds[:1, :11000]
    heard = ClapFeatureExtractor.from_pretrained(clap)(sound[0].numpy(), sampling_rate=48000, return_tensors="pt")
    torch.testing.assert_close(encoder.mels(sound), heard["input_features"].float(), atol=2e-3, rtol=0)
    pixels = (255 * frames[0]).round()
    seen = CLIPImageProcessor.from_pretrained(clip)(list(pixels.byte()), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = encoder.clip.get_image_features(pixel_values=seen)
        wanted = wanted if isinstance(wanted, torch.Tensor) else wanted.pooler_output
        found = encoder.read_frames(pixels / 255)
    torch.testing.assert_close(found, torch.nn.functional.normalize(wanted, dim=-1), atol=5e-3, rtol=0)


# The first of each was recorded from the published code, with weights of the published names.
RECORDED = {
    "vision": [0.0240315, -0.4469656, 0.3264787, 0.7248070, -0.1253909, -0.1567246, -0.3041657, -0.1868381],
    "audio": [-0.3163362, 0.1834518, -0.6288117, 0.5044982, -0.3001964, -0.1335575, 0.1622262, 0.2864984],
    "text": [-0.2806617, 0.5352482, -0.0795803, 0.2357687, 0.1036801, 0.7097448, -0.1236677, -0.2074553],
}


def test_imagebinds_networks_are_the_published_ones() -> None:
    network, ids = imagebind(), torch.zeros(2, 77, dtype=torch.long)
    ids[:, :5] = torch.tensor([49406, 320, 500, 2, 49407])
    ids[1, 4:6] = torch.tensor([7, 49407])
    found = {
        "vision": network.picture(normal("v", 2, 3, 2, 224, 224)), "audio": network.sound(normal("a", 2, 1, 128, 204)),
        "text": network.text(ids),
    }  # fmt: skip
    for name, vectors in found.items():
        torch.testing.assert_close(vectors[0], torch.tensor(RECORDED[name]), atol=1e-5, rtol=0)


def test_filter_banks_are_kaldis() -> None:
    fbank = pytest.importorskip("torchaudio").compliance.kaldi.fbank
    sound = 0.2 * normal("w", 1, 24000)
    wanted = fbank(sound, htk_compat=True, sample_frequency=16000, use_energy=False, window_type="hanning",
                   num_mel_bins=128, dither=0.0, frame_length=25, frame_shift=10)  # fmt: skip
    torch.testing.assert_close(kaldi_fbank(sound, 16000, 128)[0], wanted, atol=2e-4, rtol=0)
    assert filter_banks(sound).shape == (1, 1, 128, 204)
    # Past the sound's end zeros are scaled, too.
    assert filter_banks(sound)[0, 0, 0, -1].item() == pytest.approx(4.268 / 9.138)


@pytest.mark.slow
def test_imagebind_reads_a_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = imagebind(), tmp_path / "imagebind_huge.pth"
    more = {"modality_preprocessors.text.mask": torch.zeros(77, 77), "modality_heads.depth.0.weight": torch.ones(3)}
    torch.save({**network.state_dict(), **more}, path)
    ids = torch.zeros(2, 77, dtype=torch.long)
    ids[:, 0] = 9

    monkeypatch.setattr("con360.meaning.imagebind.clip_tokenizer", lambda roots: None)
    with pytest.raises(InputError, match="vocabulary"):
        load_meaning(path)
    monkeypatch.setattr("con360.meaning.imagebind.clip_tokenizer", lambda roots: tmp_path)
    monkeypatch.setattr("con360.meaning.imagebind.clip_tokens", lambda folder: lambda captions: ids)
    encoder = load_meaning(path)
    assert isinstance(encoder, ImageBindMeaning) and part_starts(6.0, 3) == [0.0, 2.0, 4.0]
    check_reads(encoder)
    torch.save({n: t for n, t in network.state_dict().items() if "audio.blocks.1.mlp.fc1" not in n}, path)
    with pytest.raises(InputError, match="does not fit"):
        load_meaning(path)


@pytest.mark.parametrize(
    ("named", "said"),
    [("nothing", "there is no encoder"), ("built-in", "name a model"), ("pe-av", "none of the model folders")],
)
def test_an_encoder_that_is_not_there_is_said(
    named: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("con360.meaning.load.model_roots", lambda: [tmp_path])
    with pytest.raises(InputError, match=said):
        load_meaning(named)


def test_a_folder_or_file_of_another_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="holds a bert"):
        load_meaning(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="unknown kind"):
        load_meaning(tmp_path / "a.safetensors")
