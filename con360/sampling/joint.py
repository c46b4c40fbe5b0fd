"""Denoise picture and sound together, each step's x0 estimates feeding the next.

Shape legend: B clips, T frames, h w latent rows and columns, R F mel latent rows and frequencies.

Source: SVG baseline (arXiv 2409.17550): x0 self-conditioning of the connectors, timestep adjustment; paper section 2.2
for the control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..protocols import Denoiser, Inputs
from ..records import AV
from .passes import Passes
from .schedule import adjustment_exponents
from .settings import SamplerSettings
from .side import Side
from .steer import Step, Term, steered_estimates, steered_latents

# callback(step, total, latents, x0) after each step, `step` counting from 1; may raise to cancel.
StepCallback = Callable[[int, int, AV, AV], None]


@dataclass(frozen=True)
class Given:
    """Latents that a run begins with.

    Args:
        noise: initial noise instead of the generator's, `[B, ...]` per modality.
        known: clean latents to start from or to hold, for one clip or for all; their strength is in the settings, and
            at strength 1 they are not looked at.
        generator: CPU; None makes one from the settings' seed.
    """

    noise: AV = AV()
    known: AV = AV()
    generator: torch.Generator | None = None


def sample_joint(
    denoiser: Denoiser,
    schedules: AV,
    inputs: Inputs,
    shapes: AV,
    settings: SamplerSettings,
    *,
    given: Given | None = None,
    terms: Sequence[Term] = (),
    device: torch.device | str | None = None,
    callback: StepCallback | None = None,
) -> AV:
    """Sample latents of both modalities, or of the one that has a shape.

    A modality that is given begins with the step of its strength; until then, and throughout if it is held, the other
    one hears it as it is: clean, at timestep 0, as its own x0 estimate. The connectors were trained on pairs of
    timesteps drawn independently, so that they know such a pair.

    Args:
        denoiser: on its device, in its dtype; the steps themselves run in float32.
        schedules: a `Schedule` per modality.
        inputs: encoded conditions of B clips.
        shapes: per modality the latents' shape without the batch, such as (channels, T, h, w); None leaves it out.
        settings: how.
        given: noise, clean latents and the generator to begin with.
        terms: steering, in order (`steer.Term`).
        device: where to compute while memory is low; None is where the network is, which otherwise must be there.
        callback: see `StepCallback`.

    Returns:
        Latents `[B, ...]`, float32, on the computing device; a held one as given.

    Raises:
        InputError: a control without a place to act in, guidance without negative features, or a strength or a hold
            without anything given.
        TooLittleMemory: a step does not fit, guidance's passes one by one either.
    """
    if inputs.film and not denoiser.takes_film:
        raise InputError("this model has no connectors, and a control acts inside them; run it without control.")
    device = torch.device(device if device is not None and settings.memory == "low" else denoiser.device)
    # Terms may differentiate through a codec, which tensors of inference mode do not allow.
    with torch.inference_mode(False), torch.no_grad():
        inputs, given = _outside_inference(inputs), _with_generator(given or Given(), settings)
        sides = _sides(denoiser, schedules, shapes, settings, given, inputs.batch, device)
        passes = Passes(denoiser, inputs, settings, device)
        first = min(side.begin for side in sides.values())
        for step in range(first, settings.steps):
            _advance(step, sides, passes, settings, given, terms)
            if callback is not None:
                callback(step + 1 - first, settings.steps - first, _latents(sides), _estimates(sides))
        return _latents(sides)


def _advance(
    step: int, sides: Mapping[str, Side], passes: Passes, settings: SamplerSettings, given: Given,
    terms: Sequence[Term],
) -> None:  # fmt: skip
    """One step: estimate, steer, move, steer."""
    predictions, generator = passes.predict(step, sides), given.generator
    for m, prediction in predictions.items():
        sides[m].estimate(step, prediction)
    now = Step(step, settings.steps, _latents(sides), _estimates(sides), active=tuple(predictions))
    if terms:
        _set(sides, now.active, "x0", steered_estimates(terms, now))
    for m in predictions:
        side = sides[m]
        side.move(step, _noise(side.x.shape, generator).to(side.x.device) if settings.eta > 0 else None)
    if terms:
        moved = replace(now, x0=_estimates(sides), moved=_latents(sides))
        _set(sides, now.active, "x", steered_latents(terms, moved))


def _sides(
    denoiser: Denoiser, schedules: AV, shapes: AV, settings: SamplerSettings, given: Given, batch: int,
    device: torch.device,
) -> dict[str, Side]:  # fmt: skip
    exponents = AV(*adjustment_exponents(settings.gamma))
    noise = starting_noise(shapes, settings, given, batch).map(lambda drawn: drawn.to(device))
    return {
        m: Side(m, denoiser, schedules.get(m), exponents.get(m), settings, noise.get(m), given.known.get(m))
        for m in noise.present()
    }


def starting_noise(shapes: AV, settings: SamplerSettings, given: Given, batch: int = 1) -> AV:
    """Draw the noise `[B, ...]` that a run begins with, on the CPU; what is given is taken.

    Args:
        shapes: per modality the latents' shape without the batch.
        given: its generator goes on from here; without one the settings' seed draws.
    """
    generator, noise = given.generator or settings.generator(), {}
    # Video noise is drawn before audio noise, always: the same seed gives the same clip.
    for m in shapes.present():
        start, shape = given.noise.get(m), (batch, *shapes.get(m))
        if start is None and m == "video":
            start = video_noise(shape, generator, settings.shared_noise)
        noise[m] = _noise(shape, generator) if start is None else start.float()
    return AV.of(noise)


def _latents(sides: Mapping[str, Side]) -> AV:
    return AV.of({m: side.x for m, side in sides.items()})


def _estimates(sides: Mapping[str, Side]) -> AV:
    return AV.of({m: side.x0 for m, side in sides.items()})


def _set(sides: Mapping[str, Side], active: tuple[str, ...], name: str, values: AV) -> None:
    for m in active:
        value, before = values.get(m), getattr(sides[m], name)
        if value is None or value.shape != before.shape:
            raise ValueError(f"a term returned {m} of shape {getattr(value, 'shape', None)}; wanted {before.shape}")
        setattr(sides[m], name, value.detach())


def _outside_inference(inputs: Inputs) -> Inputs:
    film = inputs.film and {site: (_normal(scale), _normal(shift)) for site, (scale, shift) in inputs.film.items()}
    return replace(inputs, given=inputs.given.map(_normal), without=inputs.without.map(_normal), film=film)


def _with_generator(given: Given, settings: SamplerSettings) -> Given:
    noise, known = given.noise.map(_normal), given.known.map(_normal)
    return Given(noise, known, given.generator or settings.generator())


def _normal(tensor: Tensor) -> Tensor:
    """A tensor that gradients may pass through; one made in inference mode is copied."""
    return tensor.clone() if tensor.is_inference() else tensor


def video_noise(shape: tuple[int, ...], generator: torch.Generator, shared: float = 0.0) -> Tensor:
    """Unit-variance noise `[B, c, T, h, w]` of which `shared` of the variance is the same in all frames."""
    own = torch.randn(shape, generator=generator)
    if shared == 0:
        return own
    common = torch.randn((*shape[:2], 1, *shape[3:]), generator=generator)
    return math.sqrt(shared) * common + math.sqrt(1 - shared) * own


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise from the CPU's generator, so that a seed means the same on every device."""
    return torch.randn(shape, generator=generator)
