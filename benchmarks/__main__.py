"""`python -m benchmarks [SUITE ...] [--rounds N] [--threads N] [--clock CLOCK] [--published CLONE] [--json FILE]`.

`python -m benchmarks gpu` has options of its own (`benchmarks/gpu/run.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from . import ambisonics, geometry, reframing, saliency, sampling, starter, startup
from .timing import CLOCKS, Row, table, use_clock

SUITES = {"geometry": geometry.rows, "saliency": saliency.rows, "sampling": sampling.rows, "startup": startup.rows}
# Run when named, and only then.
LONG_SUITES = {
    "full-size": sampling.full_size_rows, "reframe": reframing.rows, "starter": starter.rows,
    "ambisonics": ambisonics.rows, "ambisonics-full": ambisonics.full_size_rows,
}  # fmt: skip
# Those that race a clone of published code.
WITH_CLONE = ("sampling", "full-size", "ambisonics", "ambisonics-full")


def main() -> int:
    if sys.argv[1:2] == ["gpu"]:
        from .gpu.run import main as measure_gpu

        return measure_gpu(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times of ours beside the peers'.")
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE",
        help=f"of {', '.join(SUITES)}, all when none is named; or {', '.join(LONG_SUITES)}, gpu",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each race (default 5; slow ones take fewer)")
    parser.add_argument("--threads", type=int, help="threads of each competitor (default: as torch chooses)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: the processor's time")
    parser.add_argument(
        "--published", type=Path, metavar="CLONE",
        help="clone of github.com/SonyResearch/SVG_baseline (ambisonics: liuhuadai/OmniAudio) to race too",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON too")
    args = parser.parse_args()
    known = SUITES | LONG_SUITES
    known |= {name: partial(known[name], published=args.published) for name in WITH_CLONE}
    unknown = [name for name in args.suites if name not in known]
    if unknown or args.rounds < 1:
        parser.error(f"suites are {', '.join(known)}, rounds at least 1; got {unknown or args.rounds}")
    if args.threads:
        torch.set_num_threads(args.threads)
    use_clock(args.clock)
    rows: list[Row] = []
    start = time.perf_counter()
    for name in args.suites or SUITES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += known[name](args.rounds)
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}", end="; ")
    print(f"medians of interleaved rounds, {args.clock} time\n")
    print(table(rows))
    print(f"\nwhole run: {time.perf_counter() - start:.0f} s")
    if args.json:
        with open(args.json, "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
