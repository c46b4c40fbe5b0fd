"""Saliency without weights: contrast to the surroundings in colour, structure and motion.

Shape legend: T frames, N patches, C channels, H W panorama, s patch side in pixels.

There are four cues, each measured where the sphere has no seam: spectral residual, local contrast and motion on tangent
images, and contrast to the ring of equal latitude on the panorama. They are added with fixed weights; none is learned.

Source: spectral residual after Hou and Zhang (CVPR 2007); centre-surround contrast after Itti et al. (PAMI 1998); the
ring contrast and the way the cues are joined are ours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..geometry.erp import erp_angles, erp_directions, pad_erp, sample_erp
from ..geometry.tangent import FOV_18_DEG, erp_to_tangent, tangent_to_erp
from ..records import Progress

PATCH_PX = 64
DEG_PER_PX = math.degrees(2 * math.tan(math.radians(FOV_18_DEG / 2)) / PATCH_PX)
WORK_HEIGHT = 96
CHUNK_FRAMES = 8
# Of spectral residual, local contrast, motion and ring contrast, in this order.
WEIGHTS = (0.8, 1.0, 1.0, 1.0)
# Value of each cue where something plainly stands out. A weaker clip is not scaled up: noise on black would stand out.
PLAIN_TO_SEE = (1.0, 0.1, 0.3, 0.2)
FLAT_BELOW = 0.5
# People look along the horizon: weight of a pole, where the horizon's is 1, and width of the fall-off.
POLE_SHARE, HORIZON_DEG = 0.3, 30.0
SMOOTHING_DEG, SMOOTHING_FRAMES = 3.0, 1.0
# Mean squared slope below which a surface is too plain to show motion.
FLOW_NOISE = 1e-4


def _blur(image: Tensor, sigma_px: float) -> Tensor:
    """Blur `[..., h, w]` by a Gaussian, mirrored at the edges; a wide one runs on a smaller picture."""
    flat = rearrange(image, "... h w -> (...) 1 h w")
    step = 1
    while sigma_px / step > 3.0 and flat.shape[-1] // step >= 16 and not flat.shape[-1] % (2 * step):
        step *= 2
    flat = F.avg_pool2d(flat, step) if step > 1 else flat
    radius = min(math.ceil(2.5 * sigma_px / step), flat.shape[-1] - 1, flat.shape[-2] - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) * step / sigma_px) ** 2)
    kernel = (taps / taps.sum()).to(flat)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    if step > 1:
        flat = F.interpolate(flat, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return flat.reshape(image.shape)


def opponent_colours(rgb: Tensor) -> Tensor:
    """`[..., 3, h, w]` light, red-green and blue-yellow, each spanning about one unit."""
    r, g, b = rgb.unbind(-3)
    return torch.stack(((r + g + b) / 3, (r - g) / 2 * 1.5, (b - (r + g) / 2) / 2 * 1.5), dim=-3)


def _spectral_residual(patches: Tensor) -> Tensor:
    """Measure structure that the patch's smooth spectrum does not predict: `[M, C, s, s]` to `[M, s, s]`."""
    side = patches.shape[-1]
    window = torch.hann_window(side + 2, periodic=False, dtype=patches.dtype, device=patches.device)[1:-1]
    centred = (patches - patches.mean((-1, -2), keepdim=True)) * (window * window[:, None])
    spectrum = torch.fft.rfft2(centred, norm="ortho")
    # The floor is the amplitude of one grey level: rounding has no structure.
    amplitude = spectrum.abs() + 0.02
    log_amplitude = amplitude.log()
    usual = F.avg_pool2d(F.pad(log_amplitude, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    sharp = torch.fft.irfft2(spectrum / usual.exp(), s=(side, side), norm="ortho")
    return _blur(sharp.square().sum(1), 3.0).sqrt()


def _local_contrast(patches: Tensor) -> Tensor:
    """Compare places with their wider surroundings, at three sizes: `[M, C, s, s]` to `[M, s, s]`."""
    levels = [_blur(patches, sigma_deg / DEG_PER_PX) for sigma_deg in (2.0, 5.0, 12.0, 28.0)]
    steps = [(fine - coarse).square().sum(1).sqrt() for fine, coarse in zip(levels[:-1], levels[1:], strict=True)]
    return torch.stack(steps).sum(0) / 2


def _ring_contrast(panorama: Tensor) -> Tensor:
    """Compare places with the median colour of their latitude: `[T, C, H, W]` to `[T, H, W]`."""
    usual = panorama.median(dim=-1, keepdim=True).values
    off = (panorama - usual).square().sum(1).sqrt()
    spread = off.median(dim=-1, keepdim=True).values
    return (off - 1.5 * spread).clamp_min(0.0) / (1.0 + 4.0 * spread)


def _motion_contrast(light: Tensor) -> Tensor:
    """Measure motion that differs from the whole patch's, in degrees per frame: `[T, M, s, s]` to `[T, M, s, s]`.

    Take one step of Lucas and Kanade's least squares per place. The regulariser lets plain surfaces stand still. The
    patch's mean motion (a moving camera) is subtracted.
    """
    if len(light) < 2:
        return torch.zeros_like(light)
    smooth = _blur(light, 1.0)
    mean, change = (smooth[1:] + smooth[:-1]) / 2, smooth[1:] - smooth[:-1]
    across = F.pad(mean[..., 2:] - mean[..., :-2], (1, 1)) / 2
    down = F.pad(mean[..., 2:, :] - mean[..., :-2, :], (0, 0, 1, 1)) / 2
    xx, yy, xy = (_blur(product, 2.0) for product in (across * across, down * down, across * down))
    xt, yt = _blur(across * change, 2.0), _blur(down * change, 2.0)
    u0, v0 = _solve(*(term.mean((-1, -2), keepdim=True) for term in (xx, yy, xy, xt, yt)))
    u, v = _solve(xx, yy, xy, xt + xx * u0 + xy * v0, yt + xy * u0 + yy * v0)
    speed = torch.hypot(u, v).clamp_max(4.0) * DEG_PER_PX
    return torch.cat((speed[:1], speed))


def _solve(xx: Tensor, yy: Tensor, xy: Tensor, xt: Tensor, yt: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for the flow that explains a change best, regularised towards zero on plain surfaces."""
    xx, yy = xx + FLOW_NOISE, yy + FLOW_NOISE
    determinant = xx * yy - xy * xy
    return (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant


def _cues(frames: Tensor) -> Tensor:
    """Measure the four cues of consecutive frames: `[T, C, H, W]` to `[T, 4, WORK_HEIGHT, 2 WORK_HEIGHT]`."""
    patches = opponent_colours(erp_to_tangent(frames, size=PATCH_PX))
    flat = rearrange(patches, "t n c h w -> (t n) c h w")
    still = (
        rearrange(cue, "(t n) h w -> t n h w", t=len(frames))
        for cue in (_spectral_residual(flat), _local_contrast(flat))
    )
    on_patches = torch.stack((*still, _motion_contrast(patches[:, :, 0])), dim=2)
    small = F.interpolate(frames, size=(WORK_HEIGHT, 2 * WORK_HEIGHT), mode="area")
    ring = _ring_contrast(opponent_colours(small))
    return torch.cat((tangent_to_erp(on_patches, height=WORK_HEIGHT), ring[:, None]), dim=1)


def _join(cues: Tensor) -> Tensor:
    """Join the cues of a whole clip to one map per frame: `[T, 4, h, w]` to `[T, h, w]`, maximum 1, 1 where flat."""
    top = np.quantile(rearrange(cues, "t cue h w -> cue (t h w)").cpu().numpy(), 0.995, axis=1)
    scale = torch.as_tensor(np.maximum(top, PLAIN_TO_SEE), dtype=cues.dtype, device=cues.device)
    weights = torch.tensor(WEIGHTS, dtype=cues.dtype, device=cues.device)
    evidence = ((cues / scale[:, None, None]).clamp_max(1.5) * weights[:, None, None]).sum(1)
    evidence = _smooth_time(evidence)
    nothing = evidence.amax((-1, -2), keepdim=True) < FLAT_BELOW
    _, pitch = erp_angles(evidence.shape[-2], dtype=cues.dtype, device=cues.device)
    habit = POLE_SHARE + (1 - POLE_SHARE) * torch.exp(-0.5 * (pitch / HORIZON_DEG) ** 2)
    wide = _blur(pad_erp(evidence * habit[:, None], 8), SMOOTHING_DEG * WORK_HEIGHT / 180.0)
    smooth = wide[..., 8:-8, 8:-8]
    above = smooth - smooth.amin((-1, -2), keepdim=True)
    return torch.where(nothing, torch.ones_like(above), above / above.amax((-1, -2), keepdim=True).clamp_min(1e-12))


def _smooth_time(maps: Tensor) -> Tensor:
    """Average neighbouring frames by a Gaussian; the first and last are repeated beyond the ends."""
    radius = 2
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / SMOOTHING_FRAMES) ** 2).to(maps)
    held = torch.cat((maps[:1].expand(radius, -1, -1), maps, maps[-1:].expand(radius, -1, -1)))
    return sum(held[i : i + len(maps)] * tap for i, tap in enumerate(taps / taps.sum()))


def training_free_saliency(
    frames: Tensor, height: int = 256, progress: Progress | None = None, *, chunk: int = CHUNK_FRAMES
) -> Tensor:
    """Compute the saliency of a clip, without weights.

    Convention: one map per frame, in [0, 1], maximum 1; a frame on which nothing stands out (black, plain) gets a flat
    map of ones. No seam: columns wrap, and the cues are measured on tangent images or along rings of latitude. Places
    near the horizon count more than those near the poles. The first frame has no motion of its own: it takes the
    second's.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], on any device. height: rows of the maps. progress: told after each chunk.
        chunk: frames at a time, two or more; changes memory alone.

    Returns:
        `[T, height, 2 height]` on the frames' device.
    """
    total, parts = len(frames), []
    for start in range(0, total, chunk):
        # One frame more in front, for the motion into the chunk's first frame.
        first = max(0, start - 1)
        parts.append(_cues(frames[first : start + chunk])[start - first :])
        if progress is not None:
            progress(min(start + chunk, total), total, "saliency")
    maps = _join(torch.cat(parts))
    flat = maps.amin((-1, -2), keepdim=True) == 1.0
    maps = sample_erp(maps[:, None], erp_directions(height, maps.device))[:, 0].clamp(0.0, 1.0)
    return torch.where(flat, torch.ones_like(maps), maps / maps.amax((-1, -2), keepdim=True))
