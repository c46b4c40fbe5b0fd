"""Hand out views around a panorama, and join the sounds that somebody made for each into one field.

Any model that makes a sound for a video serves: it runs once per view, and each result sounds from where its view
looks. `sharing` counts once what several views hear.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, View, Viewpoint
from ..scenes import DIRECTION_WORDS
from ..sound.levels import fit_length, resample, to_mono
from ..sound.moving import rows_of
from ..viewpoint.choose import DEFAULT_FOV_DEG, check_fov_deg, manual_viewpoint
from .sharing import join_blocks

COUNTS = (2, 16)
DEFAULT_COUNT = 6
# From this pitch on a view looks above or below, whatever its yaw.
STEEP_DEG = 60.0
LIST = "views.json"
ORDERS = (1, 2, 3)
# Samples at once: larger blocks spend less time in small calls.
BLOCK = 16384


# Views ----------------------------------------------------------------------------------------------------------------


def views_around(
    around: int | Sequence[Viewpoint] = DEFAULT_COUNT, *, above_below: bool = False, fov_deg: float = DEFAULT_FOV_DEG
) -> tuple[View, ...]:  # fmt: skip
    """Choose views all around, or one per ranked viewpoint.

    Args:
        around: 2 to 16 views evenly along the horizon, clockwise from the front; or viewpoints (`choose.viewpoints`),
            of which each gives its view in the middle of its track, with that field of view.
        above_below: the last two of the evenly spread ones look straight up and down.
        fov_deg: of evenly spread views, 30 to 150.

    Raises:
        InputError: a count or a field of view outside its range, or no viewpoint.
    """
    if not isinstance(around, int):
        if not around:
            raise InputError("there are no viewpoints to look at; ask for a number of views instead.")
        return tuple(viewpoint.track.views[len(viewpoint.track) // 2] for viewpoint in around)
    low, high = COUNTS
    if not low + 2 * above_below <= around <= high:
        raise InputError(f"{around} views were asked for; choose {low + 2 * above_below} to {high}.")
    check_fov_deg(fov_deg)
    level = around - 2 * above_below
    pitches = [0.0] * level + [90.0, -90.0] * above_below
    yaws = [360.0 * i / level for i in range(level)] + [0.0, 0.0] * above_below
    return tuple(manual_viewpoint(y, p, fov_deg, 1).track.views[0] for y, p in zip(yaws, pitches, strict=True))


def direction_words(view: View) -> str:
    """Say where a view looks: "in front", "on the front right", ..., "above" or "below"."""
    if abs(view.pitch_deg) >= STEEP_DEG:
        return "above" if view.pitch_deg > 0 else "below"
    return DIRECTION_WORDS[round(view.yaw_deg / 45.0) % len(DIRECTION_WORDS)]


def view_name(number: int) -> str:
    """Name a view's files; numbers count from 1."""
    return f"view-{number}"


# Field ----------------------------------------------------------------------------------------------------------------


def field_of_views(sounds: Sequence[Sound], views: Sequence[View], order: int = 1) -> Sound:
    """Put each sound where its view looks, and count once what several views hear.

    Sounds of other rates are resampled to the highest, shorter ones padded with silence, others than mono mixed;
    `sounds_notices` says so. Levels stay: peaks may exceed 1.

    Args:
        sounds: one per view. order: of the Ambisonics, 1 to 3.

    Returns:
        `ambix`, as long as the longest sound.

    Raises:
        InputError: not one sound per view, an empty sound, values that are not numbers, or another order.
    """
    _check_sounds(sounds, views, order)
    rate = max(sound.sample_rate_hz for sound in sounds)
    mono = [resample(to_mono(sound), rate) for sound in sounds]
    longest = max(sound.waveform.shape[1] for sound in mono)
    together = torch.cat([fit_length(sound, longest).waveform for sound in mono])
    return Sound(torch.cat(list(field_blocks([together], rate, views, order)), dim=1), rate, "ambix")


def field_blocks(
    blocks: Iterable[Tensor], rate_hz: int, views: Sequence[View], order: int = 1
) -> Iterator[Tensor]:  # fmt: skip
    """Join sounds of views that come in blocks `[V, n]`, as `field_of_views` does; yields `[(order + 1)², n]`.

    The lengths of blocks differ from those that came; all together are as long. A few seconds are held.
    """
    return join_blocks(rows_of(blocks, BLOCK), rate_hz, views, order)


