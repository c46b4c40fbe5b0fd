"""Paint a time track on saliency maps at a source's direction, so that the picture there pulses as the track says."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import erp_directions
from ..geometry.sphere import directions
from ..records import Envelope, SaliencyMaps, SourcePoint, SourceTrack, TimeTrack
from ..sound.envelopes import RATE_HZ
from ..sound.sources import track_at
from ..sound.time_tracks import envelope_of_track

# A pulse as procedural scenes show one, on whose maps the built-in control was trained: at rest and at its loudest,
# strength and size; and the spread of a spot over its radius.
REST, SIZE_REST, SIZE_PULSE, SPREAD = 0.6, 0.85, 0.35, 0.6
RADIUS_DEG = 16.0


def paint_track(
    saliency: SaliencyMaps, where: SourcePoint | SourceTrack, track: TimeTrack, fps: float,
    radius_deg: float = RADIUS_DEG,
) -> SaliencyMaps:  # fmt: skip
    """Replace what is salient around a direction by a spot that pulses with a track.

    Convention: the spot of frame i has the loudest level within half a frame of i / fps, over the loudest of the clip;
    no short onset is lost. Each frame's maximum is 1 again.

    Args:
        saliency: `[T, H, 2H]`, one map per frame.
        where: direction of the source, still or moving; only yaw and pitch count.
        track: within the clip.
        radius_deg: angular radius of the source, above 0, at most 90.

    Returns:
        Maps of the same size.

    Raises:
        InputError: a radius or frame rate out of range, or a track that cannot be used.
    """
    if not 0 < radius_deg <= 90 or not fps > 0:
        raise InputError(f"a radius of {radius_deg:g}° at {fps:g} frames a second came; wanted 0 to 90° and above 0.")
    maps = saliency.maps
    pulse = pulse_of(envelope_of_track(track, len(maps) / fps), fps, len(maps))
    path = SourceTrack.still(where) if isinstance(where, SourcePoint) else where
    points = torch.from_numpy(track_at(path, [i / fps for i in range(len(maps))])).float()
    centres = directions(points[:, 0], points[:, 1]).to(maps)
    distance = (2 * (1 - torch.einsum("hwc,tc->thw", erp_directions(maps.shape[-2]).to(maps), centres))).clamp_min(0)
    size = math.radians(SPREAD * radius_deg) * (SIZE_REST + SIZE_PULSE * pulse)
    spot = (REST + (1 - REST) * pulse)[:, None, None] * torch.exp(-distance / (2 * size[:, None, None].square()))
    cleared = maps * (1 - torch.exp(-distance / (2 * math.radians(radius_deg) ** 2)))
    painted = torch.maximum(cleared, spot)
    return SaliencyMaps(painted / painted.amax((1, 2), keepdim=True), saliency.method)


def pulse_of(envelope: Envelope, fps: float, count: int) -> Tensor:
    """Loudest level around each frame, `[count]`, over the loudest of all; 0 where nothing is heard at all."""
    half = max(1, round(RATE_HZ / fps / 2))
    loudest = F.max_pool1d(envelope.values[None, None], 2 * half + 1, 1, half)[0, 0]
    centres = (torch.arange(count) / fps * RATE_HZ).round().long().clamp_max(len(loudest) - 1)
    return loudest[centres] / envelope.values.max().clamp_min(1e-9)
