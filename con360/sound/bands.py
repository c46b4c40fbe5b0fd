"""Cut sound into bands of the mel scale and short frames, piece by piece.

Convention: the bands are Slaney's mel bands from 0 to 8 kHz, which audio models read as well, at any sampling rate.
Frequencies under the first centre belong to the first band, those over the last centre to the last one.

Source: Slaney, "Auditory Toolbox", 1998; method notes "Sound in space".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

BANDS = 64
TOP_HZ = 8000.0
# Frames are the shortest power of two that is not shorter: 1024 samples at 16 kHz, 2048 at 44.1 and 48 kHz.
FRAME_S = 0.04
# Slaney's scale is linear up to here, and 27 steps of it make 6.4 times the frequency above.
_LINEAR_HZ, _STEP_HZ = 1000.0, 200.0 / 3.0
_STEP_LOG = math.log(6.4) / 27.0


def band_centres_hz(bands: int = BANDS) -> Tensor:
    """Centres of the mel bands: `[bands]` float64, rising."""
    knee = _LINEAR_HZ / _STEP_HZ
    top = knee + math.log(TOP_HZ / _LINEAR_HZ) / _STEP_LOG
    mel = torch.linspace(0.0, top, bands + 2, dtype=torch.float64)[1:-1]
    return torch.where(mel < knee, mel * _STEP_HZ, _LINEAR_HZ * ((mel - knee) * _STEP_LOG).exp())


@functools.lru_cache(maxsize=8)
def band_weights(bands: int, size: int, rate_hz: int) -> Tensor:
    """Weight of each band at each frequency of a frame: linear from one centre to the next, 1 in all. Read-only.

    Returns:
        `[size / 2 + 1, bands]` float32.
    """
    return hats(torch.arange(size // 2 + 1, dtype=torch.float64) * (rate_hz / size), band_centres_hz(bands)).float()


def hats(places: Tensor, centres: Tensor) -> Tensor:
    """Weights that interpolate linearly between centres and hold outside of them.

    Args:
        places: `[M]` float64. centres: `[K]` float64, rising.

    Returns:
        `[M, K]` float64; each row sums to 1.
    """
    upper = torch.searchsorted(centres, places).clamp(1, max(1, len(centres) - 1)).clamp_max(len(centres) - 1)
    lower = (upper - 1).clamp_min(0)
    gap = (centres[upper] - centres[lower]).clamp_min(1e-12)
    share = ((places - centres[lower]) / gap).clamp(0.0, 1.0)[:, None]
    weights = torch.zeros(len(places), len(centres), dtype=torch.float64)
    weights.scatter_add_(1, lower[:, None], 1.0 - share)
    return weights.scatter_add_(1, upper[:, None], share)


def frame_size(rate_hz: int) -> int:
    """Samples of a frame: a power of two."""
    return 2 ** math.ceil(math.log2(max(2.0, FRAME_S * rate_hz)))


@functools.lru_cache(maxsize=8)
def _window(size: int) -> Tensor:
    return torch.hann_window(size).sqrt()


def spectra(waveform: Tensor, size: int, hop: int) -> Tensor:
    """Cut `[C, N]` into frames under a sine window: `[C, T, size / 2 + 1]`; frame t begins at sample t * hop."""
    return torch.fft.rfft(waveform.unfold(1, size, hop) * _window(size))


def joined(frames: Tensor, size: int) -> Tensor:
    """Add up frames `[C, T, size / 2 + 1]` that stand half a frame apart: the inverse of `spectra`.

    Returns:
        `[C, (T - 1) * size / 2]`: the samples from size / 2 on, which two frames share.
    """
    half = size // 2
    parts = torch.fft.irfft(frames, size) * _window(size)
    return (parts[:, 1:, :half] + parts[:, :-1, half:]).flatten(1)


def pieces(blocks: Iterable[Tensor], size: int, reach: int) -> Iterator[tuple[Tensor, int]]:
    """Cut blocks `[C, n]` anew into pieces of `size` samples, each with `reach` more on either side.

    Before the start, after the end and in the rest of the last piece there is silence.

    Yields:
        `[C, reach + size + reach]`, and how many samples of its middle are the sound's.
    """
    held: Tensor | None = None
    for block in blocks:
        held = torch.nn.functional.pad(block, (reach, 0)) if held is None else torch.cat((held, block), dim=1)
        while held.shape[1] >= size + 2 * reach:
            yield held[:, : size + 2 * reach], size
            held = held[:, size:]
    while held is not None and held.shape[1] > reach:
        whole = torch.nn.functional.pad(held, (0, max(0, size + 2 * reach - held.shape[1])))
        yield whole[:, : size + 2 * reach], min(size, held.shape[1] - reach)
        held = held[:, size:]
