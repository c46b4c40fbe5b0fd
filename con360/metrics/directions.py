"""Compare the directions of two Ambisonic sounds.

The paper's figures are radians of one direction a clip. Its script reads channels that lie in ACN order (W, Y, Z, X)
as W, X, Y, Z. Its "theta" is then an angle between left and up, and its "phi" the height above that plane, towards the
front; the great-circle angle does not depend on the names. It also has a floor: quiet clips look horizontal. Both
readings are here, and ours is in ACN, in degrees and without the floor.

Source: OmniAudio (arXiv 2504.14906), whose figures a public script of the same measures gives; recorded values of that
script in the tests.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from ..errors import InputError
from ..records import Sound
from .figure import Definition

Reading = Literal["acn", "paper"]
# The script's floor under the square of the horizontal part.
PAPER_FLOOR = 1e-6

ANGULAR_ERROR = Definition(
    "angular error", "great-circle angle between the intensities of both sounds, one direction a clip, ACN",
    "OmniAudio", unit="degrees",
)  # fmt: skip
PAPER_ANGULAR = Definition(
    "d_angular (paper's reading)",
    "haversine angle between directions of mean(ch0 ch1..3) read as X, Y, Z, horizontal part at least 1e-3",
    "OmniAudio", unit="radians",
)  # fmt: skip


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
    if (sound.ambisonic_order or 0) < 1 or not sound.waveform.shape[1]:
        raise InputError(
            f"directions need Ambisonics with 4 channels and samples; got {sound.layout} of "
            f"{sound.waveform.shape[0]} channels and {sound.waveform.shape[1]} samples."
        )
    w, *dipoles = sound.waveform[:4].double()
    first, second, third = (float((w * dipole).mean()) for dipole in dipoles)
    if not math.isfinite(first + second + third):
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    if reading == "paper":
        return math.atan2(second, first), math.atan2(third, math.sqrt(max(first**2 + second**2, PAPER_FLOOR)))
    left, up, ahead = first, second, third
    return math.atan2(left, ahead), math.atan2(up, math.hypot(left, ahead))


def _haversine(a: tuple[float, float], b: tuple[float, float]) -> float:
    h = math.sin((a[1] - b[1]) / 2) ** 2 + math.cos(a[1]) * math.cos(b[1]) * math.sin((a[0] - b[0]) / 2) ** 2
    return 2 * math.asin(math.sqrt(min(h, 1.0)))
