"""Train a small network to name the shape in a view's middle and its colour, on true views through the picture codec.

It judges what a model draws, and ships with no model: the evaluation trains it anew for each codec, in minutes.

Shape legend: N pictures, s their side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from con360.geometry.perspective import view_directions
from con360.media.files import atomic_path
from con360.records import View
from con360.scenes import COLOURS, SHAPES, Performer, Scene
from train.evaluation.bench import Bench
from train.evaluation.probes import through_vae
from train.examples import scene_of

# A view looks so near to its performer; others are at least 50 degrees away from that one.
AIM_DEG = 15.0
FOV_DEG = (80.0, 100.0)
CLIP_SECONDS = 4.0
# Side at which pictures are read; rows and columns of the last maps; weighings of their pixels.
SIDE_PX, PLACES, LOOKS = 64, 8, 4
TRAINED_ON, TRIED_ON = 4000, 512
STEPS, BATCH, RATE = 1200, 64, 2e-3
# Below this share right on true views the network's answers say nothing of a model.
LEAST_RIGHT = 0.97


class ShapeReader(nn.Module):
    """Name colour and shape: pictures `[N, 3, s, s]` in [0, 1] to logits `[N, colours]` and `[N, shapes]`.

    Each of the last maps' pixels sees as much as a shape covers. The answers read their mean, weighed by what a pixel
    holds and where it lies: a shape may stand anywhere, and the one in the middle is meant.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        for before, after, stride in zip(widths, widths[1:], (2, 2, 2, 1), strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(PLACES))
        self.looks = nn.Conv2d(4 * width, LOOKS, 1)
        self.places = nn.Parameter(torch.zeros(LOOKS, PLACES, PLACES))
        self.answers = nn.ModuleList(nn.Linear(LOOKS * 4 * width, len(words)) for words in (COLOURS, SHAPES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        small = F.adaptive_avg_pool2d(pictures, min(SIDE_PX, pictures.shape[-1]))
        features = self.layers(small * 2 - 1)
        weights = (self.looks(features) + self.places).flatten(2).softmax(-1)
        pooled = torch.einsum("nkp,ncp->nkc", weights, features.flatten(2)).flatten(1)
        colour, shape = (answer(pooled) for answer in self.answers)
        return colour, shape


@dataclass(frozen=True)
class Named:
    """Pictures `[N, 3, s, s]` with the true colour and shape `[N]` in the middle of each."""

    pictures: Tensor
    colour: Tensor
    shape: Tensor


def aimed_view(performer: Performer, time_s: float, rng: np.random.Generator, fov_deg: float) -> View:
    """Draw a view that looks roughly at a performer."""
    yaw, pitch = rng.uniform(-AIM_DEG, AIM_DEG, size=2)
    return View(
        float((performer.yaw_at(time_s) + yaw + 180.0) % 360.0 - 180.0), float(performer.pitch_deg + pitch), fov_deg
    )


def truth_of(performer: Performer) -> tuple[int, int]:
    """Number colour and shape of a performer as the network does."""
    return list(COLOURS).index(performer.colour), SHAPES.index(performer.shape)


def true_views(split: str, count: int, size: int) -> Named:
    """Render views of `count` scenes of a split, one each, at a random time."""
    pictures: list[Tensor] = []
    answers: list[tuple[int, int]] = []
    for index in range(count):
        rng, scene = np.random.default_rng([index, 6, 360]), scene_of(split, index)
        pictures.append(_drawn(scene, rng, size, answers))
    colour, shape = torch.tensor(answers).T
    return Named(torch.stack(pictures), colour, shape)


def _drawn(scene: Scene, rng: np.random.Generator, size: int, answers: list[tuple[int, int]]) -> Tensor:
    performer, time_s = scene.performers[int(rng.integers(len(scene.performers)))], float(rng.uniform(0, CLIP_SECONDS))
    view = aimed_view(performer, time_s, rng, float(rng.uniform(*FOV_DEG)))
    answers.append(truth_of(performer))
    return scene.render(view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, size), time_s)


def train(data: Named, say: Callable[[str], object]) -> ShapeReader:
    """Train a network on pictures; equal pictures give an equal network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ShapeReader().train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        for step in range(STEPS):
            chosen = torch.randint(len(data.colour), (BATCH,))
            # Every shape is its own mirror image.
            pictures = data.pictures[chosen].flip(-1) if step % 2 else data.pictures[chosen]
            colour, shape = network(pictures)
            loss = F.cross_entropy(colour, data.colour[chosen]) + F.cross_entropy(shape, data.shape[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            if step % 500 == 0:
                say(f"shape reader: step {step} of {STEPS}, loss {float(loss.detach()):.3f}")
    return network.eval().requires_grad_(False)


def shares_right(network: ShapeReader, data: Named) -> list[float]:
    """Return the shares of colours and of shapes that a network names rightly."""
    answers = zip(network(data.pictures), (data.colour, data.shape), strict=True)
    return [float((logits.argmax(1) == true).float().mean()) for logits, true in answers]


@dataclass(frozen=True)
class Reading:
    """A trained network, and the shares of colours and shapes that it names rightly on unseen true views."""

    network: ShapeReader
    colour: float
    shape: float

    @property
    def problem(self) -> str:
        """Say why its answers say nothing of a model; empty where they do."""
        if min(self.colour, self.shape) >= LEAST_RIGHT:
            return ""
        return (
            f"of unseen true views through the codec the reader names {100 * self.colour:.1f} % of the colours and "
            f"{100 * self.shape:.1f} % of the shapes; wanted {100 * LEAST_RIGHT:g} %"
        )


def shape_reader(bench: Bench, path: Path, say: Callable[[str], object]) -> Reading:
    """Load the reader of this bundle's codec; train it once per folder."""
    if not path.is_file():
        say(f"training the reader of shapes on {TRAINED_ON} true views, once per folder (some minutes)")
        seen, unseen = (
            _coded(bench, true_views(*split, bench.size)) for split in (("train", TRAINED_ON), ("validation", TRIED_ON))
        )
        network = train(seen, say)
        right = torch.tensor(shares_right(network, unseen), dtype=torch.float64)
        with atomic_path(path) as temporary:
            save_file({**network.state_dict(), "right": right}, temporary)
    state = load_file(path)
    colour, shape = state.pop("right").tolist()
    network = ShapeReader()
    network.load_state_dict(state)
    return Reading(network.eval().requires_grad_(False), colour, shape)


def _coded(bench: Bench, data: Named) -> Named:
    return Named(through_vae(bench, data.pictures), data.colour, data.shape)
