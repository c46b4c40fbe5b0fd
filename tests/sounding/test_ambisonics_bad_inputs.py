"""Input that cannot be used is named in a sentence; where memory runs out, smaller pieces are tried."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic_clips import noise, write_video
from tiny_ambisonics import RATE_HZ, tiny_ambisonics, write_tiny_ambisonics
from torch import Tensor

from con360.errors import InputError
from con360.media.reader import read_sound
from con360.memory import TooLittleMemory
from con360.models.flow_transformer import FlowTransformer
from con360.models.oobleck import Oobleck
from con360.sounding.generate import latent_groups
from con360.sounding.model import AmbisonicsModel, load_ambisonics_model
from con360.sounding.picture_encoder import PictureFeatures
from con360.sounding.run import AmbisonicsSettings, ambisonics_for_clip, ambisonics_for_frames

FRESH = AmbisonicsSettings(keep=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AmbisonicsModel:
    return tiny_ambisonics(tmp_path_factory.mktemp("model"))


def clip_of(path: Path, frames: int, size: tuple[int, int] = (128, 64)) -> Path:
    pictures = [np.full((size[1], size[0], 3), 90 + i, np.uint8) for i in range(frames)]
    return write_video(path, [i / 10 for i in range(frames)], size=size, pictures=pictures)


def refused(clip: Path, model: AmbisonicsModel, words: str, settings: AmbisonicsSettings = FRESH) -> None:
    before = sorted(clip.parent.iterdir())
    with pytest.raises(InputError, match=words):
        ambisonics_for_clip(clip, clip.with_name("out.mp4"), model, settings)
    assert sorted(clip.parent.iterdir()) == before


# Clips ----------------------------------------------------------------------------------------------------------------


def test_a_flat_video_is_refused(model: AmbisonicsModel, tmp_path: Path) -> None:
    refused(clip_of(tmp_path / "flat.mp4", 20, (64, 64)), model, "360")


def test_a_wide_picture_without_metadata_is_taken_for_a_panorama_and_named(
    model: AmbisonicsModel, tmp_path: Path
) -> None:  # fmt: skip
    wide, sure = clip_of(tmp_path / "wide.mp4", 20, (128, 72)), clip_of(tmp_path / "sure.mp4", 20)
    said = [ambisonics_for_clip(clip, tmp_path / "out.mp4", model, FRESH).notices for clip in (wide, sure)]
    assert [any("does not say that it is a 360° video" in one for one in notices) for notices in said] == [True, False]


def test_clips_that_are_too_short_are_refused(model: AmbisonicsModel, tmp_path: Path) -> None:
    refused(clip_of(tmp_path / "two.mp4", 1), model, "wanted 2 or more")
    with pytest.raises(InputError, match="wanted 2 or more"):
        ambisonics_for_frames(torch.rand(2, 8, 16, 3), 30.0, model, FRESH)
    short = AmbisonicsSettings(start_s=1.0, duration_s=0.03, keep=False)
    refused(clip_of(tmp_path / "row.mp4", 20), model, "wanted 2 or more", short)
    refused(clip_of(tmp_path / "end.mp4", 20), model, "earlier start", AmbisonicsSettings(start_s=5.0, keep=False))


def test_a_clip_shorter_than_a_latent_row_is_refused(model: AmbisonicsModel) -> None:
    pictures = PictureFeatures(torch.zeros(2, 16), torch.zeros(2, 16))
    with pytest.raises(InputError, match="shorter than one latent row"):
        next(latent_groups(model.network, pictures, 0.03))


def test_a_file_that_was_cut_off_is_refused_or_read_as_far_as_it_goes(model: AmbisonicsModel, tmp_path: Path) -> None:
    whole = clip_of(tmp_path / "whole.mp4", 40).read_bytes()
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    refused(cut, model, "incomplete")
    matroska = write_video(tmp_path / "whole.mkv", [i / 10 for i in range(60)], size=(256, 128), gop=5)
    part = tmp_path / "part.mkv"
    part.write_bytes(matroska.read_bytes()[: round(0.6 * matroska.stat().st_size)])
    made = ambisonics_for_clip(part, tmp_path / "out.mp4", model, FRESH)
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert 1 < made.duration_s < 6
    assert abs(sound.duration_s - made.duration_s) < 0.1


def test_the_clip_itself_is_not_overwritten(model: AmbisonicsModel, tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", 20)
    with pytest.raises(InputError, match="both read and written"):
        ambisonics_for_clip(clip, clip, model, FRESH)


def test_frames_that_are_not_finite_are_named(model: AmbisonicsModel) -> None:
    frames = torch.rand(20, 8, 16, 3)
    frames[5] = torch.nan
    with pytest.raises(InputError, match="frame 6 holds values that are not finite"):
        ambisonics_for_frames(frames, 8.0, model, FRESH)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"view": "back"}, "choose front or salient"), ({"gain_db": 90.0}, "-60 to 60"),
        ({"gain_db": float("nan")}, "-60 to 60"), ({"start_s": -1.0}, "0 or later"),
        ({"duration_s": 0.0}, "positive"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        AmbisonicsSettings(**settings)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": 5000}, {"cfg": -1.0}, {"seed": -1}])
def test_numbers_of_the_sampler_are_checked(model: AmbisonicsModel, settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="wanted"):
        AmbisonicsSettings(**settings).of_model(model)


# Weights --------------------------------------------------------------------------------------------------------------


def test_pictures_of_another_width_are_refused(tmp_path: Path) -> None:
    folder, other = write_tiny_ambisonics(tmp_path / "a"), write_tiny_ambisonics(tmp_path / "b", width=24)
    shutil.copy(other / "pictures.safetensors", folder / "pictures.safetensors")
    with pytest.raises(InputError, match="gives 24 features and con360-small reads 16"):
        load_ambisonics_model(folder)


def test_weights_of_another_config_are_refused(tmp_path: Path) -> None:
    folder, other = write_tiny_ambisonics(tmp_path / "a"), write_tiny_ambisonics(tmp_path / "b", latents=4)
    state, foreign = load_file(folder / "model.safetensors"), load_file(other / "model.safetensors")
    mixed = {name: (foreign if name.startswith("model.") else state)[name] for name in state}
    save_file(mixed, folder / "model.safetensors")
    with pytest.raises(InputError, match="does not fit|channels"):
        load_ambisonics_model(folder)


def test_a_folder_that_is_no_small_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="config.json"):
        load_ambisonics_model(tmp_path)
    folder = write_tiny_ambisonics(tmp_path / "a")
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, "defaults": {}}))
    with pytest.raises(InputError, match="wanted knows, a sentence, and defaults"):
        load_ambisonics_model(folder)
    whole = (folder / "pictures.safetensors").read_bytes()
    write_tiny_ambisonics(folder)
    (folder / "pictures.safetensors").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"pictures\.safetensors"):
        load_ambisonics_model(folder)


def test_what_is_not_there_is_named_with_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("con360.sounding.model.model_roots", lambda: [tmp_path])
    with pytest.raises(InputError, match=r"con360_omniaudio.*Apache-2\.0"):
        load_ambisonics_model("omniaudio")
    with pytest.raises(InputError, match="there is no file"):
        load_ambisonics_model(tmp_path / "model.ckpt")
    small = write_tiny_ambisonics(tmp_path / "a")
    with pytest.raises(InputError, match="picture encoder of its own"):
        load_ambisonics_model(small, tmp_path)


# Memory ---------------------------------------------------------------------------------------------------------------


def frames() -> Tensor:
    return torch.rand(48, 8, 16, 3, generator=torch.Generator().manual_seed(0))


def test_a_smaller_way_gives_the_same_sound_where_memory_runs_out(
    model: AmbisonicsModel, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    usual = ambisonics_for_frames(frames(), 8.0, model, FRESH).waveform
    decode, velocity = Oobleck.decode, FlowTransformer.velocity
    failed = []

    def small_decode(self: Oobleck, latents: Tensor) -> Tensor:
        if latents.shape[-1] > 60:
            failed.append("decoder")
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, latents)

    def small_velocity(self: FlowTransformer, x: Tensor, *rest: Tensor) -> Tensor:
        if len(x) > 1:
            failed.append("transformer")
            raise RuntimeError("can't allocate memory: you tried to allocate 9 bytes")
        return velocity(self, x, *rest)

    monkeypatch.setattr(Oobleck, "decode", small_decode)
    monkeypatch.setattr(FlowTransformer, "velocity", small_velocity)
    smaller = ambisonics_for_frames(frames(), 8.0, model, FRESH).waveform
    assert {"decoder", "transformer"} == set(failed)
    assert torch.allclose(smaller, usual, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "work", "words"),
    [
        (Oobleck, "decode", "while decoding the sound"),
        (FlowTransformer, "velocity", "passes one by one as well; compute on the cpu"),
    ],
)
def test_memory_that_is_not_enough_for_the_smaller_way_is_named(
    model: AmbisonicsModel, monkeypatch: pytest.MonkeyPatch, network: type, work: str, words: str
) -> None:  # fmt: skip
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network, work, full)
    with pytest.raises(TooLittleMemory, match=words):
        ambisonics_for_frames(frames(), 8.0, model, FRESH)


def test_a_model_that_makes_no_numbers_is_named(model: AmbisonicsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Oobleck, "decode", lambda self, z: torch.full((1, 4, z.shape[-1] * 640), torch.nan))
    with pytest.raises(InputError, match="not finite"):
        ambisonics_for_frames(frames(), 8.0, model, FRESH)


def test_two_pictures_suffice(model: AmbisonicsModel, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [0.0, 0.1], sound=noise(1, 3200), rate_hz=RATE_HZ)
    assert ambisonics_for_clip(clip, tmp_path / "out.mp4", model, FRESH).duration_s < 0.15
