"""Check after cancels and errors in ComfyUI that the next prompt runs and no memory or temporary file stays.

This runs in the stand-in and, where a ComfyUI is installed, in a server of its own, over its API.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .apart import apart, resident_mb
from .figures import Effort, Figure, timed

GROWTH = 0.05
PROMISE = "after each cancel or error the next prompt runs, memory within 5 %, no temporary file"


def figures(effort: Effort) -> Iterator[Figure]:
    with timed(PROMISE) as figure, tempfile.TemporaryDirectory() as folder:
        end = apart(run_prompts, Path(folder), effort.prompts, timeout_s=1800)
        figure.expect(not end.trouble, end.trouble)
        _judge(figure, effort.prompts, *(end.value or ([], 0.0, 0.0)))
    yield figure
    if effort.all_files:
        yield _in_a_real_server(effort.prompts)


def _judge(figure: Figure, count: int, failures: list[str], before: float, after: float) -> None:
    figure.failures += failures
    growth = after / before - 1 if before else 0.0
    figure.expect(growth < GROWTH, f"memory grew by {100 * growth:.1f} %: {before:.0f} to {after:.0f} MB")
    figure.tried = f"{count} cancelled or failing prompts"
    figure.outcome = f"each next one ran, memory {100 * growth:+.1f} %"


def _in_a_real_server(count: int) -> Figure:
    from comfyui.server import ComfyServer, describe_installation, find_comfyui
    from tiny_workflow import tiny_workflow, write_model_files

    with timed(f"the same in a real ComfyUI: {PROMISE}") as figure, tempfile.TemporaryDirectory() as folder:
        comfyui = find_comfyui()
        if comfyui is None:
            figure.tried, figure.outcome = "nothing", f"NOT TRIED: {describe_installation()}"
            return figure
        write_model_files(Path(folder) / "models")
        with ComfyServer(Path(folder), comfyui) as server:

            def stopped(prompt: dict[str, Any], after: int) -> str:
                seen: list[float] = []

                def listen(kind: str, data: dict[str, Any]) -> None:
                    if kind == "progress" and data["node"] == "7":
                        seen.append(data["value"])
                        if len(seen) == after:
                            server.interrupt()

                return run(prompt, listen)

            def run(prompt: dict[str, Any], listen: Callable[..., None] | None = None) -> str:
                status = server.run(prompt, listen).status
                return "done" if status == "success" else status

            memory = partial(resident_mb, server.process.pid)
            _judge(figure, count, *run_rounds(count, server.base, run, stopped, memory, tiny_workflow, steps=20))
    return figure


def run_prompts(folder: Path, count: int) -> tuple[list[str], float, float]:
    """Run `run_rounds` in the stand-in."""
    from tiny_workflow import tiny_workflow, write_model_files

    from tools.host import Host

    host = Host(folder)
    write_model_files(host.base / "models")
    return run_rounds(
        count, host.base, lambda prompt: host.run(prompt).status, lambda prompt, after: _cancelled(host, prompt, after),
        resident_mb, tiny_workflow, steps=2,
    )  # fmt: skip


def run_rounds(
    count: int, base: Path, run: Callable[[dict[str, Any]], str], cancel: Callable[[dict[str, Any], int], str],
    memory_mb: Callable[[], float], workflow: Callable[..., dict[str, Any]], steps: int,
) -> tuple[list[str], float, float]:  # fmt: skip
    """Run cancels and errors in turn, a good prompt after each; return failures, and MB before and after.

    Args:
        run, cancel: run a prompt and return its status; `cancel` stops it at the sampler's n-th report of progress.
        steps: sampling steps of the cancelled prompts.
    """
    chance, failures = random.Random(0), []

    def good(seed: int) -> None:
        if (status := run(workflow(steps=1, seed=seed))) != "done":
            failures.append(f"the prompt after it: {status}")
        _forget_outputs(base)

    for seed in range(4):  # warm up: some things are loaded and cached once
        good(seed)
        cancel(workflow(steps=steps, seed=seed), 1)
    before, begun = memory_mb(), _files(base)
    for number in range(count):
        prompt = workflow(steps=steps, seed=100 + number)
        if number % 2:
            status = cancel(prompt, chance.randrange(1, 6))
            wanted = ("interrupted", "done")
        else:
            # The model refuses clips of this length.
            prompt["1"]["inputs"] |= {"duration": 6.0 + number, "fps": 1.0}
            prompt["7"]["inputs"] |= {"caption": "x" * 100}
            status, wanted = run(prompt), ("error",)
        if status not in wanted:
            failures.append(f"prompt {number}: {status}, wanted {wanted[0]}")
        if left := [p for p in _files(base) - begun if ".part" in p or p.endswith(".tmp")]:
            failures.append(f"prompt {number}: left {left}")
        good(number)
    return failures, before, memory_mb()


def _cancelled(host: Any, prompt: dict[str, Any], after: int) -> str:
    """Press stop at the sampler's n-th report of progress."""
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
