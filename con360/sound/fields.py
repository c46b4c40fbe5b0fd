"""Analyse Ambisonics into a direction field, and make Ambisonics from a mono sound and a field.

A field keeps four numbers for each row of 40 ms and each of 64 bands: the intensity over the energy of W, a vector
along the dipoles Y, Z, X, and the energy of the dipoles which that vector leaves over. The vector alone is a gain of W;
what is left over is made of decorrelated copies of W.

Source: Pulkki, "Spatial Sound Reproduction with Directional Audio Coding", 2007; method notes "Sound in space".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import rotation
from ..records import DirectionField, Sound, SourceTrack
from .ambisonics import field_and_pair
from .bands import BANDS, band_weights, frame_size, hats, joined, pieces, spectra
from .channels import FIRST_ORDER
from .rotation import turn_matrices
from .sources import check_track, source_gains

ROW_S = 0.04
LONGEST_VECTOR, LARGEST_RESIDUAL = 2.0, 4.0
# Rows that are analysed at once: whole numbers of samples at every rate, since 100 rows are 4 s.
_ROWS_AT_ONCE = 100
# Seconds from one analysed frame to the next: four in a row.
_HOP_S = 0.01
# Seconds that are made at once, and of the decorrelating filters.
_SYNTHESISED_AT_ONCE_S, _FILTER_S = 4.0, 0.03
# Decorrelated sound is raised by at most 12 dB where it is weaker than wanted: at the onset of a sound.
_MOST_GAIN = 4.0
_TINY = 1e-30


def analyse(sound: Sound) -> DirectionField:
    """Analyse Ambisonics (AmbiX; of higher orders the first four channels are read).

    Returns:
        A field of `ceil(duration / 0.04 s)` rows and 64 bands. Where W is silent the vectors and the residual are 0.

    Raises:
        InputError: the sound is no Ambisonics, has no samples, or holds NaN or infinity.
    """
    if sound.layout != "ambix" or sound.waveform.shape[0] < FIRST_ORDER:
        raise InputError(
            f"a direction field is read from Ambisonics (AmbiX, 4 channels or more); this is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels. Place the sound first, or read its channels with --ambisonics."
        )
    return analyse_blocks([sound.waveform], sound.sample_rate_hz)


def analyse_blocks(blocks: Iterable[Tensor], rate_hz: int) -> DirectionField:
    """Analyse Ambisonics that come in blocks `[C, n]`; only the field grows, by 26 KB a second. As `analyse`."""
    size, hop = frame_size(rate_hz), max(1, round(_HOP_S * rate_hz))
    count = round(_ROWS_AT_ONCE * ROW_S * rate_hz)
    reach = size // 2 + hop * math.ceil(ROW_S * rate_hz / hop)
    vectors, residual = [], []
    for piece, valid in pieces((_checked(block[:FIRST_ORDER]) for block in blocks), count, reach):
        frames = spectra(piece, size, hop)
        times_s = (torch.arange(frames.shape[1], dtype=torch.float64) * hop + size // 2 - reach) / rate_hz
        rows = max(1, math.ceil(valid / (ROW_S * rate_hz) - 1e-6))
        found, left = _row_numbers(frames, band_weights(BANDS, size, rate_hz), _row_weights(times_s, rows))
        vectors.append(found)
        residual.append(left)
    if not vectors:
        raise InputError("a direction field is read from a sound with at least one sample; this one has none.")
    return DirectionField(torch.cat(vectors), torch.cat(residual), ROW_S)


def synthesise(mono: Sound, field: DirectionField) -> Sound:
    """Make Ambisonics of a mono sound whose directions a field gives.

    Returns:
        `ambix` of order 1, as long as the sound; W is the sound itself.

    Raises:
        InputError: the sound is not mono or not finite, or the field cannot be used.
    """
    if mono.waveform.shape[0] != 1:
        raise InputError(
            f"a direction field places one channel; the sound has {mono.waveform.shape[0]}. Mix it to mono first."
        )
    made = list(synthesise_blocks([mono.waveform], mono.sample_rate_hz, field))
    waveform = torch.cat(made, dim=1) if made else mono.waveform.new_zeros(FIRST_ORDER, 0)
    return Sound(waveform, mono.sample_rate_hz, "ambix")
