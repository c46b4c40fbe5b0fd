"""Cancels and errors in ComfyUI: the next prompt runs, memory comes back, temporary files are gone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .apart import apart, resident_mb
from .figures import Effort, Figure, timed

GROWTH = 0.05


def figures(effort: Effort) -> Iterator[Figure]:
    with timed("after each cancel or error the next prompt runs, memory within 5 %, no temporary file") as figure:
        with tempfile.TemporaryDirectory() as folder:
            end = apart(run_prompts, Path(folder), effort.prompts, timeout_s=1800)
        figure.expect(not end.trouble, end.trouble)
        failures, before, after = end.value or ([], 0.0, 0.0)
        figure.failures += failures
        growth = after / before - 1 if before else 0.0
        figure.expect(growth < GROWTH, f"memory grew by {100 * growth:.1f} %: {before:.0f} to {after:.0f} MB")
        figure.tried = f"{effort.prompts} cancelled or failing prompts"
        figure.outcome = f"each next one ran, memory {100 * growth:+.1f} %"
    yield figure


def run_prompts(folder: Path, count: int) -> tuple[list[str], float, float]:
    """Failures, and MB before and after."""
    from host import Host
    from tiny_workflow import tiny_workflow, write_model_files

    host, chance, failures = Host(folder), random.Random(0), []
    write_model_files(host.base / "models")

    def good(seed: int) -> None:
        run = host.run(tiny_workflow(steps=1, seed=seed))
        if run.status != "done":
            failures.append(f"the prompt after it: {run.status} {run.error!r}")
        _forget_outputs(host.base)

    for seed in range(4):  # what is loaded and cached once
        good(seed)
        _cancelled(host, tiny_workflow(steps=2, seed=seed), 1)
    before, begun = resident_mb(), _files(host.base)
    for number in range(count):
        prompt = tiny_workflow(steps=2, seed=100 + number)
        if number % 2:
            status = _cancelled(host, prompt, chance.randrange(1, 6))
            wanted = ("interrupted", "done")
        else:
            # The model knows no clips of this length.
            prompt["1"]["inputs"] |= {"duration": 6.0 + number, "fps": 1.0}
            prompt["7"]["inputs"] |= {"caption": "x" * 100}
            status, wanted = host.run(prompt).status, ("error",)
        if status not in wanted:
            failures.append(f"prompt {number}: {status}, wanted {wanted[0]}")
        if left := [p for p in _files(host.base) - begun if ".part" in p or p.endswith(".tmp")]:
            failures.append(f"prompt {number}: left {left}")
        good(number)
    return failures, before, resident_mb()


def _cancelled(host: Any, prompt: dict[str, Any], after: int) -> str:
    """Press stop at the sampler's so-many-th sign of progress."""
    seen = []

    def listen(node: str, done: float, total: float) -> None:
        if node == "7":
            seen.append(done)
            if len(seen) == after:
                host.interrupt()

    return host.run(prompt, listen).status


def _files(base: Path) -> set[str]:
    return {str(p) for name in ("input", "output", "temp") for p in (base / name).rglob("*")}


def _forget_outputs(base: Path) -> None:
    for name in ("output", "temp"):
        for path in (base / name).glob("*.*"):
            path.unlink()
