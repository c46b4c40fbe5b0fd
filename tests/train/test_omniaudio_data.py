"""Files around trainings of Ambisonics: sounds, first weights, pictures, shards, stages, an exported model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from safetensors.torch import load_file, save_file
from shared_data import ROOT
from tiny_fields import CODEC, clip, make_model, tone

from con360.errors import InputError
from con360.models.oobleck import Oobleck, OobleckConfig
from con360.sounding.model import load_ambisonics_model
from con360.sounding.small_encoder import SmallEncoder
from train.config import from_yaml, read_arguments
from train.examples import scene_of
from train.omniaudio import ablate
from train.omniaudio.cache import _kept
from train.omniaudio.codec import CONFIG
from train.omniaudio.codec_start import start_from_stereo
from train.omniaudio.distances import beams, intensity_distance, spectral_distance, wave_distance
from train.omniaudio.export import export, halved
from train.omniaudio.fields import PreparedFields, SoundFields
from train.omniaudio.flow import close_unseen, load_flow, new_model, save_flow
from train.omniaudio.panoramas import equiangular
from train.omniaudio.run import CONFIGS, main
from train.omniaudio.settings import FEATURES, FlowConfig
from train.omniaudio.sounds import SoundFiles, to_field, turned

HALF = 0.5**0.5


def test_mono_becomes_w_and_stereo_sum_and_difference():
    mono, left, right = torch.ones(1, 4), torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 1])
    assert torch.equal(to_field(mono), torch.cat((mono, torch.zeros(3, 4))))
    field = to_field(torch.stack((left, right)))
    assert torch.allclose(field[0], HALF * torch.tensor([1.0, 0, 0, 1]))
    assert torch.allclose(field[1], HALF * torch.tensor([1.0, 0, 0, -1])), "Y points left"
    assert not field[2:].any() and torch.equal(to_field(torch.ones(9, 4)), torch.ones(4, 4))
    with pytest.raises(InputError, match="3 channels"):
        to_field(torch.ones(3, 4))


def test_a_turn_moves_what_is_ahead_to_the_left():
    ahead = torch.tensor([1.0, 0, 0, 1])[None, :, None].expand(2, 4, 5)
    made = turned(ahead, torch.tensor([90.0, 90.0]), torch.tensor([False, True]))
    assert torch.allclose(made[0, :, 0], torch.tensor([1.0, 1, 0, 0]), atol=1e-6)
    left = torch.tensor([1.0, 1, 0, 0])[None, :, None]
    assert torch.allclose(turned(left, torch.zeros(1), torch.tensor([True]))[0, 1], -torch.ones(1))


def test_files_are_read_as_fields_and_a_twentieth_is_held_out(tmp_path):
    for number in range(20):
        stereo = torch.stack((torch.full((800,), 0.5), torch.zeros(800)))
        scipy.io.wavfile.write(tmp_path / f"{number:02d}.wav", 8000, stereo.T.numpy())
    train, held = (SoundFiles(tmp_path, split, 16000, 0.2) for split in ("train", "validation"))
    assert (len(train), len(held)) == (19, 1) and not set(train.paths) & set(held.paths)
    field = train[0]
    assert field.shape == (4, 3200) and torch.allclose(field[0], field[1]) and not field[:, 1700:].any()
    with pytest.raises(InputError, match="none of them for train"):
        SoundFiles(tmp_path / "nothing", "train", 16000, 1.0)
    codec = Oobleck(CODEC)
    encoded = SoundFields(train, codec)[0]
    assert torch.equal(encoded.mean, codec.moments(field[None].float())[0][0]) and encoded.panorama.numel() == 0


@torch.no_grad()
def test_an_autoencoder_of_stereo_becomes_one_of_fields(tmp_path):
    sizes = OobleckConfig(channels=2, width=8, multipliers=(1, 2), strides=(2, 4), latent_channels=4)
    torch.manual_seed(0)
    stereo, model = Oobleck(sizes), Oobleck(replace(sizes, channels=4))
    save_file({f"pretransform.model.{n}": t for n, t in stereo.state_dict().items()}, tmp_path / "stereo.safetensors")
    start_from_stereo(model, tmp_path / "stereo.safetensors")
    pair = torch.randn(1, 2, 256)
    field = to_field(pair[0])[None]
    for a, b in zip(stereo.moments(pair), model.moments(field), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    latents = torch.randn(1, 4, 32)
    made = model.decode(latents)
    assert torch.allclose(made[:, :2], to_field(stereo.decode(latents)[0])[None, :2], atol=1e-5)
    assert 0 < made[:, 2:].std() < 0.1 * made[:, :2].std(), "nothing says yet what is above or ahead"
    louder = field.clone()
    louder[:, 2:] = 1
    assert torch.equal(model.moments(louder)[0], model.moments(field)[0])
    with pytest.raises(InputError, match="no stereo autoencoder of this size"):
        start_from_stereo(Oobleck(), tmp_path / "stereo.safetensors")


def test_beams_tell_left_from_right_and_channels_do_not():
    true = torch.stack([tone(1), tone(2)])
    mirrored = true * torch.tensor([1.0, -1, 1, 1])[None, :, None]
    assert not spectral_distance(mirrored, true).any(), "magnitudes of channels have no sign"
    for distance in (spectral_distance(beams(mirrored), beams(true)), wave_distance(mirrored, true),
                     intensity_distance(mirrored, true, 16000)):  # fmt: skip
        assert distance.shape == (2,) and (distance > 0.05).all()
    silent = torch.zeros(2, 4, 8000)
    assert torch.isfinite(spectral_distance(silent + 1e-3, silent)).all()


def test_every_pixel_of_an_equiangular_face_spans_the_same_angle():
    height = 180
    longitude = np.linspace(0, 255, 2 * height, endpoint=False)[None, :, None].repeat(height, 0).repeat(3, 2)
    picture = equiangular(longitude.astype(np.uint8))
    side = height // 2
    assert picture.shape == (3 * side, 3 * side, 3) and not picture[: side // 2 - 1].any()
    # The bars make the picture square; across the middle of the upper row it looks left, ahead and right.
    row = picture[side // 2 + side // 2, :, 0].astype(float) * 360 / 255 - 180
    wanted = np.linspace(-135 + 0.5, 135 - 0.5, 3 * side)
    assert np.abs(row - wanted).max() < 4, "a straight line: equal angles"


def test_a_cache_grows_by_parts_and_serves_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr("train.omniaudio.cache.PART", 2)
    made = []

    def clip_of(seed):
        made.append(seed)
        return clip(seed)

    first = _kept(tmp_path / "cache-colour", "train", 3, clip_of)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "cache-colour-0.safetensors",
        "cache-colour-1.safetensors",
    ]
    few, more = (_kept(tmp_path / "cache-colour", "train", count, clip_of) for count in (2, 5))
    assert (len(first), len(few), len(more), made) == (3, 2, 5, [0, 1, 2, 3, 4])
    assert torch.equal(first.mean[:2], few.mean) and torch.equal(more.mean[:3], first.mean)
    assert first.mean.dtype == torch.float16


def test_what_is_not_seen_has_no_influence():
    model = make_model()
    close_unseen(model, "none")
    rows = torch.randn(1, 8, 8), torch.zeros(1, 8, 8)
    for name in ("view", "panorama"):
        embed = getattr(model.embedders, name)
        assert torch.equal(*map(embed, rows))
    model = make_model()
    close_unseen(model, "erp")
    assert torch.equal(*map(model.embedders.view, rows)) and not torch.equal(*map(model.embedders.panorama, rows))


@pytest.fixture(scope="module")
def small():
    """A model of the built-in one's sizes with random weights."""
    torch.manual_seed(3)
    model = new_model(Oobleck(CONFIG).eval(), FEATURES["small"], "maximum")
    torch.nn.init.normal_(model.transformer.transformer.project_out.weight, std=0.02)
    return model, SmallEncoder()


