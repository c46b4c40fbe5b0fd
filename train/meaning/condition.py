"""Train the layer by which the sound of the built-in model reads aligned vectors; everything else is frozen.

    python -m train.meaning.condition encoder=runs/meaning/meaning.safetensors out=runs/meaning/class_vector.safetensors

Settings are given as name=value or --name value. The encoder's scenes are read again where `scenes` names their folder.
Ctrl-C and SIGTERM write a checkpoint; the same command resumes from it. `train.evaluation.meaning_grid --condition`
gives the result a row.

Shape legend: B clips, T frames, R rows, D vector, E class vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from con360.choices import BUILT_IN_MODEL
from con360.control import fingerprint
from con360.meaning.built_in import BuiltInMeaning, load_built_in
from con360.models.class_vector import ClassVector
from con360.models.joint import JointModel
from con360.models.text import encode_captions
from con360.weights.class_vector import save_class_vector
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from train.config import RunConfig, _option
from train.job import OneNetwork, generator_of
from train.losses import random_timesteps, target_of
from train.meaning.scenes import Clip, ScenesAsked, scenes
from train.meaning.settings import ENCODERS_SCENES
from train.monitor import Monitor
from train.stage import OnStep, Setup, stage_command, train_stage


@dataclass(frozen=True)
class ConditionRunConfig(RunConfig):
    """Describe a training of the layer."""

    out: Path = _option(Path("runs/meaning/class_vector.safetensors"), "weights to write")
    scenes: Path | None = _option(None, "folder of encoded scenes (beside out)")
    base: str = _option(BUILT_IN_MODEL, "model name or folder whose sound reads the vectors")
    encoder: Path | None = _option(None, "encoder of meaning (the model's own)")
    first: int = _option(ENCODERS_SCENES, "number of the first scene to train on")
    pool: int = _option(400, "number of scenes to train on")

    steps: int | None = _option(300, "optimiser steps")
    batch_size: int = _option(4, "clips per step (--batch)")
    learning_rate: float = _option(1e-3, "peak learning rate (--rate)")
    warmup: int = _option(20, "steps over which the learning rate rises")
    ema_decay: float = _option(0.98, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(32, "number of unseen clips for validation losses")
    num_samples: int = _option(1, "unseen clips that are looked at; there is nothing to see")
    checkpoint_every: int = _option(50, "steps between checkpoints; 0: only the last")
    drop_text: float = _option(0.2, "share of the captions whose vector is not known")
    drop_picture: float = _option(0.5, "share of the pictures whose vector is not known")
    drop_sound: float = _option(0.8, "share of the sounds whose vector is not known: few users give one")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]


@dataclass(frozen=True)
class Batch:
    """Hold clips for one step: latents `[B, 4, T, h, w]` and `[B, 8, R, 16]`, sentences `[B, E]`, vectors `[B, D]`."""

    picture: Tensor
    sound: Tensor
    sentence: Tensor
    vectors: tuple[Tensor, Tensor, Tensor]

    def to(self, device: torch.device) -> Batch:
        moved = (self.picture.to(device), self.sound.to(device), self.sentence.to(device))
        t, v, a = (vector.to(device) for vector in self.vectors)
        return Batch(*moved, (t, v, a))


@dataclass(frozen=True)
class Drawn:
    """Hold what is random in one step: timesteps `[B]`, noise of the latents, and which vectors are known `[B, 3]`."""

    t: Tensor
    noise_v: Tensor
    noise_a: Tensor
    known: Tensor

    def to(self, device: torch.device) -> Drawn:
        return Drawn(*(x.to(device) for x in (self.t, self.noise_v, self.noise_a, self.known)))


class SoundError(NamedTuple):
    """Errors of each clip, `[B]`."""

    sound: Tensor


class ConditionNet(nn.Module):
    """The frozen model with the layer."""

    def __init__(self, model: JointModel, layer: ClassVector) -> None:
        super().__init__()
        self.unet, self.layer = model.unet.requires_grad_(False), layer
        self.schedulers = model.scheduler_v, model.scheduler_a

    def forward(self, batch: Batch, draws: Drawn, with_meaning: bool = True) -> SoundError:
        of_v, of_a = self.schedulers
        x_v = of_v.add_noise(batch.picture, draws.noise_v, draws.t)
        x_a = of_a.add_noise(batch.sound, draws.noise_a, draws.t)
        t, v, a = (x * draws.known[:, i, None] for i, x in enumerate(batch.vectors))
        sentence = batch.sentence + self.layer(t, v, a) if with_meaning else batch.sentence
        with torch.no_grad():
            cross = self.unet.encode_cross(x_v, x_a, draws.t, draws.t)
        made = self.unet.forward_audio(x_a, draws.t, sentence, cross)
        wanted = target_of(of_a, batch.sound, draws.noise_a, draws.t)
        return SoundError((made - wanted).square().flatten(1).mean(1))


class ConditionJob(OneNetwork):
    """Train the layer (`train.job.Job`)."""

    def __init__(self, config: ConditionRunConfig, model: JointModel, encoder: BuiltInMeaning) -> None:
        self.config, self.model, self.encoder = config, model, encoder
        width = int(model.text_encoder_a.config.projection_dim)
        self.net = ConditionNet(model, ClassVector(encoder.network.config.size, width))

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.net.layer.named_parameters(prefix="layer"))

    @torch.no_grad()
    def collate(self, samples: Sequence[Clip]) -> Batch:
        picture, sound = (torch.stack([getattr(s, name) for s in samples]).float() for name in ("picture", "sound"))
        captions = [sample.caption for sample in samples]
        read = self.encoder
        vectors = (read.read_text(captions), read.read_latents_v(picture), read.read_latents_a(sound))
        return Batch(picture, sound, encode_captions(self.model, captions).text_a, vectors)

    def draw(self, batch: Batch, numbers: Sequence[int], stream: int, step: int) -> Drawn:
        drops = torch.tensor([self.config.drop_text, self.config.drop_picture, self.config.drop_sound])
        drawn = []
        for number, picture, sound in zip(numbers, batch.picture, batch.sound, strict=True):
            g = generator_of(self.config.seed, stream, number)
            t = random_timesteps(1, self.model.scheduler_a, g)[0]
            noise = [torch.randn(latents.shape, generator=g) for latents in (picture, sound)]
            drawn.append((t, *noise, (torch.rand(3, generator=g) >= drops).float()))
        return Drawn(*(torch.stack(part) for part in zip(*drawn, strict=True)))

    def places(self, draws: Drawn) -> Tensor:
        return draws.t / self.model.scheduler_a.config.num_train_timesteps

    def bare(self, batch: Batch, draws: Drawn) -> SoundError:
        """Errors without the layer."""
        return self.net(batch, draws, with_meaning=False)

    def look(self, samples: Sequence[Clip], monitor: Monitor, step: int) -> dict[str, float]:
        """There is nothing to see; say how far the layer has come from zero."""
        return {"layer": float(self.net.layer.linear.weight.norm())}


def setup_of(config: RunConfig, device: torch.device) -> Setup:
    """Make the job of a configuration; scenes are encoded first, where they are not yet."""
    assert isinstance(config, ConditionRunConfig), "the run is of this kind"
    model = load_joint_model(model_folder(config.base), device=device)
    encoder = load_built_in(model, config.encoder)
    folder = config.scenes or config.folder / "scenes"
    source = scenes(folder, ScenesAsked("train", config.first, config.pool), model)
    held_out = scenes(folder, ScenesAsked("validation", 0, config.held_out), model)
    job = ConditionJob(config, model, encoder)

    def write(path: Path, loop: Any, figures: dict[str, float]) -> None:
        record = {"steps": loop.progress.step, "seed": config.seed, "scenes": config.pool, "validation": figures}
        save_class_vector(job.net.layer, path, fingerprint(encoder.network), record)

    return Setup(job, source, held_out, write)


def train(config: RunConfig, say: Callable[[str], None] = print, on_step: OnStep = None) -> dict[str, float]:
    """Train, and write the result (`train.stage.train_stage`)."""
    return train_stage(config, setup_of, say, on_step)


def main(argv: Sequence[str] | None = None) -> int:
    import sys

    arguments = list(sys.argv[1:] if argv is None else argv)
    named = arguments if {"-h", "--help"} & set(arguments) else ["condition", *arguments]
    return stage_command(named, {"condition": ConditionRunConfig()}, str(__doc__), train)


if __name__ == "__main__":
    raise SystemExit(main())
