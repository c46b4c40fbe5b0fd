"""Ask programs of others, and our own box reader, what a written file is: panorama, two eyes, Ambisonics.

`exiftool` and `mediainfo` are Debian packages (libimage-exiftool-perl, mediainfo). Google's inspector is looked for at
`$SPATIAL_MEDIA_PATH`, a clone of https://github.com/google/spatial-media (Apache-2.0; nothing of it is kept here), else
where Python finds a package `spatialmedia` (`pip install git+https://github.com/google/spatial-media`).

`python -m tests.inspectors` names those that are missing, as `.ci/run` does; `python -m tests.inspectors table` writes
a file of each preset and prints what each inspector says of it: the table of docs/players.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

STEREO = ("mono", "top-bottom", "left-right")


class Facts(NamedTuple):
    """One inspector's answer; None where it does not speak of such things.

    Args:
        projection: `equirectangular`, or empty for a flat picture. stereo: one of `STEREO`.
        ambisonic_order: 0 for other sound, and for none. pair: whether a head-locked pair follows.
        picture, sound: their codecs, and layout: of the channels, in the inspector's own words.
        channels: their number.
    """

    projection: str | None = None
    stereo: str | None = None
    ambisonic_order: int | None = None
    pair: bool | None = None
    channels: int | None = None
    picture: str | None = None
    sound: str | None = None
    layout: str | None = None


def inspect(path: Path) -> dict[str, Facts]:
    """Ask each inspector that is at hand."""
    return {name: ask(path) for name, (found, ask) in INSPECTORS.items() if found()}


def check_file(path: Path, wanted: Facts) -> tuple[str, ...]:
    """Check that no inspector contradicts; return the names of those that were asked.

    Args:
        wanted: None where anything may be said.
    """
    answers = inspect(path)
    for name, facts in answers.items():
        for field, said, meant in zip(Facts._fields, facts, wanted, strict=True):
            assert meant is None or said in (None, meant), (
                f"{name} says that {field} of {path.name} is {said!r}; wanted {meant!r}"
            )
    return tuple(answers)


def missing() -> tuple[str, ...]:
    """Names of the inspectors that are not at hand."""
    return tuple(name for name, (found, _) in INSPECTORS.items() if not found())


def _ours(path: Path) -> Facts:
    from con360.media.info import probe

    info = probe(path)
    track = info.audio_tracks[0] if info.audio_tracks else None
    tags = track.tags if track is not None and track.layout == "ambix" else None
    heard = {"channels": track.channels, "sound": track.codec, "layout": track.label} if track is not None else {}
    return Facts(
        info.spherical.projection or "", info.stereo, tags.order if tags else 0, bool(tags and tags.head_locked),
        picture=info.codec, **heard,
    )  # fmt: skip


def _exiftool(path: Path) -> Facts:
    """The boxes of version 2, which must agree with the XML of version 1."""
    said = json.loads(_run("exiftool", "-j", "-n", "-G1", str(path)))[0]
    xml = str(said.get("XMP-GSpherical:ProjectionType", ""))
    stereo = STEREO[int(said.get("Track1:Stereoscopic3D", 0))]
    assert ("Track1:ProjectionBoundsTop" in said) == bool(xml), f"exiftool: one of box and XML alone names {xml!r}"
    assert said.get("XMP-GSpherical:StereoMode", "mono") == stereo, f"exiftool: box and XML of {path.name} differ"
    return Facts(
        xml, stereo, channels=said.get("Track2:AudioChannels"), picture=said.get("Track1:CompressorID"),
        sound=said.get("Track2:AudioFormat"), layout=said.get("Track2:AudioChannelTypes"),
    )  # fmt: skip


def _mediainfo(path: Path) -> Facts:
    tracks = json.loads(_run("mediainfo", "--Output=JSON", str(path)))["media"]["track"]
    picture, sound = ({t["@type"]: t for t in tracks}.get(kind, {}) for kind in ("Video", "Audio"))
    if not sound:
        return Facts(ambisonic_order=0, picture=picture.get("Format"))
    # Of PCM in MOV it says the number twice.
    count = int(sound["Channels"].split()[0])
    layout, order, pair = sound.get("ChannelLayout"), 0, None
    if layout is None and count > 2:
        order = None  # it says nothing of sixteen channels
    elif layout is not None and "Ambisonics" in layout:
        order, pair = 1, layout.startswith("L, R")
    return Facts(None, None, order, pair, count, picture.get("Format"), sound.get("Format"), layout)


def _spatial_media(path: Path) -> Facts:
    """Google's inspector prints one line a fact; a field must be ACN and SN3D to count."""
    said = _run(sys.executable, "-m", "spatialmedia", str(path), folder=os.environ.get("SPATIAL_MEDIA_PATH"))
    box, xml = re.search(r"Stereo Mode: (\d)", said), re.search(r"StereoMode = (\S+)", said)
    stereo = STEREO[int(box[1])] if box else "mono"
    assert (xml[1] if xml else "mono") == stereo, f"spatial-media: box and XML of {path.name} differ"
    flat = "EQUI {" not in said
    assert flat == ("ProjectionType = equirectangular" not in said), f"spatial-media: one of box and XML: {said}"
    order = re.search(r"Ambisonic Order: (\d)\s+Ambisonic Channel Ordering: ACN\s+Ambisonic Normalization: SN3D", said)
    count = re.search(r"Number of Channels: (\d+)", said)
    return Facts(
        "" if flat else "equirectangular", stereo, int(order[1]) if order else 0, "Stereo: True" in said,
        int(count[1]) if count else None,
    )  # fmt: skip


