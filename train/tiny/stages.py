"""Run commands one after another, each once: they make a model from scratch (train/tiny.yaml, train/omniaudio.yaml).

A stage is a module of `train` with its options, as typed after `python -m`. Each runs in its own process, with its own
threads, seeds and memory. Finished stages are listed in `stages.jsonl` and not run again.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from con360.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DONE_FILE = "stages.jsonl"


def run_stages(stages: Sequence[str], folder: Path) -> None:
    """Run the unfinished stages in order.

    Args:
        stages: such as `train.tiny.codecs --out runs/tiny`. folder: receives `stages.jsonl`.

    Raises:
        InputError: a stage is no module of `train`, a stage failed, or the finished stages were edited since.
    """
    for stage in stages:
        if not is_stage(stage):
            raise InputError(
                f"stage {stage!r}: wanted a module of train with its options, as in 'train.tiny.text --out DIR'."
            )
    done = finished_stages(folder)
    if tuple(done) != tuple(stages[: len(done)]):
        raise InputError(
            f"the stages in {folder / DONE_FILE} are not the first ones of this configuration; remove that file to run "
            f"all of them again."
        )
    for number, stage in enumerate(stages, 1):
        if number <= len(done):
            print(f"[{number}/{len(stages)}] {stage}: done before", flush=True)
            continue
        print(f"[{number}/{len(stages)}] {stage}", flush=True)
        seconds = _run(stage)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / DONE_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "seconds": round(seconds, 1)}) + "\n")


def is_stage(stage: str) -> bool:
    """Tell whether the first word is a module of `train`."""
    name = stage.split(" ", 1)[0]
    return name.startswith("train.") and (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()


def finished_stages(folder: Path) -> list[str]:
    path = folder / DONE_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line)["stage"] for line in lines]


def _run(stage: str) -> float:
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *shlex.split(stage)], cwd=ROOT)

    def pass_on(signum: int, frame: FrameType | None) -> None:
        process.send_signal(signum)

    # Pass the signal to the stage; when it ends, its exit code ends this command too.
    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if code != 0:
        raise InputError(
            f"stage {stage!r} ended with code {code}. Mend the cause, reported above, and run the same command "
            f"again; it continues with this stage."
        )
    return time.monotonic() - started
