"""Place a moving sound straight through a head's responses: no field in between, so nothing of its direction is lost.

Each direction has a pair of short filters without delay and a pair of delays; both are interpolated between the three
measured directions around the source.

Source: method notes "Where: sources, depth, rendering"; Zotter and Frank, "Ambisonics", 2019 (triplets of directions).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import directions
from ..records import Sound, SourceTrack
from .ear_filters import LEAD_S, EqualHead, HeadResponses, equalised, minimum_phase
from .moving import STEP_S
from .sources import NEAREST_M, check_track, track_at

TAPS = 64
# Delays are read where the phase names them safely.
_DELAY_HZ = (200.0, 1500.0)
# Samples on either side that a fractional delay reads.
_SINC = 16
_AT_ONCE = 16384


@dataclass(frozen=True)
class EarPairs:
    """Filters and delays of both ears by direction.

    Args:
        taps: `[D, 2, 64]` float64, without delay. delays_s: `[D, 2]`, seconds after the middle of the head hears.
        places: `[D, 3]`, unit vectors (right, up, forward).
        triangles: `[K, 3]`, the triplets of directions that cover the sphere.
        rate_hz: of the taps. source: whose ears they are.
    """

    taps: Tensor
    delays_s: Tensor
    places: Tensor
    triangles: Tensor
    rate_hz: int
    source: str

    def at(self, yaw_deg: Tensor, pitch_deg: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate to directions `[M]`; returns taps `[M, 2, 64]` and delays `[M, 2]` in seconds."""
        there = directions(yaw_deg, pitch_deg)
        inverse = torch.linalg.inv(self.places[self.triangles])
        # A direction lies in the triangle whose three weights are positive; at an edge rounding decides.
        weights = torch.einsum("mc,kcw->mkw", there, inverse)
        found = weights.amin(-1).argmax(1)
        three = weights[torch.arange(len(there)), found].clamp_min(0)
        three = three / three.sum(-1, keepdim=True).clamp_min(1e-9)
        corners = self.triangles[found]
        return (
            torch.einsum("mw,mwet->met", three, self.taps[corners]),
            torch.einsum("mw,mwe->me", three, self.delays_s[corners]),
        )


def pairs_of_responses(head: HeadResponses, rate_hz: int) -> EarPairs:
    """Split a head's responses into filters and delays.

    Raises:
        InputError: directions that do not go round the sphere.
    """
    from scipy.spatial import ConvexHull

    equal = equalised(head.at_rate(rate_hz))
    plain = minimum_phase(equal.spectra.abs().clamp_min(1e-6))
    taps = torch.fft.irfft(plain)[..., :TAPS]
    places = directions(head.yaw_deg, head.pitch_deg)
    triangles = torch.from_numpy(ConvexHull(places.numpy()).simplices.astype(np.int64))
    # Flat pieces of the hull may hold the middle of the head, or nearly: no direction is told apart there.
    triangles = triangles[torch.linalg.det(places[triangles]).abs() > 1e-9]
    return EarPairs(taps, _delays(equal, plain), places, triangles, rate_hz, head.source)


def _delays(equal: EqualHead, plain: Tensor) -> Tensor:
    """Seconds `[D, 2]` by which responses are later than their filters without delay."""
    used = (equal.hz >= _DELAY_HZ[0]) & (equal.hz <= _DELAY_HZ[1])
    hz = equal.hz[used]
    phase = (equal.spectra[..., used] / plain[..., used]).angle().numpy()
    late = -torch.from_numpy(np.unwrap(phase, axis=-1)) / (2 * math.pi)
    # The line goes through 0 at 0 Hz, where nothing has a phase.
    return (late * hz).sum(-1) / (hz**2).sum()


