"""Training of the control module: losses, dropout at batch 1, frozen base, repeatable, and a file that loads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from shared_data import ROOT
from tiny_model import make_tiny_joint_model

from con360.control import load_control
from con360.errors import InputError
from con360.weights.save import save_joint_model
from train.examples import SPLIT_FIRST_SEED, make_example, scene_of
from train.losses import Dropout, drop_maps, estimate_clean, keep_mask, mask_film, target_of
from train.tiny.cache import CacheSettings, build_cache, take
from train.train import TrainConfig, train


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model(0)


def quick(tmp_path, **changes) -> TrainConfig:
    values = dict(out=tmp_path / "control.safetensors", steps=2, seconds=0.5, pool=2, held_out=1, batch_size=1)
    return TrainConfig(**{**values, **changes})


def test_dropout_happens_at_batch_1():
    """The published training never dropped a prompt at batch size 1."""
    g = torch.Generator().manual_seed(0)
    kept = torch.cat([keep_mask(0.1, 1, g) for _ in range(500)])
    assert 0.05 < 1 - kept.mean() < 0.16


def test_dropped_control_is_the_identity():
    film = mask_film({"video.up.0": (torch.ones(2, 3, 1, 2, 2), torch.ones(2, 3, 1, 2, 2))}, torch.tensor([1.0, 0.0]))
    scale, shift = film["video.up.0"]
    assert scale[0].eq(1).all() and scale[1].eq(0).all() and shift[1].eq(0).all()


def test_maps_are_dropped_one_by_one():
    maps = drop_maps(torch.ones(400, 1, 2, 1, 1), Dropout(alone=0.2), torch.Generator().manual_seed(0))
    dropped = 1 - maps[:, 0, :, 0, 0]
    assert 0.1 < dropped[:, 0].mean() < 0.3 and 0.1 < dropped[:, 1].mean() < 0.3
    assert 0.0 < (dropped.sum(1) == 2).float().mean() < 0.1


def test_estimate_inverts_the_target(model):
    scheduler, g = model.scheduler_v, torch.Generator().manual_seed(0)
    x0, noise, t = (
        torch.randn(3, 4, 2, 2, 2, generator=g),
        torch.randn(3, 4, 2, 2, 2, generator=g),
        torch.tensor([5, 400, 900]),
    )
    x_t = scheduler.add_noise(x0, noise, t)
    assert torch.allclose(estimate_clean(scheduler, target_of(scheduler, x0, noise, t), x_t, t), x0, atol=1e-4)


def test_splits_never_share_a_scene():
    starts = sorted(SPLIT_FIRST_SEED.values())
    assert min(b - a for a, b in zip(starts, starts[1:], strict=False)) >= 1_000_000_000
    assert scene_of("train", 0) != scene_of("validation", 0)


def test_same_example_twice():
    from con360.timing import ClipSpec

    a, b = (make_example("train", 5, num_frames=2, spec=ClipSpec(0.5), size=16) for _ in range(2))
    assert torch.equal(a.frames, b.frames) and torch.equal(a.waveform, b.waveform) and a.caption == b.caption
    assert a.track == b.track
    # The distance transform's last bit depends on the alignment of memory.
    assert torch.allclose(a.maps, b.maps, atol=1e-6)


def test_cache_is_built_once_and_read_back(tmp_path):
    from con360.timing import ClipSpec

    calls = []

    def encode_v(frames):
        calls.append(1)
        return frames[:, :1, :2, :2].expand(-1, 4, -1, -1)

    def encode_a(waveform):
        return torch.zeros(1, 8, 16, 16)

    codec, settings = torch.nn.Linear(1, 1), CacheSettings(0, 2, 1, estimate_every=9)
    first, again = (
        build_cache(tmp_path / "cache", encode_v, encode_a, settings, [codec], ClipSpec(0.5)) for _ in range(2)
    )
    assert len(calls) == 2
    assert torch.equal(first.maps, again.maps) and first.captions == again.captions
    batch = take(again, [1])
    assert batch.latents_v.shape == (1, 4, 1, 2, 2) and batch.when.shape == (1, 4, 50)
    build_cache(tmp_path / "cache", encode_v, encode_a, replace(settings, first=1), [codec], ClipSpec(0.5))
    assert len(calls) == 4, "another request must not be answered with this file"
    with torch.no_grad():
        codec.weight += 1
    build_cache(tmp_path / "cache", encode_v, encode_a, replace(settings, first=1), [codec], ClipSpec(0.5))
    assert len(calls) == 6, "latents of another codec must not be answered with either"


def test_a_cache_goes_on_with_the_piece_that_is_missing(tmp_path, monkeypatch):
    from con360.timing import ClipSpec
    from train.tiny import cache

    monkeypatch.setattr(cache, "PIECE", 1)
    made = []

    def encode_v(frames):
        made.append(1)
        return frames[:, :1, :2, :2].expand(-1, 4, -1, -1)

    settings = CacheSettings(0, 3, 1, estimate_every=9, with_sound=False)
    whole = build_cache(tmp_path, encode_v, None, settings, [], ClipSpec(0.5))
    (tmp_path / "000001.safetensors").unlink()
    again = build_cache(tmp_path, encode_v, None, settings, [], ClipSpec(0.5))
    assert len(made) == 4 and len(again) == 3 and torch.equal(whole.views, again.views)


def test_training_writes_a_file_that_controls_and_leaves_the_base_alone(model, tmp_path):
    before = {name: t.clone() for name, t in model.unet.state_dict().items()}
    record = train(quick(tmp_path), model, say=lambda text: None)
    assert all(torch.equal(t, before[name]) for name, t in model.unet.state_dict().items())
    loaded = load_control(tmp_path / "control.safetensors")
    assert loaded.training == record and record["steps"] == 2
    assert loaded.mismatch(model.name, loaded.base_fingerprint) is None
    heads = [head.linear.weight.abs().max() for head in loaded.module.heads.values()]
    assert max(heads) > 0, "two steps must have moved the zero-initialised FiLM"


def test_same_seed_same_control(model, tmp_path):
    states = []
    for name in ("a", "b"):
        config = quick(tmp_path, out=tmp_path / f"{name}.safetensors")
        train(config, model, say=lambda text: None)
        states.append(load_control(config.out).module.state_dict())
    assert all(torch.equal(t, states[1][key]) for key, t in states[0].items())


def test_training_goes_on_from_a_control_file(model, tmp_path):
    train(quick(tmp_path), model, say=lambda text: None)
    again = replace(quick(tmp_path), out=tmp_path / "more.safetensors", init=tmp_path / "control.safetensors", steps=1)
    train(again, model, say=lambda text: None)
    a, b = (load_control(p).module.heads["video_up_1"].linear.weight for p in (again.init, again.out))
    assert 0 < (a - b).abs().max() < 0.05


def test_wrong_name_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="safetensors"):
        train(quick(tmp_path, out=tmp_path / "control.bin"), model)


@pytest.mark.slow
def test_script_from_the_repository_root(tmp_path, model):
    """`python train/train.py`, as `docs/training.md` has it, over a saved model folder."""
    save_joint_model(model, tmp_path / "base")
    command = [
        sys.executable,
        "train/train.py",
        "--base",
        str(tmp_path / "base"),
        "--out",
        str(tmp_path / "c.safetensors"),
    ]
    command += ["--steps", "1", "--seconds", "0.5", "--pool", "2", "--batch", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "A real training takes" in done.stdout and (tmp_path / "c.safetensors").is_file()
