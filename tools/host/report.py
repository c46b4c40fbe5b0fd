"""One closing line of a test run: which host ran the nodes, and what did not run.

The hooks here are imported by `tests/conftest.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

COUNTS: Counter[str] = Counter()
MARKS = {"standin": "the stand-in (tools/host)", "comfyui": "a real ComfyUI"}


def pytest_deselected(items: list[Any]) -> None:
    for item in items:
        COUNTS.update(f"{mark} deselected" for mark in MARKS if item.get_closest_marker(mark))


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        COUNTS.update(f"{mark} {report.outcome}" for mark in MARKS if mark in report.keywords)


def closing_line(counts: Counter[str], found: str) -> str:
    """Count the tests of each host; `found` says where a real ComfyUI is, or that there is none."""
    parts = []
    for mark, name in MARKS.items():
        ran = counts[f"{mark} passed"] + counts[f"{mark} failed"]
        left = {"skipped": counts[f"{mark} skipped"], "deselected": counts[f"{mark} deselected"]}
        without = "".join(f", {number} {why}" for why, number in left.items() if number)
        parts.append(f"{name} ran {ran} tests{without}")
    return f"hosts: {'; '.join(parts)} ({found})."


def pytest_terminal_summary(terminalreporter: Any) -> None:
    from comfyui.server import describe_installation

    if COUNTS:
        terminalreporter.write_line(closing_line(COUNTS, describe_installation()))
