"""Ask programs of others, and our own box reader, what a written file is: panorama, two eyes, Ambisonics.

`exiftool` and `mediainfo` are Debian packages (libimage-exiftool-perl, mediainfo). Google's inspector is looked for at
`$SPATIAL_MEDIA_PATH`, a clone of https://github.com/google/spatial-media (Apache-2.0; nothing of it is kept here), else
where Python finds a package `spatialmedia` (`pip install git+https://github.com/google/spatial-media`).

`python -m tests.inspectors` names those that are missing, as `.ci/run` does.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

STEREO = ("mono", "top-bottom", "left-right")


class Facts(NamedTuple):
    """One inspector's answer; None where it does not speak of such things.

    Args:
        projection: `equirectangular`, or empty for a flat picture. stereo: one of `STEREO`.
        ambisonic_order: 0 for other sound, and for none.
    """

    projection: str | None = None
    stereo: str | None = None
    ambisonic_order: int | None = None


def inspect(path: Path) -> dict[str, Facts]:
    """Ask each inspector that is at hand."""
    return {name: ask(path) for name, (found, ask) in INSPECTORS.items() if found()}


def check_file(path: Path, wanted: Facts) -> tuple[str, ...]:
    """Check that no inspector contradicts; return the names of those that were asked.

    Args:
        wanted: without None.
    """
    answers = inspect(path)
    for name, facts in answers.items():
        for field, said, meant in zip(Facts._fields, facts, wanted, strict=True):
            assert said in (None, meant), f"{name} says that {field} of {path.name} is {said!r}; wanted {meant!r}"
    return tuple(answers)


def missing() -> tuple[str, ...]:
    """Names of the inspectors that are not at hand."""
    return tuple(name for name, (found, _) in INSPECTORS.items() if not found())


def _ours(path: Path) -> Facts:
    from con360.media.info import probe

    info = probe(path)
    fields = [track.tags.order for track in info.audio_tracks if track.layout == "ambix" and track.tags]
    return Facts(info.spherical.projection or "", info.stereo, fields[0] if fields else 0)


def _exiftool(path: Path) -> Facts:
    """The boxes of version 2, which must agree with the XML of version 1."""
    said = json.loads(_run("exiftool", "-j", "-n", "-G1", str(path)))[0]
    xml = str(said.get("XMP-GSpherical:ProjectionType", ""))
    stereo = STEREO[int(said.get("Track1:Stereoscopic3D", 0))]
    assert ("Track1:ProjectionBoundsTop" in said) == bool(xml), f"exiftool: one of box and XML alone names {xml!r}"
    assert said.get("XMP-GSpherical:StereoMode", "mono") == stereo, f"exiftool: box and XML of {path.name} differ"
    return Facts(xml, stereo)


def _mediainfo(path: Path) -> Facts:
    tracks = json.loads(_run("mediainfo", "--Output=JSON", str(path)))["media"]["track"]
    sounds = [track for track in tracks if track["@type"] == "Audio"]
    fields = [track for track in sounds if track.get("ChannelLayout", "").startswith("Ambisonics")]
    return Facts(ambisonic_order=math.isqrt(int(fields[0]["Channels"])) - 1 if fields else 0)


def _spatial_media(path: Path) -> Facts:
    """Google's inspector prints one line a fact; a field must be ACN and SN3D to count."""
    said = _run(sys.executable, "-m", "spatialmedia", str(path), folder=os.environ.get("SPATIAL_MEDIA_PATH"))
    box, xml = re.search(r"Stereo Mode: (\d)", said), re.search(r"StereoMode = (\S+)", said)
    stereo = STEREO[int(box[1])] if box else "mono"
    assert (xml[1] if xml else "mono") == stereo, f"spatial-media: box and XML of {path.name} differ"
    flat = "EQUI {" not in said
    assert flat == ("ProjectionType = equirectangular" not in said), f"spatial-media: one of box and XML: {said}"
    order = re.search(r"Ambisonic Order: (\d)\s+Ambisonic Channel Ordering: ACN\s+Ambisonic Normalization: SN3D", said)
    return Facts("" if flat else "equirectangular", stereo, int(order[1]) if order else 0)


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

if __name__ == "__main__":
    if names := missing():
        print(f"{', '.join(names)}: not found; written files are NOT shown to them (tests/inspectors.py says how)")
