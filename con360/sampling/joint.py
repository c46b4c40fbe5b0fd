"""The joint sampler: picture and sound denoised together, each step's x0 estimates feeding the next.

Shape legend: B clips, T frames, h w latent rows and columns, R F mel latent rows and frequencies.

Source: SVG baseline (arXiv 2409.17550): x0 self-conditioning of the connectors, timestep adjustment; paper section 2.2
for the control.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..models.connectors import CrossFeatures, Film
from ..models.cross_attention import TextMemory
from ..models.dual_unet import DualUNet, time_embedding
from ..models.residency import resident
from .guidance import GuidancePlan, Pass, guidance_plan, guide
from .schedule import NoiseSchedule, adjustment_exponents, ddim_timesteps
from .solvers import SAMPLERS, make_solver

# What `hold` takes, in the order in which everything here counts the modalities: 0 is picture, 1 is sound.
HOLDS = ("picture", "sound")
MEMORY_MODES = ("normal", "low")
_STAGES = ("video", "audio")
# Guidance's passes at most: without anything, with the caption, with the control.
_MOST_PASSES = 3

# callback(step, total, latents_v, x0_v) after each step, `step` counting from 1; may raise to cancel.
StepCallback = Callable[[int, int, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample.

    Args:
        steps: steps from noise to clip; a start with less than full strength leaves the first ones out.
        cfg_video, cfg_audio: guidance scales of picture and sound; None or 1 is off.
        cfg_control: guidance scale of the control alone, a third pass; None lets it follow the caption's.
        gamma: timestep adjustment; above 1 the picture settles before the sound does, None is off.
        eta: 0 is deterministic DDIM, 1 ancestral.
        seed: of the noise.
        shared_noise: share of the video noise's variance that all frames have in common, 0 to 1. 0 is the published
            way; a model trained with shared noise (PYoCo, arXiv 2305.10474, "mixed noise") names its share.
        control_start, control_end: part of the steps in which the control acts, as fractions.
        negative_prompt: what the unconditional pass reads.
        passes_together: guidance's passes as one batch; False runs them one by one in less memory.
        sampler: `ddim`, or `dpm++` (DPM-Solver++ 2M), which needs fewer steps and knows no eta.
        denoise_video, denoise_audio: how far a given start is taken back towards noise, above 0 and up to 1; 1 is
            from noise alone.
        hold: `picture` or `sound`: that one is given and stays as it is, the other is made for it.
        memory: `low` has one U-Net at a time on the device and runs guidance's passes one by one.
    """

    steps: int = 50
    cfg_video: float | None = 7.5
    cfg_audio: float | None = 2.5
    cfg_control: float | None = None
    gamma: float | None = None
    eta: float = 0.0
    seed: int = 0
    shared_noise: float = 0.0
    control_start: float = 0.0
    control_end: float = 1.0
    negative_prompt: str = ""
    passes_together: bool = True
    sampler: str = "ddim"
    denoise_video: float = 1.0
    denoise_audio: float = 1.0
    hold: str | None = None
    memory: str = "normal"

    def __post_init__(self) -> None:
        _check("steps", self.steps, 1, 1000)
        for name in ("cfg_video", "cfg_audio", "cfg_control"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), 0.0, 100.0)
        if self.gamma is not None:
            _check("gamma", self.gamma, 0.1, 10.0)
        _check("eta", self.eta, 0.0, 1.0)
        _check("seed", self.seed, 0, 2**64 - 1)
        _check("shared_noise", self.shared_noise, 0.0, 1.0)
        _check("control_start", self.control_start, 0.0, 1.0)
        _check("control_end", self.control_end, 0.0, 1.0)
        if self.control_start > self.control_end:
            raise InputError(
                f"the control starts at {self.control_start:g} and ends at {self.control_end:g}; swap them."
            )
        _check_one_of("sampler", self.sampler, SAMPLERS)
        _check_one_of("memory", self.memory, MEMORY_MODES)
        for name in ("denoise_video", "denoise_audio"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"{name} is {getattr(self, name)}; wanted above 0, up to 1 (from noise). To keep a picture or a "
                    f"sound as it is, hold it."
                )
        if self.hold is not None:
            _check_one_of("hold", self.hold, HOLDS)
        if self.sampler == "dpm++" and self.eta > 0:
            raise InputError(f"eta {self.eta:g} adds noise in ddim's way, and dpm++ adds none; choose eta 0, or ddim.")

    def begins(self, modality: int) -> int:
        """The step from which on picture (0) or sound (1) is denoised; until then it is as given."""
        if self.hold == HOLDS[modality]:
            return self.steps
        return self.steps - max(1, round(self.steps * (self.denoise_video, self.denoise_audio)[modality]))

    def control_acts(self, step: int) -> bool:
        """Whether the control acts at a step, counted from 0."""
        return self.control_start <= step / self.steps < self.control_end

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _check(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN fails the check as well.
    if not low <= value <= high:
        raise InputError(f"{name} is {value}; wanted {low:g} to {high:g}.")


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} {value!r} is not known; choose {' or '.join(known)}.")


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
    sides = [_Side(m, schedulers[m], unets[m], exponents[m], settings, noise[m], known[m]) for m in (0, 1)]
    passes = _Passes(unet, (text_v, text_a), (negative_v, negative_a), film, settings, device)
    first = min(side.begin for side in sides)
    for step in range(first, settings.steps):
        for m, prediction in passes.predict(step, sides).items():
            fresh = _noise(None, sides[m].x.shape, generator, device) if settings.eta > 0 else None
            sides[m].advance(step, prediction, fresh)
        if callback is not None:
            callback(step + 1 - first, settings.steps - first, sides[0].x, sides[0].x0)
    return sides[0].x, sides[1].x


