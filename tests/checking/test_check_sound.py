"""Judge channels: AmbiX, FuMa, N3D, loudspeakers, copies, lost ones, a pair; and keep silent where nothing tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.check.faults import fuma, n3d
from con360.checking.fields import plane_wave_gains
from con360.checking.findings import Finding
from con360.checking.run import findings_of_sound
from con360.checking.sound_findings import kind_of
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 16000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_voices() -> torch.Tensor:
    """One voice after the other, at two places."""
    one, other = noise(2, RATE)
    return torch.cat((encode(one, 50.0, 20.0), encode(other, -130.0, -10.0)), 1)


def diffuse() -> torch.Tensor:
    """Noises from all sides at once."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(60, 3))
    pitches = np.rad2deg(np.arcsin(places[:, 1] / np.linalg.norm(places, axis=1)))
    yaws = np.rad2deg(np.arctan2(places[:, 0], places[:, 2]))
    voices = noise(60, 2 * RATE) / 8
    return torch.stack([encode(v, float(y), float(p)) for v, y, p in zip(voices, yaws, pitches, strict=True)]).sum(0)


def found(waveform: torch.Tensor) -> dict[str, Finding]:
    return {f.name: f for f in findings_of_sound(Sound(waveform, RATE, "ambix"))}


@pytest.mark.parametrize(
    ("change", "kind", "ratio"),
    [(lambda field: field, "AmbiX", 1.0), (fuma, "FuMa", 2.0), (n3d, "N3D", 3.0)],
)
def test_the_gains_of_plane_waves_tell_the_kind(change, kind: str, ratio: float) -> None:
    gains = plane_wave_gains(change(two_voices()).numpy(), RATE)
    assert gains is not None and kind_of(gains) == kind and gains.ratio == pytest.approx(ratio, rel=0.02)
    state = found(change(two_voices()))["order"].state
    assert state == ("good" if kind == "AmbiX" else "mend")


def test_nothing_is_claimed_where_nothing_tells() -> None:
    """Sound from all sides, nearly mono sound, and silence have no order to see."""
    assert found(diffuse())["order"].state == "unknown"
    nearly_mono = two_voices() * torch.tensor([[1.0], [0.1], [0.1], [0.1]])
    assert found(nearly_mono)["order"].state == "unknown"
    assert found(torch.zeros(4, RATE))["channels"].state == "unknown"
    assert "order" not in found(torch.zeros(4, RATE)) and found(torch.zeros(4, RATE))["sound"].state == "mend"
    assert plane_wave_gains(two_voices().numpy()[:, :500], RATE) is None


def test_lost_and_copied_channels_are_named() -> None:
    field = two_voices()
    says = {
        "without height": field * torch.tensor([[1.0], [1.0], [0.0], [1.0]]),
        "only W sounds": field * torch.tensor([[1.0], [0.0], [0.0], [0.0]]),
        "W, the sound of all sides, is silent": field * torch.tensor([[0.0], [1.0], [1.0], [1.0]]),
        "one mono sound, copied": field[:1].expand(4, -1),
        "stereo, copied": noise(2, RATE).repeat(2, 1),
    }
    for words, wave in says.items():
        assert words in found(wave)["channels"].says
    assert found(noise(4, 2 * RATE))["order"].state == "look"  # four independent loudspeakers
    assert found(field.flip(0) * torch.tensor([[0.1], [1.0], [1.0], [1.0]]))["order"].state == "mend"  # W is last


def test_a_pair_with_a_silent_side_is_told() -> None:
    field = two_voices()
    pair = torch.stack((field[0], torch.zeros_like(field[0])))
    assert found(torch.cat((field, pair)))["pair"].state == "mend"
    assert found(torch.cat((field, pair[:1].expand(2, -1))))["pair"].state == "good"
    assert "pair" not in found(field)


def test_values_that_are_not_numbers_are_mended_first() -> None:
    field = two_voices()
    field[1, 5] = torch.nan
    assert found(field)["sound"].state == "mend" and "not numbers" in found(field)["sound"].says