def test_an_exported_model_is_read_back_and_small(tmp_path, small):
    model, encoder = small
    export(model, encoder, tmp_path / "bundle")
    read = load_ambisonics_model(tmp_path / "bundle")
    assert (read.network.panorama, read.network.sample_rate_hz, read.network.trained_s) == ("maximum", 16000, 4.0)
    for part in ("transformer", "embedders", "vae"):
        own, found = (getattr(m, part).state_dict() for m in (model, read.network))
        assert own.keys() == found.keys()
        assert all(torch.equal(halved({name: t})[name].float(), found[name]) for name, t in own.items())
    assert sum(file.stat().st_size for file in (tmp_path / "bundle").iterdir()) <= 12e6
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["defaults"]["steps"] > 0
    huge = torch.nn.Linear(1000, 3000)
    with pytest.raises(InputError, match="at most 12"):
        export(model, huge, tmp_path / "huge")
    assert not (tmp_path / "huge").exists(), "nothing half-written"


def test_a_transformers_file_goes_into_the_next_stage_and_others_are_refused(tmp_path, small):
    model, _ = small
    save_flow(model, tmp_path / "flow.safetensors")
    fresh = new_model(model.vae, FEATURES["small"], "maximum")
    load_flow(fresh, tmp_path / "flow.safetensors")
    assert all(torch.equal(t, fresh.transformer.state_dict()[n]) for n, t in model.transformer.state_dict().items())
    assert all(n.startswith(("model.model.", "conditioner.")) for n in load_file(tmp_path / "flow.safetensors"))
    with pytest.raises(InputError, match="other networks"):
        load_flow(new_model(model.vae, 17, "maximum"), tmp_path / "flow.safetensors")
    with pytest.raises(InputError, match="run its stage first"):
        load_flow(fresh, tmp_path / "nothing.safetensors")


