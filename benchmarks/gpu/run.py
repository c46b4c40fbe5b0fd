"""`python -m benchmarks gpu`: measure every stage on this machine's GPU; with `--count`, count them without one."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from con360.media.files import atomic_path
from con360.memory import is_out_of_memory, release

from .counting import count
from .tables import Figures, cards_table, counted_table, measured_table
from .works import PUBLISHED, TINY, WORKS, Maker, Sizes, Work

# The whole run stays below eight minutes: no stage starts after this.
LAST_START_S = 360.0
ROUNDS = 2
NO_GPU = "No GPU was measured: PyTorch sees none on this machine."


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--count", action="store_true", help="count bytes and FLOP; needs no GPU")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for table.md and figures.json")
    parser.add_argument("--device", default="cuda", help="device to measure on (default cuda)")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    sizes = TINY if args.tiny else PUBLISHED
    if args.count:
        rows = list(counted(sizes))
        print(f"{cards_table(rows)}\n\n{counted_table(rows)}")
        return 0
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 1
    return _measure(sizes, args.device, args.out)


def _measure(sizes: Sizes, device: str, folder: Path) -> int:
    rows = list(measured(sizes, device))
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
    text = f"{name}, torch {torch.__version__}, random weights\n\n{measured_table(rows)}\n"
    figures = {"device": name, "torch": torch.__version__, "stages": [asdict(row) for row in rows]}
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("table.md", text), ("figures.json", json.dumps(figures, indent=1))):
        with atomic_path(folder / file) as path:
            path.write_text(content, encoding="utf-8")
    print(f"{text}\nwritten to {folder}")
    return 0


def counted(sizes: Sizes, works: Mapping[tuple[str, str], Maker] = WORKS) -> Iterator[Figures]:
    """Count stages on the meta device."""
    for (what, mode), make in works.items():
        work = make(sizes, "meta")
        found = count(work.run, work.networks)
        tflop = found.flop * work.times / 1e12
        yield Figures(what, mode, work.held_bytes / 1e9, found.peak_bytes / 1e9, tflop=tflop)


def measured(sizes: Sizes, device: str) -> Iterator[Figures]:
    """Measure every stage that starts in time; one that does not fit says so."""
    start = time.perf_counter()
    for (what, mode), make in WORKS.items():
        if time.perf_counter() - start > LAST_START_S:
            yield Figures(what, mode, problem="not reached in time")
            continue
        print(f"{what} {mode} ...", file=sys.stderr, flush=True)
        try:
            yield _measured(what, mode, make(sizes, device), device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            yield Figures(what, mode, problem="does not fit")
        gc.collect()
        release()


def _measured(what: str, mode: str, work: Work, device: str) -> Figures:
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = min(_seconds(work, on_gpu) for _ in range(ROUNDS))
    peak_gb = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0
    held_gb = min(work.held_bytes / 1e9, peak_gb)
    return Figures(what, mode, held_gb, peak_gb - held_gb, seconds=seconds * work.times)


def _seconds(work: Work, on_gpu: bool) -> float:
    start = time.perf_counter()
    work.run()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start
