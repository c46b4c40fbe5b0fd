"""Steps share what does not change over them: each is computed once for a clip, or once for a window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
import torch
from golden import runs_omniaudio

from con360.models import omniaudio
from con360.models.omniaudio import OmniAudio
from con360.sounding.generate import FieldSettings, latent_groups
from con360.sounding.picture_encoder import PictureFeatures

ONCE = ("view", "panorama", "spline", "panorama_mlp", "times", "turns")


@contextmanager
def counted(model: OmniAudio) -> Iterator[Counter]:
    calls: Counter = Counter()

    def count(name: str):
        return lambda *_: calls.update([name])

    net = model.transformer
    modules = {
        "view": model.embedders.conditioners["video_fov"], "panorama": model.embedders.conditioners["video_360"],
        "panorama_mlp": net.to_global_embed, "times": net.to_timestep_embed, "layer": net.transformer.layers[0],
    }  # fmt: skip
    hooks = [module.register_forward_hook(count(name)) for name, module in modules.items()]
    spline, rotary = omniaudio.spread_over_rows, net.transformer.rotary_pos_emb
    counted_spline = mock.patch.object(omniaudio, "spread_over_rows", side_effect=spline)
    counted_turns = mock.patch.object(rotary, "angles", side_effect=rotary.angles)
    with counted_spline as splines, counted_turns as turns:
        yield calls
    calls.update({"spline": splines.call_count, "turns": turns.call_count})
    for hook in hooks:
        hook.remove()


def calls_of(model: OmniAudio, seconds: float, steps: int) -> Counter:
    generator = torch.Generator().manual_seed(0)
    panorama, view = (torch.randn(30, runs_omniaudio.FEATURES, generator=generator) for _ in range(2))
    settings = FieldSettings(steps=steps, overlap_rows=6)
    with counted(model) as calls, torch.no_grad():
        list(latent_groups(model, PictureFeatures(panorama, view), seconds, settings))
    return calls


@pytest.mark.parametrize("steps", [1, 6])
def test_a_clip_of_one_window(steps):
    calls = calls_of(runs_omniaudio.model(), 35000 / 44100, steps)
    assert calls == {**dict.fromkeys(ONCE, 1), "layer": steps}


@pytest.mark.parametrize("steps", [1, 4])
def test_windows_of_a_group(steps):
    """28 rows are two windows of 17; times belong to the group."""
    calls = calls_of(runs_omniaudio.model(), 28 * 2048 / 44100, steps)
    assert calls == {**dict.fromkeys(ONCE, 2), "times": 1, "layer": 2 * steps}


def test_a_panorama_kept_per_picture_is_spread_once():
    model = replace(runs_omniaudio.model(), panorama="per_frame")
    assert calls_of(model, 35000 / 44100, 5) == {**dict.fromkeys(ONCE, 1), "spline": 2, "layer": 5}
