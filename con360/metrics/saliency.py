"""S_KL: whether a generated view draws the eye to the places where the true view does.

Shape legend: T frames, H W pixels.

The paper's saliency model is TempSAL. Its network (two PNASNet-5 encoders with decoders and a mixing module) is not
re-made here: there are neither weights nor recorded outputs to check a copy against. Whoever has it saves it as
TorchScript and passes it as `method` (`load_tempsal`). The estimator here is training-free, and fixed: a figure made
with it compares with figures of the same name only.

Source: paper section 3.1; TempSAL (arXiv 2301.02315), whose `kldiv` gives the epsilon and the other direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import erp_area_weights
from .figure import Definition
from .torchscript import load_torchscript

# TempSAL's constant.
EPS = 2.2204e-16
TEMPSAL_PX = 256
TRAINING_FREE = "training-free"
# maps = method(frames): [T, 3, H, W] in [0, 1] to [T, h, w], not negative.
SaliencyMethod = str | Callable[[Tensor], Tensor]

# The estimator works on squares of this side, whatever the picture's, so that blur and scales are fixed.
WORK_PX = 64
SURROUND_PX = (2.0, 5.0, 12.0)
BLUR_PX = 2.0
# A colour difference from the surroundings that is plain to see; a frame that stays below it gets a flatter map.
PLAIN_TO_SEE = 0.15
# Rows of the maps that `panorama_agreement` compares.
AGREEMENT_ROWS = 128
# Every place keeps this share of the strongest, as a sigmoid's output would: a density without zeros.
LEAST = 0.02

DIRECTIONS = {
    "generated_to_target": "KL(Sal(generated) || Sal(target)), the paper's",
    "target_to_generated": "KL(Sal(target) || Sal(generated)), the direction of TempSAL's own kldiv",
}


def definition(direction: str = "generated_to_target", method_name: str = TRAINING_FREE) -> Definition:
    """Meaning of an S_KL figure."""
    how = (
        f"estimator: colour contrast to row and surroundings at {WORK_PX} px, scales {SURROUND_PX} px, "
        f"blur {BLUR_PX:g} px, least value {LEAST:g}"
        if method_name == TRAINING_FREE
        else f"estimator: {method_name}"
    )
    return Definition(
        f"S_KL ({direction})",
        f"{DIRECTIONS[direction]}; maps that sum to 1, eps {EPS:g}, mean over frames; {how}",
        "Con360-AV section 3.1",
        method_name,
        "nats",
    )


def s_kl(
    generated: Tensor, target: Tensor, method: SaliencyMethod = TRAINING_FREE, *, direction: str = "generated_to_target"
) -> float:
    """S_KL between two clips, frame by frame.

    Args:
        generated, target: `[T, 3, H, W]` in [0, 1]; heights and widths may differ.
        method: "training-free", or a function from frames to maps `[T, h, w]` (`load_tempsal`).
        direction: a key of `DIRECTIONS`.

    Returns:
        Mean over frames, in nats; 0 for equal clips.

    Raises:
        InputError: clips of different length, another direction, or a method that gives unusable maps.

    Source: paper section 3.1.
    """
    if len(generated) != len(target):
        raise InputError(f"S_KL compares frame by frame; got {len(generated)} and {len(target)} frames. Cut one clip.")
    return s_kl_of_maps(saliency_of(generated, method), saliency_of(target, method), direction=direction)


def s_kl_of_maps(generated: Tensor, target: Tensor, *, direction: str = "generated_to_target") -> float:
    """S_KL of saliency maps `[T, h, w]` that are at hand already; the target's are resized to the generated's."""
    if direction not in DIRECTIONS:
        raise InputError(f"S_KL direction {direction!r} is unknown; choose one of {', '.join(DIRECTIONS)}.")
    if generated.shape[-2:] != target.shape[-2:]:
        target = F.interpolate(target[:, None].float(), generated.shape[-2:], mode="area")[:, 0]
    pair = (generated, target) if direction == "generated_to_target" else (target, generated)
    return float(kl_divergence(*(saliency_density(maps) for maps in pair)).mean())


def saliency_of(frames: Tensor, method: SaliencyMethod = TRAINING_FREE) -> Tensor:
    """Saliency maps of perspective frames, `[T, h, w]`, by the named method or a function."""
    if frames.dim() != 4 or frames.shape[1] != 3:
        raise InputError(f"saliency needs frames [T, 3, H, W], not {list(frames.shape)}.")
    if not torch.isfinite(frames).all():
        raise InputError("the frames hold NaN or infinite values; saliency needs finite pixels in [0, 1].")
    if callable(method):
        maps = method(frames)
        if maps.dim() != 3 or len(maps) != len(frames):
            raise InputError(f"the saliency method gave {list(maps.shape)} for {len(frames)} frames; wanted [T, h, w].")
        return maps
    if method == TRAINING_FREE:
        return view_saliency(frames)
    raise InputError(
        f"saliency method {method!r} is unknown; give {TRAINING_FREE!r}, or a function from frames to maps "
        f"(`load_tempsal` makes one of TempSAL's network)."
    )


def load_tempsal(path: str | Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """The paper's saliency model from a local TorchScript file, made by its authors' code from its authors' weights.

    `torch.jit.trace(model, torch.zeros(1, 3, 256, 256)).save("tempsal.pt")`, with their loaded model, makes the file.
    TorchScript is a program: use a file that you trust. Nothing is downloaded.

    Convention: pictures of 256 px in [-1, 1] in; the image's map out, alone or first of (map, maps over time).

    Returns:
        A function from frames `[T, 3, H, W]` in [0, 1] to maps `[T, 256, 256]`, frame by frame: the network divides
        its maps over time by their maximum over the whole batch.

    Raises:
        InputError: no file, one that is no TorchScript, or a network that gives something else.

    Source: TempSAL (arXiv 2301.02315), inference of the published code.
    """
    network = load_torchscript(path, "TempSAL's network as TorchScript", device)

    @torch.no_grad()
    def maps(frames: Tensor) -> Tensor:
        size = (TEMPSAL_PX, TEMPSAL_PX)
        small = F.interpolate(frames.float(), size, mode="bilinear", align_corners=False, antialias=True)
        return torch.stack([of_picture((2 * picture - 1).to(device)) for picture in small])

    def of_picture(picture: Tensor) -> Tensor:
        answer = network(picture[None])
        found = answer[0] if isinstance(answer, tuple) else answer
        if found.numel() != TEMPSAL_PX**2:
            raise InputError(
                f"the network in {Path(path).name} gives {list(found.shape)} for a picture; wanted one map of "
                f"{TEMPSAL_PX} px, alone or first of two."
            )
        return found.reshape(TEMPSAL_PX, TEMPSAL_PX).float().cpu()

    return maps


def view_saliency(frames: Tensor) -> Tensor:
    """Estimate saliency of perspective frames, without weights.

    Convention: contrast of opponent colours to the row's usual colour (sky and ground are no events) and to
    surroundings of three sizes, blurred once. The strongest place of a frame is 1 where it is plain to see; all places
    are at least `LEAST`.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], upright (no roll), any size.

    Returns:
        `[T, 64, 64]`.
    """
    small = F.interpolate(frames.float(), (WORK_PX, WORK_PX), mode="area")
    r, g, b = small.unbind(1)
    colours = torch.stack(((r + g + b) / 3, (r - g) * 0.75, (b - (r + g) / 2) * 0.5), dim=1)
    row = _strength(colours - colours.median(dim=-1, keepdim=True).values)
    levels = [colours] + [_blur(colours, sigma) for sigma in SURROUND_PX]
    steps = zip(levels[:-1], levels[1:], strict=True)
    around = torch.stack([_strength(fine - coarse) for fine, coarse in steps]).sum(0)
    evidence = _blur((row * (row + around))[:, None], BLUR_PX)[:, 0].clamp_min(0.0).sqrt()
    peak = evidence.amax((-1, -2), keepdim=True).clamp_min(PLAIN_TO_SEE)
    return LEAST + (1 - LEAST) * evidence / peak


def saliency_density(maps: Tensor) -> Tensor:
    """Maps `[T, h, w]` scaled so that each sums to 1.

    Raises:
        InputError: a map that is negative somewhere, not finite, or zero all over.
    """
    if not torch.isfinite(maps).all() or bool((maps < 0).any()):
        raise InputError("a saliency map holds negative, NaN or infinite values; wanted finite values of 0 or more.")
    total = maps.double().sum((-1, -2), keepdim=True)
    if bool((total <= 0).any()):
        raise InputError(
            "a saliency map is zero everywhere and is no density; give a flat map where nothing stands out."
        )
    return maps.double() / total


def kl_divergence(p: Tensor, q: Tensor, eps: float = EPS) -> Tensor:
    """KL(p || q) of densities `[T, h, w]`, per frame in nats: sum p log(eps + p / (q + eps)).

    Source: the form of TempSAL's `kldiv`, whose first argument is our q.
    """
    # Rounding alone could make it negative.
    return (p * torch.log(eps + p / (q + eps))).sum((-1, -2)).clamp_min(0.0)


def panorama_agreement(estimate: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """Agreement of a panorama's saliency map with measured gazes: CC, KL(truth to estimate) and NSS.

    Convention: every place counts by its area on the sphere. NSS is the mean of the standardised estimate under the
    truth's density, since fixations are often published blurred. By chance CC and NSS are 0.

    Args:
        estimate, truth: `[H, W]` and `[h, w]`, not negative, `W = 2 H`; both are averaged to 128 rows.

    Returns:
        (correlation, nats, standard deviations).

    Raises:
        InputError: a map that is negative, not finite or zero all over.

    Source: the measures of the MIT saliency benchmark (Bylinskii et al., PAMI 2019), weighted by area.
    """
    size = (AGREEMENT_ROWS, 2 * AGREEMENT_ROWS)
    area = erp_area_weights(AGREEMENT_ROWS, dtype=torch.float64).expand(size) / size[1]
    p, q = (_resized(one, size) for one in (truth, estimate))
    density_p, density_q = (saliency_density((one * area)[None])[0] for one in (p, q))
    off_p, off_q = (one - (one * area).sum() for one in (p, q))
    spread_p, spread_q = ((off.square() * area).sum().sqrt().clamp_min(1e-12) for off in (off_p, off_q))
    return (
        float((off_p * off_q * area).sum() / (spread_p * spread_q)),
        float((density_p * torch.log(1e-12 + density_p / (density_q + 1e-12))).sum()),
        float((density_p * off_q).sum() / spread_q),
    )


def _resized(one: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(one[None, None].double(), size, mode="area")[0, 0]


def _strength(colours: Tensor) -> Tensor:
    return colours.square().sum(1).sqrt()


def _blur(image: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of `[T, C, h, w]`, mirrored at the edges."""
    radius = math.ceil(2.5 * sigma_px)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel = (taps / taps.sum()).to(image)
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    return flat.reshape(image.shape)
