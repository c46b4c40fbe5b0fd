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
# Dipoles of a real recording were 12 dB over W in one octave.
LONGEST_VECTOR, LARGEST_RESIDUAL = 2.0, 16.0
# Rows that are analysed at once: whole numbers of samples at every rate, since 100 rows are 4 s.
_ROWS_AT_ONCE = 100
# Seconds from one analysed frame to the next: four in a row.
_HOP_S = 0.01
# Seconds that are made at once.
_SYNTHESISED_AT_ONCE_S = 4.0
# Decorrelated copies begin after the first of these times and end after the second. Shorter ones are too much like W
# within a frame; longer ones are heard as an echo.
_FILTER_S = (0.01, 0.04)
# Of four draws, the one whose stationary noise has the kurtosis nearest to the recording's, at 16 and 48 kHz.
_FILTER_SEED = 1
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
    return analyse_blocks([_ambisonics(sound)], sound.sample_rate_hz)


def analyse_blocks(blocks: Iterable[Tensor], rate_hz: int) -> DirectionField:
    """Analyse Ambisonics that come in blocks `[C, n]`; only the field grows, by 26 KB a second. As `analyse`."""
    size, hop = frame_size(rate_hz), max(1, round(_HOP_S * rate_hz))
    count = round(_ROWS_AT_ONCE * ROW_S * rate_hz)
    reach = size // 2 + hop * math.ceil(ROW_S * rate_hz / hop)
    vectors, residual, shares = [], [], torch.full((3,), _TINY)
    for piece, valid in pieces((_checked(block[:FIRST_ORDER], FIRST_ORDER) for block in blocks), count, reach):
        frames = spectra(piece, size, hop)
        times_s = (torch.arange(frames.shape[1], dtype=torch.float64) * hop + size // 2 - reach) / rate_hz
        rows = max(1, math.ceil(valid / (ROW_S * rate_hz) - 1e-6))
        found, left, energy = _row_numbers(frames, band_weights(BANDS, size, rate_hz), _row_weights(times_s, rows))
        vectors.append(found)
        residual.append(left)
        shares = shares + energy
    if not vectors:
        raise InputError("a direction field is read from a sound with at least one sample; this one has none.")
    y, z, x = (shares / shares.sum()).tolist()
    return DirectionField(torch.cat(vectors), torch.cat(residual), ROW_S, (y, z, x))


def synthesise(mono: Sound, field: DirectionField) -> Sound:
    """Make Ambisonics of a mono sound whose directions a field gives.

    Returns:
        `ambix` of order 1, as long as the sound; W is the sound itself.

    Raises:
        InputError: the sound is not mono or not finite, or the field cannot be used.
    """
    made = list(synthesise_blocks([mono.waveform], mono.sample_rate_hz, field))
    waveform = torch.cat(made, dim=1) if made else mono.waveform.new_zeros(FIRST_ORDER, 0)
    return Sound(waveform, mono.sample_rate_hz, "ambix")


def synthesise_blocks(blocks: Iterable[Tensor], rate_hz: int, field: DirectionField) -> Iterator[Tensor]:
    """Make Ambisonics of a mono sound that comes in blocks `[1, n]`; yields W, Y, Z, X in blocks `[4, n]`.

    The last row of a field that is shorter than the sound holds; rows past the sound's end are not used.
    """
    check_field(field)
    size = frame_size(rate_hz)
    half = size // 2
    filters = _filters(rate_hz)
    # Context for a frame's own length, for the mean over neighbouring frames, and for the filters.
    reach = half * (2 + 2 * math.ceil(ROW_S * rate_hz / half) + math.ceil(filters.shape[1] / half))
    count, at = half * math.ceil(_SYNTHESISED_AT_ONCE_S * rate_hz / half), 0
    for piece, valid in pieces((_checked(block, 1) for block in blocks), count, reach):
        frames = (piece.shape[1] - size) // half + 1
        times_s = (at - reach + half + half * torch.arange(frames, dtype=torch.float64)) / rate_hz
        dipoles = _dipoles(piece, filters, field, times_s, rate_hz)[:, reach - half :]
        yield torch.cat((piece[:, reach : reach + valid], dipoles[:, :valid]))
        at += valid


def _at_frames(field: DirectionField, times_s: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors `[3, T, B]` and the energy of the dipoles over that of W `[T, B]`, vectors included, at frames' times."""
    centres = (torch.arange(len(field.residual), dtype=torch.float64) + 0.5) * field.row_s
    first = min(int(max(0.0, times_s[0].item()) / field.row_s), len(centres) - 1)
    rows = slice(max(0, first - 1), int(max(0.0, times_s[-1].item()) / field.row_s) + 2)
    weights, vectors = hats(times_s, centres[rows]).float(), field.vectors[rows].float()
    energy = vectors.square().sum(-1) + field.residual[rows].float()
    return torch.einsum("tr,rbd->dtb", weights, vectors), weights @ energy


def _dipoles(piece: Tensor, filters: Tensor, field: DirectionField, times_s: Tensor, rate_hz: int) -> Tensor:
    """Y, Z and X `[3, N - size]` of a mono piece `[1, N]`, from half a frame on."""
    size = frame_size(rate_hz)
    to_bins = band_weights(field.residual.shape[1], size, rate_hz).T
    vectors, energy = _at_frames(field, times_s)
    w, steered = spectra(piece, size, size // 2), vectors @ to_bins
    # Between rows and bands vectors are shorter than at them; decorrelated sound keeps the energy.
    residual = (energy @ to_bins - steered.square().sum(0)).clamp_min(0.0)
    if residual.max() < 1e-5:
        return joined(steered * w, size)
    copies = spectra(_filtered(piece, filters), size, size // 2)
    power, hop_s = w.abs().square(), size / 2 / rate_hz

    def mean(values: Tensor) -> Tensor:
        return _over_frames(values @ to_bins.T, hop_s)

    # In phase alone: what stands a quarter of a turn from W carries no intensity, and short frames hold little else.
    common = (mean((w.conj() * copies).real) @ to_bins) / (mean(power) @ to_bins).clamp_min(_TINY)
    rest = copies - common * w
    # Averaged by the same weights on both ways, so that the energies of rows and bands come out whole.
    wanted, found = mean(residual * power), mean(rest.abs().square().mean(0))
    gain = _over_frames((wanted / found.clamp_min(_TINY)).clamp_max(_MOST_GAIN**2), hop_s) @ to_bins
    shares = gain.new_tensor(field.shares)[:, None, None]
    return joined(steered * w + (shares * gain).sqrt() * rest, size)


def _over_frames(banded: Tensor, hop_s: float) -> Tensor:
    """Average `[..., T, B]` over neighbouring frames, for the length of a row."""
    kernel, rows = _mean_kernel(hop_s), banded.transpose(-1, -2)
    smooth = torch.nn.functional.conv1d(rows.reshape(-1, 1, rows.shape[-1]), kernel[None, None], padding="same")
    return smooth.view(rows.shape).transpose(-1, -2)


def _mean_kernel(hop_s: float) -> Tensor:
    reach = math.ceil(ROW_S / hop_s) - 1
    weights = 1.0 - torch.arange(-reach, reach + 1).abs() * (hop_s / ROW_S)
    return weights / weights.sum()


@functools.lru_cache(maxsize=8)
def _filters(rate_hz: int) -> Tensor:
    """Three filters of noise, which keep a sound's spectrum and share no phase: `[3, taps]`, energy 1. Read-only."""
    first, end = (round(time_s * rate_hz) for time_s in _FILTER_S)
    noise = torch.randn(3, max(1, end - first), generator=torch.Generator().manual_seed(_FILTER_SEED))
    return torch.nn.functional.pad(torch.nn.functional.normalize(noise, dim=1), (first, 0))


def _filtered(piece: Tensor, filters: Tensor) -> Tensor:
    """Filter `[1, N]` by each of `[3, taps]`: `[3, N]`."""
    length = piece.shape[1] + filters.shape[1]
    product = torch.fft.rfft(piece, length) * torch.fft.rfft(filters, length)
    return torch.fft.irfft(product, length)[:, : piece.shape[1]]


def _row_weights(times_s: Tensor, rows: int) -> Tensor:
    """Weight of each frame `[T]` in each row: `[rows, T]`; a frame counts in the rows whose centres are nearest."""
    place = times_s / ROW_S - 0.5
    return (1.0 - (place - torch.arange(rows)[:, None]).abs()).clamp_min(0.0).float()


def _row_numbers(frames: Tensor, to_bands: Tensor, to_rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors `[R, B, 3]`, residual `[R, B]` and the residual energy of each dipole `[3]` in frames `[4, T, F]`."""
    w, dipoles = frames[0], frames[1:]
    energy = to_rows @ (w.abs().square() @ to_bands)
    power = to_rows @ (dipoles.abs().square() @ to_bands)
    sounding, whole = energy > 0, energy.clamp_min(_TINY)
    vectors = torch.where(sounding, to_rows @ ((w.conj() * dipoles).real @ to_bands) / whole, 0.0)
    vectors = vectors * (LONGEST_VECTOR / vectors.norm(dim=0).clamp_min(_TINY)).clamp_max(1.0)
    left = torch.where(sounding, power / whole, 0.0) - vectors.square()
    energies = (left.clamp_min(0.0) * energy).sum((1, 2))
    return vectors.permute(1, 2, 0), left.sum(0).clamp(0.0, LARGEST_RESIDUAL), energies


def field_of_track(
    tracks: SourceTrack | Sequence[SourceTrack], duration_s: float, shares: Tensor | None = None
) -> DirectionField:
    """Make the field of sources on tracks; a source's spread shortens its vectors. Levels stay with the sound.

    Args:
        tracks: one source for all bands, or several.
        duration_s: length of the field.
        shares: `[S, R, B]` of each source in the energy of a row and band, in [0, 1]; what the sum lacks to 1 comes
            from everywhere. None shares equally.

    Raises:
        InputError: a track, the duration or the shares cannot be used.
    """
    sources = [tracks] if isinstance(tracks, SourceTrack) else list(tracks)
    if not sources:
        raise InputError("a field is drawn from one track or more; got none.")
    rows = _rows_of(duration_s)
    if shares is None:
        shares = torch.full((len(sources), rows, BANDS), 1.0 / len(sources))
    _check_shares(shares, len(sources), rows)
    times_s = (torch.arange(rows, dtype=torch.float64) + 0.5).numpy() * ROW_S
    gains = torch.stack([source_gains(check_track(track), times_s) for track in sources])
    vectors = torch.einsum("srd,srb->rbd", (gains[..., 1:] / gains[..., :1]).float(), shares.float())
    # Plane waves have dipoles of their own energy, from wherever they come.
    return DirectionField(vectors, (1.0 - vectors.square().sum(-1)).clamp_min(0.0), ROW_S)


def _check_shares(shares: Tensor, sources: int, rows: int) -> None:
    if shares.ndim != 3 or shares.shape[:2] != (sources, rows) or not shares.numel():
        raise InputError(f"the sources' shares have shape {tuple(shares.shape)}; wanted [{sources}, {rows}, B].")
    if not (shares.min() >= 0 and shares.sum(0).max() <= 1 + 1e-4):
        raise InputError("the sources' shares of a band must be from 0 up; together they are more than there is (1).")


def turn_field(field: DirectionField, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> DirectionField:
    """Turn a field so that a camera's direction becomes its front, as `rotation.turn` turns a sound."""
    check_field(field)
    turn = turn_matrices(rotation(yaw_deg, pitch_deg, roll_deg, dtype=torch.float64))[1:, 1:].to(field.vectors)
    y, z, x = (turn.double().square() @ torch.tensor(field.shares, dtype=torch.float64)).tolist()
    return replace(field, vectors=field.vectors @ turn.T, shares=(y, z, x))


def re_place(sound: Sound, field: DirectionField) -> Sound:
    """Give Ambisonics other directions: W, and dipoles that a field makes of it. A head-locked pair stays.

    Raises:
        InputError: as `synthesise` and `analyse`.
    """
    placed = synthesise(Sound(_ambisonics(sound)[:1], sound.sample_rate_hz), field)
    pair = field_and_pair(sound.waveform)[1]
    return placed if pair is None else replace(placed, waveform=torch.cat((placed.waveform, pair)))


def check_field(field: DirectionField) -> DirectionField:
    """Check a field's shapes and ranges.

    Raises:
        InputError: no row or band, shapes that differ, values that are not finite or out of their ranges.
    """
    problem = _problem(field)
    if problem:
        raise InputError(f"a direction field {problem}; make it anew with analyse or field_of_track.")
    return field


def _problem(field: DirectionField) -> str:
    vectors, residual = field.vectors, field.residual
    if residual.ndim != 2 or not residual.numel() or vectors.shape != (*residual.shape, 3):
        return f"has vectors {tuple(vectors.shape)} and a residual {tuple(residual.shape)}; wanted [R, B, 3] and [R, B]"
    if not (torch.isfinite(vectors).all() and torch.isfinite(residual).all()):
        return "holds NaN or infinity"
    if vectors.norm(dim=-1).max() > LONGEST_VECTOR + 1e-4:
        return f"has a vector longer than {LONGEST_VECTOR:g}"
    if residual.min() < 0 or residual.max() > LARGEST_RESIDUAL:
        return f"has residual energies out of 0 to {LARGEST_RESIDUAL:g}"
    if not 0.001 <= field.row_s <= 10:
        return f"has rows of {field.row_s:g} s; wanted 0.001 to 10"
    if min(field.shares) < 0 or not math.isclose(sum(field.shares), 1.0, abs_tol=1e-3):
        return f"shares its residual by {field.shares}; wanted three numbers from 0 whose sum is 1"
    return ""


def _ambisonics(sound: Sound) -> Tensor:
    if sound.layout != "ambix" or sound.waveform.shape[0] < FIRST_ORDER:
        raise InputError(
            f"a direction field is read from Ambisonics (AmbiX, 4 channels or more); this is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels. Place the sound first, or read its channels with --ambisonics."
        )
    return sound.waveform


def _checked(block: Tensor, channels: int) -> Tensor:
    if block.shape[0] != channels:
        wanted = "one channel: mix it to mono first" if channels == 1 else "W, Y, Z, X and whatever follows"
        raise InputError(f"the sound comes in blocks of {block.shape[0]} channels; wanted {wanted}.")
    if not torch.isfinite(block).all():
        raise InputError("the sound holds NaN or infinity, which no direction has; repair or cut it.")
    return block


def _rows_of(duration_s: float) -> int:
    if not 0 < duration_s < math.inf:
        raise InputError(f"a field of {duration_s:g} s was asked for; wanted more than 0.")
    # Rounded down by less than a sample, so that 4 s are 100 rows.
    return max(1, math.ceil(duration_s / ROW_S - 1e-6))
