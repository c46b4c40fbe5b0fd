"""Try numbers, texts and choices that no widget would give: each is refused, or the node shows one sentence.

This tries every input of every node in a whole workflow, with the server's own checks and without them, as linked
values arrive.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .figures import Effort, Figure, timed

NUMBERS = (-1, 0, -1e9, 1e9, 1e300, float("nan"), float("inf"), float("-inf"), 2**63, 2**64, -(2**63), 0.5)
OTHERS = ("", "x", "NaN", None, True, [], {}, "9" * 400, "\0", "\ud800", "🎥" * 500, "\u202e\u0000", "%n%s", "../x")


def figures(effort: Effort) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield _through_the_server(Path(folder), every=1 if effort.all_files else 29)


def _through_the_server(folder: Path, every: int) -> Figure:
    from tiny_workflow import tiny_workflow, write_model_files

    from tools.host import Host
    from tools.host.graph import WorkflowError

    host = Host(folder)
    write_model_files(host.base / "models")
    prompt = tiny_workflow(steps=1)
    with timed("inputs that no widget would give: refused, or one sentence on the node") as figure:
        first = host.run(prompt)
        figure.expect(first.status == "done", f"the workflow as it is: {first.error or first.complaints}")
        tried, refused = 0, 0
        for number, (node, name, value) in enumerate(_changes(prompt)):
            # A frame rate of NaN got through once, so it is always tried.
            if number % every and not (name == "fps" and value != value):
                continue
            if not _affordable(name, value):
                continue
            changed = {**prompt, node: {**prompt[node], "inputs": {**prompt[node]["inputs"], name: value}}}
            tried += 1
            where = f"{prompt[node]['class_type']}.{name} = {value!r:.40}"
            try:
                run = host.run(changed)
            except WorkflowError:
                refused += 1  # an unknown link or node is for the server to refuse
                continue
            except Exception as error:
                figure.failures.append(f"{where}: {type(error).__name__}: {str(error)[:120]}")
                continue
            refused += run.status == "refused"
            if run.status == "error" and type(run.error).__name__ != "InputError":
                figure.failures.append(f"{where}: {type(run.error).__name__}: {str(run.error)[:120]}")
        again = host.run(prompt)
        figure.expect(again.status == "done", f"the workflow afterwards: {again.error or again.complaints}")
        figure.tried = f"{tried} values at {sum(1 for n in prompt.values() for _ in n['inputs'])} inputs"
        figure.outcome = f"{refused} refused by the server's checks, the others run or a sentence"
    return figure


def _changes(prompt: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for node, content in prompt.items():
        if content["class_type"] in ("SaveVideo", "PreviewImage", "PreviewAudio"):
            continue  # nodes of ComfyUI itself
        for name, value in content["inputs"].items():
            if not isinstance(value, list):
                for other in (*NUMBERS, *OTHERS):
                    yield node, name, other


def _affordable(name: str, value: Any) -> bool:
    """Leave out values that the widgets allow and that only take long (a clip of a minute, pictures of 4K)."""
    return not (name in ("steps", "duration", "height") and isinstance(value, float) and 1 < value < 1e6)
