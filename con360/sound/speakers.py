"""Set loudspeakers around the listener: mono, stereo, 5.1 and the like become a field.

Source: ITU-R BS.775 and BS.2051 (nominal places).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .ambisonics import channels_of, harmonics

# Yaw and pitch in degrees by FFmpeg's names.
_PLACES = {
    "FL": (-30, 0), "FR": (30, 0), "FC": (0, 0), "BL": (-135, 0), "BR": (135, 0), "BC": (180, 0), "FLC": (-15, 0),
    "FRC": (15, 0), "SL": (-90, 0), "SR": (90, 0), "TC": (0, 90), "TFL": (-45, 45), "TFC": (0, 45), "TFR": (45, 45),
    "TBL": (-135, 45), "TBC": (180, 45), "TBR": (135, 45), "WL": (-60, 0), "WR": (60, 0), "SDL": (-90, 0),
    "SDR": (90, 0), "TSL": (-90, 45), "TSR": (90, 45), "BFC": (0, -30), "BFL": (-45, -30), "BFR": (45, -30),
    "DL": (-30, 0), "DR": (30, 0), "SSL": (-110, 0), "SSR": (110, 0), "TTL": (-110, 45), "TTR": (110, 45),
}  # fmt: skip
# Where one pair alone stands behind or beside the listener, it stands here.
_SURROUND = {"BL": (-110, 0), "BR": (110, 0), "SL": (-110, 0), "SR": (110, 0)}


def speakers_matrix(speakers: Sequence[str], order: int = 1) -> Tensor:
    """Make `[(order + 1)², S]` from loudspeakers to Ambisonics: each is a source at its nominal place.

    LFE is left out. One channel without a name comes from everywhere: W alone.

    Args:
        speakers: FFmpeg's names (FL, FR, FC, LFE, ...), or "" for a channel without a place.
    """
    rear = {"BL", "BR"} <= set(speakers) and {"SL", "SR"} <= set(speakers)
    columns = [_column(name, order, rear) for name in speakers]
    return torch.stack(columns, 1)


def _column(name: str, order: int, rear: bool) -> Tensor:
    column = torch.zeros(channels_of(order), dtype=torch.float64)
    if name.startswith("LFE"):
        return column
    if not name:
        column[0] = 1.0
        return column
    place = _PLACES[name] if rear else _SURROUND.get(name, _PLACES[name])
    yaw, pitch = torch.tensor(place, dtype=torch.float64)
    return harmonics(yaw, pitch, order)
