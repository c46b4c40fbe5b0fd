"""Evaluate the network calls that a step's guidance asks for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..protocols import Denoiser, Film, Inputs
from ..records import AV
from ..residency import resident
from .guidance import GuidancePlan, Pass, guidance_plan, guide
from .settings import SamplerSettings
from .side import Side

# Guidance's passes at most: without anything, with the caption, with the control.
_MOST_PASSES = 3


@dataclass(frozen=True)
class _Call:
    """One network call's features and FiLM, for `count` passes; the same at every step."""

    features: Any
    film: Film | None
    count: int


class Passes:
    """Evaluate each step's guidance plan; put together once what does not change from step to step."""

    def __init__(self, denoiser: Denoiser, inputs: Inputs, settings: SamplerSettings, device: torch.device) -> None:
        self.denoiser, self.settings, self.film, self.device = denoiser, settings, inputs.film or None, device
        self.dtype, self.low, self.batch = denoiser.dtype, settings.memory == "low", inputs.batch
        self.at_once = _MOST_PASSES if settings.passes_together and not self.low else 1
        self.given = inputs.given.map(lambda features: features.to(device, self.dtype))
        self.without = self.given.map(
            lambda given, without: None if without is None else without.to(device, self.dtype).expand_as(given),
            inputs.without,
        )
        self._calls: dict[GuidancePlan, list[_Call]] = {}

    def predict(self, step: int, sides: Mapping[str, Side]) -> dict[str, Tensor]:
        """Guided predictions in float32 of the modalities that are denoised in this step."""
        s = self.settings
        plan = guidance_plan(s.cfg_video, s.cfg_audio, s.cfg_control, self.film is not None and s.control_acts(step))
        return in_smaller_pieces(
            lambda at_once: self._predict(plan, step, sides, at_once), min(self.at_once, len(plan.passes)), 1,
            what=f"computing step {step + 1} of {s.steps} (passes of guidance)",
            advice="ask for a shorter clip, or a smaller model" if self.low else "set memory to 'low', or ask for a "
            "shorter clip",
        )  # fmt: skip

    def _predict(self, plan: GuidancePlan, step: int, sides: Mapping[str, Side], at_once: int) -> dict[str, Tensor]:
        if at_once < min(self.at_once, len(plan.passes)):
            # Keep the smaller batch for later steps.
            self.at_once = at_once
            self._calls.clear()
        if plan not in self._calls:
            self._calls[plan] = self._prepare(plan)
        active = tuple(m for m, side in sides.items() if side.arrive(step))
        x = AV.of({m: side.x.to(self.dtype) for m, side in sides.items()})
        t = AV.of({m: side.time(step) for m, side in sides.items()})
        shared = self._share(active, x, t, sides)
        predictions = {}
        for group in self.denoiser.groups:
            wanted = [m for m in group if m in active]
            if not wanted:
                continue
            with self._on_device(group):
                parts = [self._call(group, call, x, t, shared) for call in self._calls[plan]]
            for m in wanted:
                outputs = [pair for part in parts for pair in part.get(m)]
                predictions[m] = guide(outputs, plan.scales.get(m), self.settings.cfg_rescale)
        return predictions

    def _share(self, active: tuple[str, ...], x: AV, t: AV, sides: Mapping[str, Side]) -> Any:
        """No caption in it: one evaluation serves all passes. Skip encoders whose listener is not denoised."""
        heard = tuple(m for m in sides if any(other in active for other in sides if other != m))
        x0 = AV.of({m: side.x0.to(self.dtype) for m, side in sides.items() if side.x0 is not None})
        with self._on_device(()):
            return self.denoiser.share(x, t, x0, heard)

    def _call(self, group: tuple[str, ...], call: _Call, x: AV, t: AV, shared: Any) -> AV:
        """One network call's outputs: per modality of the group, a tensor a pass."""
        own = AV.of({m: _repeated(x.get(m), call.count) for m in group if x.get(m) is not None})
        made = self.denoiser.predict(group, own, t, call.features, shared, call.film)
        return made.map(lambda out: out.float().chunk(call.count))

    def _on_device(self, group: tuple[str, ...]) -> AbstractContextManager[None]:
        return resident(self.device, *self.denoiser.parts(group)) if self.low else nullcontext()

    def _prepare(self, plan: GuidancePlan) -> list[_Call]:
        missing = [m for m in self.given.present() if self.without.get(m) is None]
        if missing and not all(p.with_caption for p in plan.passes):
            raise InputError(
                "guidance needs the negative text's features; give them, or turn cfg_video and cfg_audio off."
            )
        groups = [plan.passes[i : i + self.at_once] for i in range(0, len(plan.passes), self.at_once)]
        return [_Call(self._features(group), self._film(group), len(group)) for group in groups]

    def _features(self, group: tuple[Pass, ...]) -> Any:
        def batch(given: Tensor, without: Tensor) -> Tensor:
            return torch.cat([given if p.with_caption else without for p in group])

        return self.denoiser.read(self.given.map(batch, self.without))

    def _film(self, group: tuple[Pass, ...]) -> Film | None:
        """FiLM for a batch of passes; zeros, the identity, where a pass has no control."""
        if self.film is None or not any(p.with_control for p in group):
            return None

        def stacked(t: Tensor) -> Tensor:
            t = t.to(self.device, self.dtype).expand(self.batch, *t.shape[1:])
            return torch.cat([t if p.with_control else torch.zeros_like(t) for p in group])

        return {site: (stacked(scale), stacked(shift)) for site, (scale, shift) in self.film.items()}


def _repeated(x: Tensor, count: int) -> Tensor:
    return x if count == 1 else torch.cat([x] * count)
