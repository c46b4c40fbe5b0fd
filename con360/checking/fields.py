"""Measure if channels are Ambisonics, and which: by moments and bands in which one plane wave prevails.

A plane wave makes all channels alike but for their gains. With W at gain 1, the squares of the other three sum to 1 in
SN3D (AmbiX), to 3 in N3D, and to 2 in FuMa, whose W is 3 dB lower. Only sound from one direction at a time shows this:
in reverberant and nearly mono sound the sum lies anywhere, and nothing is claimed.

Source: Nachbar et al., "AmbiX", 2011; Malham, "Higher order Ambisonic systems", 2003; the rank of the covariance as in
Pulkki, "Spatial Sound Reproduction with Directional Audio Coding", 2007. The thresholds are measured
(docs/check.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FIRST = 4
WINDOW_S, FRAMES = 0.021, 4
BANDS_HZ = (200, 400, 700, 1100, 1600, 2300, 3200, 4500)
# Of a cell's energy so much lies along one gain per channel where a plane wave prevails.
ONE_WAVE = 0.9
# Cells are counted from the louder half.
LOUDER = 0.5
LEAST_CELLS = 12


@dataclass(frozen=True)
class Gains:
    """Gains of the plane waves in four channels.

    Args:
        share: of the louder cells in which one wave prevails.
        ratio: sum of squares of channels 2 to 4 over the first's, median over those cells; NaN without any.
        spread: third over first quartile of the ratio.
    """

    share: float
    ratio: float
    spread: float


def plane_wave_gains(waveform: np.ndarray, rate_hz: int) -> Gains | None:
    """Measure the gains of `[4 or more, N]`; None where there are too few cells with sound.

    A channel without samples that are numbers counts as silent.
    """
    covariances = _covariances(np.nan_to_num(waveform[:FIRST], posinf=0.0, neginf=0.0), rate_hz)
    energy = np.trace(covariances, axis1=1, axis2=2)
    covariances = covariances[(energy > np.quantile(energy, LOUDER)) & (energy > 0)] if len(energy) else covariances
    if len(covariances) < LEAST_CELLS:
        return None
    values, vectors = np.linalg.eigh(covariances)
    waves = vectors[values[:, -1] > ONE_WAVE * values.sum(1), :, -1]
    share = len(waves) / len(covariances)
    if not len(waves):
        return Gains(0.0, float("nan"), float("nan"))
    ratio = np.square(waves[:, 1:]).sum(1) / np.maximum(np.square(waves[:, 0]), 1e-9)
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
    return Gains(share, float(middle), float(high / max(low, 1e-9)))


def _covariances(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """Covariance `[K, 4, 4]` of each cell: `FRAMES` windows by one band."""
    size = max(16, 2 * round(WINDOW_S * rate_hz / 2))
    count = (waveform.shape[1] - size) // (size // 2) // FRAMES * FRAMES
    if count < FRAMES:
        return np.zeros((0, FIRST, FIRST))
    windows = np.lib.stride_tricks.sliding_window_view(waveform, size, 1)[:, :: size // 2][:, :count]
    spectra = np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=2).astype(np.complex64)
    edges = [round(edge * size / rate_hz) for edge in BANDS_HZ if edge < rate_hz / 2]
    cells = []
    for low, high in pairwise(edges):
        band = spectra[:, :, low : max(high, low + 1)].reshape(FIRST, count // FRAMES, -1)
        cells.append(np.einsum("ckb,dkb->kcd", band, band.conj()).real)
    return np.concatenate(cells).astype(np.float64) if cells else np.zeros((0, FIRST, FIRST))


def levels_db(waveform: np.ndarray) -> np.ndarray:
    """Level of each channel in dB of full scale; -inf for digital silence."""
    power = np.square(waveform.astype(np.float64)).mean(1) if waveform.shape[1] else np.zeros(len(waveform))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def correlations(waveform: np.ndarray) -> np.ndarray:
    """Correlation of each channel with each, `[C, C]`; 0 where one is silent."""
    products = waveform.astype(np.float64) @ waveform.astype(np.float64).T
    size = np.sqrt(np.diag(products))
    return products / np.maximum(np.outer(size, size), 1e-30)
