"""Distances between pictures, the best-of-candidates match, and video embeddings.

Shape legend: T frames, H W pixels, K candidates, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .figure import Definition
from .torchscript import load_torchscript

I3D_PX = 224
I3D_LEAST_FRAMES = 10

PICTURE = Definition(
    "picture distance",
    "root mean squared colour difference of each frame to the same frame of the true view, mean over frames; 1 is "
    "black against white",
    "ours",
    unit="of full scale",
)


def picture_distance(generated: Tensor, target: Tensor) -> float:
    """Root mean squared colour difference per frame, mean over frames; `[T, 3, H, W]` in [0, 1]."""
    _check_alike(generated, target)
    return float((generated - target).square().mean((1, 2, 3)).sqrt().mean())


def picture_correlation(generated: Tensor, target: Tensor) -> float:
    """Pearson correlation of all pixels of two clips; 0 where one of them is flat."""
    _check_alike(generated, target)
    a, b = (x.double().flatten() - x.double().mean() for x in (generated, target))
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 1e-9 else 0.0


def match_candidates(generated: Tensor, candidates: Tensor) -> Tensor:
    """Fit of each candidate, apart from what all candidates share.

    Convention: cosine after subtracting the candidates' mean picture, so that sky and ground, which all have, count for
    nothing.

    Args:
        generated: `[T, 3, H, W]`. candidates: `[K, T, 3, H, W]`, K at least 2.

    Returns:
        `[K]` cosines; the best match is the largest.

    Raises:
        InputError: fewer than two candidates, or other shapes.
    """
    if len(candidates) < 2 or candidates.shape[1:] != generated.shape:
        raise InputError(
            f"matching needs two or more candidates of shape {list(generated.shape)}; got {list(candidates.shape)}."
        )
    mean = candidates.double().mean(0)
    offset = (generated.double() - mean).flatten()
    return F.cosine_similarity((candidates.double() - mean).flatten(1), offset[None], dim=1)


def load_i3d(path: str | Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """The I3D network of FVD from a local TorchScript file (`i3d_torchscript.pt`, as StyleGAN-V and cd-fvd use it).

    TorchScript is a program: use a file that you trust. Nothing is downloaded.

    Returns:
        A function from clips `[N, T, 3, H, W]` in [0, 1], at least 10 frames, to logits `[N, 400]`.

    Raises:
        InputError: no file, or one that is no TorchScript.
    """
    network = load_torchscript(path, "i3d_torchscript.pt", device)

    @torch.no_grad()
    def logits(clips: Tensor) -> Tensor:
        return network(i3d_input(clips).to(device), rescale=False, resize=False, return_features=True).float().cpu()

    return logits


def i3d_input(clips: Tensor) -> Tensor:
    """Clips `[N, T, 3, H, W]` in [0, 1] as I3D reads them: `[N, 3, T, 224, 224]` in [-1, 1]."""
    if clips.dim() != 5 or clips.shape[2] != 3 or clips.shape[1] < I3D_LEAST_FRAMES:
        raise InputError(f"I3D reads [N, T, 3, H, W] with {I3D_LEAST_FRAMES} frames or more; got {list(clips.shape)}.")
    flat = F.interpolate(clips.flatten(0, 1), (I3D_PX, I3D_PX), mode="bilinear", align_corners=False, antialias=True)
    return (flat * 2 - 1).unflatten(0, clips.shape[:2]).transpose(1, 2)


def codec_video_embedding(latents: Tensor) -> Tensor:
    """A small embedding of a clip from its VAE latents, for Frechet distances without I3D.

    Mean and spread of each channel in a 2x2 grid of the picture, and its mean change from frame to frame.

    Args:
        latents: `[C, T, h, w]`, T at least 2.

    Returns:
        `[9 C]`.
    """
    quarters = F.adaptive_avg_pool2d(latents.transpose(0, 1), 2)
    spread = F.adaptive_avg_pool2d(latents.transpose(0, 1).square(), 2) - quarters.square()
    change = latents.diff(dim=1).abs().mean((1, 2, 3))
    return torch.cat((quarters.mean(0).flatten(), spread.clamp_min(0).sqrt().mean(0).flatten(), change))


def first_and_last_crossing(values: Sequence[float], level: float) -> tuple[int | None, int | None]:
    """First and last frame at which a curve is at or above a level; (None, None) where it never is."""
    above = [i for i, v in enumerate(values) if v >= level]
    return (above[0], above[-1]) if above else (None, None)


def _check_alike(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.dim() != 4:
        raise InputError(f"two clips [T, 3, H, W] of one shape are compared; got {list(a.shape)} and {list(b.shape)}.")
