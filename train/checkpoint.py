"""Write and read a run's checkpoints: folders that appear whole or not at all. The newest are kept.

    step-0001000/
        config.yaml      the run's configuration
        state.pt         progress, trained weights, optimiser, moving average, gradient scaler
        chance-0.pt      random generators, one file per process

The loop's own draws depend only on the seed and a sample's number; generators are stored for networks that draw from
them. Everything is read with `weights_only=True`: nothing unpickles.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from con360.errors import InputError
from con360.media.files import full_disk_told, put_folder, remove_folder
from train.config import Config, RunConfig, read_yaml, to_yaml

FORMAT = 1


@dataclass
class RunProgress:
    """Hold the progress of a run.

    Args:
        step: optimiser steps done. samples: clips seen by all processes. seconds: training time.
        finished: the run has reached its number of steps or its time limit.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    finished: bool = False


def save_checkpoint(
    folder: Path, config: RunConfig, progress: RunProgress, state: dict[str, Any], rank: int, wait: Callable[[], None]
) -> Path:
    """Write a checkpoint together with all other processes; each calls this with its own rank.

    Args:
        folder: holds all checkpoints.
        state: written by the first process, for all.
        wait: barrier of all processes.
    """
    final = folder / f"step-{progress.step:07d}"
    partial = folder / f".{final.name}.part"
    try:
        with full_disk_told(final):
            _write(partial, config, {"format": FORMAT, "progress": asdict(progress), **state}, rank, wait)
    except BaseException:
        if rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    if rank == 0:
        put_folder(partial, final)
        _prune(folder, config.keep)
    wait()
    return final


def _write(partial: Path, config: RunConfig, state: dict[str, Any], rank: int, wait: Callable[[], None]) -> None:
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        torch.save(state, partial / "state.pt")
    wait()
    torch.save(_chance(), partial / f"chance-{rank}.pt")
    wait()


def _chance() -> dict[str, Any]:
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def _prune(folder: Path, keep: int) -> None:
    for old in checkpoints(folder)[keep:]:
        remove_folder(old)


def checkpoints(folder: Path) -> list[Path]:
    """List complete checkpoints, last written first: step numbers restart when a run starts over."""
    found = [path for path in folder.glob("step-*") if (path / "state.pt").is_file()]
    return sorted(found, key=lambda path: ((path / "state.pt").stat().st_mtime_ns, path.name), reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """Return the state that `save_checkpoint` was given, with `progress` as a `RunProgress`.

    Raises:
        InputError: not a checkpoint, damaged, or of another format.
    """
    file = path / "state.pt"
    if not file.is_file():
        raise InputError(f"{path} is no checkpoint; wanted a folder step-... that training wrote.")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(f"{file} cannot be read ({error}); take an older checkpoint with --resume.") from error
    if state.get("format") != FORMAT:
        raise InputError(f"{path} has checkpoint format {state.get('format')!r}; this program reads {FORMAT}.")
    return {**state, "progress": RunProgress(**state["progress"])}


def read_config(path: Path, base: Config) -> Config:
    """Read a checkpoint's configuration, of the kind of `base`."""
    return read_yaml(path / "config.yaml", base)


def restore_chance(path: Path, rank: int) -> None:
    """Restore this process's generators; a process without a file keeps its seeded ones."""
    file = path / f"chance-{rank}.pt"
    if file.is_file():
        state = torch.load(file, map_location="cpu", weights_only=True)
        torch.set_rng_state(state["torch"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])


# Settings that may differ when a run is resumed: they change neither weights nor losses.
_FREE = {
    "out", "resume", "workers", "cache", "checkpoint_every", "keep", "log_every", "sample_every", "num_samples",
    "held_out", "activation_checkpointing",
}  # fmt: skip


def checkpoint_to_resume(config: RunConfig) -> Path | None:
    """Choose the checkpoint to resume from, by `config.resume`; None starts at the beginning.

    Raises:
        InputError: the unfinished run in this folder had other settings, or the named folder is no checkpoint.
    """
    if config.resume == "no":
        return None
    if config.resume != "auto":
        path = Path(config.resume).expanduser()
        read_state(path)
        return path
    found = checkpoints(config.folder / "checkpoints")
    if not found or read_state(found[0])["progress"].finished:
        return None
    other = _changed(found[0], config)
    if other:
        raise InputError(
            f"{found[0]} is an unfinished run with other settings ({other}). Give the same settings to go on, "
            f"--resume no to start over, or --resume {found[0]} to go on with the new ones."
        )
    return found[0]


def check_finished(config: RunConfig) -> None:
    """Check that a finished run's result was made with these settings.

    Raises:
        InputError: it was not, or its checkpoints are gone.
    """
    found = checkpoints(config.folder / "checkpoints")
    other = _changed(found[0], config) if found else "its checkpoints are gone"
    if other:
        raise InputError(f"{config.out} was made with other settings ({other}); move it away, or choose another place.")


def _changed(path: Path, config: RunConfig) -> str:
    """Say which settings that matter differ from a checkpoint's."""
    then, now = read_config(path, config).to_dict(), config.to_dict()
    changed = [name for name in now if name not in _FREE and then[name] != now[name]]
    return "; ".join(f"{name} was {then[name]}, is {now[name]}" for name in changed)