def sounds_notices(sounds: Sequence[Sound]) -> tuple[str, ...]:
    """Say how `field_of_views` has to change these sounds: mixed, resampled, padded; and which are silent."""
    return facts_notices([
        SoundFacts(
            view_name(i), sound.waveform.shape[0], sound.sample_rate_hz, sound.duration_s, bool(sound.waveform.any())
        )
        for i, sound in enumerate(sounds, 1)
    ])  # fmt: skip


@dataclass(frozen=True)
class SoundFacts:
    """Facts about the sound of a view, by which it has to be changed."""

    name: str
    channels: int
    rate_hz: int
    seconds: float
    sounds: bool


def facts_notices(every: Sequence[SoundFacts]) -> tuple[str, ...]:
    """Say how sounds of views are changed to become one field; see `sounds_notices`."""
    rates = sorted({one.rate_hz for one in every})
    longest = max(one.seconds for one in every)

    def of(is_so: Callable[[SoundFacts], bool]) -> str:
        return ", ".join(one.name for one in every if is_so(one))

    said = []
    if mixed := of(lambda one: one.channels > 1):
        said.append(f"sounds of several channels were mixed to mono: {mixed}")
    if len(rates) > 1:
        said.append(f"sounds at {', '.join(map(str, rates[:-1]))} Hz were resampled to {rates[-1]} Hz")
    if short := of(lambda one: one.seconds < longest - 1.5 / rates[0]):
        said.append(f"shorter sounds were padded with silence to {longest:.2f} s: {short}")
    if silent := of(lambda one: not one.sounds):
        said.append(f"silent sounds: {silent}")
    return tuple(said)


def _check_sounds(sounds: Sequence[Sound], views: Sequence[View], order: int) -> None:
    if order not in ORDERS:
        raise InputError(f"Ambisonics of order {order} was asked for; choose 1, 2 or 3.")
    if not views or len(sounds) != len(views):
        raise InputError(f"there are {len(sounds)} sounds for {len(views)} views; give one sound for each view.")
    for number, sound in enumerate(sounds, 1):
        if not sound.waveform.numel():
            raise InputError(f"the sound of {view_name(number)} is empty; give at least one sample.")
        if not torch.isfinite(sound.waveform).all():
            raise InputError(f"the sound of {view_name(number)} holds values that are not numbers. Repair it first.")


# List -----------------------------------------------------------------------------------------------------------------


def views_to_json(views: Sequence[View], **facts: object) -> str:
    """Write the list of views that `folder.open_views` reads.

    Args:
        facts: whatever else shall stand in it, such as source, start_s, duration_s, fps.
    """
    rows = []
    for number, view in enumerate(views, 1):
        yaw, pitch, fov = (round(angle, 3) for angle in (view.yaw_deg, view.pitch_deg, view.fov_deg))
        caption = direction_words(view)
        rows.append({"name": view_name(number), "yaw": yaw, "pitch": pitch, "fov": fov, "caption": caption})
    return json.dumps({**facts, "views": rows}, indent=1) + "\n"


def views_from_json(text: str) -> dict[str, View]:
    """Read a list of views: name and view, in the list's order.

    Raises:
        InputError: no such list, a name that is missing, repeated or a path, or an angle outside its range.
    """
    try:
        rows = json.loads(text)["views"]
        named = [(row["name"], row["yaw"], row["pitch"], row["fov"]) for row in rows]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise InputError(f"the list of views cannot be read; `con360 views CLIP --out FOLDER` writes {LIST}.") from None
    found: dict[str, View] = {}
    for name, yaw, pitch, fov in named:
        if not isinstance(name, str) or not name or Path(name).name != name or name in found:
            raise InputError(f"the list of views has the name {name!r}; wanted plain names, each once.")
        if not all(isinstance(angle, int | float) and math.isfinite(angle) for angle in (yaw, pitch, fov)):
            raise InputError(f"{name} looks at {[yaw, pitch, fov]}; wanted yaw, pitch and fov as numbers of degrees.")
        try:
            found[name] = manual_viewpoint(yaw, pitch, fov, 1).track.views[0]
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    if not found:
        raise InputError(f"the list of views is empty; `con360 views CLIP --out FOLDER` writes {LIST}.")
    return found
