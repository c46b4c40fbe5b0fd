"""Try every promise and print one table of figures; exit status 1 when one is broken."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from .figures import EFFORTS, Effort, Figure, table

# Most useful first, for users who run the program unattended on unknown files.
CHECKS = (
    "bad_files", "memory_faults", "paths", "hostile_weights", "network", "fuzz", "guided", "workflow_inputs", "kills",
    "disk", "two_at_once", "prompts", "determinism", "sync", "sound_matrix", "soak",
)  # fmt: skip


def run_check(name: str, effort: Effort) -> list[Figure]:
    """Return the figures of one module."""
    return list(import_module(f".{name}", __package__).figures(effort))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 3 minutes on two cores")
    parser.add_argument("--small", action="store_true", help="as pytest tries them")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS, metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(argv)
    effort = EFFORTS["test" if options.small else "quick" if options.quick else "full"]
    started, found = time.perf_counter(), []
    for name in options.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found += run_check(name, effort)
    print(table(found))
    broken = sum(not figure.holds for figure in found)
    print(f"\n{len(found)} promises, {broken} broken, {time.perf_counter() - started:.0f} s, {effort.name} figures")
    if options.json:
        record = {"effort": asdict(effort), "python": platform.python_version(), "figures": [asdict(f) for f in found]}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
