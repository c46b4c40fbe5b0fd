"""Classifier-free guidance for two modalities and for the control, as a plan of network passes.

A plan lists passes from the least to the most informed. Each modality's result walks along them:
out_0 + s_1 (out_1 - out_0) + s_2 (out_2 - out_1), with its own scales.

Source: classifier-free guidance (arXiv 2207.12598); two conditions in a row as in InstructPix2Pix (arXiv 2211.09800);
rescaling (arXiv 2305.08891).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..records import AV


@dataclass(frozen=True)
class Pass:
    """One network evaluation: with the caption or with the negative text, with or without the control."""

    with_caption: bool
    with_control: bool


@dataclass(frozen=True)
class GuidancePlan:
    """Passes, and per modality the scale of each difference between neighbours (one fewer)."""

    passes: tuple[Pass, ...]
    scales: AV


def guidance_plan(
    cfg_video: float | None, cfg_audio: float | None, cfg_control: float | None, control_active: bool
) -> GuidancePlan:
    """List the passes that a step needs.

    The control goes with the caption: the unconditional pass has neither. Its own scale, where given, adds a pass
    with the caption alone, so that the two can be weighed against each other.

    Args:
        cfg_video, cfg_audio: guidance scales; None and 1 are off, and with both off there is no unconditional pass.
        cfg_control: scale of the control; None lets it share the caption's.
        control_active: whether there is a control at this step.
    """
    text_scales = tuple(1.0 if scale is None else scale for scale in (cfg_video, cfg_audio))
    guided = text_scales != (1.0, 1.0)
    split = control_active and cfg_control is not None and cfg_control != 1.0
    passes = [Pass(True, control_active)]
    if split:
        passes.insert(0, Pass(True, False))
    if guided:
        passes.insert(0, Pass(False, False))
    control_scales = (cfg_control,) if split else ()
    return GuidancePlan(tuple(passes), AV(*((*((s,) if guided else ()), *control_scales) for s in text_scales)))


def guide(outputs: list[Tensor], scales: tuple[float, ...], rescale: float = 0.0) -> Tensor:
    """Combine the passes' outputs `[B, C, ...]` of one modality.

    Args:
        rescale: share that is brought back to the deviation over channels of the most informed pass, 0 to 1.
    """
    result = outputs[0]
    for before, after, scale in zip(outputs[:-1], outputs[1:], scales, strict=True):
        result = result + scale * (after - before)
    if not rescale or len(outputs) == 1:
        return result
    wanted, has = (x.std(dim=1, keepdim=True) for x in (outputs[-1], result))
    return result * (rescale * wanted / has.clamp_min(1e-12) + 1 - rescale)
