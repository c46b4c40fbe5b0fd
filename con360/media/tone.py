"""Show HDR pictures in SDR: PQ and HLG in BT.2020 become BT.709.

Convention: light is relative to a white of 203 cd/m², which HDR's diffuse white and SDR's full level both are. Brighter
light is bent below it by the curve of BT.2390, which acts on the brightest of red, green and blue, so that hues stay.
Colours outside BT.709 are clipped.

Source: ITU-R BT.2100 (PQ, HLG and its OOTF), BT.2390 (EETF), BT.2408 (white), BT.2087 (primaries), BT.1886 (SDR).
"""

from __future__ import annotations

import functools

import numpy as np

from .colour import HLG, PQ, USUAL_PEAK_NITS, Colour

WHITE_NITS = 203.0
SDR_GAMMA = 2.4
# Steps of the tables that are read by the square root of light, and rows that are worked on at once.
STEPS, BAND = 4095, 64
# BT.2020 in BT.709's primaries, and weights of BT.2020's luminance.
BT_2020_IN_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_HLG_A, _HLG_B, _HLG_C, _HLG_GAMMA = 0.17883277, 0.28466892, 0.55991073, 1.2


def sdr_of(values: np.ndarray, bits: int, colour: Colour) -> np.ndarray:
    """Map an HDR picture to SDR.

    Args:
        values: `[h, w, 3]` uint16, red, green, blue of full range. bits: of a value.
        colour: its transfer, primaries and peak.

    Returns:
        `[h, w, 3]` uint8, BT.709.
    """
    import cv2

    light, gains, levels = _tables(colour.transfer, colour.peak_nits, bits)
    out = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), BAND):
        shown = light[values[top : top + BAND]]
        if colour.transfer == HLG:
            scene = cv2.transform(shown, LUMINANCE)[..., None]
            shown *= np.maximum(scene, 1e-6) ** (_HLG_GAMMA - 1) * (USUAL_PEAK_NITS / WHITE_NITS)
        brightest = shown.max(-1) * (WHITE_NITS / colour.peak_nits)
        shown *= gains[_steps(brightest)][..., None]
        shown = cv2.transform(shown, BT_2020_IN_709) if colour.primaries == 9 else shown
        out[top : top + BAND] = levels[_steps(shown)]
    return out


def _steps(light: np.ndarray) -> np.ndarray:
    """Places of light from 0 to 1 in the tables."""
    return (np.sqrt(np.clip(light, 0.0, 1.0)) * STEPS + 0.5).astype(np.int32)


@functools.lru_cache(maxsize=4)
def _tables(transfer: int, peak_nits: float, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of each value; the curve's gain for each light up to the peak; the level of each light up to white."""
    signal = np.arange(2**bits) / (2**bits - 1)
    light = nits_of_pq(signal) / WHITE_NITS if transfer == PQ else _scene_of_hlg(signal)
    steps = (np.arange(STEPS + 1) / STEPS) ** 2
    bent = _bent_nits(steps * peak_nits, peak_nits)
    gains = np.divide(bent, steps * peak_nits, out=np.ones_like(steps), where=steps > 0)
    levels = np.rint(steps ** (1 / SDR_GAMMA) * 255).astype(np.uint8)
    return light.astype(np.float32), gains.astype(np.float32), levels


def nits_of_pq(signal: np.ndarray) -> np.ndarray:
    """Light in cd/m² of PQ's signal from 0 to 1."""
    root = signal ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def pq_of_nits(nits: np.ndarray) -> np.ndarray:
    """PQ's signal of light in cd/m²."""
    power = (np.clip(nits, 0, None) / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _scene_of_hlg(signal: np.ndarray) -> np.ndarray:
    """Light of the scene, 0 to 1, of HLG's signal."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)


def _bent_nits(nits: np.ndarray, peak_nits: float) -> np.ndarray:
    """BT.2390's curve from a display of `peak_nits` to one of `WHITE_NITS`, both black at 0."""
    peak = float(pq_of_nits(np.array(peak_nits)))
    most = float(pq_of_nits(np.array(WHITE_NITS))) / peak
    if most >= 1:
        return nits
    knee, signal = 1.5 * most - 0.5, pq_of_nits(nits) / peak
    t = (signal - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    )  # fmt: skip
    return nits_of_pq(np.where(signal < knee, signal, spline) * peak)
