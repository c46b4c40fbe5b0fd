"""Train parts of a joint model: choose a regime's parts, and compute their errors on a batch.

Shape legend: B clips, T frames, h w latent rows and columns, R F audio latent rows and frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from con360.control import ControlConfig, ControlModule, load_control
from con360.errors import InputError
from con360.models.connector_config import SITES
from con360.models.joint import JointModel
from con360.models.text import encode_captions
from con360.protocols import Film
from con360.timing import ClipSpec
from con360.weights.find import control_file
from train.config import TrainConfig
from train.dataset import Batch
from train.job import TRAINING, generator_of
from train.losses import Dropout, JointDraws, draw_joint, joint_predictions, keep_mask, mask_film

# Parts that learn beside the control.
REGIMES = {
    "control": (),
    "control+cmcpe": ("connectors",),
    "baseline": ("connectors", "unets"),
    "all": ("connectors", "unets"),
}


class JointErrors(NamedTuple):
    """Mean squared error of each clip, `[B]` each."""

    picture: Tensor
    sound: Tensor


@dataclass(frozen=True)
class Draws:
    """Hold the random draws of a batch.

    Args:
        keep_text, keep_control: `[B]`, 1 if kept; dropping the text also drops the control (unconditional).
        keep_named: `[B, C + S]`, each map and each signal alone, in the order of the batch.
        joint: timesteps and noise.
    """

    keep_text: Tensor
    keep_control: Tensor
    keep_named: Tensor
    joint: JointDraws

    def to(self, device: torch.device) -> Draws:
        return Draws(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def draw(
    model: JointModel, batch: Batch, numbers: Sequence[int], dropout: Dropout, seed: int, stream: int = TRAINING
) -> Draws:
    """Draw by the samples' numbers in the run: independent of processes, batch size and resuming."""
    schedulers = (model.scheduler_v, model.scheduler_a)
    shared_noise = model.metadata.get("defaults", {}).get("shared_noise", 0.0)
    rows = []
    for row, number in enumerate(numbers):
        g = generator_of(seed, stream, number)
        keep = [keep_mask(p, 1, g) for p in (dropout.text, dropout.control, *map(dropout.of, batch.names))]
        x0 = (batch.latents_v[row : row + 1], batch.latents_a[row : row + 1])
        rows.append((torch.cat(keep), draw_joint(schedulers, x0, dropout, g, shared_noise)))
    keeps, joint = zip(*rows, strict=True)
    kept = torch.stack(keeps)
    return Draws(kept[:, 0], kept[:, 1], kept[:, 2:], JointDraws.cat(joint))


class Trainee(nn.Module):
    """Compute errors of a joint model with its control; one module, so that Accelerate can wrap it.

    Args:
        model: frozen except for the parts that the regime trains.
        control: None for the baseline.
        spec: lengths of the training clips.
    """

    def __init__(self, model: JointModel, control: ControlModule | None, spec: ClipSpec) -> None:
        super().__init__()
        self.unet, self.control, self.spec = model.unet, control, spec
        self.schedulers = (model.scheduler_v, model.scheduler_a)
        empty = encode_captions(model, [""])
        self.register_buffer("empty_v", empty.text_v, persistent=False)
        self.register_buffer("empty_a", empty.text_a, persistent=False)

    def forward(self, batch: Batch, draws: Draws, with_control: bool = True) -> JointErrors:
        """Compute the mean squared error of each clip."""
        keep = draws.keep_text > 0
        text_v = torch.where(keep[:, None, None], batch.text_v, self.empty_v)
        text_a = torch.where(keep[:, None], batch.text_a, self.empty_a)
        latents = (batch.latents_v, batch.latents_a)
        film = self.film(batch, draws) if with_control else None
        out, wanted = joint_predictions(self.unet, self.schedulers, latents, (text_v, text_a), film, draws.joint)
        picture, sound = ((o.float() - w).square().flatten(1).mean(1) for o, w in zip(out, wanted, strict=True))
        return JointErrors(picture, sound)

    def film(self, batch: Batch, draws: Draws | None = None) -> Film | None:
        """Compute the modulation of a batch; with draws, drop some conditions."""
        if self.control is None:
            return None
        shapes = self.unet.site_shapes(tuple(batch.latents_v.shape[2:]), tuple(batch.latents_a.shape[2:]))
        _check_names(self.control.config, batch)
        maps, kept = batch.maps, {}
        if draws is not None:
            by_name = dict(zip(batch.names, draws.keep_named.unbind(1), strict=True))
            maps = maps * torch.stack([by_name[name] for name in batch.channels], dim=1)[:, None, :, None, None]
            kept = {name: by_name[name] for name in batch.signals}
        film = self.control(
            maps, batch.rays, shapes, fps=self.spec.fps, audio_seconds=self.spec.latent_seconds_a,
            signals=batch.signals, keep_signals=kept,
        )  # fmt: skip
        return film if draws is None else mask_film(film, draws.keep_text * draws.keep_control)

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def _check_names(config: ControlConfig, batch: Batch) -> None:
    if (config.channels, set(config.signals)) != (batch.channels, set(batch.signals)):
        raise InputError(
            f"the control reads {', '.join(config.names)} and the data holds {', '.join(batch.names)}; register "
            f"the missing makers (docs/extend.md), prepare data for this control, or train another."
        )


