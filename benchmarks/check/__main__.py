"""`python -m benchmarks.check [--height N] [--keep FOLDER]`: files with one known fault each, and what the check finds.

Each fault is put into a procedural scene and, where the test data is here, into a real recording. The table shows for
each fault the findings that are not good: of how many of the files, and "?" for "cannot tell". The baseline knows what
`probe` reads without looking at a picture or listening: the metadata and the shape. Further tables count real
recordings that were re-coded or turned, and the files of the test data that are judged as their notes say.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .base import Base, procedural, recorded, shared_data
from .known import judged
from .recordings import recoded, turned
from .table import Result, confusion, measure, summary


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("--height", type=int, default=256, help="rows of the panoramas (default 256)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files there")
    args = parser.parse_args()
    started = time.perf_counter()
    bases = [procedural(args.height)]
    if (real := recorded(args.height)) is not None:
        bases.append(real)
    else:
        print("the real recording is not here: the procedural scene alone", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        results = _results(bases, args.keep or Path(temporary))
    print(confusion(results), end="\n\n")
    print(summary(results), end="\n\n")
    if real is not None:
        for table in (recoded(), turned(), judged(shared_data())):
            print(table, end="\n\n")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


def _results(bases: list[Base], folder: Path) -> list[Result]:
    folder.mkdir(parents=True, exist_ok=True)
    return [result for base in bases for result in measure(base, folder)]


if __name__ == "__main__":
    raise SystemExit(main())