@pytest.mark.slow
def test_shards_hold_latents_and_features(tmp_path, small):
    pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e '.[cluster]'")
    from train.preparation.model import field_facts, model_facts
    from train.preparation.run import prepare
    from train.preparation.settings import TRUTH, Settings
    from train.preparation.sources import procedural_scenes

    model, encoder = small
    export(model, encoder, tmp_path / "bundle")
    settings = Settings(model_facts(), seconds=0.5, saliency=TRUTH, split="given", crops=False)
    with_field = replace(settings, field=field_facts(str(tmp_path / "bundle")))
    source = procedural_scenes(2, "train", 0)
    prepare(source, tmp_path / "data", with_field, say=lambda text: None)
    fields = PreparedFields(tmp_path / "data", "train", model.vae)
    assert len(fields) == 2 and fields[0].panorama.shape == (4, FEATURES["small"])
    read = load_ambisonics_model(tmp_path / "bundle").network
    with torch.no_grad():
        mean, _ = read.vae.moments(scene_of("train", 0).foa(settings.spec).waveform[None])
    rows = [fields[i].mean.float() for i in range(2)]
    assert min(float((row - mean[0]).abs().max()) for row in rows) < 1e-2
    with pytest.raises(InputError, match="numbers, and this codec makes"):
        PreparedFields(tmp_path / "data", "train", Oobleck(CODEC))
    prepare(source, tmp_path / "plain", settings, say=lambda text: None)
    with pytest.raises(InputError, match="--field-model"):
        PreparedFields(tmp_path / "plain", "train", model.vae)
    assert settings.identity().keys() == with_field.identity().keys() - {"field"}
    assert with_field.spec.longest_s == 4.0


@pytest.mark.parametrize("preset", ["omniaudio", "omniaudio_full"])
def test_stages_have_settings_that_exist_and_read_what_earlier_ones_wrote(preset):
    written: set[Path] = set()
    for stage in from_yaml(ROOT / "train" / f"{preset}.yaml").stages:
        module, *words = stage.split()
        if module != "train.omniaudio.run":
            assert module == "train.omniaudio.export"
            continue
        config = read_arguments(words[1:], CONFIGS[words[0]])
        assert {getattr(config, "init", None)} <= {None, *written}
        if isinstance(config, FlowConfig):
            assert config.codec in written
        written.add(config.out)
    assert any(path.name == "flow.safetensors" for path in written)


def test_refusals(tmp_path, capsys):
    out = f"out={tmp_path / 'x.safetensors'}"
    for arguments, message in (
        (["melody"], "no stage; choose one of pictures, codec, flow"),
        (["codec", out, "size=full"], "16 kHz"),
        (["codec", out, "crop_s=0.1"], "0.25 or more"),
        (["flow", out, f"codec={tmp_path / 'no.safetensors'}"], "no codec"),
        (["flow", out, "branches=left"], "wanted one of erp\\+view"),
        (["flow", out, "shown=2"], "share from 0 to 1"),
    ):
        assert main(arguments) == 2
        assert re.search(message, capsys.readouterr().err), arguments
    assert main(["--help"]) == 0 and "least_masked" in capsys.readouterr().out


def test_variants_differ_by_what_they_are_called_and_share_their_first_trainings():
    ablation = ablate.Ablation(Path("runs"), steps=100, first_steps=50, pool=10, batch=4)
    own = {name: ablation.runs(name)[-1] for name in ablate.VARIANTS}
    assert len({config.out for config in own.values()}) == len(own) == 10
    assert {config.steps for config in own.values()} == {100}
    assert ablation.runs("no pre-training")[:-1] == [] and own["no pre-training"].init is None
    assert [c.train for c in ablation.runs("published")] == ["coarse", "fine", "video"]
    assert ablation.runs("EAC")[:-1] == ablation.runs("published")[:-1]
    assert ablation.runs("fine alone")[0].out != ablation.runs("published")[1].out
    assert own["panorama per frame"].panorama == "per_frame" and own["ERP"].branches == "erp"


def test_tables_of_variants_hold_intervals(tmp_path):
    names = ("published", "no pictures", ablate.FLOOR, "beside")
    stores = {name: ablate.Store(tmp_path / name, {}) for name in names}
    scenes = ablate.Scenes("colour", "still")
    for index in range(3):
        row = {"clip": 10.0 + index, "second": 1.0, "band": 2.0, "within": 1.0, "missing": 0.0, "log_mel": 3.0}
        for name, distance in (("published", 3.0), ("no pictures", 5.0), (ablate.FLOOR, 1.0)):
            stores[name].put(scenes.part, index, {"sources": 1, "rows": {"made": {**row, "log_mel": distance}}})
        stores["beside"].put(scenes.part, index, {"sources": 1, "rows": {"ahead": {**row, "clip": 90.0}}})
    text, values = ablate.report([scenes], stores, 3)
    assert "**published** | 11" in text and "[10" in text
    assert values[scenes.part]["published"]["clips"] == 3
    assert "codec's floor, published to no pictures: 0.5 [0.5, 0.5]" in text and text.count("codec's floor") == 1


def test_a_result_of_other_settings_is_refused(tmp_path):
    config = ablate.Ablation(tmp_path, 2, 1, 4, 2).config("a.safetensors")
    config.out.parent.mkdir(parents=True)
    config.out.touch()
    with pytest.raises(InputError, match="checkpoints are gone"):
        ablate.train_missing([config], print)
