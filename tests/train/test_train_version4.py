"""Version 4's stages: each takes a step, goes on where it was killed, and ends in a bundle that generates."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_data import ROOT

from con360.control import encode_control, load_control
from con360.errors import InputError
from con360.meaning.built_in import load_built_in
from con360.records import Conditions, SaliencyMaps, SceneCaption, View, ViewTrack
from con360.viewpoint.basd import basd_maps
from con360.weights.load import load_joint_model
from train.examples import Shares, make_example, staging, strike, strikes_of
from train.losses import drop_when
from train.tiny import run, work
from train.tiny.export import export_bundle
from train.tiny.model import SIDES, SPEC, TinyModel
from train.tiny.run import CHECKPOINT, Interrupted, Stage, join, start_from, train_stage
from train.tiny.work import CACHES, Places

BUNDLE = ROOT / "con360" / "bundle"
SMALL = {
    name: replace(settings, count=2, num_frames=min(settings.num_frames, 2), estimate_every=10**9)
    for name, settings in CACHES.items()
}


@pytest.fixture
def small(monkeypatch):
    """Let every stage run over two short examples."""
    monkeypatch.setattr(work, "CACHES", SMALL)


def places(tmp_path, name: str = "run") -> Places:
    return Places(tmp_path / name, BUNDLE, BUNDLE, tmp_path / "cache")


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / CHECKPOINT, weights_only=True)["average"]


def moved(before, after) -> set[str]:
    return {name for name, t in before.items() if not torch.equal(t, after[name])}


def test_a_new_model_modulates_as_the_bundle_that_it_starts_from(tmp_path):
    model = TinyModel()
    start_from(model, places(tmp_path))
    track = ViewTrack.still(View(20.0), 4)
    given = Conditions(SaliencyMaps(torch.rand(4, 64, 128), "test"), basd_maps(track, 64), SceneCaption(""))
    shapes = model.unet.site_shapes((4, 16, 16), (104, 16))
    told = dict(fps=8.0, audio_seconds=SPEC.latent_seconds_a)
    old = encode_control(load_control(BUNDLE / "control.safetensors").module, given, shapes, **told)
    new = encode_control(model.control.eval(), given, shapes, **told)
    # The last bits depend on where in memory the weights lie.
    assert all(torch.allclose(a, b, atol=1e-5) for site in old for a, b in zip(old[site], new[site], strict=True))
    inputs = {"video.input", "audio.input"}
    assert set(new) - set(old) <= inputs and all(new[s][i].abs().max() == 0 for s in inputs - set(old) for i in (0, 1))


def test_each_side_has_weights_of_its_own_and_together_they_are_all_but_the_frozen_ones():
    names = [name for name, _ in TinyModel().named_parameters()]
    sides = [{name for name in names if name.startswith(starts)} for starts in SIDES.values()]
    assert not sides[0] & sides[1]
    rest = {name.split(".")[0] + "." + name.split(".")[1] for name in set(names) - sides[0] - sides[1]}
    assert {r for r in rest if not r.startswith("text_")} == {"control.encoder"}


def test_a_killed_stage_goes_on(tmp_path, small, monkeypatch, capsys):
    stage = Stage("listen", 1, steps=2, sides=("sound",))
    there = places(tmp_path, "cut")

    def killed(*args, **named):
        given = work.work_of(*args, **named)

        def losses(*inputs):
            os.kill(os.getpid(), signal.SIGTERM)
            return given.losses(*inputs)

        return replace(given, losses=losses)

    monkeypatch.setattr(run, "work_of", killed)
    with pytest.raises(Interrupted):
        train_stage(stage, there)
    monkeypatch.setattr(run, "work_of", work.work_of)
    assert "resume" in torch.load(there.out / CHECKPOINT, weights_only=True)
    train_stage(stage, there)
    assert "going on from step 1" in capsys.readouterr().out
    held = torch.load(there.out / CHECKPOINT, weights_only=True)
    assert held["step"] == 2 and "resume" not in held


def test_nothing_to_start_from_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="nothing to start from"):
        start_from(TinyModel(), Places(tmp_path, tmp_path, tmp_path, tmp_path))
    with pytest.raises(InputError, match="train that side first"):
        join(tmp_path, tmp_path, tmp_path)
    with pytest.raises(InputError, match="there is no checkpoint.pt"):
        export_bundle(places(tmp_path), tmp_path / "bundle")


def test_tracks_lose_channels_spans_and_themselves():
    when = torch.ones(4000, 4, 50)
    dropped, keep = drop_when(when, torch.Generator().manual_seed(0))
    gone = (dropped.amax(dim=2) == 0).float().mean(dim=0)
    assert gone[:3].tolist() == pytest.approx([0.3] * 3, abs=0.03) and gone[3] == 0
    # All three by themselves, or all together.
    assert keep.mean().item() == pytest.approx(0.8 * (1 - 0.3**3), abs=0.03)
    span = (dropped[:, 3] == 0).float().mean(dim=1)
    assert (span > 0).float().mean().item() == pytest.approx(0.2, abs=0.03) and span.max() <= 0.52


def test_struck_scenes_sound_at_their_times_and_only_the_aware_ones_show_it():
    shares = Shares(struck=1.0, unaware=0.5)
    seen = {}
    for index in range(8):
        staged = staging("train", index, 32, SPEC, shares)
        track = strikes_of(staged.heard)
        assert track is not None and 2 <= len(track.times_s) <= 8
        assert min(b - a for a, b in zip(track.times_s, track.times_s[1:], strict=False)) >= 0.2
        seen.setdefault(strikes_of(staged.seen) is None, index)
    assert set(seen) == {True, False}
    assert strikes_of(staging("train", 0, 32, SPEC).heard) is None
    example = make_example(
        "train", seen[True], num_frames=32, spec=SPEC, with_picture=False, sound="omni", shares=shares
    )
    assert example.unaware and example.when.shape == (4, 400)
    times = strikes_of(staging("train", seen[True], 32, SPEC, shares).heard).times_s
    assert example.when[1].nonzero().flatten().tolist() == [int(t * 100) for t in times]
    first = int(times[0] * SPEC.sample_rate_hz)
    assert (
        example.waveform[: max(first - 1, 0)].abs().sum() == 0
        and example.waveform[first : first + 1600].abs().max() > 0.01
    )


def test_shares_of_nothing_change_nothing():
    plain, drawn = (staging("train", 3, 4, SPEC, shares) for shares in (Shares(), Shares(edges=0.0, struck=0.0)))
    assert plain.seen == drawn.seen and plain.track == drawn.track
    assert strike(plain.seen, np.random.default_rng(0), 4.0) != plain.seen


@pytest.mark.slow
def test_stages_one_after_another_end_in_a_bundle(tmp_path, small):
    picture, sound = places(tmp_path, "picture"), places(tmp_path, "sound")
    for stage in (Stage("picture", 1, steps=1, sides=("picture",)), Stage("clip", 1, steps=1, sides=("picture",))):
        train_stage(stage, picture)
    for name in ("sound", "clip"):
        train_stage(Stage(name, 1, steps=1, sides=("sound",), bfloat16=name == "sound"), sound)
    # New layers are drawn as a stage draws them.
    torch.manual_seed(0)
    start = TinyModel()
    start_from(start, places(tmp_path, "none"))
    before = {name: t.clone() for name, t in start.state_dict().items()}
    for folder, side in ((picture.out, "picture"), (sound.out, "sound")):
        changed = moved(before, weights(folder))
        assert changed and all(name.startswith(SIDES[side]) for name in changed)
    join(tmp_path / "both", picture.out, sound.out)
    assert moved(before, weights(tmp_path / "both")) == moved(before, weights(picture.out)) | moved(
        before, weights(sound.out)
    )
    export_bundle(places(tmp_path, "both"), tmp_path / "bundle")
    model, control = load_joint_model(tmp_path / "bundle"), load_control(tmp_path / "bundle" / "control.safetensors")
    assert model.metadata["version"] == 4
    # The encoder accepts the codecs that it came with.
    load_built_in(model)
    assert control.module.config.sound == "omni" and control.module.config.time_channels == 4
    assert json.loads((tmp_path / "bundle" / "model_index.json").read_text())["_con360"]["name"] == "con360-tiny"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sound", "clip"])
def test_the_baseline_learns_without_maps(tmp_path, small, name):
    there = places(tmp_path)
    sides = ("sound",) if name == "sound" else tuple(SIDES)
    train_stage(Stage(name, 1, steps=1, sides=sides, baseline=True), there)
    torch.manual_seed(0)
    start = TinyModel()
    start_from(start, places(tmp_path, "none"))
    changed = moved(start.state_dict(), weights(there.out))
    assert changed and not any(n.startswith("control.") for n in changed)