def _has_spatial_media() -> bool:
    clone = os.environ.get("SPATIAL_MEDIA_PATH")
    return (Path(clone) / "spatialmedia").is_dir() if clone else importlib.util.find_spec("spatialmedia") is not None


def _run(*command: str, folder: str | None = None) -> str:
    run: Any = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, check=False)
    assert run.returncode == 0, f"{command[0]} failed: {run.stderr[-400:]}"
    return run.stdout


INSPECTORS: dict[str, tuple[Callable[[], bool], Callable[[Path], Facts]]] = {
    "box reader": (lambda: True, _ours),
    "exiftool": (lambda: shutil.which("exiftool") is not None, _exiftool),
    "mediainfo": (lambda: shutil.which("mediainfo") is not None, _mediainfo),
    "spatial-media": (_has_spatial_media, _spatial_media),
}

# Table ----------------------------------------------------------------------------------------------------------------

# What each file must be; none may read its four channels as loudspeakers in a square ("quad").
WANTED = {
    "youtube": Facts("equirectangular", "mono", 1, False, 4),
    "quest": Facts("equirectangular", "mono", 1, False, 4),
    "headlocked": Facts("equirectangular", "mono", 1, True, 6),
    "third-order": Facts("equirectangular", "mono", 3, False, 16),
    "master": Facts("equirectangular", "mono", 1, False, 4),
}


def preset_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write a short panorama with first-order sound, and yield each preset's name and file made of it."""
    import torch

    from con360.media.writer import write_clip
    from con360.records import Sound
    from con360.reframing.level import LevelSettings, level

    field = 0.1 * torch.randn(4, 48000, generator=torch.Generator().manual_seed(0))
    write_clip(folder / "in.mp4", torch.rand(8, 3, 64, 128), 8.0, Sound(field, 48000, "ambix"), panorama="mono")
    for name in WANTED:
        path = folder / f"{name}{'.mov' if name == 'master' else '.mp4'}"
        level(folder / "in.mp4", path, LevelSettings(yaw_deg=20.0, preset=name))
        yield name, path


def table() -> str:
    """The presets' table, in Markdown."""
    titles = ("preset", "inspector", "picture", "projection", "eyes", "sound", "channels", "layout", "order", "pair")
    rows = [titles, ("---",) * len(titles)]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in preset_files(Path(folder)):
            check_file(path, WANTED[name])
            rows += [(name, who, *_words(facts)) for who, facts in inspect(path).items()]
            rows += [(name, who, *(("-",) * 8)) for who in missing()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _words(facts: Facts) -> tuple[str, ...]:
    said = (facts.picture, facts.projection, facts.stereo, facts.sound, facts.channels, facts.layout,
            facts.ambisonic_order, {True: "yes", False: "no", None: None}[facts.pair])  # fmt: skip
    return tuple("-" if one is None else str(one) for one in said)


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        print(table())
    if names := missing():
        print(f"{', '.join(names)}: not found; written files are NOT shown to them (tests/inspectors.py says how)")
