"""S_KL: answers known by hand, directions kept apart, and an estimator that finds what stands out."""

from __future__ import annotations

import math

import pytest
import torch

from con360.errors import InputError
from con360.metrics.saliency import (
    EPS,
    TRAINING_FREE,
    definition,
    kl_divergence,
    load_tempsal,
    s_kl,
    s_kl_of_maps,
    saliency_density,
    saliency_of,
    view_saliency,
)


def halves(left: float, right: float) -> torch.Tensor:
    """Make a map [1, 4, 6] whose halves have these weights."""
    return torch.cat((torch.full((1, 4, 3), left), torch.full((1, 4, 3), right)), dim=2)


def disc(x: float, y: float = 32.0, colour=(0.9, 0.1, 0.1), frames: int = 2) -> torch.Tensor:
    """Draw a disc over a horizon, `[T, 3, 64, 64]`."""
    image = torch.full((3, 64, 64), 0.6)
    image[:, 40:] = torch.tensor([0.3, 0.5, 0.3]).view(3, 1, 1)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    inside = (columns - x) ** 2 + (rows - y) ** 2 < 64
    image[:, inside] = torch.tensor(colour).view(3, 1)
    return image.expand(frames, -1, -1, -1).clone()


def test_kl_of_two_halves_is_the_hand_computed_one_in_both_directions():
    p, q = halves(3.0, 1.0), halves(1.0, 1.0)
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert s_kl_of_maps(p, q) == pytest.approx(forward, abs=1e-9)
    assert s_kl_of_maps(p, q, direction="target_to_generated") == pytest.approx(backward, abs=1e-9)
    assert abs(forward - backward) > 0.005


def test_a_scaled_map_is_the_same_density():
    assert s_kl_of_maps(halves(3.0, 1.0), 17.0 * halves(3.0, 1.0)) == pytest.approx(0.0, abs=1e-12)


def test_mass_where_the_other_has_none_costs_the_logarithm_of_eps():
    p, q = saliency_density(halves(1.0, 0.0)), saliency_density(halves(0.0, 1.0))
    assert float(kl_divergence(p, q)) == pytest.approx(math.log((1 / 12) / EPS), rel=1e-6)


def test_mean_over_frames():
    pair = torch.cat((halves(3.0, 1.0), halves(1.0, 1.0)))
    one = s_kl_of_maps(halves(3.0, 1.0), halves(1.0, 1.0))
    assert s_kl_of_maps(pair, halves(1.0, 1.0).expand(2, -1, -1)) == pytest.approx(one / 2)


def test_the_same_clip_costs_nothing_and_a_moved_disc_costs_more_the_further_it_moves():
    still = disc(16)
    assert s_kl(still, still) == pytest.approx(0.0, abs=1e-9)
    near, far = s_kl(disc(20), still), s_kl(disc(48), still)
    assert 0.01 < near < 0.5 * far


def test_the_estimator_points_at_the_disc_and_not_at_the_horizon():
    saliency = view_saliency(disc(16, 20))[0]
    row, column = divmod(int(saliency.argmax()), 64)
    assert abs(row - 20) <= 8 and abs(column - 16) <= 8
    assert saliency[38:42, 40:].max() < 0.3


def test_a_plain_picture_gets_a_flat_map():
    density = saliency_density(view_saliency(torch.full((1, 3, 64, 64), 0.5)))
    assert density.max() == pytest.approx(1 / 64**2, rel=1e-6)


def test_another_estimator_and_its_name_can_be_given():
    generated, target = disc(16), disc(48)
    own = s_kl(generated, target, method=lambda frames: frames[:, 0] + 0.1)
    assert own != pytest.approx(s_kl(generated, target))
    assert definition(method_name="TempSAL").checkpoint == "TempSAL"
    assert definition().checkpoint == TRAINING_FREE and "blur 2 px" in definition().text


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s_kl(disc(1, frames=2), disc(1, frames=3)), "2 and 3 frames"),
        (lambda: s_kl(disc(1), disc(1), method="tempsal.pth"), "load_tempsal"),
        (lambda: s_kl(disc(1), disc(1), direction="sideways"), "direction"),
        (lambda: s_kl(disc(1) * math.nan, disc(1)), "NaN"),
        (lambda: saliency_density(torch.zeros(1, 4, 4)), "zero everywhere"),
        (lambda: saliency_density(-torch.ones(1, 4, 4)), "negative"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_reason(call, says):
    with pytest.raises(InputError, match=says):
        call()


class ReadsTheFirstColour(torch.nn.Module):
    """Stand in for TempSAL: return (map, maps over time) of a picture in [-1, 1]."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert x.shape[0] == 1 and x.shape[2] == 256 and bool((x.abs() <= 1).all())
        return (x[:, 0] + 1) / 2, x.expand(1, 3, 256, 256)


def test_tempsal_from_a_file_sees_each_frame_at_256_px_and_minus_one_to_one(tmp_path):
    torch.jit.script(ReadsTheFirstColour()).save(str(tmp_path / "tempsal.pt"))
    method = load_tempsal(tmp_path / "tempsal.pt")
    frames = torch.stack((torch.zeros(3, 32, 64), torch.ones(3, 32, 64)))
    maps = saliency_of(frames, method)
    assert maps.shape == (2, 256, 256) and maps[0].abs().max() == 0 and (maps[1] - 1).abs().max() < 1e-6
    assert s_kl(disc(16), disc(16), method=method) == pytest.approx(0, abs=1e-9)
    assert s_kl(disc(16), disc(48), method=method) > 0.005


def test_a_file_without_tempsals_network_is_refused(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(InputError, match="TempSAL's network as TorchScript"):
        load_tempsal(tmp_path / "x.pt")
    torch.jit.script(torch.nn.AvgPool2d(2)).save(str(tmp_path / "half.pt"))
    with pytest.raises(InputError, match="one map of 256 px"):
        saliency_of(disc(16), load_tempsal(tmp_path / "half.pt"))
