"""SalViT360 against recorded outputs of the published code, and the quirks that its weights depend on."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared_data import fixture_path

from con360.errors import InputError
from con360.saliency.predict import predict_saliency
from con360.saliency.salvit360 import (
    DECODED_PX,
    SCALES,
    SalViT360,
    convert_state_dict,
    from_tangents,
    inverse_table,
    load_salvit360,
    place_features,
    saliency_maps,
    tangent_grid,
    to_tangents,
)

CPU = torch.device("cpu")
BOUND = 1e-4  # of a tensor's peak; the published code itself moves by 5e-6 between settings


@pytest.fixture(scope="module")
def recorded():
    return load_file(fixture_path("salvit360.safetensors"))


@pytest.fixture(scope="module")
def keys():
    return json.loads(fixture_path("salvit360.json").read_text())


@pytest.fixture(scope="module")
def make():
    """The fixtures' own rule that makes weights and clips from names."""
    spec = importlib.util.spec_from_file_location("fixture_fill", fixture_path("fill.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, bound: float = BOUND) -> None:
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs.double()).abs().max() < bound * theirs.double().abs().max()


def published_weights(make, entry: dict) -> dict[str, torch.Tensor]:
    weights = {}
    for name, shape, _ in entry["keys"]:
        counter = name.endswith("num_batches_tracked")
        weights[name] = torch.tensor(0) if counter else torch.from_numpy(make.fill(entry["prefix"] + name, shape))
    return weights


@pytest.mark.parametrize("scale", [0, 1])
def test_geometry_equals_the_published(recorded, make, scale):
    layout, at = SCALES[scale], f"geom/scale{scale}/"
    grid = tangent_grid(layout, CPU)
    assert_close(grid[:, ::16, ::16], recorded[at + "grid_stride16"])
    assert_close(torch.stack([grid[:, i, j] for i in (0, -1) for j in (0, -1)], dim=1), recorded[at + "grid_corners"])
    assert_close(place_features(layout, CPU), recorded[at + "sph_coords"])
    noise = torch.from_numpy(make.noise(f"salvit/p2e/scale{scale}", (1, 2, 28, 28, layout.num_patches))).float()
    maps = from_tangents(noise[0].permute(0, 3, 1, 2), layout)
    assert_close(maps[None, :, ::2, ::2], recorded[at + "p2e_out_stride2"])


def test_every_map_pixel_is_seen_and_weights_sum_to_one():
    for layout in SCALES:
        pixel, _, weight = inverse_table(layout, CPU)
        total = torch.zeros(240 * 480).index_add_(0, pixel, weight)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_wart_a_patch_of_80_degrees_covers_69_9():
    """The plane reaches 40 degrees in radians, not their tangent."""
    grid = tangent_grid(SCALES[0], CPU)[4]  # second patch of the row at -22.5
    column = grid[:, 111:113].double().mean(1)  # the patch's vertical midline
    lat = column[:, 1] * 90
    assert (lat[-1] - lat[0]).item() == pytest.approx(2 * math.degrees(math.atan(math.radians(40))), abs=0.05)


def test_wart_latitude_points_down_and_samples_lie_on_the_corners():
    grid = tangent_grid(SCALES[0], CPU)
    assert grid[0, :, :, 1].mean() < 0, "the first patch is at the top, where grid_sample counts -1"
    # The patch's last sample lies on its edge: 40 degrees of plane to the right of a centre at latitude -22.5.
    right = grid[4, 111:113, -1, 0].double().mean().item() * 180
    assert right == pytest.approx(
        -90 + math.degrees(math.atan2(math.radians(40), math.cos(math.radians(22.5)))), abs=0.01
    )


def test_wart_the_seam_is_clamped_not_crossed():
    """First and last column are both taken for the seam; nothing is interpolated between them."""
    panorama = torch.zeros(1, 3, 48, 96)
    panorama[..., 0], panorama[..., -1] = 1.0, 0.5
    for layout in SCALES:
        values = to_tangents(panorama, layout)
        at_seam = (tangent_grid(layout, CPU)[..., 0].abs() > 1 - 1e-3)[None, :, None].expand_as(values)
        between = (values[at_seam] > 0.55) & (values[at_seam] < 0.95)
        assert at_seam.any() and not between.any()


def test_wart_outer_rows_are_put_back_at_another_latitude():
    """The two-scale model cuts its polar patches at 60 degrees and puts them back at 59.6."""
    assert SCALES[1].centers()[0, 1].rad2deg().item() == pytest.approx(-60)
    assert SCALES[1].centers(inverse=True)[0, 1].rad2deg().item() == pytest.approx(-59.6)
    assert SCALES[1].centers(inverse=True)[3, 1].item() == 0
    assert torch.equal(SCALES[0].centers(), SCALES[0].centers(inverse=True))


def test_wart_the_single_scale_model_reads_a_quarter_of_what_it_decodes():
    patches = torch.rand(1, 18, 56, 56, generator=torch.Generator().manual_seed(0))
    beyond = patches.clone()
    beyond[..., DECODED_PX:, :] = beyond[..., DECODED_PX:] = -7.0
    torch.testing.assert_close(from_tangents(patches, SCALES[0]), from_tangents(beyond, SCALES[0]))


def test_published_names_become_ours(keys):
    for variant, scales in (("vst", 1), ("vac", 2)):
        published = {f"module.{name}": torch.zeros(shape) for name, shape, _ in keys[variant]["keys"]}
        ours = convert_state_dict(published)
        expected = SalViT360(scales).state_dict()
        assert ours.keys() == expected.keys()
        assert all(ours[name].shape == expected[name].shape for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vst", "vac"])
def test_network_equals_the_published(recorded, keys, make, variant):
    model = SalViT360(1 if variant == "vst" else 2).eval()
    model.load_state_dict(convert_state_dict(published_weights(make, keys[variant])))
    clip = torch.from_numpy(make.clip_u8("salvit/clip", 8, 960, 1920)).float() / 255
    maps = []
    with torch.no_grad():
        for k in range(len(model.scales)):
            encoded = [model.encode(frame[None], k) for frame in clip]
            means, last = torch.cat([mean for mean, _ in encoded]), encoded[-1][1]
            assert_close(means[[0, 7]], recorded[f"{variant}/pooled{k}_frames0_7"])
            assert_close(last[0, 0], recorded[f"{variant}/resnet{k}_last_frame_patch0"])
            seen = model.attend(means[None], k)[0]
            assert_close(seen[0], recorded[f"{variant}/transformer{k}_first_frame"])
            assert_close(seen[-1], recorded[f"{variant}/transformer{k}_last_frame"])
            maps.append(model.decode(means[None], last, k)[0])
            if variant == "vac":
                assert_close(maps[k][::2, ::2], recorded[f"vac/p{k}_erp240x480_stride2"][0, 0])
        full = torch.nn.functional.interpolate(torch.stack(maps).mean(0)[None, None], scale_factor=2, mode="bilinear")
    assert_close(full[0, 0, ::4, ::4], recorded[f"{variant}/pred_stride4"][0, 0])


@pytest.mark.slow
def test_sliding_windows_equal_the_published_and_each_frame_is_encoded_once(recorded, keys, make, monkeypatch):
    model = SalViT360(1).eval()
    model.load_state_dict(convert_state_dict(published_weights(make, keys["vst"])))
    clip = torch.from_numpy(make.clip_u8("salvit/clip16", 16, 960, 1920)).float() / 255
    encoded = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda frames, scale: encoded.append(len(frames)) or encode(frames, scale))
    maps = model.raw_maps(clip)
    assert maps.shape == (16, 240, 480) and sum(encoded) == 16
    full = torch.nn.functional.interpolate(maps[:, None], size=(480, 960), mode="bilinear", align_corners=False)[:, 0]
    # The published loop gives maps for frames 7 to 14; ours has those and the other eight too.
    assert_close(full[7:15, ::8, ::8], recorded["vst/sliding16_stride8"])


@pytest.mark.slow
def test_forward_equals_the_sliding_map_of_its_last_frame():
    torch.manual_seed(0)
    model = SalViT360(1).eval()
    clip = torch.rand(1, 3, 960, 1920).expand(8, -1, -1, -1)
    with torch.no_grad():
        whole = model(clip)
    raw = model.raw_maps(clip[:1])
    enlarged = torch.nn.functional.interpolate(raw[None], size=(480, 960), mode="bilinear", align_corners=False)[0, 0]
    assert_close(whole, enlarged)


@pytest.fixture(scope="module")
def small_model():
    """Real parts, one transformer block deep; weights at random."""
    torch.manual_seed(0)
    return SalViT360(1, depth=1).eval()


def test_maps_are_on_our_grid_one_per_frame_with_maximum_one(small_model):
    frames, seen = torch.rand(2, 3, 32, 64), []
    maps = saliency_maps(small_model, frames, height=40, progress=lambda *step: seen.append(step))
    assert maps.shape == (2, 40, 80)
    assert torch.equal(maps.amax((-1, -2)), torch.ones(2)) and maps.min() >= 0
    assert seen == [(1, 2, "saliency"), (2, 2, "saliency")]


def test_leaving_the_corner_aligned_grid(small_model, monkeypatch):
    """A published map that holds its own latitude and longitude comes out at our pixel centres."""
    lat = torch.linspace(90, -90, 240)[:, None].expand(-1, 480)
    monkeypatch.setattr(small_model, "raw_maps", lambda frames, progress: lat[None])
    maps = saliency_maps(small_model, torch.rand(1, 3, 4, 8), height=10)[0]
    # Pitches 81, 63, ... -81 brought to [0, 1] by their extremes.
    torch.testing.assert_close(maps[:, 0], torch.linspace(1, 0, 10), atol=1e-5, rtol=0)


def test_windows_are_decoded_alike_alone_or_together(small_model):
    means, lasts = torch.rand(3, 8, 18, 512), torch.rand(3, 18, 512, 7, 7)
    with torch.no_grad():
        together = small_model.decode(means, lasts)
        alone = torch.cat([small_model.decode(means[i : i + 1], lasts[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_published_file_loads_from_pt_and_safetensors(tmp_path, keys, make):
    weights = published_weights(make, keys["vst"])
    torch.save({"model": {f"module.{k}": v for k, v in weights.items()}, "epoch": 5}, tmp_path / "Epoch_5.pt")
    save_file(weights, tmp_path / "epoch_5.safetensors")
    models = [load_salvit360(tmp_path / name) for name in ("Epoch_5.pt", "epoch_5.safetensors")]
    expected = convert_state_dict(weights)
    for model in models:
        assert model.variant == "VSTA" and not model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_files_that_are_not_its_weights_are_named(tmp_path):
    (tmp_path / "text.pt").write_text("not weights")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({}, tmp_path / "empty.pt")
    for name, words in (
        ("text.pt", "cannot be read"),
        ("other.pt", "does not hold SalViT360 weights"),
        ("list.pt", "no state dict"),
        ("empty.pt", "does not hold"),
        ("absent.pt", "no SalViT360 weights at"),
    ):
        with pytest.raises(InputError, match=words):
            load_salvit360(tmp_path / name)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"model": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match="cannot be read"):
        predict_saliency(torch.rand(1, 3, 16, 32), tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()
