"""Tell by networks when a picture sounds: onsets in a view, loudness of regions over time.

Shape legend: T frames at 15 fps.

Pictures are read at 15 fps and never repeated, for a repeated one shows no beginning. What a network finds is a draft
to edit: it knows what it was trained on.

Source: SyncFusion (arXiv 2310.15247) for onsets; thinning, views and regions are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import shrink_for
from ..media.reader import PanoramaStream, at_rate, small_picture
from ..models.envelope_networks import PictureEnvelope
from ..models.onset_network import (
    CHUNK_FRAMES,
    FPS,
    LEAST_GAP_S,
    THRESHOLD,
    OnsetNetwork,
    onsets_of_logits,
    squeezed,
)
from ..protocols import PictureNetwork
from ..records import Envelope, OnsetTrack, PanoramaClip, Progress, TimeTrack, View, ViewTrack

# Rates that files state are rounded.
_ABOUT = 0.99

Pictures = PanoramaClip | PanoramaStream
Look = View | ViewTrack


def time_track_by_network(
    pictures: Pictures, view: Look, network: PictureNetwork, *, start_s: float = 0.0, stop_s: float = math.inf,
    progress: Progress | None = None,
) -> TimeTrack:  # fmt: skip
    """Draft a track of what the network tells: onsets of a view, the level of a region, or what another one knows.

    Args, raises: as `onsets_of_picture`.
    """
    return network.tell(_read(pictures, view, network, start_s, stop_s, progress))


def onsets_of_picture(
    pictures: Pictures, view: Look, network: OnsetNetwork, *, start_s: float = 0.0, stop_s: float = math.inf,
    threshold: float = THRESHOLD, least_gap_s: float = LEAST_GAP_S, progress: Progress | None = None,
) -> OnsetTrack:  # fmt: skip
    """Find onsets in a view of a panorama.

    Convention: an onset stands in the middle of its frame, so times are known to 33 ms. Pieces of 2 s are read by
    themselves, as published.

    Args:
        pictures: a clip or file of 15 frames a second or more.
        view: where to look; a track has one view for each of the clip's frames, or of a file's at 15 fps.
        start_s, stop_s: part of a file; times count from `start_s`.
        threshold: smallest logit. least_gap_s: 0 keeps neighbouring frames too, as published.
        progress: told per piece; may raise to cancel.

    Returns:
        Times, and as strengths the network's probabilities.

    Raises:
        InputError: slower pictures, too few views, or none between start and stop.
    """
    return onsets_of_logits(_read(pictures, view, network, start_s, stop_s, progress), threshold, least_gap_s)


def onsets_of_frames(frames: Tensor, network: OnsetNetwork, fps: float = FPS) -> OnsetTrack:
    """Find onsets in the whole of an ordinary video, squeezed into a square as published.

    Args:
        frames: `[T, 3, H, W]` in [0, 1]. fps: their rate, 15 or more.

    Raises:
        InputError: slower frames.
    """
    chosen = frames[_chosen(len(frames), fps)]
    return onsets_of_logits(network.logits(squeezed(chosen)))


def envelope_of_picture(
    pictures: Pictures, views: Look | list[Look], network: PictureEnvelope, *, start_s: float = 0.0,
    stop_s: float = math.inf, progress: Progress | None = None,
) -> Envelope:  # fmt: skip
    """Tell the loudness of what moves in regions of a panorama.

    Args:
        pictures, start_s, stop_s, progress: as in `onsets_of_picture`.
        views: middle of a region of 25 degrees around, or of several, whose powers add up.

    Raises:
        InputError: as in `onsets_of_picture`.
    """
    looks = views if isinstance(views, list) else [views]
    powers: Tensor | float = 0.0
    for look in looks:
        motion = _read(pictures, look, network, start_s, stop_s, progress)
        powers = network.envelope(motion).values.square() + powers
    if not isinstance(powers, Tensor):
        raise InputError("no region was given; give a view, or a list of them.")
    return Envelope(powers.sqrt())


def _read(
    pictures: Pictures, view: Look, network: PictureNetwork, start_s: float, stop_s: float, progress: Progress | None
) -> Tensor:  # fmt: skip
    """Read what a network is told by, piece after piece."""
    pieces = _pieces(pictures, view, start_s, stop_s, progress, network.panorama_rows)
    return torch.cat([network.read(frames, look) for frames, look in pieces])


def _pieces(
    pictures: Pictures, view: Look, start_s: float, stop_s: float, progress: Progress | None, height: int
) -> Iterator[tuple[Tensor, Look]]:
    """Yield panoramas `[n, 3, H, 2 H]` of 2 s at 15 fps, with their views."""
    if isinstance(pictures, PanoramaClip):
        chosen = _chosen(pictures.num_frames, pictures.fps)
        frames: Iterator[Tensor] = (shrink_for(pictures.frames[i : i + 1], 180.0 / height)[0] for i in chosen)
        total, view = len(chosen), _of_clip(view, pictures, chosen)
    else:
        _chosen(1, pictures.info.fps or FPS)
        length = min(stop_s, pictures.info.duration_s or math.inf) - start_s
        total = round(length * FPS) if length < math.inf else 0
        shown = at_rate(pictures, FPS, start_s, stop_s)
        frames = (_small(pixels(), height) for pixels in shown)
    done = 0
    while piece := list(islice(frames, CHUNK_FRAMES)):
        done += len(piece)
        yield torch.stack(piece), _part(view, done - len(piece), done)
        if progress is not None:
            progress(done, max(done, total), "watching the picture")
    if not done:
        raise InputError(f"there are no pictures from {start_s:g} s to {stop_s:g} s; choose an earlier start.")


def _small(pixels: np.ndarray, height: int) -> Tensor:
    return small_picture(pixels, min(height, len(pixels)))


def _chosen(count: int, fps: float) -> list[int]:
    """Number the frames that are shown at 15 fps.

    Raises:
        InputError: there are fewer in a second.
    """
    if not fps >= FPS * _ABOUT:
        raise InputError(
            f"the pictures come at {fps:g} a second; the network reads {FPS:g}, and repeated ones hide when something "
            f"begins. Read the file at {FPS:g} frames a second or more."
        )
    shown = np.arange(max(1, round(count / fps * FPS))) * fps / FPS
    return np.floor(shown + 1e-6).astype(int).clip(0, count - 1).tolist()


def _of_clip(view: Look, clip: PanoramaClip, chosen: list[int]) -> Look:
    if isinstance(view, View):
        return view
    if len(view) != clip.num_frames:
        raise InputError(f"{len(view)} views came for {clip.num_frames} frames; give one view, or one per frame.")
    return view.at(chosen)


def _part(view: Look, start: int, stop: int) -> Look:
    if isinstance(view, View):
        return view
    if stop > len(view):
        raise InputError(
            f"the track ends after {len(view)} views and the picture goes on; give one view for each frame at "
            f"{FPS:g} a second."
        )
    return view.at(range(start, stop))
