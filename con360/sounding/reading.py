"""Read the features of a clip's pictures, or take those that an earlier run kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..media.reader import PanoramaStream, at_rate
from ..models.omniaudio import PICTURE_FPS
from ..records import Progress
from ..reframing.aim import Estimator, Follow, aim_at, seconds_of
from .picture_encoder import PictureEncoder, PictureFeatures, read_features
from .store import Store, key_of


@dataclass(frozen=True)
class Excerpt:
    """Part of a clip whose pictures are read.

    Args:
        key: of the clip's content.
        start_s, stop_s: in seconds of the clip; `stop_s` may be infinite.
        published_jpeg: code its pictures as JPEG first.
    """

    stream: PanoramaStream
    key: str
    start_s: float = 0.0
    stop_s: float = math.inf
    published_jpeg: bool = False


def features_of(
    excerpt: Excerpt, encoder: PictureEncoder, store: Store | None, *, follows: Estimator | None = None,
    progress: Progress | None = None,
) -> tuple[PictureFeatures, float, bool]:  # fmt: skip
    """Features of the excerpt's pictures, its true length in seconds, and whether they were kept.

    Args:
        store: where features are looked for and kept; None reads the pictures.
        follows: estimates what the view looks at, the most salient region; None looks to the front.

    Raises:
        InputError: the excerpt has fewer than two pictures at 8 a second.
    """
    key = _key(excerpt, encoder, follows)
    kept = None if store is None else store.get(key)
    if kept is not None:
        return PictureFeatures(kept["panorama"], kept["view"], PICTURE_FPS), float(kept["seconds"]), True
    pictures, seconds = _read(excerpt, encoder, follows, progress)
    if store is not None:
        tensors = {"panorama": pictures.panorama, "view": pictures.view}
        store.put(key, {**tensors, "seconds": torch.tensor(seconds, dtype=torch.float64)})
    return pictures, seconds, False


def _key(excerpt: Excerpt, encoder: PictureEncoder, follows: Estimator | None) -> str:
    looks = "front" if follows is None else (str(follows.method), follows.detector is not None)
    part = (excerpt.key, excerpt.start_s, excerpt.stop_s, excerpt.published_jpeg, excerpt.stream.eye)
    return key_of("pictures", part, encoder.identity, looks)


def _read(
    excerpt: Excerpt, encoder: PictureEncoder, follows: Estimator | None, progress: Progress | None
) -> tuple[PictureFeatures, float]:
    stream, start_s, stop_s = excerpt.stream, excerpt.start_s, excerpt.stop_s
    aim = None if follows is None else _aim(excerpt, follows, progress)
    total = round(seconds_of(stream.info, start_s, stop_s) * PICTURE_FPS)
    shown = at_rate(stream, PICTURE_FPS, start_s, stop_s)
    pictures = read_features(
        shown, encoder, fps=PICTURE_FPS, total=total, aim=aim, published_jpeg=excerpt.published_jpeg, progress=progress
    )
    return pictures, (min(stop_s, stream.end_s) if stream.ended else stop_s) - start_s


def _aim(
    excerpt: Excerpt, follows: Estimator, progress: Progress | None
) -> Callable[[float], tuple[float, float]]:  # fmt: skip
    look = aim_at(excerpt.stream, Follow(), excerpt.start_s, excerpt.stop_s, follows, progress)

    def angles(time_s: float) -> tuple[float, float]:
        view = look(time_s)
        return view.yaw_deg, view.pitch_deg

    return angles
