"""The joint sampler: picture and sound denoised together, each step's x0 estimates feeding the next.

Shape legend: B clips, T frames, h w latent rows and columns, R F mel latent rows and frequencies.

Source: SVG baseline (arXiv 2409.17550): x0 self-conditioning of the connectors, timestep adjustment; paper section 2.2
for the control.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.connectors import Film
from ..models.dual_unet import DualUNet
from .guidance import GuidancePlan, guidance_plan, guide
from .schedule import NoiseSchedule, adjustment_exponents, ddim_step, ddim_timesteps

# callback(step, total, latents_v, x0_v) after each step, `step` counting from 1; may raise to cancel.
StepCallback = Callable[[int, int, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample.

    Args:
        steps: DDIM steps.
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

    def control_acts(self, step: int) -> bool:
        """Whether the control acts at a step, counted from 0."""
        return self.control_start <= step / self.steps < self.control_end

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _check(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN fails the check as well.
    if not low <= value <= high:
        raise InputError(f"{name} is {value}; wanted {low:g} to {high:g}.")


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
    callback: StepCallback | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample latents of both modalities.

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
        callback: see `StepCallback`.

    Returns:
        (latents_v `[B, c, T, h, w]`, latents_a `[B, c, R, F]`), float32, on the network's device.

    Raises:
        InputError: a control without connectors to act in, or guidance without negative text.
    """
    if film and unet.connectors is None:
        raise InputError("this model has no connectors, and a control acts inside them; run it without control.")
    generator = generator or settings.generator()
    B, device = text_v.shape[0], unet.unet_v.device
    schedules = [NoiseSchedule.of(s) for s in (scheduler_v, scheduler_a)]
    timesteps = [
        ddim_timesteps(s, settings.steps, e)
        for s, e in zip(schedules, adjustment_exponents(settings.gamma), strict=True)
    ]
    alphas = [s.alpha_pairs(t) for s, t in zip(schedules, timesteps, strict=True)]
    # Video noise is drawn before audio noise, always: the same seed gives the same clip.
    if start_v is None:
        start_v = video_noise((B, *shape_v), generator, settings.shared_noise)
    x = [start_v.float().to(device), _noise(start_a, (B, *shape_a), generator, device)]
    x0: list[Tensor | None] = [None, None]
    passes = _Passes(unet, (text_v, text_a), (negative_v, negative_a), film, settings)
    for step in range(settings.steps):
        predictions = passes.predict(step, x, [t[step] for t in timesteps], x0)
        for m in (0, 1):
            noise = _noise(None, x[m].shape, generator, device) if settings.eta > 0 else None
            x[m], x0[m] = ddim_step(schedules[m], predictions[m], x[m], *alphas[m][step], eta=settings.eta, noise=noise)
        if callback is not None:
            callback(step + 1, settings.steps, x[0], x0[0])
    return x[0], x[1]


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


class _Passes:
    """Evaluates a step's guidance plan; what does not change from step to step is put together once."""

    def __init__(
        self,
        unet: DualUNet,
        text: tuple[Tensor, Tensor],
        negative: tuple[Tensor | None, Tensor | None],
        film: Film | None,
        settings: SamplerSettings,
    ) -> None:
        self.unet, self.settings, self.film = unet, settings, film or None
        device, self.dtype = unet.unet_v.device, unet.unet_v.dtype
        self.caption = [t.to(device, self.dtype) for t in text]
        self.negative = [
            None if n is None else n.to(device, self.dtype).expand_as(t) for n, t in zip(negative, text, strict=True)
        ]
        self._inputs: dict[GuidancePlan, list[tuple[list[Tensor], Film | None, int]]] = {}

    def predict(self, step: int, x: list[Tensor], t: list[int], x0: list[Tensor | None]) -> list[Tensor]:
        """Guided predictions (video, audio) in float32."""
        s = self.settings
        plan = guidance_plan(s.cfg_video, s.cfg_audio, s.cfg_control, self.film is not None and s.control_acts(step))
        if plan not in self._inputs:
            self._inputs[plan] = self._prepare(plan)
        noisy = [v.to(self.dtype) for v in x]
        known = [None if v is None else v.to(self.dtype) for v in x0]
        # No text in it: one evaluation serves all passes.
        cross = self.unet.encode_cross(*noisy, *t, *known)
        outputs: tuple[list[Tensor], list[Tensor]] = ([], [])
        for text, film, count in self._inputs[plan]:
            batch = [v if count == 1 else torch.cat([v] * count) for v in noisy]
            for collected, out in zip(outputs, self.unet(*batch, *t, *text, cross, film), strict=True):
                collected.extend(out.float().chunk(count))
        return [guide(out, scales) for out, scales in zip(outputs, (plan.scales_v, plan.scales_a), strict=True)]

    def _prepare(self, plan: GuidancePlan) -> list[tuple[list[Tensor], Film | None, int]]:
        """(texts, FiLM, number of passes) of each network call."""
        if None in self.negative and not all(p.with_caption for p in plan.passes):
            raise InputError(
                "guidance needs the negative text's features; give them, or turn cfg_video and cfg_audio off."
            )
        groups = [plan.passes] if self.settings.passes_together else [(p,) for p in plan.passes]
        return [(self._texts(group), self._film(group), len(group)) for group in groups]

    def _texts(self, group: tuple) -> list[Tensor]:
        return [torch.cat([self.caption[m] if p.with_caption else self.negative[m] for p in group]) for m in (0, 1)]

    def _film(self, group: tuple) -> Film | None:
        """FiLM for a batch of passes; zeros, the identity, where a pass has no control."""
        if not any(p.with_control for p in group):
            return None
        B, device = self.caption[0].shape[0], self.caption[0].device

        def stacked(t: Tensor) -> Tensor:
            t = t.to(device, self.dtype).expand(B, *t.shape[1:])
            return torch.cat([t if p.with_control else torch.zeros_like(t) for p in group])

        return {site: (stacked(scale), stacked(shift)) for site, (scale, shift) in self.film.items()}
