"""Control module: identity when zero, strengths, time alignment, geometry, file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from con360.control import (
    ControlConfig,
    ControlModule,
    Film,
    encode_control,
    extend_control,
    load_control,
    save_control,
)
from con360.control.film import pool_to_audio_site
from con360.control.inputs import stack_maps, view_rays
from con360.control.map_encoder import MapEncoder
from con360.control.module import sector_means
from con360.control.signal_features import in_rows
from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.sphere import directions
from con360.records import Conditions, SaliencyMaps, SceneCaption, Signal, View, ViewTrack
from con360.viewpoint.basd import basd_maps
from con360.weights.find import control_file, model_folder

SHAPES = {
    "video.down.2": (16, 4, 2, 2),
    "video.up.1": (16, 4, 8, 8),
    "audio.down.2": (8, 13, 2),
    "audio.up.1": (8, 26, 8),
}
TIME = dict(fps=8.0, audio_seconds=0.52)


def config(**changes) -> ControlConfig:
    values = dict(
        site_channels={s: shape[0] for s, shape in SHAPES.items()}, map_height=16,
        widths=(8, 8), strides=(2, 1), hidden=8,
        with_directions=True, geometry="view", view_grid=8,
    )  # fmt: skip
    return ControlConfig(**{**values, **changes})


def module(seed: int = 0, **changes) -> ControlModule:
    torch.manual_seed(seed)
    made = ControlModule(config(**changes))
    for head in made.heads.values():
        torch.nn.init.normal_(head.linear.weight, std=0.1)
    return made.eval()


def conditions(num_frames: int = 4, seed: int = 0) -> Conditions:
    maps = torch.rand(num_frames, 32, 64, generator=torch.Generator().manual_seed(seed))
    track = ViewTrack.still(View(30.0), num_frames)
    return Conditions(SaliencyMaps(maps, "test"), basd_maps(track, 32), SceneCaption("a red disc"))


def test_untrained_module_is_the_identity():
    film = encode_control(ControlModule(config()), conditions(), SHAPES, **TIME)
    for scale, shift in film.values():
        assert scale.abs().max() == 0 and shift.abs().max() == 0


@pytest.mark.parametrize("geometry", ["view", "pooled"])
def test_shapes_follow_the_sites(geometry):
    film = encode_control(module(geometry=geometry), conditions(), SHAPES, **TIME)
    assert film["video.up.1"][0].shape == (1, 16, 4, 8, 8)
    assert film["audio.up.1"][1].shape == (1, 8, 26, 1)
    assert set(film) == set(SHAPES)


def test_equal_strengths_scale_the_modulation():
    whole = encode_control(module(), conditions(), SHAPES, **TIME)
    half = encode_control(module(), conditions(), SHAPES, **TIME, strengths={"saliency": 0.5, "basd": 0.5})
    for site in SHAPES:
        assert torch.allclose(half[site][0], 0.5 * whole[site][0], atol=1e-6)


def test_unequal_strengths_keep_the_stronger_map():
    only = encode_control(module(), conditions(), SHAPES, **TIME, strengths={"basd": 0.0})
    other = encode_control(module(), conditions(seed=1), SHAPES, **TIME, strengths={"saliency": 0.0})
    same = encode_control(module(), conditions(seed=2), SHAPES, **TIME, strengths={"saliency": 0.0})
    assert not torch.allclose(only["video.up.1"][0], other["video.up.1"][0])
    # With the saliency off, two clips that differ in saliency alone are controlled alike.
    assert torch.equal(other["video.up.1"][0], same["video.up.1"][0])


def test_zero_strength_is_no_control_at_all():
    assert encode_control(module(), conditions(), SHAPES, **TIME, strengths={"saliency": 0.0, "basd": 0.0}) is None
    with pytest.raises(InputError, match="must not be negative"):
        encode_control(module(), conditions(), SHAPES, **TIME, strengths={"saliency": -1.0})


def test_a_strength_for_a_name_that_the_control_does_not_read_is_refused():
    with pytest.raises(InputError, match="'loudness'; this control reads saliency, basd"):
        encode_control(module(), conditions(), SHAPES, **TIME, strengths={"loudness": 1.0})


def three() -> tuple[ControlModule, Conditions]:
    """Make a control of a third map and a signal, with random weights for both, and conditions that it reads."""
    made = module(channels=("saliency", "basd", "motion"), signals={"loudness": 1})
    given = replace(
        conditions(), maps={"motion": conditions(seed=3).saliency.maps},
        signals={"loudness": Signal(torch.rand(20, generator=torch.Generator().manual_seed(4)), 40.0)},
    )  # fmt: skip
    return made, given


def test_each_rise_of_strength_weighs_the_inputs_that_reach_it():
    made, given = three()
    levels = {"saliency": 0.25, "basd": 1.0, "motion": 0.25, "loudness": 0.5}
    got = encode_control(made, given, SHAPES, **TIME, strengths=levels)

    def alone(*names: str) -> Film:
        return encode_control(made, given, SHAPES, **TIME, strengths={n: float(n in names) for n in levels})

    parts = [(0.25, alone(*levels)), (0.25, alone("basd", "loudness")), (0.5, alone("basd"))]
    for site in SHAPES:
        assert torch.allclose(got[site][0], sum(rise * part[site][0] for rise, part in parts), atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"directions_at_sites": True, "audio_sectors": 4}, {"geometry": "pooled"}])
def test_extending_a_control_keeps_its_output(changes):
    made, given = module(**changes), three()[1]
    grown = extend_control(made, maps=("motion", "depth"), signals={"loudness": 1})
    before = encode_control(made, given, SHAPES, **TIME)
    after = encode_control(grown, given, SHAPES, **TIME, strengths={"depth": 0.0})
    for site in SHAPES:
        assert torch.allclose(before[site][0], after[site][0], atol=1e-6)
    with pytest.raises(InputError, match="each name once"):
        extend_control(grown, maps=("motion",))


def test_dropping_a_signal_equals_leaving_it_out():
    made, given = three()
    maps, rays = stack_maps(given, made.config.channels), view_rays([given.track], 8)
    loud = {"loudness": replace(given.signals["loudness"], values=given.signals["loudness"].values[None])}
    with torch.no_grad():
        off, dropped, kept = (
            made(maps, rays, SHAPES, **TIME, signals=signals, keep_signals=keep)["audio.up.1"][0]
            for signals, keep in (({}, None), (loud, {"loudness": torch.zeros(1)}), (loud, None))
        )
    assert torch.equal(off, dropped) and not torch.equal(off, kept)


@pytest.mark.parametrize("rate_hz", [2.0, 100.0, 1000.0])
def test_signals_are_aligned_by_their_rate(rate_hz):
    """A ramp over 4 s has the value of its time in each of 104 rows, at any rate; rows past its end hold the last."""
    time_s = (torch.arange(int(4 * rate_hz)) + 0.5) / rate_hz
    rows = in_rows(time_s[None, None], rate_hz, 104, 4.16 / 104)[0, 0]
    wanted = ((torch.arange(104) + 0.5) * 0.04).clamp(time_s[0], time_s[-1])
    assert torch.allclose(rows[2:-5], wanted[2:-5], atol=0.01) and torch.allclose(rows[-3:], time_s[-1], atol=0.02)


def test_signals_of_another_width_or_length_are_refused():
    made, given = three()
    for values, said in (
        (torch.zeros(20, 2), "2 values at a time"),
        (torch.zeros(30), "lasts 0.75 s and the maps 0.5"),
    ):
        with pytest.raises(InputError, match=said):
            encode_control(made, replace(given, signals={"loudness": Signal(values, 40.0)}), SHAPES, **TIME)


@pytest.mark.parametrize(
    ("channels", "signals", "said"),
    [(("saliency", "saliency"), {}, "each name once"), (("saliency",), {"saliency": 1}, "each name once"),
     (("a.b",), {}, "no name"), (("a",), {"b": 0}, "width of the signal b"), ((), {}, "1 to 64 maps")],
)  # fmt: skip
def test_names_and_counts_that_cannot_be_used(channels, signals, said):
    with pytest.raises(InputError, match=said):
        config(channels=channels, signals=signals)


def test_configs_of_the_two_known_maps_keep_the_older_form():
    kept = config().to_dict()
    assert list(kept)[:3] == ["site_channels", "map_channels", "map_height"] and "signals" not in kept
    assert kept["map_channels"] == 2 and "channels" not in kept
    for made in (config(), three()[0].config):
        assert ControlConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    with pytest.raises(InputError, match="counts 3 maps without their names"):
        ControlConfig.from_dict({**kept, "map_channels": 3})


def test_view_geometry_follows_the_view_and_pooled_does_not():
    """Turn the view under fixed maps, BASD included: `view` features change, `pooled` ones do not."""
    maps = stack_maps(conditions())
    for geometry, moves in (("view", True), ("pooled", False)):
        made = module(geometry=geometry)
        with torch.no_grad():
            a, b = (
                made(maps, view_rays([ViewTrack.still(View(yaw), 4)], 8), SHAPES, **TIME)["video.up.1"][0]
                for yaw in (0.0, 90.0)
            )
        assert torch.allclose(a, b) is not moves


def test_turning_panorama_and_view_together_changes_nothing_without_directions():
    """The encoder is longitude-equivariant: rolling the maps by a quarter cancels turning the view by 90 degrees."""
    made = module(with_directions=False)
    maps = stack_maps(conditions())
    with torch.no_grad():
        here = made(maps, view_rays([ViewTrack.still(View(0.0), 4)], 8), SHAPES, **TIME)["video.up.1"][0]
        there = made(maps.roll(16, -1), view_rays([ViewTrack.still(View(90.0), 4)], 8), SHAPES, **TIME)["video.up.1"][0]
    assert torch.allclose(here, there, atol=1e-5)


def test_encoder_wraps_longitude():
    torch.manual_seed(0)
    encoder = MapEncoder(2, 16, (4,), (2,), 4, with_directions=False)
    maps = torch.rand(1, 2, 2, 16, 32)
    with torch.no_grad():
        assert torch.allclose(encoder(maps).roll(4, -1), encoder(maps.roll(8, -1)), atol=1e-6)


def test_audio_rows_are_aligned_by_time_not_stretched():
    """A feature that steps up at frame 16 of 32 (2 s) must step at 2 s of 4.16 s, row 50 of 104, not row 52."""
    features = torch.zeros(1, 32, 1, 1, 1)
    features[:, 16:] = 1
    rows = pool_to_audio_site(features, 104, 4.16 / 104, 8.0)[0, 0, :, 0]
    crossing = int((rows > 0.5).nonzero()[0])
    assert crossing == 50
    assert rows[-1] == 1 and rows[0] == 0


@pytest.mark.parametrize("sector", range(8))
def test_a_sector_is_where_captions_say_it_is(sector):
    """A spot at yaw 45 k is heard in sector k most, equally in its neighbours, not at all elsewhere."""
    spot = (erp_directions(64) @ directions(45.0 * sector, 0.0).float() > 0.999).float()[None, None, None]
    means = sector_means(spot, 8)[0, 0]
    assert int(means.argmax()) == sector
    assert torch.allclose(means[(sector + 1) % 8], means[(sector - 1) % 8], atol=1e-5)
    assert means.roll(-sector)[2:-1].abs().max() == 0


def test_sectors_of_all_maps_add_up_to_the_whole():
    maps = torch.rand(1, 2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sector_means(torch.ones_like(maps), 4), torch.tensor(6.0), atol=1e-5)
    # The mean over all sectors is the mean over all directions, for any number of sectors.
    few, many = (sector_means(maps, n).view(1, 2, n, 3).mean(2) for n in (4, 8))
    assert torch.allclose(few, many, atol=1e-5)


def test_audio_features_know_directions_only_with_sectors():
    """Roll the maps by a quarter: without sectors the audio features stay equal, with sectors they change."""
    maps = stack_maps(conditions())
    for sectors, hears in ((0, False), (8, True)):
        made = module(audio_sectors=sectors, with_directions=False)
        with torch.no_grad():
            a, b = (made(m, None, {"audio.up.1": SHAPES["audio.up.1"]}, **TIME)["audio.up.1"][1]
                    for m in (maps, maps.roll(16, -1)))  # fmt: skip
        assert torch.allclose(a, b, atol=1e-5) is not hears


def test_flat_maps_do_not_become_nan():
    flat = Conditions(
        SaliencyMaps(torch.ones(4, 16, 32), "flat"), basd_maps(ViewTrack.still(View(0), 4), 16), SceneCaption("")
    )
    assert torch.isfinite(stack_maps(flat)).all()


def test_lengths_that_differ_are_refused():
    mixed = Conditions(conditions(num_frames=4).saliency, conditions(num_frames=5).basd, SceneCaption(""))
    with pytest.raises(InputError, match="4 frames and 'basd' 5"):
        stack_maps(mixed)


def test_file_round_trip(tmp_path):
    path, made = tmp_path / "control.safetensors", module()
    save_control(path, made, base="base", base_fingerprint="abc", training={"steps": 3}, saliency="multi-cue")
    loaded = load_control(path)
    assert loaded.module.config == made.config and loaded.training == {"steps": 3}
    a, b = (encode_control(m, conditions(), SHAPES, **TIME) for m in (made, loaded.module))
    assert all(torch.allclose(a[s][0], b[s][0], atol=1e-6) for s in SHAPES)
    assert loaded.saliency == "multi-cue"
    assert loaded.mismatch("base", "abc") is None
    assert "trained over 'base'" in loaded.mismatch("other", "xyz")
    assert [p.name for p in tmp_path.iterdir()] == ["control.safetensors"]


def test_a_file_that_names_no_saliency_was_trained_with_the_first_one(tmp_path):
    shipped = control_file(None, model_folder())
    assert load_control(shipped).saliency == "multi-cue"
    with safe_open(shipped, "pt") as file:
        kept = {key: value for key, value in file.metadata().items() if key != "saliency"}
    save_file(load_file(shipped), tmp_path / "older.safetensors", metadata=kept)
    assert load_control(tmp_path / "older.safetensors").saliency == "training-free"


def _broken(tmp_path, metadata, tensors):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata=metadata)
    return path


def test_wrong_files_are_named(tmp_path):
    weight = {"w": torch.zeros(2)}
    good = {"format": "con360-control", "format_version": "1", "config": json.dumps(config().to_dict())}
    with pytest.raises(InputError, match="there is no control file"):
        load_control(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_control(tmp_path / "text.safetensors")
    with pytest.raises(InputError, match="not a Con360 control file"):
        load_control(_broken(tmp_path, {}, weight))
    with pytest.raises(InputError, match="version '9'"):
        load_control(_broken(tmp_path, {**good, "format_version": "9"}, weight))
    with pytest.raises(InputError, match="is missing"):
        load_control(_broken(tmp_path, good, weight))
    with pytest.raises(InputError, match="cannot be used"):
        load_control(_broken(tmp_path, {**good, "config": '{"hidden": "many"}'}, weight))
    state = module().state_dict()
    state["encoder.convs.0.weight"] = torch.full_like(state["encoder.convs.0.weight"], float("nan"))
    with pytest.raises(InputError, match="NaN"):
        load_control(_broken(tmp_path, good, state))
