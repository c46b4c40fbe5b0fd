"""Run the training loop: one for every regime, in one process or many."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from con360.errors import InputError
from train.checkpoint import RunProgress, read_state, restore_chance, save_checkpoint
from train.config import RunConfig
from train.job import TRAINING, VALIDATION, Job
from train.monitor import Monitor, bucket_losses
from train.order import Order, Source, sample_numbers

# Stands for a place on a noise schedule where there is none.
NO_PLACE = -1.0


class Interrupted(Exception):
    """Raised when a signal ended the run, after its checkpoint was written.

    Args:
        signum: the signal. checkpoint: folder to resume from.
    """

    def __init__(self, signum: int, checkpoint: Path) -> None:
        super().__init__(f"{signal.Signals(signum).name} received")
        self.signum, self.checkpoint = signum, checkpoint


def exit_status(run: Callable[[], object]) -> int:
    """Run a training as a command does: say in a sentence why it ended early, and return the exit status."""
    try:
        run()
    except InputError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # for example a full disk, or a folder without write permission
        print(f"train: {error}; the last complete checkpoint is kept; the same command continues.", file=sys.stderr)
        return 1
    except Interrupted as stop:
        return 128 + stop.signum
    return 0


class Loop:
    """Train one run.

    Args:
        config: the run's settings.
        job: the networks, and how they read samples.
        source: training clips. held_out: clips for validation losses and samples.
        accelerator: from `make_accelerator`.
        say: prints a line for the user.
        on_step: called after each step.
    """

    def __init__(
        self,
        config: RunConfig,
        job: Job,
        source: Source,
        held_out: Source,
        accelerator: Any,
        say: Callable[[str], None] = print,
        on_step: Callable[[RunProgress], None] | None = None,
    ) -> None:
        self.config, self.job, self.net, self.held_out = config, job, job.net, held_out
        self.accelerator, self.say, self.on_step = accelerator, say, on_step
        self.progress, self.source, self.order = RunProgress(), source, Order(source.groups, config.seed)
        self.trained = job.trained()
        optimiser = torch.optim.AdamW(job.groups(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.wrapped, self.optimiser = accelerator.prepare(job.net, optimiser)
        self.average = self._make_average()
        self.steps = self._number_of_steps()

    def _make_average(self) -> Any:
        if self.config.ema_decay == 0:
            return None
        from diffusers.training_utils import EMAModel

        average = EMAModel(self.trained.values(), decay=self.config.ema_decay)
        average.to(self.accelerator.device)
        return average

    def _number_of_steps(self) -> int | None:
        """Optimiser steps of the whole run; None if time limits it."""
        if self.config.steps is not None or self.config.epochs is None:
            return self.config.steps
        together = self.config.batch_size * self.config.accumulate * self.accelerator.num_processes
        return math.ceil(self.config.epochs * len(self.source) / together)

    def fraction(self) -> float:
        """Share of the run that is done; can exceed 1."""
        if self.steps is not None:
            return self.progress.step / self.steps
        return self.progress.seconds / (60 * self.config.minutes)

    def rate(self) -> float:
        """Learning rate of the next step.

        A linear rise, then constant or a cosine; or the law that OmniAudio was trained by.
        """
        config, step = self.config, self.progress.step
        if config.schedule == "inverse":
            return config.learning_rate * (1 - 0.99 ** (step + 1)) * (1 + step / 1e6) ** -0.5
        rise = min(1.0, (step + 1) / max(config.warmup, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.fraction(), 1.0)))
        fall = 1.0 if config.schedule == "constant" else config.rate_floor + (1 - config.rate_floor) * cosine
        return config.learning_rate * rise * fall

    def run(self) -> RunProgress:
        """Train to the end, or to a signal.

        Raises:
            Interrupted: SIGTERM or SIGINT came; a checkpoint was written.
        """
        config, active = self.config, self.accelerator.is_main_process
        total, unit = (self.steps, "step") if self.steps else (60 * config.minutes, "s")
        monitor = Monitor(config.folder, self.progress, total, unit, active, self.say)
        try:
            with held_signals() as received:
                self._run(monitor, received)
        finally:
            monitor.close()
        return self.progress

    def _run(self, monitor: Monitor, received: list[int]) -> None:
        config, batches, window = self.config, self.batches(), Window(self.accelerator)
        before = self.progress.seconds
        started = time.monotonic()
        while self.fraction() < 1:
            norm = self._step(batches, window)
            if self.on_step is not None:
                self.on_step(self.progress)
            # Send whole microseconds: Apple's GPUs lack float64.
            mine = [received[0] if received else 0, round(1e6 * (before + time.monotonic() - started))]
            # All processes must stop at the same step: on a signal to any, or by the first one's clock.
            told = self.accelerator.gather(torch.tensor([mine], device=self.accelerator.device))
            signum, self.progress.seconds = int(told[:, 0].max()), int(told[0, 1]) / 1e6
            self.progress.finished = self.fraction() >= 1
            monitor.advance(self.progress, window.latest())
            step = self.progress.step
            if step % config.log_every == 0 or self.progress.finished:
                values = window.flush(self.progress)
                monitor.log(step, {**values, "rate": self.optimiser.param_groups[0]["lr"], "gradient norm": norm})
            if config.sample_every and step % config.sample_every == 0:
                self._look(monitor)
            if signum and not self.progress.finished:
                monitor.close()
                raise Interrupted(signum, self._save_and_say(signum))
            if self.progress.finished or (config.checkpoint_every and step % config.checkpoint_every == 0):
                self.save()

    def _step(self, batches: Iterator[tuple[Any, list[int]]], window: Window) -> float:
        """Do one optimiser step; return the gradient norm before clipping."""
        config, accelerator, learning = self.config, self.accelerator, list(self.job.learning(self.progress.step))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate() * group.get("scale", 1.0)
        for _ in range(config.accumulate):
            batch, draws = self._on_device(*next(batches), TRAINING)
            with accelerator.accumulate(self.wrapped):
                errors = self.wrapped(batch, draws)
                accelerator.backward(reduce(add, (error.mean() for error in errors)))
                window.add(self.job.places(draws), {n: e.detach() for n, e in errors._asdict().items()})
                if accelerator.sync_gradients:
                    norm = self._move(learning)
        if self.average is not None:
            self.average.step(self.trained.values())
        self.progress.step += 1
        self.progress.samples += config.batch_size * config.accumulate * accelerator.num_processes
        return float(norm)

    def _move(self, learning: list[torch.nn.Parameter]) -> Any:
        """Move the weights that learn in this step; return the gradient norm before clipping."""
        turn = {id(p) for p in learning}
        for parameter in self.trained.values():
            if id(parameter) not in turn:
                # AdamW passes over weights without gradients: they keep still, and so do their moments.
                parameter.grad = None
        norm = self.accelerator.clip_grad_norm_(learning, self.config.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _on_device(self, batch: Any, numbers: list[int], stream: int) -> tuple[Any, Any]:
        draws = self.job.draw(batch, numbers, stream, self.progress.step)
        return batch.to(self.accelerator.device), draws.to(self.accelerator.device)

    def batches(self) -> Iterator[tuple[Any, list[int]]]:
        """Yield (batch, sample numbers) from the run's current position on."""
        config, accelerator = self.config, self.accelerator
        places = (self.progress.samples, config.batch_size, accelerator.process_index, accelerator.num_processes)
        if config.workers == 0 or not self.source.reads_ahead:
            for numbers in sample_numbers(*places):
                yield self.job.collate([self.source[self.order.clip(n)] for n in numbers]), numbers
        loader = DataLoader(
            _Numbered(self.source, self.order), batch_sampler=_Numbers(places), num_workers=config.workers,
            collate_fn=list, worker_init_fn=_leave_signals,
        )  # fmt: skip
        for rows in loader:
            yield self.job.collate([sample for _, sample in rows]), [number for number, _ in rows]

    @torch.no_grad()
    def validate(self, bare: bool = False) -> dict[str, float]:
        """Compute mean losses over the held-out clips, with the same noise each time, to be comparable.

        Args:
            bare: without the condition whose worth the run reports.
        """
        found, errors = self.job.bare if bare else self.net, []
        for numbers in torch.arange(len(self.held_out)).split(self.config.batch_size):
            batch = self.job.collate([self.held_out[n] for n in numbers.tolist()])
            errors.append(found(*self._on_device(batch, numbers.tolist(), VALIDATION)))
        means = torch.cat([torch.stack(tuple(rows)) for rows in errors], dim=1).mean(dim=1).tolist()
        return dict(zip(errors[0]._fields, means, strict=True))

    def _look(self, monitor: Monitor) -> None:
        """Log validation losses and samples of the averaged weights, in the first process; the others wait."""
        if self.accelerator.is_main_process:
            step = self.progress.step
            with self.averaged():
                figures = self.validate()
                samples = [self.held_out[i] for i in range(min(self.config.num_samples, len(self.held_out)))]
                figures |= self.job.look(samples, monitor, step)
            monitor.log(step, {f"validation/{name}": value for name, value in figures.items()})
        self.accelerator.wait_for_everyone()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the moving average into the networks, for the duration of a block."""
        if self.average is None:
            yield
            return
        parameters = list(self.trained.values())
        self.average.store(parameters)
        self.average.copy_to(parameters)
        try:
            yield
        finally:
            self.average.restore(parameters)

    def _save_and_say(self, signum: int) -> Path:
        path = self.save()
        self.say(f"{signal.Signals(signum).name}: checkpoint written to {path}; the same command goes on from it.")
        return path

    def save(self) -> Path:
        """Write a checkpoint; every process must call this."""
        scaler = self.accelerator.scaler
        state = {
            "trained": {name: p.detach() for name, p in self.trained.items()},
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "processes": self.accelerator.num_processes,
        }
        folder, rank = self.config.folder / "checkpoints", self.accelerator.process_index
        return save_checkpoint(folder, self.config, self.progress, state, rank, self.accelerator.wait_for_everyone)

    def load(self, path: Path) -> None:
        """Restore a checkpoint.

        Raises:
            InputError: the checkpoint is damaged, or made for other networks.
        """
        state = read_state(path)
        _fill(self.trained, state["trained"], path)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
            self.average.to(self.accelerator.device)
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = state["progress"]
        self.progress.finished = False
        restore_chance(path, self.accelerator.process_index)
        if state["processes"] != self.accelerator.num_processes:
            now = self.accelerator.num_processes
            self.say(f"{path} was written by {state['processes']} processes, now there are {now}: losses will differ.")


class Window:
    """Collect errors since the last line of the log; they stay on their device until `flush`."""

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        # Steps in turns have errors of their own names.
        self.rows: dict[tuple[str, ...], list[Tensor]] = {}
        self.last = torch.zeros(1, 1)
        self.started = time.monotonic()

    def add(self, places: Tensor | None, errors: dict[str, Tensor]) -> None:
        values = list(errors.values())
        self.last = torch.stack(values, dim=1)
        at = values[0].new_full((len(values[0]),), NO_PLACE) if places is None else places.to(values[0])
        self.rows.setdefault(tuple(errors), []).append(torch.stack([at, *values], dim=1))

    def latest(self) -> float:
        return float(self.last.sum(dim=1).mean())

    def flush(self, progress: RunProgress) -> dict[str, float]:
        """Average over processes and steps: losses, losses by quarter of the noise schedule, and speed."""
        told: dict[str, float] = {}
        now, clips = time.monotonic(), 0
        for names, rows in self.rows.items():
            places, *errors = self.accelerator.gather(torch.cat(rows)).cpu().unbind(dim=1)
            clips += len(places)
            by_name = {f"loss/{name}": error for name, error in zip(names, errors, strict=True)}
            told |= {name: float(error.mean()) for name, error in by_name.items()}
            for name, error in by_name.items() if places[0] != NO_PLACE else ():
                told |= bucket_losses(name, places, error)
        told |= {"clips per second": clips / max(now - self.started, 1e-9), "clips": progress.samples}
        self.rows, self.started = {}, now
        return told


class _Numbered:
    """Map sample numbers to clips, for reading processes."""

    def __init__(self, source: Source, order: Order) -> None:
        self.source, self.order = source, order

    def __getitem__(self, number: int) -> tuple[int, Any]:
        return number, self.source[self.order.clip(number)]


class _Numbers:
    """Serve sample numbers as a loader's batch sampler."""

    def __init__(self, places: tuple[int, int, int, int]) -> None:
        self.places = places

    def __iter__(self) -> Iterator[list[int]]:
        return sample_numbers(*self.places)


def _leave_signals(worker: int) -> None:
    """Ignore signals in reading processes, so that the training process can finish its step."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of exiting; a second one of a kind acts as usual."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        signal.signal(signum, before[signum])

    # Python allows only the main thread to change handlers.
    if threading.current_thread() is threading.main_thread():
        before.update({s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)})
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _fill(trained: dict[str, Any], stored: dict[str, Tensor], path: Path) -> None:
    shapes, wanted = ({n: tuple(t.shape) for n, t in side.items()} for side in (stored, trained))
    if shapes != wanted:
        odd = sorted(n for n in shapes.keys() | wanted.keys() if shapes.get(n) != wanted.get(n))
        raise InputError(
            f"{path} trained other weights than this run ({', '.join(odd[:3])} …); give its own settings, which stand "
            f"in {path / 'config.yaml'}."
        )
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(stored[name])
