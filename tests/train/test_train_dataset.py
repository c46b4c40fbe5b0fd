"""Clips of a step: each once per epoch, the same for any number of processes; prepared shards by number."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from tiny_clips import RandomClips
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.models.codecs import encode_mel
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from train.dataset import Cached, PreparedShards, ProceduralScenes, collate
from train.examples import scene_of
from train.order import Order, epoch_order, sample_numbers
from train.shards import SETTINGS_FILE, Outcome, Prepared, Result, write_shard

SPEC = ClipSpec(0.5)


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model(0)


def test_every_epoch_visits_each_clip_once_in_another_order():
    order = Order([range(0, 3), range(3, 4), range(4, 9)], seed=0)
    epochs = [[order.clip(n) for n in range(9 * e, 9 * (e + 1))] for e in range(3)]
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [Order(order.groups, seed=0).clip(n) for n in range(9)] == epochs[0]
    assert [Order(order.groups, seed=1).clip(n) for n in range(9)] != epochs[0]


def test_a_window_of_groups_is_read_before_the_next():
    groups = [range(10 * i, 10 * (i + 1)) for i in range(8)]
    order = epoch_order(groups, seed=0, epoch=0, window=2)
    first = {int(n) // 10 for n in order[:20]}
    assert len(first) == 2 and {int(n) // 10 for n in order[20:40]}.isdisjoint(first)
    assert any(a // 10 != b // 10 for a, b in zip(order[:9], order[1:10], strict=True)), "groups must be mixed"


def test_single_clips_are_permuted_over_the_whole_epoch():
    order = epoch_order([range(i, i + 1) for i in range(500)], seed=0, epoch=0)
    assert sorted(order) == list(range(500))
    assert abs(np.corrcoef(np.arange(500), order)[0, 1]) < 0.2


def test_processes_share_the_numbers_that_one_process_would_take():
    shares = [list(islice(sample_numbers(12, 2, rank, 2), 3)) for rank in (0, 1)]
    turns = [numbers for turn in zip(*shares, strict=True) for numbers in turn]
    assert turns == list(islice(sample_numbers(12, 2, 0, 1), 6)) == [[12 + 2 * i, 13 + 2 * i] for i in range(6)]


def test_batches_have_the_networks_layout():
    batch = collate([RandomClips(2)[i] for i in (0, 1)], grid=3)
    assert batch.latents_v.shape == (2, 4, 4, 8, 8) and batch.latents_a.shape == (2, 8, 16, 16)
    assert batch.rays.shape == (2, 4, 3, 3, 3)
    assert batch.maps.dtype == torch.float32 and 0 <= batch.maps.min() and batch.maps.max() <= 1
    assert torch.equal(batch.latents_v[1, :, 2], RandomClips(2)[1].latents_v[2].float())


def test_procedural_clips_are_rendered_once_and_read_back(model, tmp_path, monkeypatch):
    scenes = ProceduralScenes(model, "validation", 1, SPEC)
    fresh, cached = scenes[0], Cached(scenes, tmp_path)
    monkeypatch.setattr(ProceduralScenes, "__getitem__", None)
    again = Cached(scenes, tmp_path)
    for name in ("latents_v", "latents_a", "views", "text_v", "text_a", "caption"):
        a, b, c = (getattr(s, name) for s in (fresh, cached[0], again[0]))
        assert a == b == c if name == "caption" else torch.equal(a, b) and torch.equal(b, c)
    assert scenes.identity() != ProceduralScenes(model, "train", 1, SPEC).identity()
    assert scenes.identity() != ProceduralScenes(make_tiny_joint_model(1), "validation", 1, SPEC).identity()


@torch.no_grad()
def test_omni_sound_is_the_downmix_whatever_the_view(model):
    sample = ProceduralScenes(model, "train", 1, SPEC, "omni")[0]
    mono = scene_of("train", 0).foa(SPEC).waveform[:1]
    wanted = encode_mel(model.vae_a, log_mel(mono), SPEC.num_latent_rows_padded)[0]
    assert torch.allclose(sample.latents_a.float(), wanted, atol=1e-2)
    assert not torch.equal(sample.latents_a, ProceduralScenes(model, "train", 1, SPEC, "view")[0].latents_a)


def prepared(number: int) -> Prepared:
    own = dict(id=f"{number}#1", segment=f"{number}@0", video=str(number), start_s=0.0, rank=1, sound_kind="omni")
    return Prepared(**vars(RandomClips(40)[number]), **own)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    (folder / SETTINGS_FILE).write_text("{}")
    for numbers in (range(0, 20), range(20, 23)):
        results = [Result(Outcome(f"{n}@0", "done", examples=1), (prepared(n),)) for n in numbers]
        write_shard(folder, "train", results)
    return folder


def test_shards_are_read_by_number(model, shards):
    source = PreparedShards(model, shards, "train", SPEC, "omni")
    assert len(source) == 23 and sorted(len(g) for g in source.groups) == [3, 4, 16]
    captions = {source[i].caption for i in range(23)}
    assert captions == {f"clip {n}" for n in range(23)}
    one = source[17]
    true = RandomClips(40)[int(one.caption.split()[1])]
    assert torch.equal(one.latents_v, true.latents_v) and torch.equal(one.maps, true.maps)
    assert len(source.first(5)) == 5 and len(source) == 23


def test_shards_of_another_kind_are_refused(model, shards):
    with pytest.raises(InputError, match="latents_v of shape"):
        PreparedShards(model, shards, "train", ClipSpec(1.0), "omni")
    with pytest.raises(InputError, match="prepared with the sound 'omni'"):
        PreparedShards(model, shards, "train", SPEC, "view")
    with pytest.raises(InputError, match="no prepared split 'validation'"):
        PreparedShards(model, shards, "validation", SPEC, "omni")


def test_reading_ahead_changes_nothing(model, shards, tmp_path):
    from dataclasses import replace

    from tiny_clips import make_loop, quick_config

    from train.devices import OneProcess

    config = quick_config(tmp_path, batch_size=2)
    ends = []
    for workers in (0, 1):
        loop = make_loop(replace(config, workers=workers), OneProcess())
        loop.source = PreparedShards(model, shards, "train", SPEC, "omni")
        loop.order = Order(loop.source.groups, 0)
        ends.append(list(islice(loop.batches(), 3)))
    for (a, numbers_a), (b, numbers_b) in zip(*ends, strict=True):
        assert numbers_a == numbers_b and torch.equal(a.latents_v, b.latents_v) and torch.equal(a.text_a, b.text_a)
