"""Join the sounds of a folder's views, which `con360 views` laid out, to one field; files of any length stream."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import InputError
from ..media.files import existing_file
from ..media.info import probe
from ..media.reader import check_times
from ..records import Sound, View
from ..sound.ambisonics import channels_of
from ..sound.levels import to_mono
from ..sound.sources import sum_blocks
from .sources import LOOSE_END_S, SoundFile, cut_notice, open_sound, sentences
from .views import BLOCK, LIST, SoundFacts, facts_notices, field_blocks, views_from_json

# Endings of a view's sound; a clip with sound counts where there is nothing else.
CLIP = ".mp4"
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", CLIP)


def field_of_folder(folder: str | os.PathLike[str], order: int = 1) -> tuple[Sound, tuple[str, ...]]:
    """Read the sounds of a folder's views and join them by `views.field_of_views`.

    Args:
        folder: as in `open_views`. order: of the Ambisonics, 1 to 3.

    Returns:
        The field as `ambix`, and the notices.

    Raises:
        InputError: as in `open_views`, or a sound that cannot be decoded.
    """
    opened = open_views(folder)
    field = torch.cat(list(opened.blocks(opened.rate_hz, order)), dim=1)
    return Sound(field, opened.rate_hz, "ambix"), sentences(opened.said())


def open_views(folder: str | os.PathLike[str]) -> ViewSounds:
    """Open the sounds of a folder's views (view-1.wav, ...).

    Convention: `views.json` names the views, as `con360 views` writes it. A sound has its view's name and one of
    `SOUND_ENDINGS`; the view's own clip (view-1.mp4) counts where it has sound and no other file has that name.

    Raises:
        InputError: no such folder or list, no sound at all, two sounds for one view, or a sound that cannot be read.
    """
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise InputError(f"there is no folder {folder}; name the one that holds {LIST} and the sounds of its views.")
    try:
        text = existing_file(place / LIST).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{place / LIST} is no text file; `con360 views CLIP --out FOLDER` writes it.") from None
    named = views_from_json(text)
    found = {name: path for name in named if (path := sound_file(place, name)) is not None}
    if not found:
        raise InputError(f"{place.name} holds no sound of a view; wanted files such as {next(iter(named))}.wav.")
    missing = [f"{name} has no sound: nothing sounds from there" for name in named if name not in found]
    views = {name: named[name] for name in found}
    files = {name: open_sound(path) for name, path in found.items()}
    return ViewSounds(place, *clip_of(text, place), views, files, missing)


def clip_of(text: str, folder: Path) -> tuple[Path | None, float]:
    """Read from a list of views which clip they were cut from, and from which second on.

    Raises:
        InputError: a start that is no time.
    """
    facts = json.loads(text)
    source, start_s = facts.get("source"), facts.get("start_s", 0.0)
    if isinstance(start_s, bool) or not isinstance(start_s, int | float):
        raise InputError(f"{LIST} begins at {start_s!r}; wanted a number of seconds.")
    check_times(start_s, None)
    return (folder / source).resolve() if isinstance(source, str) and source else None, float(start_s)


def sound_file(folder: Path, name: str) -> Path | None:
    """Find the one file with a view's sound; None where there is none.

    Raises:
        InputError: there are two.
    """
    found = [path for ending in SOUND_ENDINGS if (path := folder / f"{name}{ending}").is_file()]
    own = [path for path in found if path.suffix != CLIP] or [path for path in found if probe(path).audio_tracks]
    if len(own) > 1:
        raise InputError(f"{name} has two sounds, {own[0].name} and {own[1].name}; keep one of them.")
    return own[0] if own else None


@dataclass
class ViewSounds:
    """Sounds of views by the views' names, as one source of a field; it streams as often as it is asked to.

    Args:
        path: the folder. clip: the video that the views were cut from, where the list names it.
        start_s: where they begin in that video.
        notices: sentences about views without sound.
        length_s: up to the end of the longest sound; samples, peaks: of each one. Known once it has been read.
    """

    path: Path
    clip: Path | None
    start_s: float
    views: dict[str, View]
    files: dict[str, SoundFile]
    notices: list[str]
    length_s: float = field(default=0.0, init=False)
    samples: dict[str, int] = field(default_factory=dict, init=False)
    peaks: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def order(self) -> int:
        """Order of its own: none, as of any sound that is placed."""
        return 0

    @property
    def rate_hz(self) -> int:
        """The highest rate of all."""
        return max(file.rate_hz for file in self.files.values())

    def blocks(self, rate_hz: int, order: int) -> Iterator[Tensor]:
        """Yield the field `[(order + 1)², n]` from the clip's start on, up to the end of the longest sound.

        Raises:
            InputError: a sound that cannot be decoded.
        """
        count = silent = round(self.start_s * rate_hz)
        for at in range(0, silent, BLOCK):
            yield torch.zeros(channels_of(order), min(BLOCK, silent - at))
        rows = [self._row(name, i, rate_hz) for i, name in enumerate(self.views)]
        for block in field_blocks(sum_blocks(rows), rate_hz, tuple(self.views.values()), order):
            count += block.shape[1]
            self.length_s = count / rate_hz
            yield block

    def _row(self, name: str, number: int, rate_hz: int) -> Iterator[Tensor]:
        """Yield a view's sound as one of as many rows as there are views."""
        file, behind = self.files[name], len(self.views) - 1 - number
        heard = file.track.heard
        self.samples[name], self.peaks[name] = 0, 0.0
        for block in file.blocks(rate_hz):
            mono = to_mono(Sound(block, rate_hz, heard.layout, heard.speakers)).waveform
            self.samples[name] += mono.shape[1]
            self.peaks[name] = max(self.peaks[name], float(mono.abs().max()))
            yield pad(mono, (0, 0, number, behind))
        if not self.samples[name]:
            raise InputError(f"{file.name} has no sound that can be decoded. Copy it again, or leave it out.")

    def said(self, end_s: float = math.inf) -> tuple[str, ...]:
        """Sentences about the sounds once they have been read, in a result that ends at `end_s`."""
        own = [f"sound {file.name}: {one}" for file in self.files.values() for one in dict.fromkeys(file.notices)]
        every = [
            SoundFacts(name, file.channels, file.rate_hz, self.samples[name] / self.rate_hz, self.peaks[name] > 0)
            for name, file in self.files.items()
        ]
        late = [f"{self.name}: {cut_notice(end_s)}"] if self.length_s > end_s + LOOSE_END_S else []
        return (*self.notices, *own, *facts_notices(every), *late)
