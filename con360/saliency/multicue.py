"""Saliency without weights, from four cues: structure, motion of things, faces and sound.

Shape legend: T frames, C channels, H W panorama, h w map rows and columns.

Structure, motion and faces are added, weighted towards the horizon, and multiplied by a map of the sound's direction.
Constants were fixed on a few still pictures with measured gazes and on a few real clips; `benchmarks/saliency_truth.py`
and `benchmarks/framing.py` measure how well they generalise.

Source: spectral residual after Hou and Zhang (CVPR 2007); the ways of joining the cues are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..geometry.erp import erp_angles, erp_area_weights, erp_directions, sample_erp
from ..geometry.smoothing import smooth_on_sphere
from ..records import Progress
from .human_faces import HumanFace, draw_faces
from .motion import grey_rows, own_motion_deg
from .training_free import opponent_colours

WORK_HEIGHT = 64
CHUNK_FRAMES = 8
# Structure is measured in colour on a coarse panorama and in grey on one twice as fine.
COARSE_HEIGHT, FINE_HEIGHT = 64, 128
STRUCTURE_BLUR_DEG, MOTION_BLUR_DEG = 8.0, 5.0
CONTRAST_DEG = (8.0, 16.0, 32.0)
STRUCTURE_SHARES, MOST_STRUCTURE = (0.35, 0.35, 0.3), 8.0
# Amplitude of rounding; mean structure (coarse, fine, contrast) below which a picture is plain: above that of a grey
# level of noise, far below that of photos.
LEAST_AMPLITUDE, PLAIN_STRUCTURE = 0.003, (0.5, 0.2, 0.004)
# Motion is measured over about this time. This speed or a faster one counts fully, as does the frame's fastest.
MOTION_STEP_S, PLAIN_SPEED_DEG_S = 2 / 15, 4.5
# People look along the horizon: weight of a pole, where the horizon's is 1, and width of the fall-off.
POLE_SHARE, HORIZON_DEG = 0.2, 20.0
HEARD_DEG = 25.0
# Evidence below which nothing stands out; strength below which the sound's direction is too vague to stand out alone.
FLAT_BELOW, SILENT_BELOW = 2.0, 0.5


@dataclass(frozen=True)
class CueStrengths:
    """Weights of the cues; 0 leaves one out.

    Args:
        structure: of structure in a still picture; its mean over the sphere is 1.
        motion: of a plainly moving thing. faces: of a sure, large face.
        sound: a place from which one plane wave comes counts 1 + this many times.
    """

    structure: float = 1.0
    motion: float = 6.0
    faces: float = 6.0
    sound: float = 4.0


def multicue_saliency(
    frames: Tensor, fps: float, height: int = 256, progress: Progress | None = None, *,
    heard: Tensor | None = None, faces: Sequence[Sequence[HumanFace]] | None = None,
    strengths: CueStrengths | None = None, chunk: int = CHUNK_FRAMES,
) -> Tensor:  # fmt: skip
    """Compute the saliency of a clip from all cues that it has.

    Convention: one map per frame, in [0, 1], maximum 1; a frame in which nothing stands out (black, plain, silent) gets
    a flat map of ones. Columns wrap. The first frames have no motion of their own: they take the first that is known.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], on any device. fps: frames per second.
        height: rows of the maps. progress: told after each chunk.
        heard: `[T, 4]`, from `sound_intensity`. faces: of each frame, from `find_faces`.
        strengths: of the cues; None is all of them.
        chunk: frames at a time; changes memory alone.

    Returns:
        `[T, height, 2 height]` on the frames' device.
    """
    use = strengths or CueStrengths()
    total, parts = len(frames), []
    # The same pairs of frames whatever the chunk.
    step = max(1, round(MOTION_STEP_S * fps))
    grey = np.concatenate([grey_rows(rearrange(f, "t c h w -> t h w c").cpu().numpy()) for f in frames.split(chunk)])
    for start in range(0, total, chunk):
        part = frames[start : start + chunk]
        evidence = use.structure * _structure(part)
        if use.motion:
            moving = [_motion(grey, index, step, fps) for index in range(start, start + len(part))]
            evidence = evidence + use.motion * torch.stack(moving).to(evidence)
        parts.append(evidence)
        if progress is not None:
            progress(min(start + chunk, total), total, "saliency")
    evidence = torch.cat(parts)
    if faces is not None and use.faces:
        evidence = evidence + torch.stack([draw_faces(tuple(f), WORK_HEIGHT, use.faces) for f in faces]).to(evidence)
    return _finish(evidence, None if heard is None or not use.sound else use.sound * _sounding(heard), height)


def _finish(evidence: Tensor, sounding: Tensor | None, height: int) -> Tensor:
    """Scale maps to the wanted size and maximum 1; flat where nothing is seen or heard."""
    nothing = evidence.amax((-1, -2), keepdim=True) < FLAT_BELOW
    _, pitch = erp_angles(WORK_HEIGHT, dtype=evidence.dtype, device=evidence.device)
    habit = POLE_SHARE + (1 - POLE_SHARE) * torch.exp(-0.5 * (pitch / HORIZON_DEG) ** 2)
    maps = torch.where(nothing, torch.ones_like(evidence), evidence * habit[:, None])
    if sounding is not None:
        silent = sounding.amax((-1, -2), keepdim=True) < SILENT_BELOW
        maps = maps * (1 + sounding.to(maps))
        nothing = nothing & silent.to(nothing.device)
    maps = sample_erp(maps[:, None], erp_directions(height, maps.device))[:, 0].clamp_min(0.0)
    maps = maps / maps.amax((-1, -2), keepdim=True).clamp_min(1e-12)
    return torch.where(nothing, torch.ones_like(maps), maps)


# Cues -----------------------------------------------------------------------------------------------------------------


def _structure(frames: Tensor) -> Tensor:
    """Measure structure in each picture: `[T, 3, H, W]` to `[T, h, w]`, mean 1 on the sphere."""
    colours = opponent_colours(shrunk(frames, COARSE_HEIGHT))
    parts = (
        spectral_residual(colours),
        spectral_residual(shrunk(frames.mean(1, keepdim=True), FINE_HEIGHT)),
        _contrast(colours),
    )
    shares = zip(parts, PLAIN_STRUCTURE, STRUCTURE_SHARES, strict=True)
    structure = sum(share * _of_mean_one(part, plain) for part, plain, share in shares)
    # A thing on an empty background can reach a hundred times the mean; it must not outshine moving things.
    return structure * (MOST_STRUCTURE / structure.amax((-1, -2), keepdim=True).clamp_min(MOST_STRUCTURE))


def shrunk(frames: Tensor, height: int) -> Tensor:
    """Average frames `[T, C, H, 2 H]` down to a height; repeat pixels of smaller ones."""
    mode = "area" if frames.shape[-2] >= height else "nearest"
    return F.interpolate(frames, size=(height, 2 * height), mode=mode)


def spectral_residual(planes: Tensor) -> Tensor:
    """Measure structure that a smooth spectrum does not predict, blurred by 8 degrees on the sphere.

    Args:
        planes: `[T, C, h, 2 h]`, of 64 rows or more.

    Returns:
        `[T, 64, 128]`, not negative, in no unit.
    """
    spectrum = torch.fft.fft2(planes - planes.mean((-1, -2), keepdim=True), norm="ortho")
    # The floor is the amplitude of rounding: noise has no structure.
    log_amplitude = (spectrum.abs() + LEAST_AMPLITUDE).log()
    usual = F.avg_pool2d(F.pad(log_amplitude, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    sharp = torch.fft.ifft2(spectrum / usual.exp(), norm="ortho").abs().square().sum(1)
    return smooth_on_sphere(shrunk(sharp[:, None], WORK_HEIGHT)[:, 0], STRUCTURE_BLUR_DEG)


def _contrast(colours: Tensor) -> Tensor:
    """Compare places of three sizes with their surroundings: `[T, C, h, w]` to `[T, h, w]`.

    Subtract each latitude's median colour first: sky and ground do not stand out.
    """
    unusual = colours - colours.median(dim=-1, keepdim=True).values
    steps = ((smooth_on_sphere(unusual, size), smooth_on_sphere(unusual, 2.5 * size)) for size in CONTRAST_DEG)
    return sum((inner - outer).square().sum(1).sqrt() for inner, outer in steps)


def _of_mean_one(maps: Tensor, plain: float) -> Tensor:
    """Scale maps to mean 1 on the sphere; plain pictures stay below it."""
    mean = (maps * erp_area_weights(WORK_HEIGHT, maps.device)).sum((-1, -2), keepdim=True) / maps.shape[-1]
    return maps / mean.clamp_min(plain)


def _motion(grey: np.ndarray, index: int, step: int, fps: float) -> Tensor:
    """Measure motion of things into one frame, 1 where it is plain: `[h, w]`."""
    index = max(index, min(step, len(grey) - 1))
    before = max(0, index - step)
    if index == before:
        return torch.zeros(WORK_HEIGHT, 2 * WORK_HEIGHT)
    speed = torch.from_numpy(own_motion_deg(grey[before], grey[index])) * (fps / (index - before))
    area = erp_area_weights(len(speed)).expand_as(speed)
    # A carried camera moves everything: only motion above the mean stands out.
    speed = (speed - (speed * area).sum() / area.sum()).clamp_min(0.0)
    fastest = _weighted_quantile(speed, area, 0.995)
    moving = (speed / max(PLAIN_SPEED_DEG_S, fastest)).clamp_max(1.0)
    return smooth_on_sphere(shrunk(moving[None, None], WORK_HEIGHT)[0, 0], MOTION_BLUR_DEG)


def _weighted_quantile(values: Tensor, weights: Tensor, share: float) -> float:
    order = values.flatten().argsort()
    reached = weights.flatten()[order].cumsum(0)
    at = torch.searchsorted(reached, share * reached[-1]).clamp_max(len(order) - 1)
    return float(values.flatten()[order[at]])


def _sounding(heard: Tensor) -> Tensor:
    """Map the sound's direction: `[T, 4]` to `[T, h, w]`, up to 1 for one plane wave.

    An orchestra around the microphone has a mean direction too, but nobody sits there: a direction counts by the share
    of energy above one half that comes from it.
    """
    strength = heard[:, :3].norm(dim=1)
    clear = (2 * strength / heard[:, 3].clamp_min(1e-12) - 1).clamp(0.0, 1.0)
    there = torch.where(strength[:, None] > 0, heard[:, :3], torch.tensor([0.0, 0.0, 1.0]))
    cosine = erp_directions(WORK_HEIGHT) @ F.normalize(there, dim=1).T
    angle = rearrange(torch.rad2deg(cosine.clamp(-1, 1).acos()), "h w t -> t h w")
    return clear[:, None, None] * torch.exp(-0.5 * (angle / HEARD_DEG) ** 2)
