"""Write a page to send: one HTML file that holds a 360° clip to look around in, and the clips of its views.

The page asks the network for nothing: its policy forbids it, and all data lies in it. Names and captions reach it as
JSON, and the script puts them in as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..choices import Eye
from ..errors import InputError
from ..media.browsers import mime_type_of, why_not_played
from ..media.files import atomic_path, check_not_read, check_writable, existing_file, existing_text
from ..media.info import MediaInfo, probe
from ..media.reader import PanoramaStream, check_times
from ..media.unfolding import unfolding_of
from ..records import Progress
from ..sound.headphones import EARS_FILE
from .folder import CLIP, clip_of, sound_file
from .remake import Excerpt, remake, with_sound
from .sources import SoundFile, open_sound, sentences
from .views import LIST, direction_words, views_from_json

FOLDER = Path(__file__).with_name("page_files")
MAX_BYTES = 200_000_000
MAX_VIEWS = 64
# A multiple of 3, so that pieces of base64 join without padding.
_PIECE = 3 << 20


@dataclass(frozen=True)
class PageView:
    """A hot spot: a view's own clip, and where it lies in the panorama.

    Args:
        path: a video that browsers play (H.264 in MP4, for instance).
        caption: in plain text; empty takes the file's name.
        yaw_deg, pitch_deg: None names the view below the picture alone.
        start_s: time of the panorama that the clip begins at; None begins it anew each time.
        sound: a file that is heard in place of the clip's own sound; None keeps that.
    """

    path: str | os.PathLike[str]
    caption: str = ""
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    start_s: float | None = None
    sound: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class PageSettings:
    """Choose what a page holds.

    Args:
        title: None takes the clip's name.
        size: of the panorama in pixels, even; None keeps it.
        start_s, duration_s: the part of the clip; None goes to the end.
        eye, audio_track, ambisonics, head_locked: as in `read_panorama`.

    Raises:
        InputError: a size or times that cannot be used.
    """

    title: str | None = None
    size: tuple[int, int] | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False

    def __post_init__(self) -> None:
        check_times(self.start_s, self.duration_s)
        if self.size is not None and any(side % 2 or not 16 <= side <= 8192 for side in self.size):
            width, height = self.size
            raise InputError(f"a size of {width}x{height} was asked for; H.264 needs even numbers, 16 to 8192.")


@dataclass(frozen=True)
class Page:
    """Facts about the page that was written.

    Args:
        remade: the clip was coded again, for its size, part, codec or sound.
        ambisonic: its sound turns with the view.
        notices: sentences for people.
    """

    path: Path
    num_bytes: int
    views: int
    remade: bool
    ambisonic: bool
    notices: tuple[str, ...]


def write_page(
    clip: str | os.PathLike[str], out: str | os.PathLike[str], views: Sequence[PageView] = (),
    settings: PageSettings | None = None, *, progress: Progress | None = None,
) -> Page:  # fmt: skip
    """Write one self-contained HTML file, in which people look around and step into views.

    Args:
        clip: a 360° video. What browsers play is taken as it is; anything else is coded again (H.264, AAC).
        out: the page to write, .html; it appears when it is complete.
        views: hot spots.
        settings: title, size and part; None takes all of the clip as it is.
        progress: told of each frame that is coded again; may raise to cancel.

    Raises:
        InputError: a file or an option cannot be used, or the page would exceed 200 MB.
    """
    settings = settings or PageSettings()
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{Path(out).name} does not end in .html, the format of a page. Rename it.")
    check_writable(out)
    info = probe(clip)
    stream = PanoramaStream(info, settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked)
    seen = [_checked_view(view) for view in _in_range(views)]
    check_not_read(out, [info.path, *(view.info.path for view in seen)])
    reason = _reason_to_remake(stream, settings)
    if reason:
        stream.notices.append(f"the clip is coded again for the page: {reason}")
    with _clip_of(stream, settings, reason, progress) as (path, ambisonic), _sounding(seen) as heard:
        clips = [path, *heard]
        _check_bytes(sum(4 * math.ceil(one.stat().st_size / 3) for one in clips))
        facts = _facts(clips, seen, ambisonic, settings.start_s)
        title = settings.title or info.path.stem
        with atomic_path(out) as temporary:
            _write(temporary, title, facts, clips)
            num_bytes = temporary.stat().st_size
    return Page(Path(out), num_bytes, len(seen), bool(reason), ambisonic, sentences(stream.notices))


def views_of_folder(folder: str | os.PathLike[str]) -> tuple[PageView, ...]:
    """List the views that `con360 views` wrote to a folder: clips, directions and captions, and sounds beside them.

    Raises:
        InputError: no such folder or list, a view's clip is missing, or it has two sounds.
    """
    place = Path(folder).expanduser().absolute()
    text = existing_text(place / LIST)
    named = views_from_json(text)
    _, start_s = clip_of(text, place)
    words = {row["name"]: row.get("caption") for row in json.loads(text)["views"]}
    found = []
    for name, view in named.items():
        clip, sound = existing_file(place / f"{name}{CLIP}"), sound_file(place, name)
        caption = str(words[name] or direction_words(view))
        own = None if sound == clip else sound
        found.append(PageView(clip, caption, view.yaw_deg, view.pitch_deg, start_s, own))
    return tuple(found)


# Content --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SeenView:
    caption: str
    yaw_deg: float | None
    pitch_deg: float | None
    start_s: float | None
    info: MediaInfo
    sound: SoundFile | None


def _in_range(views: Sequence[PageView]) -> Sequence[PageView]:
    if len(views) > MAX_VIEWS:
        raise InputError(f"{len(views)} views were given; a page holds up to {MAX_VIEWS}.")
    return views


def _checked_view(view: PageView) -> _SeenView:
    """Check that browsers play a view's clip, and that its direction is one."""
    info = probe(view.path)
    if info.kind != "video" or why_not_played(info):
        raise InputError(
            f"{info.path.name} cannot be a view of the page: {why_not_played(info) or 'it has no picture'}. "
            f"Convert it to an MP4 with H.264 and AAC."
        )
    yaw, pitch = view.yaw_deg, view.pitch_deg
    if (yaw is None) != (pitch is None) or not all(math.isfinite(a) for a in (yaw, pitch) if a is not None):
        raise InputError(f"the view {info.path.name} lies at yaw {yaw}, pitch {pitch}; give two finite numbers.")
    if pitch is not None and not -90 <= pitch <= 90:
        raise InputError(f"the view {info.path.name} has a pitch of {pitch:g} degrees; wanted -90 to 90.")
    sound = None if view.sound is None else open_sound(view.sound)
    return _SeenView(view.caption or info.path.stem, yaw, pitch, view.start_s, info, sound)


