"""Aim the camera: a fixed view, keyframes, or the subject that it follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..choices import MULTICUE
from ..errors import InputError
from ..media.info import MediaInfo
from ..media.reader import PanoramaStream, at_rate, small_picture
from ..records import Progress, SaliencyMaps, View
from ..viewpoint.choose import manual_viewpoint
from ..viewpoint.keyframes import Keyframe, view_at

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..saliency.heard import Listener
    from ..saliency.human_faces import FaceDetector, HumanFace

# Saliency is estimated on small pictures, a few times a second, in windows. For motion and smoothing, a window begins
# with the last pictures of the one before.
SALIENCY_FPS, SALIENCY_HEIGHT, MAP_HEIGHT = 4.0, 192, 96
WINDOW, OVERLAP = 32, 2
FACES_EVERY_S = 1.0
# The view at a time in seconds from the excerpt's start.
Aim = Callable[[float], View]


@dataclass(frozen=True)
class Follow:
    """Follow the most salient region (rank 1), the second, ...

    Args:
        roll_deg: as in `View`, all the way.
        maps: `[N, H, 2H]`, where people look: one map for the whole excerpt, or several spread evenly over it. None
            estimates them.
    """

    rank: int = 1
    fov_deg: float = 90.0
    roll_deg: float = 0.0
    maps: Tensor | None = field(default=None, compare=False)


# Where the camera looks: a salient region that it follows, one view, or a path.
Look: TypeAlias = Follow | View | Sequence[Keyframe]


# Path -----------------------------------------------------------------------------------------------------------------


def aim_at(
    stream: PanoramaStream, look: Look, start_s: float, stop_s: float,
    estimator: Estimator, progress: Progress | None,
) -> Aim:  # fmt: skip
    """The view by time in seconds from the excerpt's start; following looks through the whole excerpt first.

    Raises:
        InputError: the excerpt has no picture to follow, or the look cannot be used.
    """
    if isinstance(look, View):
        still = manual_viewpoint(look.yaw_deg, look.pitch_deg, look.fov_deg, 1, look.roll_deg).track.views[0]
        return lambda time_s: still
    if not isinstance(look, Follow):
        return lambda time_s: view_at(look, time_s)
    from ..viewpoint.follow import view_on_path

    (path,) = follow_paths(stream, (look.rank,), start_s, stop_s, estimator, progress, look.maps)
    return lambda time_s: replace(view_on_path(path, time_s * SALIENCY_FPS, look.fov_deg), roll_deg=look.roll_deg)


def follow_paths(
    stream: PanoramaStream, ranks: Sequence[int], start_s: float, stop_s: float,
    estimator: Estimator, progress: Progress | None, given: Tensor | None = None,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Find where the salient regions of these ranks are over time; looks through the excerpt once.

    Args:
        given: maps as in `Follow`, in place of an estimate.

    Returns:
        Unit vectors `[N, 3]` at `SALIENCY_FPS` for each rank.

    Raises:
        InputError: the excerpt has no picture, a rank below 1, or given maps that cannot be used.
    """
    from ..viewpoint.follow import Follower

    followers = [Follower(SALIENCY_FPS, rank) for rank in ranks]
    total = round(seconds_of(stream.info, start_s, stop_s) * SALIENCY_FPS)

    def tell(seen: int) -> None:
        if progress is not None:
            progress(seen, max(seen, total), "looking for what is salient")

    windows = (
        _saliency_windows(stream, start_s, stop_s, estimator, tell) if given is None
        else _given_windows(stream, given, start_s, stop_s, tell)
    )  # fmt: skip
    for maps in windows:
        for one in maps:
            for follower in followers:
                follower.add(one)
    if not len(followers[0]):
        raise InputError(f"{stream.info.path.name} has no picture at {start_s:g} s; choose an earlier start.")
    if not followers[0].found_something:
        stream.notices.append("nothing stands out in the picture: the view looks to the front (yaw 0, pitch 0)")
    return tuple(follower.path() for follower in followers)


def mean_saliency(
    stream: PanoramaStream, start_s: float, stop_s: float, estimator: Estimator, progress: Progress | None = None
) -> SaliencyMaps:
    """Average an excerpt's saliency over time, window after window: one map `[1, h, 2h]`.

    Raises:
        InputError: the excerpt has no picture.
    """
    import torch

    total, count = torch.zeros(MAP_HEIGHT, 2 * MAP_HEIGHT), 0
    expected = round(seconds_of(stream.info, start_s, stop_s) * SALIENCY_FPS)

    def tell(seen: int) -> None:
        if progress is not None:
            progress(seen, max(seen, expected), "looking for what is salient")

    for maps in _saliency_windows(stream, start_s, stop_s, estimator, tell):
        total, count = total + maps.sum(0), count + len(maps)
    if not count:
        raise InputError(f"{stream.info.path.name} has no picture at {start_s:g} s; choose an earlier start.")
    return SaliencyMaps(total[None] / count, str(estimator.method))


