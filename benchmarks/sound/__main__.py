"""Measure sound on the sphere: `python -m benchmarks.sound [PART ...] [--quick]`."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from .row import table

# Each part is a module here with `rows(quick: bool) -> list[Row]`.
PARTS = ("ambisonics", "ears", "fields", "finding", "views", "onsets", "edges", "vocoder", "speed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sound", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="few scenes and clips; the figures are coarser")
    args = parser.parse_args()
    if unknown := [name for name in args.parts if name not in PARTS]:
        parser.error(f"parts are {', '.join(PARTS)}; got {', '.join(unknown)}")
    missed = 0
    for name in args.parts or PARTS:
        began = time.perf_counter()
        rows = import_module(f".{name}", __package__).rows(args.quick)
        missed += sum(row.holds is False for row in rows)
        print(f"\n{name} ({time.perf_counter() - began:.0f} s)\n\n{table(rows)}", flush=True)
    print(f"\n{missed} missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