def _reason_to_remake(stream: PanoramaStream, settings: PageSettings) -> str:
    """Say why the clip cannot go into the page as it is; empty where it can."""
    info, track = stream.info, stream.track
    if settings.size or settings.start_s or settings.duration_s is not None:
        return "a size or a part was asked for"
    if info.stereo != "mono" or settings.eye not in (None, "whole"):
        return "one eye of stereo is shown"
    if info.rotation_deg:
        return "its picture is turned"
    if unfolding_of(info) is not None:
        return f"its projection ({info.projection}) is laid out as a panorama"
    if why := why_not_played(info):
        return why
    number = settings.audio_track
    if number is not None and number != next((t.number for t in info.audio_tracks if t.is_default), 1):
        return "another sound track was asked for"
    if track is not None and track.layout == "ambix":
        # In other orders and codecs, browsers mix or reorder the channels.
        plain = track.codec == "aac" and track.heard_channels == 4 and track.heard.picks is None
        return "" if plain else "browsers play first-order AmbiX in AAC alone"
    return ""


@contextmanager
def _clip_of(
    stream: PanoramaStream, settings: PageSettings, reason: str, progress: Progress | None
) -> Iterator[tuple[Path, bool]]:
    """Give the clip's file, made anew where there is a reason, and tell whether its sound turns."""
    track = stream.track
    ambisonic = track is not None and track.layout == "ambix"
    if not reason:
        _check_bytes(stream.info.path.stat().st_size * 4 // 3)
        yield stream.info.path, ambisonic
        return
    part = Excerpt(settings.start_s, settings.duration_s)
    with tempfile.TemporaryDirectory(prefix="con360-") as folder:
        path = Path(folder) / "clip.mp4"
        remake(stream, path, part, settings.size, progress=progress)
        yield path, ambisonic


@contextmanager
def _sounding(views: Sequence[_SeenView]) -> Iterator[list[Path]]:
    """Give each view's clip, with its other sound where it has one."""
    with tempfile.TemporaryDirectory(prefix="con360-") as folder:
        paths = []
        for number, view in enumerate(views):
            paths.append(view.info.path if view.sound is None else Path(folder) / f"{number}.mp4")
            if view.sound is not None:
                with_sound(view.info, view.sound, paths[-1])
        yield paths


def _check_bytes(num_bytes: int) -> None:
    if num_bytes > MAX_BYTES:
        raise InputError(
            f"the page would have {num_bytes / 1e6:.0f} MB, and browsers open up to {MAX_BYTES / 1e6:.0f} MB well. "
            f"Make it smaller with --size 1920x960 or --duration 30, or give fewer views."
        )


def _facts(clips: Sequence[Path], views: Sequence[_SeenView], ambisonic: bool, start_s: float) -> dict[str, Any]:
    return {
        "type": mime_type_of(clips[0]),
        "ambisonic": ambisonic,
        "views": [
            {
                "id": f"view-{number}", "type": mime_type_of(clips[number]), "caption": view.caption,
                "yaw": view.yaw_deg, "pitch": view.pitch_deg,
                "start": None if view.start_s is None else view.start_s - start_s,
            }
            for number, view in enumerate(views, 1)
        ],
    }  # fmt: skip


# File -----------------------------------------------------------------------------------------------------------------


def _write(path: Path, title: str, facts: dict[str, Any], clips: Sequence[Path]) -> None:
    style, script = _own("page.css"), _script()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; media-src blob:; img-src data:"
    )
    filled = {"policy": policy, "title": html.escape(title), "style": style, "script": script}
    before, after = (
        re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], half) for half in _own("page.html").split("{{data}}")
    )
    with open(path, "w", encoding="utf-8", newline="\n") as page:
        page.write(before)
        page.write(f'<script type="application/json" id="facts">{_json(facts)}</script>\n')
        for name, source in [("ears", EARS_FILE), ("clip", clips[0]), *_named(clips[1:])]:
            page.write(f'<script type="text/plain" id="{name}">')
            _write_base64(page, source)
            page.write("</script>\n")
        page.write(after)


def _named(views: Sequence[Path]) -> list[tuple[str, Path]]:
    return [(f"view-{number}", path) for number, path in enumerate(views, 1)]


def _own(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _script() -> str:
    """Join the viewer's scripts with the page's own, whose imports they are."""
    return _own("shared.js") + re.sub(r"^import .*;\n", "", _own("page.js"), flags=re.MULTILINE)


def _hash(text: str) -> str:
    """Name an inline script or style in the page's policy, so that no other runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(facts: dict[str, Any]) -> str:
    """Write JSON that can stand inside a script element: no text ends it or opens a comment."""
    return re.sub(r"[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(facts))


def _write_base64(page: IO[str], source: Path) -> None:
    with open(source, "rb") as file:
        while piece := file.read(_PIECE):
            page.write(base64.b64encode(piece).decode("ascii"))
