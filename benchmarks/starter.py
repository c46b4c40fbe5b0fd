"""Time the first run of the starter workflow on a real server that has just started, node by node.

The server is asked over its API. Opening a browser, and starting the server, are not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from con360.errors import InputError
from tests.comfyui.server import PACK, ComfyServer, find_comfyui
from tools.host.graph import to_prompt

from . import timing
from .timing import Row

WORKFLOW = PACK / "workflows" / "con360_viewpoint.json"
WHOLE = "whole run"
# Seconds that each may take; the sampler and the rest have what these leave.
LIMITS_S = {WHOLE: 11.0, "OverlayPreview": 1.0, "Compare": 1.0}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def rows(rounds: int) -> list[Row]:
    """One row for the whole run, one for each preview; the other nodes are printed.

    Raises:
        InputError: no ComfyUI is found here.
    """
    comfyui = find_comfyui()
    if comfyui is None:
        raise InputError("no ComfyUI was found; name its folder with COMFYUI_PATH.")
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base), comfyui) as server:
            for name, seconds in first_run(server).items():
                found.setdefault(name, []).append(seconds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    print("starter: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in medians.items()))
    what = "starter workflow, first run on a server"
    # With or without the pack's prefix.
    seconds = {end: next(value for name, value in medians.items() if name.endswith(end)) for end in LIMITS_S}
    return [Row(f"{what}: {name}", "the limit", seconds[name], limit, 1.0, "") for name, limit in LIMITS_S.items()]


def first_run(server: ComfyServer) -> dict[str, float]:
    """Run the workflow once; return seconds by the kind of node, in the order in which they ran, and of all.

    Raises:
        RuntimeError: the run failed.
    """
    prompt = to_prompt(json.loads(WORKFLOW.read_text(encoding="utf-8")), server.object_info())
    marks: list[tuple[str | None, float]] = []

    def mark(kind: str, data: dict[str, Any]) -> None:
        if kind == "executing":
            marks.append((data.get("node"), _seconds(server)))

    start = _seconds(server)
    outcome = server.run(prompt, mark)
    if outcome.status != "success":
        raise RuntimeError(f"the starter workflow ended in {outcome.status}: {outcome.messages[-1]}")
    found: dict[str, float] = {}
    for (node, begun), (_, ended) in zip(marks, [*marks[1:], (None, _seconds(server))], strict=True):
        if node is not None:
            kind = prompt[node]["class_type"]
            found[kind] = found.get(kind, 0.0) + ended - begun
    return {WHOLE: marks[-1][1] - start, **found}


def _seconds(server: ComfyServer) -> float:
    """Read the clock that was chosen: the wall's, or the time that the server's processor has spent."""
    if not timing.is_processors():
        return time.perf_counter()
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