class _Side:
    """One modality on its way.

    Args:
        m: 0 is picture, 1 is sound.
        noise: `[B, ...]`, on the computing device.
        known: clean latents, needed where the modality does not begin in noise.
    """

    def __init__(
        self, m: int, scheduler: Any, unet: torch.nn.Module, exponent: float | None, settings: SamplerSettings,
        noise: Tensor, known: Tensor | None,
    ) -> None:  # fmt: skip
        self.begin, name = settings.begins(m), HOLDS[m]
        schedule = NoiseSchedule.of(scheduler)
        timesteps = ddim_timesteps(schedule, settings.steps, exponent)
        self.solver = make_solver(settings.sampler, scheduler, schedule, timesteps, settings.eta)
        self.times = _embedded_times(unet, timesteps, noise)
        self.x = self.start = noise
        self.x0: Tensor | None = None
        if self.begin == 0:
            return
        if known is None:
            what = "hold it" if self.begin == settings.steps else "start from it with a strength below 1"
            raise InputError(f"there is no {name} to {what}; give one.")
        if known.shape[1:] != noise.shape[1:]:
            raise InputError(
                f"the given {name} has latents of shape {tuple(known.shape[1:])}; wanted {tuple(noise.shape[1:])}."
            )
        self.x = self.x0 = known.float().to(noise.device).expand_as(noise)
        if self.begin < settings.steps:
            alpha = float(schedule.alphas_cumprod[timesteps[self.begin]])
            self.start = alpha**0.5 * self.x0 + (1 - alpha) ** 0.5 * noise

    def time(self, step: int) -> Tensor:
        """The embedded timestep at a step, `[1, E]`; what is given is at timestep 0 until it begins."""
        return self.times[step : step + 1] if step >= self.begin else self.times[-1:]

    def arrive(self, step: int) -> bool:
        """Be ready for a step; whether this modality is denoised in it."""
        if step == self.begin:
            self.x = self.start
        return step >= self.begin

    def advance(self, step: int, prediction: Tensor, fresh: Tensor | None) -> None:
        self.x, self.x0 = self.solver.step(step, prediction, self.x, fresh)


def _embedded_times(unet: torch.nn.Module, timesteps: tuple[int, ...], like: Tensor) -> Tensor:
    """`[steps + 1, E]`: every step's timestep as the U-Net embeds it, and timestep 0 at the end."""
    steps = torch.tensor([*timesteps, 0], device=like.device)
    with resident(like.device, unet.time_embedding):
        return time_embedding(unet, steps, like.new_zeros(len(steps), dtype=unet.dtype))


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


@dataclass(frozen=True)
class _Call:
    """What one network call reads at every step: texts and FiLM of its passes, and how many they are."""

    text_v: TextMemory
    text_a: Tensor
    film: Film | None
    count: int


