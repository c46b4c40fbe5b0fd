"""Read features of a video's pictures with CLIP's vision tower.

Shape legend: K pictures, F features.

Source: OmniAudio (arXiv 2504.14906), which reads MetaCLIP ViT-H/14: the projected class token, not normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..records import Progress
from .pictures import clip_pixels, front_view, squared
from .published_jpeg import jpeg_frames, jpeg_view

# Pictures that the encoder takes at a time.
BATCH = 8


@dataclass(frozen=True)
class PictureFeatures:
    """Features of a video's pictures at a constant rate.

    Args:
        panorama: of the whole frames, `[K, F]`. view: of the front views, `[K, F]`.
        fps: pictures per second.
    """

    panorama: Tensor
    view: Tensor
    fps: float = 8.0

    def part(self, start_s: float, seconds: float) -> PictureFeatures:
        """The pictures of a span, at least two; the last one repeats beyond the end."""
        first, count = round(start_s * self.fps), max(2, round(seconds * self.fps))
        places = torch.arange(first, first + count).clamp(0, len(self.view) - 1)
        return PictureFeatures(self.panorama[places], self.view[places], self.fps)


class PictureEncoder(Protocol):
    """Features of pictures.

    Attributes:
        width: number of features.
        identity: tells encoders apart in a cache.
    """

    width: int
    identity: str

    def features(self, pixels: Tensor) -> Tensor:
        """`[K, 3, 224, 224]`, normalised as CLIP's, to `[K, F]` float32 on the CPU."""


class ClipEncoder:
    """CLIP's vision tower with its projection, from transformers (`PictureEncoder`)."""

    def __init__(self, network: nn.Module, identity: str) -> None:
        self.network, self.identity = network, identity
        self.width = int(network.config.projection_dim)

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        weight = next(self.network.parameters())
        return self.network(pixel_values=pixels.to(weight.device, weight.dtype)).image_embeds.float().cpu()


def load_clip_encoder(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ClipEncoder:
    """Read the vision tower of a CLIP folder as transformers writes it; its activation comes from its config.json.

    Raises:
        InputError: the folder holds no CLIP, or its weights are missing, cut or misshapen.
    """
    from transformers import CLIPVisionModelWithProjection

    from ..models.cpu.linear import quicken
    from ..weights.places import CLIP_TYPES
    from ..weights.transformers_folder import check_folder, load_network

    config = check_folder(folder, "picture encoder")
    if config.get("model_type") not in CLIP_TYPES:
        raise InputError(
            f"the picture encoder folder {folder} holds a {config.get('model_type')}; wanted CLIP, such as MetaCLIP."
        )
    path = Path(folder).expanduser()
    network = load_network(path, CLIPVisionModelWithProjection, "picture encoder", dtype, device)
    return ClipEncoder(quicken(network), path.resolve().name)


def read_features(
    pictures: Iterable[Callable[[], np.ndarray]], encoder: PictureEncoder, *, fps: float = 8.0, total: int = 0,
    aim: Callable[[float], tuple[float, float]] | None = None, published_jpeg: bool = False,
    progress: Progress | None = None,
) -> PictureFeatures:  # fmt: skip
    """Read the features of a video, a few pictures at a time.

    Args:
        pictures: functions that give panoramas `[H, W, 3]` uint8, `fps` a second.
        total: how many are expected, for the progress.
        aim: yaw and pitch of the view by time in seconds; None is the published front.
        published_jpeg: code frames and views as JPEG first.
        progress: told after each batch; may raise to cancel.

    Raises:
        InputError: fewer than two pictures.
        TooLittleMemory: one picture does not fit.
    """
    panorama, view = [], []
    done = 0
    if published_jpeg:
        pictures = jpeg_frames(iter(pictures), fps)
    for batch in _batches(pictures):
        angles = [(0.0, 0.0) if aim is None else aim((done + i) / fps) for i in range(len(batch))]
        # One large frame at a time; only its two small pictures wait.
        pairs = [_both_pixels(picture(), angle, published_jpeg) for picture, angle in zip(batch, angles, strict=True)]
        whole, front = (torch.stack(half) for half in zip(*pairs, strict=True))
        panorama.append(_features(encoder, whole))
        view.append(_features(encoder, front))
        done += len(batch)
        if progress is not None:
            progress(done, max(done, total), "reading the picture")
    if done < 2:
        raise InputError(f"at {fps:g} pictures a second the clip has {done}; wanted 2 or more. Give a longer clip.")
    return PictureFeatures(torch.cat(panorama), torch.cat(view), fps)


def _both_pixels(frame: np.ndarray, angles: tuple[float, float], published_jpeg: bool) -> tuple[Tensor, Tensor]:
    view = front_view(frame, *angles)
    return clip_pixels(squared(frame)), clip_pixels(jpeg_view(view) if published_jpeg else view)


def _features(encoder: PictureEncoder, pixels: Tensor) -> Tensor:
    return in_smaller_pieces(
        lambda size: torch.cat([encoder.features(part) for part in pixels.split(size)]), BATCH, 1,
        what="reading pictures", advice="compute on the cpu, or with dtype bfloat16",
    )  # fmt: skip


def _batches(pictures: Iterable[Callable[[], np.ndarray]]) -> Iterator[list[Callable[[], np.ndarray]]]:
    waiting = iter(pictures)
    while batch := list(islice(waiting, BATCH)):
        yield batch
