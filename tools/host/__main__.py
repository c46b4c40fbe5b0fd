"""Run a workflow without ComfyUI: `python -m tools.host workflows/con360_viewpoint.json --out DIR`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from . import Host, Run
from .graph import WorkflowError, to_prompt


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.host",
        description="Run one of this pack's workflows in a small stand-in for ComfyUI. It knows this pack's nodes and "
        "the few core nodes that its workflows use, and nothing else.",
    )
    parser.add_argument("workflow", type=Path, help="a workflow, UI or API format")
    parser.add_argument("--out", type=Path, required=True, help="folder for input, output, temp and models")
    parser.add_argument("--input", type=Path, action="append", default=[], help="a video to put into the input folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.INPUT=VALUE",
        help="value of a widget, for example 1.video=mine.mp4",
    )  # fmt: skip
    return parser.parse_args(arguments)


def set_values(prompt: dict[str, Any], settings: list[str]) -> None:
    """Set widgets of a prompt from `NODE.INPUT=VALUE`; a value is JSON, or else text.

    Raises:
        WorkflowError: there is no such input.
    """
    for setting in settings:
        place, equals, value = setting.partition("=")
        node, _, name = place.partition(".")
        if not equals or name not in prompt.get(node, {}).get("inputs", {}):
            raise WorkflowError(f"'{setting}' names no input; give NODE.INPUT=VALUE, for example 1.video=mine.mp4")
        try:
            prompt[node]["inputs"][name] = json.loads(value)
        except ValueError:
            prompt[node]["inputs"][name] = value


def show_progress(names: dict[str, str]) -> Any:
    def show(node_id: str, done: float, total: float) -> None:
        print(f"\r  {names[node_id]}: {done:g}/{total:g}   ", end="", file=sys.stderr, flush=True)

    return show


def describe(run: Run, names: dict[str, str], base: Path) -> int:
    """Print the outcome of a run; return the exit status."""
    for node_id, complaints in run.complaints.items():
        print(f"{names[node_id]}: {'; '.join(complaints)}")
    if run.error is not None:
        print(f"{names[run.failed_node]}: {run.error}")
    for node_id in run.executed:
        shown = [f for values in run.ui.get(node_id, {}).values() for f in values]
        files = [f["filename"] for f in shown if isinstance(f, dict) and "filename" in f]
        shown = files if len(files) < 4 else [files[0], "…", files[-1]]
        print(f"{names[node_id]:<24} {run.seconds[node_id]:6.1f} s  {' '.join(shown)}")
    print(f"{run.status}: files are in {base / 'output'} and {base / 'temp'}")
    return 0 if run.status == "done" else 1


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    host = Host(options.out)
    try:
        for video in options.input:
            shutil.copy(video, options.out / "input")
        workflow = json.loads(options.workflow.read_text(encoding="utf-8"))
        prompt = to_prompt(workflow, host.object_info()) if "nodes" in workflow else workflow
        set_values(prompt, options.set)
        names = {key: f"{key} {node['class_type']}" for key, node in prompt.items()}
        run = host.run(prompt, show_progress(names))
    except (OSError, json.JSONDecodeError, WorkflowError) as error:
        print(f"{options.workflow}: {error}", file=sys.stderr)
        return 2
    print(file=sys.stderr)
    return describe(run, names, options.out)


if __name__ == "__main__":
    raise SystemExit(main())
