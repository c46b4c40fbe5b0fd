"""The training of the picture's envelope network: its scenes, a run that resumes, its file and its figures."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared_data import ROOT

from con360.choices import VOICE_FOLLOWS
from con360.errors import InputError
from con360.models.envelope_networks import PictureEnvelope, envelope_of_logits
from con360.scenes import random_scene
from con360.sound.envelopes import from_classes
from con360.weights.time_networks import load_picture_envelope, save_picture_envelope
from train.config import from_yaml, read_arguments
from train.tiny.stages import is_stage
from train.when import judge
from train.when.regions import Region, SceneRegions, build, regions_of
from train.when.run import CONFIGS, main, train

SEED = 3


@pytest.fixture(scope="module")
def regions():
    return regions_of(random_scene(SEED), SEED)


def test_regions_hold_a_voice_each_and_one_holds_nothing(regions):
    assert len(regions) == len(random_scene(SEED).performers) + 1
    assert all(one.motion.shape == (60, 4) and one.envelope.shape == (500,) for one in regions)
    still = [float(one.motion[:, 0].max()) for one in regions]
    assert all(float(one.envelope.mean()) > 0.01 for one in regions[:-1]) and still[-1] < 0.2 * min(still[:-1])
    # The picture pulses with the voice.
    for one in regions[:-1]:
        heard = torch.nn.functional.interpolate(one.envelope[None, None], 60, mode="area")[0, 0]
        assert torch.corrcoef(torch.stack((heard, one.motion[:, 0])))[0, 1] > 0.3


@pytest.mark.slow
def test_a_network_learns_and_its_file_holds_what_it_learned(tmp_path):
    out = tmp_path / "envelope.safetensors"
    settings = [f"out={out}", "pool=2", "held_out=1", "width=16", "batch=8", "ema_decay=0", "warmup=1", "seed=1"]
    first = train(read_arguments([*settings, "steps=1"], CONFIGS["envelope"]), say=lambda line: None)
    last = train(read_arguments([*settings, "steps=60"], CONFIGS["envelope"]), say=lambda line: None)
    assert last["classes"] < 0.9 * first["classes"]
    network = load_picture_envelope(out)
    assert (network.width, network.fps) == (16, 15.0) and out.stat().st_size < 100_000
    envelope = network.envelope(torch.rand(45, 4))
    assert len(envelope.values) == 375 and envelope.rate_hz == 125
    assert len(SceneRegions(tmp_path / "envelope" / "train-none.safetensors")) == sum(
        len(random_scene(seed).performers) + 1 for seed in (0, 1)
    )


def test_scenes_are_rendered_once(tmp_path, monkeypatch, regions):
    path = build(tmp_path / "a.safetensors", "train", 1, "none")
    kept = load_file(path)
    monkeypatch.setattr("train.when.regions.regions_of", lambda scene, seed: regions[:2])
    assert all(torch.equal(t, kept[name]) for name, t in load_file(build(path, "train", 1, "none")).items())
    build(path, "train", 1, "colour")
    assert len(SceneRegions(path)) == 2


def test_the_judge_prints_trivial_guesses_beside_the_network(tmp_path, monkeypatch, regions, capsys):
    save_picture_envelope(PictureEnvelope(8), tmp_path / "a.safetensors")
    found = {"hum": [regions[0]], judge.EMPTY: [regions[-1]]}
    monkeypatch.setattr(judge, "unseen", lambda *asked: found)
    assert judge.main([str(tmp_path / "a.safetensors"), "--scenes", "1"]) == 0
    rows = {
        line.split("  ")[0].strip() or line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()
    }
    silence = float(rows["hum"][-1])
    assert silence == pytest.approx(float(regions[0].envelope.mean()), abs=1e-4)
    assert 0 < float(rows["hum"][-3]) < silence, "motion at the best level is nearer than silence"
    assert judge.main([str(tmp_path / "none.safetensors")]) == 2 and "no weight file" in capsys.readouterr().err


def test_the_best_level_fits_the_curve(regions):
    perfect = {"hum": [Region(one.motion, 0.2 * judge.shares(one, 15.0)) for one in regions[:2]]}
    assert judge.best_level(perfect, 15.0) == pytest.approx(0.2)


def test_medians_are_nearer_than_likeliest_classes():
    """A belief with two peaks: the likeliest class is at its end, the median between."""
    logits = torch.full((64, 1), -20.0)
    logits[[0, 30, 40], 0] = torch.tensor([0.45, 0.35, 0.2]).log()
    assert PictureEnvelope.decoded(logits).values.tolist() == from_classes(torch.tensor([30])).tolist()
    assert envelope_of_logits(logits).values.tolist() == [0.0]
    half = envelope_of_logits(logits.roll(5, 0), upper_edges=True).values
    assert half > envelope_of_logits(logits.roll(5, 0)).values


def test_files_that_are_no_envelope_network_are_named(tmp_path):
    network, path = PictureEnvelope(8), tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="of an unknown kind"):
        load_picture_envelope(path)
    for facts, says in (
        (None, "does not say"), ("[]", "does not say"), ('{"width": 1e9, "fps": 15}', "width 1000000000"),
        ('{"width": 4, "fps": 15}', "has shape"), ('{"width": 8, "fps": NaN}', "nan fps"),
    ):  # fmt: skip
        metadata = {"format": "con360-envelope"} | ({} if facts is None else {"facts": facts})
        save_file(network.state_dict(), path, metadata=metadata)
        with pytest.raises(InputError, match=says):
            load_picture_envelope(path)
    save_picture_envelope(network, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut off"):
        load_picture_envelope(path)


def test_stages_have_settings_that_exist(capsys):
    stages = [stage.split() for stage in from_yaml(ROOT / "train" / "when.yaml").stages]
    assert [words[0] for words in stages] == ["train.when.run", "train.when.judge"]
    config = read_arguments(stages[0][2:], CONFIGS[stages[0][1]])
    assert str(config.out) == stages[1][1] and all(is_stage(" ".join(words)) for words in stages)
    assert json.dumps(config.to_dict()) and config.voice_follows in VOICE_FOLLOWS
    assert main(["melody"]) == 2 and "choose one of envelope" in capsys.readouterr().err
