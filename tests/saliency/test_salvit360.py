"""SalViT360: the quirks that its weights depend on, files, our own grid. Recorded outputs: golden/test_published.py."""

from __future__ import annotations

import math

import pytest
import torch
from golden.runs_salvit import published_shapes, published_state
from safetensors.torch import save_file

from con360.errors import InputError
from con360.saliency.predict import predict_saliency
from con360.saliency.salvit360 import SalViT360, convert_state_dict, load_salvit360, salvit360_saliency
from con360.saliency.tangents import DECODED_PX, SCALES, from_tangents, inverse_table, tangent_grid, to_tangents

CPU = torch.device("cpu")
BOUND = 1e-4  # of a tensor's peak; the published code itself moves by 5e-6 between settings


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, bound: float = BOUND) -> None:
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs.double()).abs().max() < bound * theirs.double().abs().max()


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


def test_published_names_become_ours():
    """The names and shapes themselves are checked against the record in golden/test_published.py."""
    for variant, scales in (("vst", 1), ("vac", 2)):
        published = {f"module.{name}": torch.zeros(shape) for name, shape in published_shapes(variant).items()}
        published["module.posemb.posemb.0.weight"] = torch.zeros(16, 5, 3, 3)  # in the files, never read
        ours = convert_state_dict(published)
        expected = SalViT360(scales).state_dict()
        assert ours.keys() == expected.keys()
        assert all(ours[name].shape == expected[name].shape for name in expected)


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
    maps = salvit360_saliency(small_model, frames, height=40, progress=lambda *step: seen.append(step))
    assert maps.shape == (2, 40, 80)
    assert torch.equal(maps.amax((-1, -2)), torch.ones(2)) and maps.min() >= 0
    assert seen == [(1, 2, "saliency"), (2, 2, "saliency")]


def test_leaving_the_corner_aligned_grid(small_model, monkeypatch):
    """A published map that holds its own latitude and longitude comes out at our pixel centres."""
    lat = torch.linspace(90, -90, 240)[:, None].expand(-1, 480)
    monkeypatch.setattr(small_model, "raw_maps", lambda frames, progress, windows_at_once: lat[None])
    maps = salvit360_saliency(small_model, torch.rand(1, 3, 4, 8), height=10)[0]
    # Pitches 81, 63, ... -81 brought to [0, 1] by their extremes.
    torch.testing.assert_close(maps[:, 0], torch.linspace(1, 0, 10), atol=1e-5, rtol=0)


def test_windows_are_decoded_alike_alone_or_together(small_model):
    means, lasts = torch.rand(3, 8, 18, 512), torch.rand(3, 18, 512, 7, 7)
    with torch.no_grad():
        together = small_model.decode(means, lasts)
        alone = torch.cat([small_model.decode(means[i : i + 1], lasts[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_published_file_loads_from_pt_and_safetensors(tmp_path):
    weights = published_state("vst")
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
