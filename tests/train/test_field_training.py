"""Test the training of a direction head: scenes, draws, targets, the run, and the tool that adds a head."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from con360.control import ControlConfig, ControlModule, load_control, save_control
from con360.control.field_file import load_head
from con360.control.field_head import MAP_SIZE
from con360.scenes import VOICES, Scene, caption_vocabulary
from con360.sound.fields import analyse
from con360.timing import ClipSpec
from train.field import cache, draws, run, scenes
from train.field.settings import FieldRunConfig

SPEC = ClipSpec()
MAPS = ("estimated", "true", "colours")


def cheap(scene: Scene) -> cache.Rendered:
    """Return what a scene's sound gives, with a bright column at its first performer in every map."""
    powers, yaws, pitches = cache.voices_of(scene, SPEC)
    maps = torch.zeros(32, *MAP_SIZE, dtype=torch.uint8)
    maps[..., int((yaws[0, 0] / 360 + 0.5) * MAP_SIZE[1]) % MAP_SIZE[1]] = 255
    return cache.Rendered(maps, maps, maps, powers.half(), yaws, pitches)


def test_redrawn_rates_differ_from_each_other_and_move_sound_and_picture_alike():
    rates = []
    for index in range(6):
        scene = scenes.with_other_rates(scenes.field_scene("train", index), np.random.default_rng(index))
        own = sorted(p.rate_hz for p in scene.performers)
        assert all(b / a >= scenes.RATIO - 1e-9 for a, b in zip(own, own[1:], strict=False))
        assert scenes.SLOWEST_HZ <= own[0] and own[-1] <= scenes.FASTEST_HZ + 1e-9
        rates += own
    assert len({round(rate, 6) for rate in rates}) == len(rates)
    performer = replace(scene.performers[0], voice="beep", rate_hz=0.5, phase=0.0)
    assert performer.envelope_at(0.5) == 1.0 and performer.envelope_at(1.5) == 0.0
    loud = np.abs(performer.mono(np.arange(32000) / 16000)).reshape(2, -1).max(1)
    assert loud[0] > 0.1 and loud[1] < 1e-6 and VOICES["beep"].rate_hz == 2.0


def test_captions_lose_their_directions_and_their_order():
    scene, rng = scenes.field_scene("train", 0), np.random.default_rng(0)
    assert scenes.words_of(scene, rng) == scene.caption().short
    untold = scenes.words_of(scene, rng, told=False)
    assert not {"front", "left", "right", "behind"} & set(untold.replace(",", "").split())
    assert len({scenes.words_of(scene, rng, shuffled=True) for _ in range(20)}) > 1


def test_targets_are_the_field_of_the_scene():
    scene = scenes.field_scene("train", 1)
    rendered = cheap(scene)
    lobes, vectors, weights = draws.targets(rendered, rendered.powers_db.float())
    truth = analyse(scene.foa(SPEC)).vectors
    off = ((truth - vectors).norm(dim=-1) * weights).sum() / weights.sum()
    assert off < 0.02
    torch.testing.assert_close(lobes.sum(-1)[weights > 0], torch.ones(int((weights > 0).sum())))
    errors = draws.azimuth_errors_deg(vectors, rendered.powers_db, rendered.yaws_deg)[: len(scene.performers)]
    assert errors.max() < 1
    turned = torch.stack((vectors[..., 2], vectors[..., 1], -vectors[..., 0]), -1)
    errors = draws.azimuth_errors_deg(turned, rendered.powers_db, rendered.yaws_deg)[: len(scene.performers)]
    assert (errors - 90).abs().max() < 1


def test_draws_turn_maps_voices_and_words_together():
    scene, config = scenes.field_scene("train", 2), FieldRunConfig(drop_maps=0.0, drop_colours=0.0)
    rendered = cheap(scene)
    for number in range(8):
        rng = np.random.default_rng(number)
        moved, found = draws._looking_elsewhere(scene, rendered, rng)
        column = int(found.true[0, 0].argmax())
        yaw = float(moved.performers[0].yaw_at(0.0))
        assert abs((column + 0.5) / MAP_SIZE[1] * 360 - 180 - yaw + 180) % 360 - 180 == pytest.approx(0, abs=5.1)
        assert torch.allclose((found.yaws_deg[0, 0] - yaw + 180) % 360 - 180, torch.tensor(0.0), atol=1.0)
    one = draws.draw(scene, rendered, np.random.default_rng(5), config, caption_vocabulary())
    again = draws.draw(scene, rendered, np.random.default_rng(5), config, caption_vocabulary())
    assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(again).values(), strict=True))
    assert one.maps.shape == (100, 2, *MAP_SIZE) and one.lobes.shape == (100, 64, 36)
    silent = draws.draw(
        scene, rendered, np.random.default_rng(5), replace(config, drop_sound=1.0), caption_vocabulary()
    )
    assert silent.powers_db.max() < -100 and torch.equal(silent.vectors, one.vectors)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cache render cheaply."""
    monkeypatch.setattr(cache, "render", cheap)


@pytest.mark.usefixtures("rendered")
def test_a_run_writes_a_head_and_a_control_that_carries_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    control = tmp_path / "plain.safetensors"
    module = ControlModule(ControlConfig({"video.up.0": 8}, widths=(4,), strides=(2,), hidden=4))
    save_control(control, module, base="b", base_fingerprint="f", training={}, saliency="multi-cue")
    out = tmp_path / "head.safetensors"
    few = ("steps", "word_steps", "pool", "batch", "sample_every")
    settings = [*(f"{name}=2" for name in few), "held_out=1", "num_samples=1", "log_every=1"]
    assert run.main([f"out={out}", f"control={control}", *settings]) == 0
    assert "wrote" in capsys.readouterr().out
    assert load_head(out).config.words == caption_vocabulary()
    carrying = load_control(tmp_path / "control.safetensors")
    assert carrying.field_head is not None
    with safe_open(out, framework="pt") as file:
        assert json.loads(file.metadata()["field_training"])["steps"] == 2
    log = [json.loads(line) for line in (tmp_path / "head" / "log.jsonl").read_text().splitlines()]
    assert any("validation/no directions within 20" in line for line in log)
    added = tmp_path / "added.safetensors"
    assert run.main(["add", str(control), str(out), str(added)]) == 0
    assert load_control(added).field_head is not None
    assert run.main(["add", str(control)]) == 2 and "three files" in capsys.readouterr().err
    assert run.main([f"out={out}", "control=none.safetensors"]) == 2


@pytest.mark.usefixtures("rendered")
def test_scenes_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "PART", 2)
    first = cache.build(tmp_path / "scenes", "train", 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scenes-0.safetensors", "scenes-1.safetensors"]
    monkeypatch.setattr(cache, "render", None)
    again = cache.build(tmp_path / "scenes", "train", 3)
    assert len(again) == 3 and all(torch.equal(getattr(first, n), getattr(again, n)) for n in (*MAPS, "powers_db"))