def seconds_of(info: MediaInfo, start_s: float, stop_s: float) -> float:
    """Estimated length of the excerpt in seconds; 0 where the file states no duration."""
    return max(0.0, min(stop_s, info.duration_s or 0.0) - start_s)


@dataclass(frozen=True)
class Estimator:
    """Settings of the saliency estimate: `method` and `device` of `predict_saliency`, and a face detector."""

    method: str | Path
    detector: FaceDetector | None
    device: torch.device | str

    @property
    def uses_cues(self) -> bool:
        return str(self.method) == MULTICUE


def _listened(stream: PanoramaStream, start_s: float, stop_s: float) -> Listener | None:
    """Listen to an excerpt for directions of its sound; None where the sound has none."""
    track = stream.track
    if track is None or track.heard.layout != "ambix":
        return None
    from ..saliency.heard import Listener

    listener = Listener(track.sample_rate_hz, SALIENCY_FPS)
    for block in stream.sound(start_s, stop_s):
        listener.add(block)
    return listener


def _saliency_windows(
    stream: PanoramaStream, start_s: float, stop_s: float, estimator: Estimator, tell: Callable[[int], None]
) -> Iterator[Tensor]:
    """Yield maps `[n, h, 2h]` at `SALIENCY_FPS`, window after window; `tell(seen)` per picture may raise to cancel."""
    import torch

    from ..saliency.predict import predict_saliency

    listener = _listened(stream, start_s, stop_s) if estimator.uses_cues else None
    detector = estimator.detector if estimator.uses_cues else None
    kept: list[Tensor] = []
    faces: list[tuple[HumanFace, ...]] = []
    fresh = seen = 0

    def maps() -> Tensor:
        found = predict_saliency(
            torch.stack(kept), estimator.method, fps=SALIENCY_FPS, height=MAP_HEIGHT, device=estimator.device,
            heard=None if listener is None else listener.intensity(seen)[-len(kept) :],
            faces=faces if detector is not None else None, progress=lambda *_: tell(seen),
        )  # fmt: skip
        return found.maps[-fresh:]

    for pixels in at_rate(stream, SALIENCY_FPS, start_s, stop_s):
        picture = pixels()
        kept.append(small_picture(picture, SALIENCY_HEIGHT))
        if detector is not None:
            due = not faces or seen % round(FACES_EVERY_S * SALIENCY_FPS) == 0
            faces.append(detector.find(picture) if due else faces[-1])
        fresh, seen = fresh + 1, seen + 1
        tell(seen)
        if fresh == WINDOW:
            yield maps()
            kept, faces, fresh = kept[-OVERLAP:], faces[-OVERLAP:], 0
    if fresh:
        yield maps()


def _given_windows(
    stream: PanoramaStream, maps: Tensor, start_s: float, stop_s: float, tell: Callable[[int], None]
) -> Iterator[Tensor]:
    """Yield given maps `[1, h, 2h]` at `SALIENCY_FPS`, spread over the excerpt; a single one holds for all of it."""
    import torch.nn.functional as F

    if maps.dim() != 3 or not len(maps) or maps.shape[2] != 2 * maps.shape[1] or not maps.isfinite().all():
        raise InputError(f"the saliency maps are {list(maps.shape)}; wanted [maps, height, 2 x height], finite.")
    small = F.interpolate(maps[:, None].float(), (MAP_HEIGHT, 2 * MAP_HEIGHT), mode="bilinear", antialias=True)
    seconds = min(stop_s, stream.info.duration_s or stop_s) - start_s
    if len(maps) > 1 and not 0 < seconds < math.inf:
        raise InputError(
            f"{len(maps)} saliency maps cannot be spread over {stream.info.path.name}, which does not say how long it "
            "is; give a duration, or one map."
        )
    count = 1 if len(maps) == 1 else max(1, math.ceil(seconds * SALIENCY_FPS - 1e-6))
    if len(maps) not in (1, round(seconds * (stream.info.fps or 0))):
        stream.notices.append(f"the {len(maps)} saliency maps are spread over the {seconds:.2f} s of the excerpt")
    for i in range(count):
        tell(i + 1)
        yield small[min(len(maps) - 1, int(i / SALIENCY_FPS / seconds * len(maps) + 1e-6)) if count > 1 else 0]
