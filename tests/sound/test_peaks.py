"""Peaks between samples: against the formula of a sine, blocks against the whole."""

from __future__ import annotations

import math

import pytest
import torch

from con360.sound.peaks import _MOST, PeakMeter, _kernels, peak_of, true_peak

RATE = 48000
# A tone at a quarter of the rate, sampled at 45 degrees: every sample is 3 dB below its peak.
HIDDEN = 0.9 * torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(RATE // 4)[None] * math.sqrt(0.5)


def test_a_peak_between_samples_is_found():
    assert float(HIDDEN.abs().max()) == pytest.approx(0.9 * math.sqrt(0.5), abs=1e-4)
    # The tone starts at once, which overshoots a little.
    assert true_peak(HIDDEN) == pytest.approx(0.9, rel=0.02)


@pytest.mark.parametrize("size", [1, 7, 1000, 47999])
def test_blocks_give_the_whole_sounds_peak(size):
    sound, counts = HIDDEN.expand(4, -1)[:, : 60 * size], []
    found = peak_of((sound[:, at : at + size] for at in range(0, sound.shape[1], size)), counts.append)
    assert found == pytest.approx(true_peak(sound), abs=1e-6)
    assert counts[-1] == sound.shape[1]


def test_no_waveform_passes_the_bound_by_which_quiet_blocks_are_left_out():
    assert float(_kernels().abs().sum(-1).max()) < _MOST


def test_silence_one_sample_and_nothing_have_peaks():
    assert true_peak(torch.zeros(2, 100)) == 0.0 == true_peak(torch.zeros(1, 0)) == PeakMeter().peak
    assert true_peak(torch.full((1, 1), -1.5)) == 1.5
