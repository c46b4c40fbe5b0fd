"""Read a sound's directions by a head: from a clip's conditions and a mono sound to a direction field.

Shape legend: T frames, R rows of 40 ms, K bands, M maps, H W map rows and columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import Conditions, DirectionField, Sound
from ..sound.band_powers import RATE_HZ, band_powers
from ..sound.bands import BANDS
from ..sound.fields import ROW_S
from ..sound.levels import to_mono
from .field_head import MAP_SIZE, SALIENCY, FieldHead, Told
from .file import LoadedControl

# A head learns from clips of so many rows; longer sounds are read in pieces that overlap by half.
_ROWS, _HOP = 100, 50
_MOST_TOKENS = 128
_UNKNOWN = 1
_SILENT = 1e-12


def directions_of(
    head: FieldHead, conditions: Conditions, sound: Sound, fps: float
) -> tuple[DirectionField, tuple[str, ...]]:
    """Tell where each band of a scene's sound lies.

    Args:
        conditions: saliency and further maps of the panorama, and the caption. Absent maps are read as empty.
        sound: of the whole scene; it is mixed to mono. It begins with the maps.
        fps: frame rate of the maps; the last one holds.

    Returns:
        The field, in the panorama's directions, and notices about what the head could not read.

    Raises:
        InputError: the sound has no sample, or NaN or infinity.
    """
    mono = to_mono(sound)
    powers_db = _powers_db(mono)
    maps = _maps_of(head, conditions, len(powers_db), fps)
    words = words_of(conditions.caption.short, head.config.words)
    vectors = torch.zeros(len(powers_db), BANDS, 3)
    weights = torch.zeros(len(powers_db), 1, 1)
    with torch.no_grad():
        for first in _starts(len(powers_db)):
            rows = slice(first, first + _ROWS)
            told = Told(maps[None, rows], words[None], powers_db[None, rows])
            found = head.vectors(told)[0].float()
            weight = _fade(len(found))
            vectors[rows] += weight * found
            weights[rows] += weight
    vectors = vectors / weights
    # Plane waves have dipoles of their own energy, from wherever they come.
    residual = (1.0 - vectors.square().sum(-1)).clamp(0.0, 1.0)
    return DirectionField(vectors, residual, ROW_S), _notices(head, conditions, words)


def control_directions(
    control: LoadedControl, conditions: Conditions, sound: Sound, fps: float
) -> tuple[DirectionField, tuple[str, ...]]:
    """Give a generated sound its directions by the head that a control file carries: the field, and notices.

    Sound by a control that learned the view's sound is read as the scene's: it was measured to hardly turn with the
    view.

    Raises:
        InputError: the control has no head, or as `directions_of`.
    """
    if control.field_head is None:
        raise InputError("this control gives no directions; find the place of its sound in the picture instead.")
    field, said = directions_of(control.field_head, conditions, sound, fps)
    if control.module.config.sound == "view":
        said = ("the control learned the view's sound, which is taken for the whole scene's: levels may be off", *said)
    return field, said


def _starts(rows: int) -> range:
    return range(0, max(1, rows - _HOP), _HOP)


def _fade(rows: int) -> Tensor:
    """Weights of a piece's rows `[R, 1, 1]`: most in its middle."""
    place = torch.arange(rows) + 0.5
    return torch.minimum(place, rows - place)[:, None, None]


def _powers_db(mono: Sound) -> Tensor:
    """Power of each band in rows of 40 ms, decibels: `[R, K]`."""
    fine = torch.cat([torch.zeros(0, BANDS), *band_powers([mono.waveform], mono.sample_rate_hz)])
    step = round(ROW_S * RATE_HZ)
    padded = F.pad(fine, (0, 0, 0, -len(fine) % step))
    return 10 * padded.unflatten(0, (-1, step)).mean(1).clamp_min(_SILENT).log10()


def _maps_of(head: FieldHead, conditions: Conditions, rows: int, fps: float) -> Tensor:
    """Maps as the head reads them: `[R, M, 36, 72]`, zeros where one is absent."""
    given = _given(conditions)
    absent = torch.zeros(1, *MAP_SIZE)
    read = [over_rows(small_maps(given[n]) if n in given else absent, rows, fps) for n in head.config.channels]
    return torch.stack(read, 1)


def _given(conditions: Conditions) -> Mapping[str, Tensor]:
    return {**conditions.maps, SALIENCY: conditions.saliency.maps, "basd": conditions.basd.maps}


def small_maps(maps: Tensor) -> Tensor:
    """Maps `[T, H, W]` at the head's size."""
    return F.interpolate(maps[:, None].float().clamp(0, 1), MAP_SIZE, mode="area")[:, 0]


def over_rows(maps: Tensor, rows: int, fps: float) -> Tensor:
    """Interpolate maps `[T, H, W]` at frames' times to rows `[R, H, W]`; the last frame holds."""
    place = ((torch.arange(rows) + 0.5) * (ROW_S * fps)).clamp_max(len(maps) - 1.0)
    before = place.long()
    after = (before + 1).clamp_max(len(maps) - 1)
    return torch.lerp(maps[before], maps[after], (place - before)[:, None, None])


def words_of(caption: str, vocabulary: tuple[str, ...]) -> Tensor:
    """Numbers of a caption's words `[L]`, at least one: 0 is no word, 1 an unknown one."""
    number = {word: i + 2 for i, word in enumerate(vocabulary)}
    words = re.findall(r"[^\W_]+|,", caption.lower())[:_MOST_TOKENS]
    return torch.tensor([number.get(word, _UNKNOWN) for word in words] or [0])


def _notices(head: FieldHead, conditions: Conditions, words: Tensor) -> tuple[str, ...]:
    given = _given(conditions)
    absent = [name for name in head.config.channels if name not in given]
    said = [f"the direction head reads the map {name!r}, which is not given: it hears less" for name in absent]
    if (words == _UNKNOWN).sum() > len(words) / 2:
        said.append("the direction head knows less than half of the caption's words")
    return tuple(said)
