"""Report a run in progress: a progress bar with the time left, `log.jsonl`, and TensorBoard where installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from con360.media.files import atomic_path
from con360.media.writer import write_clip
from con360.records import ViewpointClip
from train.checkpoint import RunProgress

BUCKETS = 4
LOG_FILE = "log.jsonl"


def bucket_losses(name: str, places: Tensor, errors: Tensor) -> dict[str, float]:
    """Average the error in each quarter of the noise schedule that was drawn; quarter 0 is nearly clean.

    Args:
        places: on the schedule, from 0 to 1.
    """
    quarter = (places * BUCKETS).long().clamp(max=BUCKETS - 1)
    return {f"{name}/t{q}": float(errors[quarter == q].mean()) for q in quarter.unique().tolist()}


class Monitor:
    """Report one run; of several processes, only the first reports.

    Args:
        folder: receives `log.jsonl`, `tensorboard/` and `samples/`.
        progress: where the run starts; lines of the log past this step are dropped.
        total: steps, or seconds if the run is limited by time. unit: name of the two.
        active: True if this process reports.
        say: prints a line for the user.
    """

    def __init__(
        self, folder: Path, progress: RunProgress, total: float, unit: str, active: bool, say: Callable[[str], None]
    ) -> None:
        self.folder, self.active, self.unit, self.say, self.board = folder, active, unit, say, None
        start = progress.step if unit == "step" else progress.seconds
        # Count in `total`'s unit: tqdm derives the time left from it.
        self.bar = tqdm(total=round(total), initial=round(start), desc="training", unit=unit, disable=not active)
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder / LOG_FILE, progress.step)
        if find_spec("tensorboard") is None:
            say(f'TensorBoard is not installed (pip install -e ".[train]"): losses go to {folder / LOG_FILE} alone.')
        else:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=progress.step + 1)

    def advance(self, progress: RunProgress, loss: float) -> None:
        """After each step."""
        self.bar.n = min(progress.step if self.unit == "step" else round(progress.seconds), self.bar.total)
        self.bar.set_postfix(step=progress.step, loss=f"{loss:.4f}")

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write numbers by name, unrounded."""
        if not self.active:
            return
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            if self.board is not None:
                self.board.add_scalar(name, value, step)

    def show(self, step: int, clips: Sequence[ViewpointClip], captions: Sequence[str]) -> None:
        """Keep sample clips as video files with sound, and show them in TensorBoard as rows of frames and sound."""
        for number, (clip, caption) in enumerate(zip(clips, captions, strict=True)):
            path = self.folder / "samples" / f"step-{step:07d}-{number}.mp4"
            for notice in write_clip(path, clip.frames, clip.fps, clip.sound):
                self.say(f"{path.name}: {notice}")
            if self.board is None:
                continue
            name = f"sample {number}"
            self.board.add_image(name, torch.cat(list(_eight(clip.frames)), dim=-1), step)
            self.board.add_audio(name, clip.sound.waveform.clamp(-1, 1), step, clip.sound.sample_rate_hz)
            self.board.add_text(name, caption, step)

    def close(self) -> None:
        self.bar.close()
        if self.board is not None:
            self.board.close()


def _eight(frames: Tensor) -> Tensor:
    """Pick at most eight frames, evenly spread over the clip."""
    return frames[torch.linspace(0, len(frames) - 1, min(8, len(frames))).round().long()]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's `log.jsonl`."""
    path = folder / LOG_FILE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _cut(path: Path, step: int) -> None:
    """Drop lines past `step`: they were written after the checkpoint that is resumed, or by an older run."""
    if path.is_file():
        whole = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
