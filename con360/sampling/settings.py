"""Settings of the joint sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..choices import HOLDS, MEMORY_MODES, SAMPLERS
from ..errors import InputError
from ..records import AV

# The modalities in people's words, which `hold` takes.
SAID = AV(*HOLDS)


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of one sampling run.

    Args:
        steps: steps from noise to clip; a start with less than full strength leaves the first ones out.
        cfg_video, cfg_audio: guidance scales of picture and sound; None or 1 is off.
        cfg_control: guidance scale of the control alone, a third pass; None lets it follow the caption's.
        cfg_rescale: share of a guided prediction that keeps the deviation of the unguided one, 0 to 1; 0 is the
            published way, and more tames high guidance scales.
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
    cfg_rescale: float = 0.0
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
        _check("cfg_rescale", self.cfg_rescale, 0.0, 1.0)
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

    def begins(self, modality: str) -> int:
        """The step from which on `video` or `audio` is denoised; until then it is as given."""
        if self.hold == SAID.get(modality):
            return self.steps
        strength = AV(self.denoise_video, self.denoise_audio).get(modality)
        return self.steps - max(1, round(self.steps * strength))

    def control_acts(self, step: int) -> bool:
        """True where the control acts at a step, counted from 0."""
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
