"""Test the direction head: what it reads, the field that it gives, and its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_heads import SMALL, random_head, seeing_head

from con360.caption import typed_caption
from con360.control import (
    ControlConfig,
    ControlModule,
    FieldConfig,
    FieldHead,
    LoadedControl,
    add_head,
    load_control,
    save_control,
    with_maps,
)
from con360.control.directions import control_directions, directions_of, words_of
from con360.control.field_file import load_head, save_head
from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.sphere import directions
from con360.records import Conditions, PanoramaClip, SaliencyMaps, Sound, View, ViewTrack
from con360.sound.ambisonics import ambisonic_azimuth_deg
from con360.sound.fields import check_field, synthesise
from con360.viewpoint.basd import basd_maps

FPS, RATE, FRAMES = 8.0, 16000, 8


def sound(seconds: float = 1.0, seed: int = 0) -> Sound:
    noise = torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    return Sound(0.1 * noise, RATE)


def blob(yaw: float, pitch: float, frames: int = FRAMES) -> torch.Tensor:
    cosine = erp_directions(64) @ directions(yaw, pitch)
    return torch.exp((cosine - 1) / 0.03).expand(frames, -1, -1)


def conditions(yaw: float = 65.0, pitch: float = 20.0, caption: str = "a red disc hums on the right") -> Conditions:
    basd = basd_maps(ViewTrack.still(View(0.0), FRAMES), 64)
    return Conditions(SaliencyMaps(blob(yaw, pitch), "drawn"), basd, typed_caption(caption))


def control(head: FieldHead | None, **changes: str) -> LoadedControl:
    return LoadedControl(ControlModule(ControlConfig({"video.up.0": 8}, **changes)), field_head=head)


@pytest.mark.parametrize("yaw, pitch", [(65.0, 20.0), (-177.0, -10.0), (0.0, 0.0)])
def test_a_head_that_hears_nothing_points_to_what_is_salient(yaw, pitch):
    field, said = directions_of(seeing_head(), conditions(yaw, pitch), sound(), FPS)
    assert said == ("the direction head reads the map 'colours', which is not given: it hears less",)
    left, up, front = field.vectors.mean((0, 1))
    off = torch.rad2deg(torch.atan2(left, front)) - ambisonic_azimuth_deg(torch.tensor(yaw))
    assert abs((off + 180) % 360 - 180) < 1.5
    assert torch.rad2deg(torch.atan2(up, torch.hypot(left, front))) == pytest.approx(pitch, abs=2.0)


@pytest.mark.parametrize("seconds, rate", [(0.2, 16000), (0.5, 44100), (4.0, 16000), (5.1, 16000)])
def test_fields_fit_sounds_of_any_length_and_rate(seconds, rate):
    heard = Sound(torch.randn(2, round(seconds * rate), generator=torch.Generator().manual_seed(1)), rate, "stereo")
    field, _ = directions_of(random_head(), conditions(), heard, FPS)
    assert len(check_field(field).vectors) == -(-round(seconds * 100) // 4)
    total = field.vectors.square().sum(-1) + field.residual
    torch.testing.assert_close(total, torch.ones_like(total))
    mono = Sound(heard.waveform[:1], rate)
    assert synthesise(mono, field).waveform.shape == (4, heard.waveform.shape[1])


def mottled(caption: str) -> Conditions:
    maps = torch.rand(FRAMES, 64, 128, generator=torch.Generator().manual_seed(2))
    return replace(conditions(caption=caption), saliency=SaliencyMaps(maps, "drawn"))


def test_the_sound_and_the_words_count():
    right, left = mottled("a red disc hums on the right"), mottled("a red disc hums on the left")
    first, again, other, moved = (
        directions_of(random_head(), given, sound(seed=seed), FPS)[0].vectors
        for given, seed in ((right, 0), (right, 0), (right, 1), (left, 0))
    )
    assert torch.equal(first, again)
    assert (other - first).abs().max() > 1e-4 and (moved - first).abs().max() > 1e-4


def test_without_words_the_field_turns_with_the_maps():
    head, given = random_head(), conditions(caption="")
    turned = replace(given, saliency=SaliencyMaps(given.saliency.maps.roll(32, -1), "drawn"))
    here, there = (directions_of(head, c, sound(), FPS)[0].vectors for c in (given, turned))
    left, up, front = here.unbind(-1)
    # A quarter to the right.
    torch.testing.assert_close(there, torch.stack((-front, up, left), -1), atol=1e-4, rtol=0)


def test_silence_and_flat_maps_give_a_field_without_numbers_that_are_none():
    flat = replace(conditions(caption=""), saliency=SaliencyMaps(torch.ones(FRAMES, 64, 128), "flat"))
    field, _ = directions_of(random_head(), flat, Sound(torch.zeros(1, RATE), RATE), FPS)
    check_field(field)


def test_words_are_numbered_and_unknown_ones_are_said():
    vocabulary = ("a", "red", ",")
    assert words_of("A red,\nRED zebra", vocabulary).tolist() == [2, 3, 4, 3, 1]
    assert words_of("", vocabulary).tolist() == [0]
    _, said = directions_of(random_head(), conditions(caption="two zebras trot past"), sound(), FPS)
    assert "less than half" in said[-1]


def test_the_map_of_colours_is_made_from_the_clip():
    frames = torch.zeros(FRAMES, 3, 64, 128)
    frames[:, 0, 30:34, 10:14] = 1.0
    made = with_maps(conditions(), PanoramaClip(frames, FPS), SMALL.channels)
    assert torch.equal(made.maps["colours"], frames[:, 0])
    _, said = directions_of(random_head(), made, sound(), FPS)
    assert said == ()


def test_sound_of_a_view_is_said_to_be_taken_for_the_scenes():
    _, said = control_directions(control(random_head(), sound="view"), conditions(), sound(), FPS)
    assert "taken for the whole scene's" in said[0]
    _, said = control_directions(control(random_head(), sound="omni"), conditions(), sound(), FPS)
    assert not any("scene's" in one for one in said)
    with pytest.raises(InputError, match="gives no directions"):
        control_directions(control(None), conditions(), sound(), FPS)


# The file -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path) -> Path:
    """Return a control file without a head, in half precision."""
    module = ControlModule(ControlConfig({"video.up.0": 8}, widths=(4,), strides=(2,), hidden=4))
    path = tmp_path / "plain.safetensors"
    facts = {"base": "b", "base_fingerprint": "f", "training": {"steps": 3}, "saliency": "multi-cue"}
    save_control(path, module, **facts, half=True)
    return path


@pytest.fixture
def carrying(plain, tmp_path) -> Path:
    """Return a copy of it that carries a head."""
    save_head(tmp_path / "head.safetensors", random_head(), {"steps": 7})
    add_head(plain, tmp_path / "head.safetensors", tmp_path / "both.safetensors")
    return tmp_path / "both.safetensors"


def test_a_control_carries_a_head_and_stays_as_it_was(plain, carrying):
    before, after = load_control(plain), load_control(carrying)
    assert before.field_head is None
    assert replace(after, field_head=None, module=before.module, path=before.path) == before
    same = zip(before.module.state_dict().items(), after.module.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in same)
    tensors, old = load_file(carrying), load_file(plain)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in old.items())
    assert {n for n in tensors if n not in old} == {f"field.{n}" for n in random_head().state_dict()}
    assert after.field_head.config == SMALL
    torch.testing.assert_close(
        directions_of(after.field_head, conditions(), sound(), FPS)[0].vectors,
        directions_of(random_head(), conditions(), sound(), FPS)[0].vectors, atol=2e-2, rtol=0,
    )  # fmt: skip
    with safe_open(carrying, framework="pt") as file:
        assert json.loads(file.metadata()["field_training"]) == {"steps": 7}


def test_another_head_replaces_the_first(carrying, tmp_path):
    save_head(tmp_path / "new.safetensors", random_head(1), {})
    add_head(carrying, tmp_path / "new.safetensors", tmp_path / "newer.safetensors")
    found = load_control(tmp_path / "newer.safetensors").field_head.state_dict()
    assert all(
        torch.equal(t, found[n].half()) for n, t in [(n, t.half()) for n, t in random_head(1).state_dict().items()]
    )


@pytest.mark.parametrize(
    "change, said",
    [
        ({"field_config": "{"}, "cannot be used"),
        ({"field_config": "[1]"}, "cannot be used"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "hidden": 10**9})}, "wanted a whole number"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "heads": 3})}, "must divide"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "words": []})}, "wanted up to"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "channels": ["basd"]})}, "reads saliency first"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "depth": 2})}, "cannot be used"),
        ({"field_config": json.dumps({**SMALL.to_dict(), "width": 16})}, "does not fit its configuration"),
        ({"field_config": None}, "lacks their configuration"),
    ],
)
def test_damaged_heads_are_sentences(carrying, tmp_path, change, said):
    with safe_open(carrying, framework="pt") as file:
        metadata = {**file.metadata(), **change}
    path = tmp_path / "broken.safetensors"
    save_file(load_file(carrying), path, metadata={n: v for n, v in metadata.items() if v is not None})
    with pytest.raises(InputError, match=said):
        load_control(path)


def test_files_without_a_head_are_named(plain, carrying, tmp_path):
    assert load_head(carrying).config == SMALL
    with pytest.raises(InputError, match="has no direction head"):
        load_head(plain)
    with pytest.raises(InputError, match="there is no file"):
        load_head(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="is not a Con360 control file"):
        add_head(tmp_path / "head.safetensors", carrying, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(InputError, match="up to 4096 words"):
        FieldConfig(("a", "a"))
