"""Measure the time that the pack adds to ComfyUI's start, loaded as ComfyUI loads it, in fresh processes.

Where no ComfyUI is found, the tests' stand-in takes its place.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.comfyui.server import find_comfyui, python_of, version_of

from . import timing
from .timing import Row

PACK = Path(__file__).resolve().parent.parent
LIMIT_S = 0.1

# Prints the seconds of loading by wall clock and by processor time, then the number of nodes.
# Arguments: the pack, a folder for files.
IN_COMFYUI = """
import sys, time
pack, base = sys.argv[1:3]
sys.argv[1:] = ["--cpu", "--base-directory", base]
import asyncio, comfy.options
comfy.options.enable_args_parsing()
import utils.install_util, server  # as main.py has by then; without it another `utils` is found
import nodes
asyncio.run(nodes.init_builtin_extra_nodes())
before = len(nodes.NODE_CLASS_MAPPINGS)
start, cpu = time.perf_counter(), time.process_time()
assert asyncio.run(nodes.load_custom_node(pack))
print(time.perf_counter() - start, time.process_time() - cpu, len(nodes.NODE_CLASS_MAPPINGS) - before)
"""
IN_STAND_IN = """
import sys, time
from pathlib import Path
import torch
from tools import host
import tools.host.run
start, cpu = time.perf_counter(), time.process_time()
info = host.Host(Path(sys.argv[2]), Path(sys.argv[1])).object_info()
count = sum(entry["python_module"] == "pack" for entry in info.values())
print(time.perf_counter() - start, time.process_time() - cpu, count)
"""


def rows(rounds: int) -> list[Row]:
    """One row; its peer is the project's limit."""
    comfyui = find_comfyui()
    program = IN_STAND_IN if comfyui is None else IN_COMFYUI
    python, folder = (sys.executable, PACK) if comfyui is None else (python_of(comfyui), comfyui)
    found = []
    with tempfile.TemporaryDirectory() as base:
        for _ in range(rounds):
            command = [python, "-c", program, str(PACK), base]
            found.append(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split())
    wall, cpu = ([float(one[i]) for one in found] for i in (-3, -2))
    where = "the stand-in" if comfyui is None else f"ComfyUI {version_of(comfyui)}"
    shown = ", ".join(f"{1000 * a:.0f} ({1000 * b:.0f})" for a, b in zip(wall, cpu, strict=True))
    print(f"startup: ms in fresh processes, of the processor in brackets: {shown}")
    seconds = statistics.median(cpu if timing.is_processors() else wall)
    return [Row(f"start of {where}: what the pack adds", "the limit", seconds, LIMIT_S, 1.0, f"{found[0][-1]} nodes")]