def place_pairs_blocks(blocks: Iterable[Tensor], track: SourceTrack, pairs: EarPairs) -> Iterator[Tensor]:
    """Place a mono sound that comes in blocks `[1, n]` at the pairs' rate; its spread is not heard.

    Yields:
        `[2, n]`: left and right, together as many samples as came, in time with them. A delay that changes as a source
        moves changes the pitch, as in the world.

    Raises:
        InputError: the sound is not mono, or has values that are not finite.
    """
    ahead, behind = _reach(pairs.rate_hz)
    held, at = torch.zeros(behind, dtype=torch.float64), 0
    pieces = (piece for block in blocks for piece in _mono(block).split(_AT_ONCE))
    for piece in itertools.chain(pieces, (torch.zeros(ahead, dtype=torch.float64),)):
        held = torch.cat((held, piece))
        count = held.shape[0] - behind - ahead
        if count > 0:
            yield _heard(held, at, track, pairs)
            held, at = held[count:], at + count


def place_pairs(sound: Sound, track: SourceTrack, pairs: EarPairs) -> Sound:
    """Place a mono sound straight on two ears.

    Returns:
        Stereo, as long as the sound.

    Raises:
        InputError: the sound is not mono, is of another rate than the pairs, or the track cannot be used.
    """
    if sound.sample_rate_hz != pairs.rate_hz:
        raise InputError(f"the ears are for {pairs.rate_hz} Hz and the sound has {sound.sample_rate_hz}; resample it.")
    heard = [torch.zeros(2, 0), *place_pairs_blocks([sound.waveform], check_track(track), pairs)]
    return Sound(torch.cat(heard, 1), sound.sample_rate_hz, "stereo")


def _mono(block: Tensor) -> Tensor:
    if block.shape[0] != 1:
        raise InputError(f"one source is one channel; the sound has {block.shape[0]}. Mix it to mono first.")
    if not torch.isfinite(block).all():
        raise InputError("the sound has values that are not finite (NaN or infinite); mend the file first.")
    return block[0].double()


def _reach(rate_hz: int) -> tuple[int, int]:
    """Samples that one moment of the result needs after it and before it; an ear is early by `LEAD_S` at most."""
    early = math.ceil(LEAD_S * rate_hz)
    return early + _SINC, TAPS + 2 * early + _SINC


def _heard(held: Tensor, at: int, track: SourceTrack, pairs: EarPairs) -> Tensor:
    """Sound of both ears `[2, n]` from sample `at` on; `held` reaches beyond it on both sides, as `_reach` says."""
    rate, (ahead, behind) = pairs.rate_hz, _reach(pairs.rate_hz)
    count, step = held.shape[0] - ahead - behind, round(STEP_S * pairs.rate_hz)
    # From where the first filter begins. Directions stand at multiples of the step, so blocks of any length agree.
    moments = torch.arange(at - TAPS + 1, at + count)
    first = int(moments[0]) // step
    edges = np.arange(first, (at + count - 1) // step + 2) * (step / rate)
    yaw, pitch, distance, _, gain = torch.from_numpy(track_at(track, edges)).unbind(1)
    taps, delays = pairs.at(yaw, pitch)
    taps = taps * (10 ** (gain / 20) / distance.clamp_min(NEAREST_M))[:, None, None]
    before, share = moments // step - first, (moments % step).double()[:, None] / step
    late = torch.lerp(delays[before], delays[before + 1], share).clamp(-LEAD_S, 2 * LEAD_S) * rate
    arrived = _read(held, (moments - at + behind)[:, None] - late)
    before, share = before[TAPS - 1 :], share[TAPS - 1 :, None]
    filters = torch.lerp(taps[before], taps[before + 1], share)
    return torch.einsum("net,net->en", arrived.unfold(0, TAPS, 1), filters.flip(-1)).float()


def _read(held: Tensor, position: Tensor) -> Tensor:
    """Values between samples, at positions of any shape, by a windowed sinc."""
    whole = position.floor()
    offset = torch.arange(1 - _SINC, _SINC + 1, dtype=torch.float64) - (position - whole)[..., None]
    kernel = torch.sinc(offset) * torch.cos(offset * (math.pi / 2 / _SINC)).clamp_min(0) ** 2
    index = whole.long()[..., None] + torch.arange(1 - _SINC, _SINC + 1)
    return (held[index] * kernel).sum(-1)
