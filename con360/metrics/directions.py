"""Compare the directions of two Ambisonic sounds: of whole clips, of each second and of each band of frequency.

Shape legend: K parts of a clip.

The paper's figures are radians of one direction a clip. Its script reads channels that lie in ACN order (W, Y, Z, X)
as W, X, Y, Z. Its "theta" is then an angle between left and up, and its "phi" the height above that plane, towards the
front; the great-circle angle does not depend on the names. It also has a floor: quiet clips look horizontal. Both
readings are here, and ours is in ACN, in degrees and without the floor.

A constant direction or another clip's sound can do well by these figures: put both beside them.

Source: OmniAudio (arXiv 2504.14906), whose figures a public script of the same measures gives; recorded values of that
script in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from ..sound.channels import FIRST_ORDER
from ..sound.intensity import intensity, intensity_rows
from .figure import Definition

Reading = Literal["acn", "paper"]
# Parts of a clip that have a direction each.
Part = Literal["clip", "second", "band"]
# Octaves around 125 Hz to 8 kHz; the lowest and the highest are open.
OCTAVES_HZ = ((0.0, 177.0), *((177.0 * 2**i, 354.0 * 2**i) for i in range(5)), (5664.0, math.inf))
# A part whose share of the sound's energy is so far below its share of the reference's is missing.
MISSING_DB, MISSING_DEG = -20.0, 90.0
# Parts with less of the reference's energy are left out.
LEAST_SHARE = 0.01
# The script's floor under the square of the horizontal part.
PAPER_FLOOR = 1e-6

_PARTS_WORDS = {
    "clip": "one direction a clip", "second": "one direction a second, seconds weighted by the reference's energy",
    "band": "one direction a band, bands weighted by the reference's energy",
}  # fmt: skip
ANGULAR_ERROR = {
    part: Definition(
        f"angular error, {part}", f"great-circle angle between the intensities of both sounds, ACN; {words}; a part "
        f"that is missing ({-MISSING_DB:g} dB or more below its share of the reference) counts as {MISSING_DEG:g}",
        "ours, after OmniAudio", unit="degrees",
    )
    for part, words in _PARTS_WORDS.items()
}  # fmt: skip
PAPER_READING = {
    name: Definition(
        f"{name} (paper's reading)",
        f"{words} between directions of mean(ch0 ch1..3) read as X, Y, Z, horizontal part at least 1e-3",
        "OmniAudio", unit="radians",
    )
    for name, words in (("d_theta", "azimuth"), ("d_phi", "elevation"), ("d_angular", "haversine angle"))
}  # fmt: skip


class DirectionErrors(NamedTuple):
    """Absolute errors in radians: azimuth, elevation, and the great-circle angle."""

    theta: float
    phi: float
    angular: float


def direction_errors(generated: Sound, reference: Sound, reading: Reading = "acn") -> DirectionErrors:
    """Compare one direction of each sound.

    Args:
        reading: `paper` reads the channels as the published script does (the module's text).

    Raises:
        InputError: a sound is not Ambisonics, or holds no number.
    """
    a, b = (published_angles(sound, reading) for sound in (generated, reference))
    turn = abs(a[0] - b[0])
    return DirectionErrors(min(turn, 2 * math.pi - turn), abs(a[1] - b[1]), _haversine(a, b))


def published_angles(sound: Sound, reading: Reading = "acn") -> tuple[float, float]:
    """Azimuth and elevation in radians of the mean products of W and the dipoles."""
    w, *dipoles = _checked(sound).waveform[:FIRST_ORDER].double()
    first, second, third = (float((w * dipole).mean()) for dipole in dipoles)
    if reading == "paper":
        return math.atan2(second, first), math.atan2(third, math.sqrt(max(first**2 + second**2, PAPER_FLOOR)))
    left, up, ahead = first, second, third
    return math.atan2(left, ahead), math.atan2(up, math.hypot(left, ahead))


class PartErrors(NamedTuple):
    """Errors of the parts of one clip that the reference sounds in, `[K]` each; K may be 0.

    Args:
        degrees: angles, `MISSING_DEG` where the part is missing.
        shares: of the reference's energy, sum 1.
        missing: bool.
    """

    degrees: np.ndarray
    shares: np.ndarray
    missing: np.ndarray

    @property
    def mean_deg(self) -> float:
        """Mean by energy; NaN without a part."""
        return float(self.degrees @ self.shares) if len(self.shares) else math.nan

    @property
    def missing_share(self) -> float:
        """Share of the reference's energy whose parts are missing."""
        return float(self.shares[self.missing].sum()) if len(self.shares) else math.nan

    def within(self, degrees: float) -> float:
        """Share of the parts within an angle, each counted alike."""
        return float((self.degrees <= degrees).mean()) if len(self.shares) else math.nan


def angular_errors(
    generated: Sound, reference: Sound, part: Part = "clip", bands_hz: Sequence[tuple[float, float]] = OCTAVES_HZ
) -> PartErrors:
    """Compare the directions of two sounds part by part, in ACN and degrees; the longer one's end is left out.

    Args:
        bands_hz: of part `band`, lowest and highest frequency each.

    Raises:
        InputError: a sound is not Ambisonics or not finite, or an unknown part.
    """
    if part not in get_args(Part):
        raise InputError(f"angular errors are of {', '.join(get_args(Part))}; got {part!r}.")
    seconds = min(_checked(sound).duration_s for sound in (generated, reference))
    made, true = (_part_rows(_cut(sound, seconds), part, bands_hz) for sound in (generated, reference))
    count = min(len(made), len(true))
    return _compare(made[:count].numpy(), true[:count].numpy())


def _compare(made: np.ndarray, true: np.ndarray) -> PartErrors:
    """Compare rows `[K, 4]`: intensity and energy."""
    shares, made_shares = (rows[:, 3] / max(rows[:, 3].sum(), 1e-300) for rows in (true, made))
    missing = (made_shares < 10 ** (MISSING_DB / 10) * shares) | ~made[:, :3].any(1)
    cross = np.linalg.norm(np.cross(made[:, :3], true[:, :3]), axis=1)
    degrees = np.degrees(np.arctan2(cross, (made[:, :3] * true[:, :3]).sum(1)))
    judged = (shares >= LEAST_SHARE) & true[:, :3].any(1)
    kept = shares[judged] / max(shares[judged].sum(), 1e-300)
    return PartErrors(np.where(missing, MISSING_DEG, degrees)[judged], kept, missing[judged])


def _part_rows(sound: Sound, part: Part, bands_hz: Sequence[tuple[float, float]]) -> Tensor:
    """Sum intensity and energy over the samples of each part: `[K, 4]` float64."""
    if part == "clip":
        return intensity(sound.waveform).sum(1)[None]
    if part == "second":
        return torch.stack(list(intensity_rows([sound.waveform], sound.sample_rate_hz, 1.0)))
    spectrum = torch.fft.rfft(sound.waveform[:FIRST_ORDER].double())
    hz = torch.fft.rfftfreq(sound.waveform.shape[1], 1 / sound.sample_rate_hz, dtype=torch.float64)
    # Real and imaginary parts one behind the other are samples whose products have the same sums.
    halves = torch.cat((spectrum.real, spectrum.imag), dim=1)
    rows = intensity(halves)
    return torch.stack([rows[:, ((hz >= low) & (hz < high)).repeat(2)].sum(1) for low, high in bands_hz])


def _cut(sound: Sound, seconds: float) -> Sound:
    return Sound(sound.waveform[:, : round(seconds * sound.sample_rate_hz)], sound.sample_rate_hz, sound.layout)


def _checked(sound: Sound) -> Sound:
    if (sound.ambisonic_order or 0) < 1 or not sound.waveform.shape[1]:
        raise InputError(
            f"directions need Ambisonics with 4 channels and samples; got {sound.layout} of "
            f"{sound.waveform.shape[0]} channels and {sound.waveform.shape[1]} samples."
        )
    if not sound.waveform.isfinite().all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    return sound


def _haversine(a: tuple[float, float], b: tuple[float, float]) -> float:
    h = math.sin((a[1] - b[1]) / 2) ** 2 + math.cos(a[1]) * math.cos(b[1]) * math.sin((a[0] - b[0]) / 2) ** 2
    return 2 * math.asin(math.sqrt(min(h, 1.0)))
