"""Run one joint stage: a loop that can be killed at any time and goes on from its last save.

`checkpoint.pt` holds the moving average that later stages and the export read and, while a stage is unfinished, what
the same command needs to go on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from con360.errors import InputError
from con360.media.files import atomic_path
from train.examples import ESTIMATOR
from train.loop import Interrupted, held_signals
from train.tiny.model import SIDES, TinyModel
from train.tiny.networks import make_scheduler
from train.tiny.steps import Losses
from train.tiny.work import Places, Work, work_of

CHECKPOINT = "checkpoint.pt"
SAVE_EVERY_S = 240


@dataclass(frozen=True)
class Stage:
    """Say how a stage is trained.

    Args:
        name: one of `work.STAGES`. minutes: computing of one core, all runs of the stage together. steps: instead.
        rate: peak learning rate. baseline: without maps. sides: keys of `SIDES` that learn.
        encoder: the map encoder learns too. bfloat16: products in half precision; weights stay float32.
    """

    name: str
    minutes: float
    rate: float = 1e-3
    seed: int = 0
    steps: int | None = None
    baseline: bool = False
    sides: tuple[str, ...] = tuple(SIDES)
    encoder: bool = False
    bfloat16: bool = False

    @property
    def label(self) -> str:
        """Tells a stage from others in a checkpoint."""
        told = [self.name, *self.sides, *(["baseline"] if self.baseline else [])]
        return " ".join(told)

    def fraction(self, step: int, seconds: float) -> float:
        """Share of the stage that is done."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)


class Average:
    """Keep an exponential moving average of parameters; a low decay at the start forgets the first weights soon."""

    def __init__(self, shadow: dict[str, Tensor], updates: int = 0) -> None:
        self.shadow, self.updates = shadow, updates

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(0.999, (1 + self.updates) / (20 + self.updates))
        current = {name: p for name, p in model.named_parameters() if p.requires_grad}
        torch._foreach_lerp_([self.shadow[name] for name in current], list(current.values()), 1 - decay)


def train_stage(stage: Stage, places: Places) -> None:
    """Train a stage from `out`'s checkpoint, else from `start`; an unfinished stage of the same name goes on.

    `train.loop` trains a control over a finished base, with another average, rate schedule and batching. The stages
    that made the built-in model keep this loop.

    Raises:
        InputError: there is nothing to start from.
        Interrupted: a signal ended the stage; the same command goes on.
    """
    torch.manual_seed(stage.seed)
    model, g = TinyModel(), torch.Generator().manual_seed(stage.seed)
    held = start_from(model, places)
    model.train_sides(stage.sides, stage.encoder, motion=stage.name not in ("read", "picture"))
    if stage.baseline:
        model.control.requires_grad_(False)
    work = work_of(stage.name, model, places, g, sides=stage.sides, baseline=stage.baseline)
    run = _Run(stage, model, work, g)
    if held.get("stage") == stage.label and "resume" in held:
        run.load(held["resume"])
        print(f"{stage.label}: going on from step {run.step}", flush=True)
    with held_signals() as received:
        while stage.fraction(run.step, run.seconds) < 1:
            run.advance()
            if received or time.monotonic() - run.saved > SAVE_EVERY_S:
                run.save(places.out / CHECKPOINT)
            if received:
                print(f"{stage.label}: stopped at step {run.step}; the same command goes on", flush=True)
                raise Interrupted(received[0], places.out)
    run.save(places.out / CHECKPOINT, finished=True)
    print(f"{stage.label} done: {run.step} steps in {run.seconds:.0f} s", flush=True)


class _Run:
    """Hold what changes while a stage is trained."""

    def __init__(self, stage: Stage, model: TinyModel, work: Work, g: torch.Generator) -> None:
        self.stage, self.model, self.work, self.g = stage, model, work, g
        self.scheduler = make_scheduler()
        self.average = Average({name: t.clone() for name, t in model.state_dict().items()})
        self.learning = nn.ModuleList([model, *work.readers])
        self.parameters = [p for p in self.learning.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=stage.rate, betas=(0.9, 0.99), weight_decay=1e-2)
        self.running: dict[str, float] = {}
        self.step, self.seconds, self.saved = 0, 0.0, time.monotonic()

    def advance(self) -> None:
        """One step."""
        began = time.process_time()
        rate = learning_rate(self.stage.rate, self.step, self.stage.fraction(self.step, self.seconds))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.stage.bfloat16):
            losses, figures = self.work.losses(self.model, next(self.work.stream), self.scheduler, self.g)
            total = sum(losses.values(), torch.zeros(()))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.average.update(self.model)
        follow(self.running, losses | figures)
        self.seconds += time.process_time() - began
        if self.step % 25 == 0:
            text = " ".join(f"{name} {value:.4f}" for name, value in self.running.items())
            print(f"{self.stage.name} step {self.step} {text} rate {rate:.1e} {self.seconds:.0f} s", flush=True)
        self.step += 1

    def save(self, path: Path, finished: bool = False) -> None:
        held = {"average": self.average.shadow, "stage": self.stage.label, "step": self.step, "saliency": ESTIMATOR}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(held if finished else {**held, "resume": self._state()}, temporary)
        self.saved = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {
            "learning": self.learning.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step,
            "seconds": self.seconds, "updates": self.average.updates, "chance": self.g.get_state(),
            "running": self.running,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `_state`; the average came with the weights that the model started from."""
        self.learning.load_state_dict(state["learning"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.average.updates = state["step"], state["seconds"], state["updates"]
        self.running = dict(state["running"])
        self.g.set_state(state["chance"])


def start_from(model: TinyModel, places: Places) -> dict[str, Any]:
    """Fill the model from the last checkpoint, a model folder, or the text stage; return what the checkpoint holds.

    Raises:
        InputError: none of them is there.
    """
    for folder in (places.out, places.start):
        if (folder / CHECKPOINT).is_file():
            held: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
            model.load_state_dict(held["average"])
            return held
    if (places.start / "model_index.json").is_file():
        model.start_from_folder(places.start)
    elif (places.start / "text.pt").is_file():
        model.start_from_text(torch.load(places.start / "text.pt", weights_only=True))
    else:
        raise InputError(
            f"there is nothing to start from in {places.start}; give --start a model folder, an earlier stage's --out, "
            f"or the folder of train.tiny.text."
        )
    return {}


def join(out: Path, picture: Path, sound: Path) -> None:
    """Write a checkpoint with the sides of two runs that began as one; the map encoder and texts are the picture's.

    Raises:
        InputError: a run has no checkpoint.
    """
    halves = []
    for folder in (picture, sound):
        if not (folder / CHECKPOINT).is_file():
            raise InputError(f"there is no {CHECKPOINT} in {folder}; train that side first.")
        halves.append(torch.load(folder / CHECKPOINT, weights_only=True))
    whole, other = (held["average"] for held in halves)
    whole |= {name: t for name, t in other.items() if name.startswith(SIDES["sound"])}
    kept = {"stage": "join", "step": sum(held["step"] for held in halves), "saliency": halves[0]["saliency"]}
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save({"average": whole, **kept}, temporary)


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """Compute the learning rate: a short rise, then a cosine to zero over the stage's time or steps."""
    return peak * min(1.0, (step + 1) / 30) * 0.5 * (1 + torch.cos(torch.tensor(fraction * torch.pi)).item())


def follow(running: dict[str, float], values: Losses) -> None:
    """Move the running means towards new values; a figure without a value keeps its mean."""
    for name, value in values.items():
        if value.isfinite():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
