"""Compute Spatial AV-Align: is a sound where something is seen?

Source: SAVGBench (arXiv 2412.13462); recorded scores of its code in the tests. It is recall: silence and silent boxes
cost nothing, and sound from the middle alone hits wide boxes always. So chance and mono belong beside every score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..choices import StereoLaw
from ..errors import InputError
from ..geometry.degrees import wrap_yaw_deg
from ..records import Sound
from ..sound.intensity import heard_angles_deg
from ..sound.stereo import law_yaw_deg
from .figure import Definition

# Pictures are so wide; a sound may lie so far beside a box.
WIDTH_PX, REACH_PX = 256, 40
# Sound is placed every 100 ms, boxes are drawn at 4 frames a second. SAVGBench's clips of 5 s have no frame 20: sound
# that would ask for it asks for the one before.
SOUND_FRAME_S, BOX_FPS, PAST_FRAME = 0.1, 4.0, 20
# Rows so far below the loudest are silent.
QUIET_DB = -40.0


class Box(NamedTuple):
    """Something seen: the frame at 4 fps, left and right edge in pixels of a picture 256 wide."""

    frame: int
    left: float
    right: float


class HeardColumn(NamedTuple):
    """Something heard: the frame of 100 ms, and the column in pixels of a picture 256 wide."""

    frame: int
    x: float


class HeardYaw(NamedTuple):
    """A sounding row: its frame of 100 ms and its direction, right-positive from the view's middle."""

    frame: int
    yaw_deg: float


@dataclass(frozen=True)
class SpatialScore:
    """Sound frames that have a box at their place; sums over clips give the score of all, as published."""

    hits: float
    sounds: int

    @property
    def score(self) -> float:
        """Share of hits; NaN without any sound."""
        return self.hits / self.sounds if self.sounds else math.nan

    def __add__(self, other: SpatialScore) -> SpatialScore:
        return SpatialScore(self.hits + other.hits, self.sounds + other.sounds)


def definition(front_end: str) -> Definition:
    """Define the score by what placed sound and boxes, for example "FOA intensity, scene truth"."""
    return Definition(
        f"Spatial AV-Align ({front_end})",
        f"share of 100 ms frames with sound that have a box within {REACH_PX} of {WIDTH_PX} px and one frame at 4 fps, "
        f"over all clips; {front_end}",
        "SAVGBench",
        better="higher",
    )


def spatial_av_align(placed: Sequence[HeardColumn], boxes: Sequence[Box]) -> SpatialScore:
    """Score one clip as published: columns and edges are cut to whole pixels, boxes of three frames count."""
    return SpatialScore(sum(_hits(one.frame, one.x, boxes) for one in placed), len(placed))


def mono_score(placed: Sequence[HeardColumn], boxes: Sequence[Box]) -> SpatialScore:
    """Score a sound that comes from the picture's middle whenever this one sounds."""
    return spatial_av_align([HeardColumn(one.frame, WIDTH_PX / 2) for one in placed], boxes)


def chance_score(placed: Sequence[HeardColumn], boxes: Sequence[Box]) -> SpatialScore:
    """Score a sound from anywhere in the picture whenever this one sounds: the mean over all columns."""
    hits = sum(_hits(one.frame, x, boxes) for one in placed for x in range(WIDTH_PX))
    return SpatialScore(hits / WIDTH_PX, len(placed))


def _hits(frame: int, x: float, boxes: Sequence[Box]) -> bool:
    asked = round(frame * SOUND_FRAME_S * BOX_FPS)
    asked -= asked == PAST_FRAME
    return any(
        abs(box.frame - asked) <= 1 and int(box.right) >= int(x) - REACH_PX and int(box.left) <= int(x) + REACH_PX
        for box in boxes
    )


# Our front ends -------------------------------------------------------------------------------------------------------


def heard_rows(sound: Sound, law: StereoLaw = "tangent") -> list[HeardYaw]:
    """Find the direction of each sounding 100 ms of a view's sound.

    Args:
        sound: stereo, read by the levels of its channels under a panning law, or Ambisonics, read by its intensity.

    Raises:
        InputError: another layout, or samples that are not numbers.
    """
    if not sound.waveform.isfinite().all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    size = round(SOUND_FRAME_S * sound.sample_rate_hz)
    count = sound.waveform.shape[1] // size
    rows = sound.waveform[:, : count * size].double().unflatten(1, (count, size))
    levels = rows.square().mean(2).sqrt()
    if sound.layout == "stereo":
        loudness, yaw = levels.norm(dim=0), law_yaw_deg(levels[0], levels[1], law)
    elif (sound.ambisonic_order or 0) >= 1:
        whole = Sound(sound.waveform[:, : count * size], sound.sample_rate_hz, "ambix")
        loudness, yaw = levels[0], heard_angles_deg(whole, SOUND_FRAME_S)[0] if count else levels[0]
    else:
        raise InputError(f"a {sound.layout} sound has no direction; give stereo, or AmbiX of 4 channels or more.")
    least = float(loudness.max()) * 10 ** (QUIET_DB / 20) if count else 0.0
    loud = torch.nonzero((loudness > 0) & (loudness >= least)).flatten()
    return [HeardYaw(int(row), float(yaw[row])) for row in loud]


def placed_in_view(heard: Sequence[HeardYaw], fov_deg: float) -> list[HeardColumn]:
    """Place directions in a view's picture; what is heard outside of it has no place and is left out."""
    edge = math.tan(math.radians(fov_deg / 2))
    inside = [row for row in heard if abs(row.yaw_deg) <= fov_deg / 2]
    return [HeardColumn(row.frame, column_of(row.yaw_deg, edge)) for row in inside]


def column_of(yaw_deg: float, edge: float) -> float:
    """Column in pixels of a direction less than 90 degrees off; `edge` is the tangent of half the field of view."""
    return WIDTH_PX / 2 * (1 + math.tan(math.radians(yaw_deg)) / edge)


def azimuth_error_deg(heard: Sequence[HeardYaw], true_yaws_deg: Callable[[float], Sequence[float]]) -> float:
    """Average the angle between each sounding row and the nearest true source; NaN without any.

    Args:
        true_yaws_deg: yaws of the sources at a time in seconds, from the view's middle.
    """
    errors = []
    for row in heard:
        true = true_yaws_deg((row.frame + 0.5) * SOUND_FRAME_S)
        errors.append(min((abs(float(wrap_yaw_deg(row.yaw_deg - yaw))) for yaw in true), default=math.nan))
    return sum(errors) / len(errors) if errors else math.nan