class _Passes:
    """Evaluates a step's guidance plan; what does not change from step to step is put together once."""

    def __init__(
        self, unet: DualUNet, text: tuple[Tensor, Tensor], negative: tuple[Tensor | None, Tensor | None],
        film: Film | None, settings: SamplerSettings, device: torch.device,
    ) -> None:  # fmt: skip
        self.unet, self.settings, self.film, self.device = unet, settings, film or None, device
        self.dtype, self.low = unet.unet_v.dtype, settings.memory == "low"
        self.at_once = _MOST_PASSES if settings.passes_together and not self.low else 1
        self.caption = [t.to(device, self.dtype) for t in text]
        self.negative = [
            None if n is None else n.to(device, self.dtype).expand_as(t) for n, t in zip(negative, text, strict=True)
        ]
        self._inputs: dict[GuidancePlan, list[_Call]] = {}

    def predict(self, step: int, sides: list[_Side]) -> dict[int, Tensor]:
        """Guided predictions in float32 of the modalities that are denoised in this step: 0 is video, 1 audio."""
        s = self.settings
        plan = guidance_plan(s.cfg_video, s.cfg_audio, s.cfg_control, self.film is not None and s.control_acts(step))
        return in_smaller_pieces(
            lambda at_once: self._predict(plan, step, sides, at_once), min(self.at_once, len(plan.passes)), 1,
            what=f"computing step {step + 1} of {s.steps} (passes of guidance)",
            advice="ask for a shorter clip, or a smaller model" if self.low else "set memory to 'low', or ask for a "
            "shorter clip",
        )  # fmt: skip

    def _predict(self, plan: GuidancePlan, step: int, sides: list[_Side], at_once: int) -> dict[int, Tensor]:
        if at_once < min(self.at_once, len(plan.passes)):
            # The steps that follow need not fail first.
            self.at_once = at_once
            self._inputs.clear()
        if plan not in self._inputs:
            self._inputs[plan] = self._prepare(plan)
        active = [m for m in (0, 1) if sides[m].arrive(step)]
        noisy = [side.x.to(self.dtype) for side in sides]
        times = [side.time(step) for side in sides]
        cross = self._cross(active, noisy, times, [side.x0 for side in sides])
        predictions = {}
        for m in active:
            with self._on_device(_STAGES[m]):
                outputs = [o for call in self._inputs[plan] for o in self._call(m, call, noisy[m], times[m], cross)]
            predictions[m] = guide(outputs, (plan.scales_v, plan.scales_a)[m])
        return predictions

    def _cross(
        self, active: list[int], noisy: list[Tensor], times: list[Tensor], x0: list[Tensor | None]
    ) -> CrossFeatures:
        """No text in it: one evaluation serves all passes. Nobody listens to a modality whose listener stands still."""
        speaks = [1 - m in active for m in (0, 1)]
        said = [n if on else None for n, on in zip(noisy, speaks, strict=True)]
        known = [None if v is None else v.to(self.dtype) for v in x0]
        with self._on_device("cross"):
            return self.unet.encode_cross(*said, *times, *known)

    def _call(self, m: int, call: _Call, noisy: Tensor, time: Tensor, cross: CrossFeatures) -> tuple[Tensor, ...]:
        """One network call's outputs, pass by pass."""
        forward = (self.unet.forward_video, self.unet.forward_audio)[m]
        batch = noisy if call.count == 1 else torch.cat([noisy] * call.count)
        return forward(batch, time, (call.text_v, call.text_a)[m], cross, call.film).float().chunk(call.count)

    def _on_device(self, stage: str) -> AbstractContextManager[None]:
        return resident(self.device, *self.unet.parts(stage)) if self.low else nullcontext()

    def _prepare(self, plan: GuidancePlan) -> list[_Call]:
        if None in self.negative and not all(p.with_caption for p in plan.passes):
            raise InputError(
                "guidance needs the negative text's features; give them, or turn cfg_video and cfg_audio off."
            )
        groups = [plan.passes[i : i + self.at_once] for i in range(0, len(plan.passes), self.at_once)]
        return [
            _Call(TextMemory(self._texts(group, 0)), self._texts(group, 1), self._film(group), len(group))
            for group in groups
        ]

    def _texts(self, group: tuple[Pass, ...], m: int) -> Tensor:
        return torch.cat([self.caption[m] if p.with_caption else self.negative[m] for p in group])

    def _film(self, group: tuple[Pass, ...]) -> Film | None:
        """FiLM for a batch of passes; zeros, the identity, where a pass has no control."""
        if not any(p.with_control for p in group):
            return None
        B, device = self.caption[0].shape[0], self.caption[0].device

        def stacked(t: Tensor) -> Tensor:
            t = t.to(device, self.dtype).expand(B, *t.shape[1:])
            return torch.cat([t if p.with_control else torch.zeros_like(t) for p in group])

        return {site: (stacked(scale), stacked(shift)) for site, (scale, shift) in self.film.items()}
