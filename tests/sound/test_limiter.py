"""The limiter keeps peaks under a ceiling, turns all channels alike, and leaves the rest as it is."""

from __future__ import annotations

import pytest
import torch

from con360.sound.limiter import CEILING, RAMP_S, decibels, limit_blocks
from con360.sound.peaks import true_peak

RATE = 16000


def loud(seconds: float = 3.0, gain: float = 0.5) -> torch.Tensor:
    sound = gain * torch.randn(4, round(seconds * RATE), generator=torch.Generator().manual_seed(0))
    return sound * torch.tensor([1.0, 0.6, 0.3, 0.8])[:, None]


def limited(sound: torch.Tensor, block: int = 16000) -> torch.Tensor:
    return torch.cat(list(limit_blocks(sound.split(block, dim=1), RATE)), dim=1)


def test_no_peak_passes_the_ceiling_between_samples_either() -> None:
    assert decibels(CEILING) == pytest.approx(-1.0)
    for sound in (
        loud(),
        loud(gain=3.0),
        torch.ones(4, RATE) * 2,
        torch.sin(torch.arange(RATE) * 1.57)[None].expand(4, -1),
    ):
        kept = limited(sound)
        assert kept.shape == sound.shape
        assert true_peak(kept) <= CEILING * 1.01


def test_directions_stay() -> None:
    sound = loud()
    kept = limited(sound)
    assert (kept - sound).abs().max() > 0.1
    assert torch.allclose(kept[1] * sound[0], kept[0] * sound[1], atol=1e-5)


def test_far_from_a_peak_nothing_changes() -> None:
    sound = loud(gain=0.05)
    sound[:, RATE] = 2.0
    kept, reach = limited(sound), round(2 * RAMP_S * RATE) + 20
    assert torch.allclose(kept[:, : RATE - reach], sound[:, : RATE - reach], atol=1e-6)
    assert torch.allclose(kept[:, RATE + reach :], sound[:, RATE + reach :], atol=1e-6)
    assert float(kept[:, RATE].abs().max()) <= CEILING


def test_quiet_sound_passes_bit_for_bit() -> None:
    sound = loud(gain=0.02)
    assert torch.equal(limited(sound), sound)


@pytest.mark.parametrize("block", [1, 777, 16000, 48000])
def test_blocks_do_not_matter(block: int) -> None:
    sound = loud(0.2 if block == 1 else 3.0)
    assert torch.equal(limited(sound, block), limited(sound, sound.shape[1]))


def test_an_empty_sound_stays_empty() -> None:
    assert list(limit_blocks([], RATE)) == []
