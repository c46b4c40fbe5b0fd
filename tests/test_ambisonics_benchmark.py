"""`python -m benchmarks ambisonics`: both ways give one result, and its table counts what the record counts."""

from __future__ import annotations

import types

import pytest
import torch
from golden.store import published

from benchmarks import ambisonics
from benchmarks.ambisonics import Scenario, clip_costs, fill_at_random, flop_table
from benchmarks.published_omniaudio import PublishedTransformer
from benchmarks.timing import largest_difference
from con360.errors import InputError
from con360.models.flow_transformer import SIZES, FlowTransformer, FlowTransformerConfig

FULL = published()["omniaudio"]["full"]
TINY = FlowTransformerConfig(width=64, heads=1, depth=2)


def test_the_recreated_way_takes_the_same_steps():
    scenario = Scenario(TINY)
    with torch.no_grad():
        ours, theirs = scenario.ours(2), scenario.published(2, scenario.recreated)
    assert largest_difference(ours, theirs) < 1e-5
    assert ours.shape == (1, 64, 215) and ours.std() > 0.1


def test_the_costs_are_the_recorded_ones():
    costs = clip_costs(SIZES["large"])
    assert costs["guided step"][0] == pytest.approx(FULL["flop_dit_guided_step"], rel=0.003)
    assert costs["decoding"][0] == pytest.approx(FULL["flop_vae_decode_215_latents"], rel=1e-3)
    picture, times = costs["picture through MetaCLIP ViT-H/14"]
    assert picture == pytest.approx(FULL["flop_metaclip_h_per_frame"], rel=1e-3) and times == 160
    assert ambisonics.clip_tower().vision_model.config.hidden_act == "gelu"


def test_the_table_says_both_seeds_and_all_sizes():
    table = flop_table()
    assert "| a clip, first seed | | | 73.7" in table and "| a clip, second seed | | | 20.2" in table
    assert all(f"| {name} |" in table for name in SIZES)


def test_the_suite_runs_in_small(monkeypatch, capsys):
    monkeypatch.setattr(ambisonics, "SMALL", TINY)
    (row,) = ambisonics.rows(1)
    assert row.ours_s > 0 and row.peer_s > 0 and "of the peak" in row.equal
    assert "first seed" in capsys.readouterr().out


def test_a_tower_gets_weights_and_places():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.device("meta"):
        config = CLIPVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, patch_size=112
        )
        tower = CLIPVisionModelWithProjection(config)
    fill_at_random(tower)
    assert tower(pixel_values=torch.zeros(1, 3, 224, 224)).image_embeds.isfinite().all()
    assert not any(t.is_meta for t in (*tower.parameters(), *tower.buffers()))


def test_a_folder_without_the_code_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no omniaudio.models.dit.py; wanted a clone of github.com/liuhuadai"):
        PublishedTransformer(tmp_path, FlowTransformer(TINY))


def test_a_clone_of_another_commit_is_refused(tmp_path, monkeypatch):
    class Other(torch.nn.Module):
        def __init__(self, **_):
            super().__init__()
            self.extra = torch.nn.Linear(1, 1)

    module = types.SimpleNamespace(DiffusionTransformer=Other)
    monkeypatch.setattr("benchmarks.published_omniaudio._import", lambda clone: module)
    with pytest.raises(InputError, match="names other weights than commit 4a3c99d"):
        PublishedTransformer(tmp_path, FlowTransformer(TINY))
