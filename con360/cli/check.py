"""`con360 check`: say if files are really 360°, and what to mend."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .requests import CheckRequest

if TYPE_CHECKING:
    from ..checking.findings import Checked


def run_check(options: CheckRequest, started: float) -> bool:
    """Check one file or a folder, and print each file's lines as they come; return if anything must be mended."""
    found = []
    for checked in _checked(options):
        found.append(checked)
        if not options.json:
            print(_text(checked, options.all), flush=True)
    broken = [checked for checked in found if checked.must_mend]
    if options.json:
        files = [checked.as_json() for checked in found]
        seconds = round(time.perf_counter() - started, 3)
        print(json.dumps({"files": files, "must_mend": len(broken), "seconds": seconds}))
    elif len(found) > 1:
        print(f"{len(found)} files, {len(broken)} of them to mend")
    return bool(broken)


def _checked(options: CheckRequest) -> Iterator[Checked]:
    from ..checking.run import check, check_folder

    said: dict[str, Any] = {
        "audio_track": options.audio_track,
        "ambisonics": options.ambisonics,
        "head_locked": options.head_locked,
    }
    if os.path.isdir(options.input):
        yield from check_folder(options.input, **said)
    else:
        yield check(options.input, **said)


def _text(checked: Checked, show_all: bool) -> str:
    """One line per finding; without `show_all` those that ask for nothing are counted."""
    rows = [f for f in checked.findings if show_all or f.state in ("mend", "look")]
    lines = [f"  {f.state:<7}  {f.name:<10}  {f.line}" for f in rows]
    rest = [f.name for f in checked.findings if f not in rows]
    if rest:
        unknown = [f.name for f in checked.findings if f.state == "unknown"]
        told = f"; cannot tell: {', '.join(unknown)}" if unknown else ""
        good = [name for name in rest if name not in unknown]
        lines.append(f"  {'good':<7}  {', '.join(good) or 'nothing'}{told}")
    return "\n".join((checked.name, *lines))
