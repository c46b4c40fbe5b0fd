"""The joint sampler: picture and sound denoised together, each step's x0 estimates feeding the next.

Shape legend: B clips, T frames, h w latent rows and columns, R F mel latent rows and frequencies.

Source: SVG baseline (arXiv 2409.17550): x0 self-conditioning of the connectors, timestep adjustment; paper section 2.2
for the control.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.connectors import Film
from ..models.dual_unet import DualUNet
from .passes import Passes
from .schedule import adjustment_exponents
from .settings import SamplerSettings
from .side import Side

# callback(step, total, latents_v, x0_v) after each step, `step` counting from 1; may raise to cancel.
StepCallback = Callable[[int, int, Tensor, Tensor], None]


@torch.no_grad()
def sample_joint(
    unet: DualUNet,
    scheduler_v: Any,
    scheduler_a: Any,
    *,
    text_v: Tensor,
    text_a: Tensor,
    negative_v: Tensor | None = None,
    negative_a: Tensor | None = None,
    shape_v: tuple[int, ...],
    shape_a: tuple[int, ...],
    settings: SamplerSettings,
    film: Film | None = None,
    generator: torch.Generator | None = None,
    start_v: Tensor | None = None,
    start_a: Tensor | None = None,
    known_v: Tensor | None = None,
    known_a: Tensor | None = None,
    device: torch.device | str | None = None,
    callback: StepCallback | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample latents of both modalities.

    A modality that is given begins with the step of its strength; until then, and throughout if it is held, the other
    one hears it as it is: clean, at timestep 0, as its own x0 estimate. The connectors were trained on pairs of
    timesteps drawn independently, so that they know such a pair.

    Args:
        unet: on its device, in its dtype; the steps themselves run in float32.
        scheduler_v, scheduler_a: diffusers' DDIM schedulers.
        text_v, text_a: captions, `[B, L, D]` and `[B, D]`.
        negative_v, negative_a: what the unconditional pass reads, for one clip or for all; needed when guidance is on.
        shape_v: (channels, T, h, w).
        shape_a: (channels, R, F), R padded.
        settings: how.
        film: site to (scale, shift) with batch B or 1; None is no control.
        generator: CPU; None makes one from the settings' seed.
        start_v, start_a: initial noise instead of the generator's.
        known_v, known_a: clean latents to start from or to hold, for one clip or for all; their strength is in the
            settings, and at strength 1 they are not looked at.
        device: where to compute while memory is low; None is where the network is, which otherwise must be there.
        callback: see `StepCallback`.

    Returns:
        (latents_v `[B, c, T, h, w]`, latents_a `[B, c, R, F]`), float32, on the computing device; a held one as given.

    Raises:
        InputError: a control without connectors to act in, guidance without negative text, or a strength or a hold
            without anything given.
        TooLittleMemory: a step does not fit, guidance's passes one by one either.
    """
    if film and unet.connectors is None:
        raise InputError("this model has no connectors, and a control acts inside them; run it without control.")
    generator = generator or settings.generator()
    device = torch.device(device if device is not None and settings.memory == "low" else unet.unet_v.device)
    B, exponents = text_v.shape[0], adjustment_exponents(settings.gamma)
    # Video noise is drawn before audio noise, always: the same seed gives the same clip.
    if start_v is None:
        start_v = video_noise((B, *shape_v), generator, settings.shared_noise)
    noise = start_v.float().to(device), _noise(start_a, (B, *shape_a), generator, device)
    schedulers, known, unets = (scheduler_v, scheduler_a), (known_v, known_a), (unet.unet_v, unet.unet_a)
    sides = [Side(m, schedulers[m], unets[m], exponents[m], settings, noise[m], known[m]) for m in (0, 1)]
    passes = Passes(unet, (text_v, text_a), (negative_v, negative_a), film, settings, device)
    first = min(side.begin for side in sides)
    for step in range(first, settings.steps):
        for m, prediction in passes.predict(step, sides).items():
            fresh = _noise(None, sides[m].x.shape, generator, device) if settings.eta > 0 else None
            sides[m].advance(step, prediction, fresh)
        if callback is not None:
            callback(step + 1 - first, settings.steps - first, sides[0].x, sides[0].x0)
    return sides[0].x, sides[1].x


def video_noise(shape: tuple[int, ...], generator: torch.Generator, shared: float = 0.0) -> Tensor:
    """Unit-variance noise `[B, c, T, h, w]` of which `shared` of the variance is the same in all frames."""
    own = torch.randn(shape, generator=generator)
    if shared == 0:
        return own
    common = torch.randn((*shape[:2], 1, *shape[3:]), generator=generator)
    return math.sqrt(shared) * common + math.sqrt(1 - shared) * own


def _noise(given: Tensor | None, shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Noise from the CPU's generator, so that a seed means the same on every device."""
    return (torch.randn(shape, generator=generator) if given is None else given.float()).to(device)
