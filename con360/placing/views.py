"""Hand out views around a panorama, and join the sounds that somebody made for each into one field.

Any model that makes a sound for a video serves: it runs once per view, and each result sounds from where its view
looks. `sharing` counts once what several views hear.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..media.files import existing_file
from ..media.reader import read_sound
from ..records import Sound, View, Viewpoint
from ..scenes import DIRECTION_WORDS
from ..sound.levels import fit_length, resample, to_mono
from ..viewpoint.choose import DEFAULT_FOV_DEG, check_fov_deg, manual_viewpoint
from .sharing import join_blocks

COUNTS = (2, 16)
DEFAULT_COUNT = 6
# From this pitch on a view looks above or below, whatever its yaw.
STEEP_DEG = 60.0
LIST = "views.json"
# Endings of a view's sound, in the folder that holds the list; a clip with sound comes last.
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".mp4")
ORDERS = (1, 2, 3)


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
    return join_blocks(blocks, rate_hz, views, order)


def sounds_notices(sounds: Sequence[Sound], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Say how `field_of_views` has to change these sounds: mixed, resampled, padded; and which are silent.

    Args:
        names: of the sounds; view-1, view-2, ... without.
    """
    rates = sorted({sound.sample_rate_hz for sound in sounds})
    longest = max(sound.duration_s for sound in sounds)

    def of(is_so: Callable[[Sound], bool]) -> str:
        named = zip(names or map(view_name, range(1, len(sounds) + 1)), sounds, strict=True)
        return ", ".join(name for name, sound in named if is_so(sound))

    said = []
    if mixed := of(lambda sound: sound.waveform.shape[0] > 1):
        said.append(f"sounds of several channels were mixed to mono: {mixed}")
    if len(rates) > 1:
        said.append(f"sounds at {', '.join(map(str, rates[:-1]))} Hz were resampled to {rates[-1]} Hz")
    if short := of(lambda sound: sound.duration_s < longest - 0.5 / rates[-1]):
        said.append(f"shorter sounds were padded with silence to {longest:.2f} s: {short}")
    if silent := of(lambda sound: not sound.waveform.any()):
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


# Folder ---------------------------------------------------------------------------------------------------------------


def views_to_json(views: Sequence[View], **facts: object) -> str:
    """Write the list of views that `field_of_folder` reads.

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
    for name, *angles in named:
        if not isinstance(name, str) or not name or Path(name).name != name or name in found:
            raise InputError(f"the list of views has the name {name!r}; wanted plain names, each once.")
        if not all(isinstance(a, int | float) and math.isfinite(a) for a in angles):
            raise InputError(f"{name} looks at {angles}; wanted yaw, pitch and fov as numbers of degrees.")
        try:
            found[name] = manual_viewpoint(*angles, 1).track.views[0]
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    if not found:
        raise InputError(f"the list of views is empty; `con360 views CLIP --out FOLDER` writes {LIST}.")
    return found


def field_of_folder(folder: str | os.PathLike[str], order: int = 1) -> tuple[Sound, tuple[str, ...]]:
    """Read the sounds of a folder's views (view-1.wav, ...) and join them by `field_of_views`.

    Convention: `views.json` names the views, as `con360 views` writes it. A sound has its view's name and one of
    `SOUND_ENDINGS`; the view's own clip (view-1.mp4) counts where it has sound and no other file has that name.

    Returns:
        The field as `ambix`, and the notices.

    Raises:
        InputError: no such folder or list, no sound at all, two sounds for one view, or a sound that cannot be used.
    """
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise InputError(f"there is no folder {folder}; name the one that holds {LIST} and the sounds of its views.")
    try:
        named = views_from_json(existing_file(place / LIST).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{place / LIST} is no text file; `con360 views CLIP --out FOLDER` writes it.") from None
    heard: dict[str, Sound] = {}
    notices: list[str] = []
    for name in named:
        path = _sound_file(place, name)
        if path is None:
            notices.append(f"{name} has no sound file: nothing sounds from there")
            continue
        sound, said = read_sound(path)
        heard[name] = sound
        notices += [f"{name}: {one}" for one in said]
    if not heard:
        raise InputError(f"{place.name} holds no sound of a view; wanted files such as {next(iter(named))}.wav.")
    sounds = tuple(heard.values())
    field = field_of_views(sounds, [named[name] for name in heard], order)
    return field, (*notices, *sounds_notices(sounds, tuple(heard)))


def _sound_file(folder: Path, name: str) -> Path | None:
    """Find the one file with a view's sound; None where there is none."""
    from ..media.info import probe

    found = [folder / f"{name}{ending}" for ending in SOUND_ENDINGS]
    found = [path for path in found if path.is_file()]
    own = [path for path in found if path.suffix != ".mp4"] or [path for path in found if probe(path).audio_tracks]
    if len(own) > 1:
        raise InputError(f"{name} has two sounds, {own[0].name} and {own[1].name}; keep one of them.")
    return own[0] if own else None