def make_trainee(model: JointModel, config: TrainConfig) -> Trainee:
    """Assemble a run's networks; freeze everything except the parts that `config.train` names.

    Raises:
        InputError: the run trains connectors or a control, and the model has no connectors.
    """
    connectors = model.unet.connectors
    if connectors is None:
        raise InputError(f"the model {model.name} has no connectors, in which a control acts; choose another base.")
    model.unet.requires_grad_(False)
    control = new_control(model, config) if config.with_control else None
    learns = REGIMES[config.train]
    if "connectors" in learns:
        connectors.requires_grad_(True)
    if "unets" in learns and config.unets == "all":
        model.unet.unet_v.requires_grad_(True)
        model.unet.unet_a.requires_grad_(True)
    elif "unets" in learns and config.unets == "motion":
        for name, module in model.unet.unet_v.named_modules():
            if name.endswith("motion_modules"):
                module.requires_grad_(True)
    checkpoint_activations(model, config.activation_checkpointing)
    return Trainee(model, control, config.spec())


def new_control(model: JointModel, config: TrainConfig) -> ControlModule:
    """Make a zero-initialised control, by default shaped like the base's own, or load one to start from."""
    if config.init is not None:
        module = load_control(config.init).module.train().requires_grad_(True)
        # Clips come without time tracks: those heads keep what they learned.
        module.when.requires_grad_(False)
        return module
    settings = control_settings(model, config)
    channels = {site: shape[0] for site, shape in model.site_shapes(config.spec()).items()}
    if not settings.site_channels.items() <= channels.items():
        raise InputError(f"the control file of {model.folder} was made for other networks; train over another base.")
    return ControlModule(settings)


def control_settings(model: JointModel, config: TrainConfig) -> ControlConfig:
    """Choose the control's shape: by the configuration, else as in the file to start from or the base's control.

    Pooled features (the paper) get no directions: nothing in them would tell where the view looks.
    """
    own = config.init or control_file(None, Path(model.folder)) if model.folder else config.init
    shapes = model.site_shapes(config.spec())
    channels = {site: shapes[site][0] for site in SITES}
    found = load_control(own).module.config if own is not None else None
    geometry = config.geometry if config.geometry != "auto" else (found.geometry if found else "view")
    sound = config.sound if config.sound != "auto" else (found.sound if found else "view")
    if found is not None and (found.geometry, found.sound) == (geometry, sound):
        return found if config.init is not None else replace(found, time_folds={})
    return ControlConfig(channels, with_directions=geometry == "view", geometry=geometry, sound=sound)


def checkpoint_activations(model: JointModel, on: bool) -> None:
    """Keep only block inputs in the forward pass; recompute the rest in the backward pass."""
    connectors = model.unet.connectors
    assert connectors is not None, "a trainee has connectors"
    alone = [*connectors.sites.values(), *connectors.encoders.values()]
    for unet in (model.unet.unet_v, model.unet.unet_a):
        unet.enable_gradient_checkpointing() if on else unet.disable_gradient_checkpointing()
        # diffusers leaves them out, and they hold most of the memory.
        alone += [module for name, module in unet.named_modules() if name.split(".")[-2:-1] == ["motion_modules"]]
    for module in alone:
        vars(module).pop("forward", None)
        if on:
            module.forward = partial(_recomputed, module.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **named)
    return checkpoint(forward, *args, use_reentrant=False, **named)


def trained_sound(config: TrainConfig, model: JointModel) -> str:
    """Choose the target sound: the one that the control learns; for the baseline, that of the base's control."""
    return control_settings(model, config).sound
