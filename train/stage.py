"""Run one stage of a training that has several: read its settings, train, write the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from con360.errors import InputError
from train.checkpoint import RunProgress, checkpoint_to_resume
from train.config import RunConfig, describe, read_arguments
from train.devices import make_accelerator
from train.job import Job
from train.locks import hold
from train.loop import Loop, exit_status
from train.order import Source

OnStep = Callable[[RunProgress], None] | None


@dataclass(frozen=True)
class Setup:
    """Hold what a run needs: its job, its clips, and how its result is written.

    Args:
        write: writes the averaged weights; it is given the file, the loop and the validation figures.
    """

    job: Job
    source: Source
    held_out: Source
    write: Callable[[Path, Loop, dict[str, float]], None]


# Makes the job of a configuration; of what encodes clips while another learns, the device counts.
SetupOf = Callable[[RunConfig, torch.device], Setup]


def train_stage(
    config: RunConfig, setup_of: SetupOf, say: Callable[[str], None] = print, on_step: OnStep = None
) -> dict[str, float]:
    """Train, and write the result.

    Returns:
        Validation figures of the weights that were written.

    Raises:
        InputError: unusable settings, data or checkpoint, or another run is writing there.
        Interrupted: a signal ended the run.
    """
    accelerator = make_accelerator(config)
    with hold(config.folder, "--out") if accelerator.is_main_process else nullcontext():
        start = checkpoint_to_resume(config)
        torch.manual_seed(config.seed)
        setup = setup_of(config, accelerator.device)
        loop = Loop(config, setup.job, setup.source, setup.held_out, accelerator, say, on_step)
        if start is not None:
            loop.load(start)
            say(f"going on from {start}: step {loop.progress.step}")
        loop.run()
        return _finish(config, loop, setup, say)


def _finish(config: RunConfig, loop: Loop, setup: Setup, say: Callable[[str], None]) -> dict[str, float]:
    with loop.averaged():
        figures = loop.validate()
        if loop.accelerator.is_main_process:
            setup.write(config.out, loop, figures)
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            say(f"wrote {config.out} after {loop.progress.step} steps in {loop.progress.seconds:.0f} s; unseen: {said}")
        loop.accelerator.wait_for_everyone()
    return figures


def stage_command(
    argv: Sequence[str] | None, configs: Mapping[str, RunConfig], manual: str, train: Callable[[RunConfig], object]
) -> int:
    """Run the stage that a command line names, with its settings; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or {"-h", "--help"} & set(arguments):
        told = [f"settings of {name}:\n{describe(config)}" for name, config in configs.items()]
        print("\n\n".join((manual, *told)))
        return 0
    return exit_status(lambda: train(_config_of(arguments, configs)))


def _config_of(arguments: Sequence[str], configs: Mapping[str, RunConfig]) -> RunConfig:
    if arguments[0] not in configs:
        raise InputError(f"{arguments[0]!r} is no stage; choose one of {', '.join(configs)}.")
    return read_arguments(arguments[1:], configs[arguments[0]])
