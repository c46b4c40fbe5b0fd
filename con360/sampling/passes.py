"""Evaluate the network calls that a step's guidance asks for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..models.connectors import CrossFeatures, Film
from ..models.dual_unet import DualUNet
from ..models.residency import resident
from ..models.text_attention import TextMemory
from .guidance import GuidancePlan, Pass, guidance_plan, guide
from .settings import SamplerSettings
from .side import Side

_STAGES = ("video", "audio")
# Guidance's passes at most: without anything, with the caption, with the control.
_MOST_PASSES = 3


@dataclass(frozen=True)
class _Call:
    """What one network call reads at every step: texts and FiLM of its passes, and how many they are."""

    text_v: TextMemory
    text_a: Tensor
    film: Film | None
    count: int


class Passes:
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

    def predict(self, step: int, sides: list[Side]) -> dict[int, Tensor]:
        """Guided predictions in float32 of the modalities that are denoised in this step: 0 is video, 1 audio."""
        s = self.settings
        plan = guidance_plan(s.cfg_video, s.cfg_audio, s.cfg_control, self.film is not None and s.control_acts(step))
        return in_smaller_pieces(
            lambda at_once: self._predict(plan, step, sides, at_once), min(self.at_once, len(plan.passes)), 1,
            what=f"computing step {step + 1} of {s.steps} (passes of guidance)",
            advice="ask for a shorter clip, or a smaller model" if self.low else "set memory to 'low', or ask for a "
            "shorter clip",
        )  # fmt: skip

    def _predict(self, plan: GuidancePlan, step: int, sides: list[Side], at_once: int) -> dict[int, Tensor]:
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
