"""Count once what the sounds of several views share, band by band, while they become one field.

Per band and a fifth of a second, a view's share in what it hears together with others is its power over the powers of
all who hear it; what all hear alike tells no direction and counts for little. So a sound in two views keeps its level,
and lies between them, nearer to the louder one. Nothing is moved out of its view: an error costs level, not direction.

Two views share what has one waveform in both, and, where their pictures overlap, what has one rhythm: a generator that
runs once per view makes the same drum twice with two waveforms. Waveforms add by amplitude, rhythms by power.

Shape legend: V views, F bins, B bands, T frames, C Ambisonic channels.

Convention: times are centres of frames, a hop apart; results do not depend on how a sound was cut into blocks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.sphere import angle_between_deg, directions
from ..records import View
from ..sound.ambisonics import harmonics

# Length of a frame, at most; a power of two of samples.
FRAME_S = 0.05
BANDS = 40
# Seconds over which waveforms are compared, and rhythms.
WAVEFORM_S, RHYTHM_S = 0.2, 2.0
# Part of the power that all views hear alike that tells no direction.
COMMON = 0.9
# Frames that are mixed at once.
_AT_ONCE = 64
_TINY = 1e-20


def join_blocks(
    blocks: Iterable[Tensor], rate_hz: int, views: Sequence[View], order: int
) -> Iterator[Tensor]:  # fmt: skip
    """Turn sounds of views, blocks `[V, n]`, into Ambisonics, blocks `[C, n]`; a few seconds are held."""
    size = frame_size(rate_hz)
    frames = _spectra(blocks, size)
    return _overlapped(_mixed(frames, _Sharer.of(views, rate_hz, order)), size)


def frame_size(rate_hz: int) -> int:
    return 2 ** max(4, math.floor(math.log2(FRAME_S * rate_hz)))


# Frames ---------------------------------------------------------------------------------------------------------------


def _window(size: int) -> Tensor:
    """Half a sine: its square adds up to 1 at half-overlap."""
    return torch.sin(math.pi * (torch.arange(size) + 0.5) / size)


def _spectra(blocks: Iterable[Tensor], size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield spectra `[V, F, T]` of the frames that are complete, and how many samples have come.

    Half a frame of silence stands before the sound, and enough behind it.
    """
    hop, window, count = size // 2, _window(size), 0
    held: Tensor | None = None
    for block in blocks:
        held = F.pad(block, (hop, 0)) if held is None else torch.cat((held, block), dim=1)
        count += block.shape[1]
        whole = held.shape[1] // hop - 1
        if whole > 0:
            yield _transform(held[:, : (whole + 1) * hop], window), count
            held = held[:, whole * hop :]
    if held is not None and count:
        missing = -held.shape[1] % hop + hop
        yield _transform(F.pad(held, (0, missing)), window), count


def _transform(samples: Tensor, window: Tensor) -> Tensor:
    size = len(window)
    return torch.fft.rfft(samples.unfold(1, size, size // 2) * window, dim=-1).movedim(1, 2)


def _overlapped(spectra: Iterable[tuple[Tensor, int]], size: int) -> Iterator[Tensor]:
    """Join spectra `[C, F, T]` to a waveform without the silence before and behind."""
    hop, window, given = size // 2, _window(size), -(size // 2)
    tail: Tensor | None = None
    for spectrum, count in spectra:
        frames = torch.fft.irfft(spectrum.movedim(1, 2), n=size, dim=-1) * window
        first = torch.zeros_like(frames[:, 0, :hop]) if tail is None else tail
        halves = torch.cat((first[:, None], frames[..., hop:]), dim=1)
        samples = (frames[..., :hop] + halves[:, :-1]).flatten(1)
        tail = halves[:, -1]
        yield samples[:, max(0, -given) : max(0, count - given)]
        given += samples.shape[1]


# Shares ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sharer:
    """Find each view's gain per band and frame, and mix.

    Args:
        encoding: `[C, V]`, of each view's direction. bands: `[B, F]`, a bin's parts in two neighbouring bands, sum 1.
        overlap: `[V, V]`, 1 where the pictures of two views overlap. waveform, rhythm: frames that are averaged, odd.
    """

    encoding: Tensor
    bands: Tensor
    overlap: Tensor
    waveform: int
    rhythm: int

    @staticmethod
    def of(views: Sequence[View], rate_hz: int, order: int) -> _Sharer:
        yaw, pitch, fov = torch.tensor([(v.yaw_deg, v.pitch_deg, v.fov_deg) for v in views], dtype=torch.float64).T
        centres = directions(yaw, pitch)
        overlap = angle_between_deg(centres[:, None], centres) < (fov[:, None] + fov) / 2
        size = frame_size(rate_hz)
        waveform, rhythm = (2 * round(s * rate_hz / size) + 1 for s in (WAVEFORM_S, RHYTHM_S))
        encoding = harmonics(yaw, pitch, order).T.float()
        return _Sharer(encoding, _bands(size, rate_hz), overlap.float(), waveform, rhythm)

    @property
    def reach(self) -> int:
        """Frames to either side that a gain depends on."""
        return self.waveform // 2 + self.rhythm // 2

    def powers(self, spectra: Tensor) -> Tensor:
        """Real cross powers per band, `[V, V, B, T]`, of spectra `[V, F, T]`."""
        parts = torch.view_as_real(spectra)
        products = torch.einsum("vftc,uftc->vuft", parts, parts)
        return self.bands @ products

    def gains(self, powers: Tensor) -> Tensor:
        """Gain of each view per band and frame, `[V, B, T]` in [0, 1]."""
        smooth = _mean(powers, self.waveform)
        power = smooth.diagonal().movedim(-1, 0)
        apart = 1 - torch.eye(len(power))[:, :, None, None]
        same = apart * smooth.clamp_min(0).square() / (power[:, None] * power + _TINY)
        share = torch.maximum(same, apart * self._rhythm(power))
        # The part of a view's power that every view hears as well.
        common = torch.minimum(power, (share + 1 - apart).mul(power).amin(1))
        own = power - COMMON * common + _TINY
        others = (share * own).sum(1)
        in_phase = (same * own).sum(1) / others.clamp_min(_TINY)
        return (own / (own + others)) ** (0.5 + 0.5 * in_phase)

    def _rhythm(self, power: Tensor) -> Tensor:
        """Explained part of each view's rhythm by each other's, `[V, V, B, T]`, where their pictures overlap."""
        loudness = power.sqrt()
        mean = _mean(loudness, self.rhythm)
        products = _mean(loudness[:, None] * loudness, self.rhythm) - mean[:, None] * mean
        spread = products.diagonal().movedim(-1, 0)
        alike = products.clamp_min(0).square() / (spread[:, None] * spread).clamp_min(_TINY)
        return alike.clamp(max=1) * self.overlap[:, :, None, None]

    def mix(self, spectra: Tensor, gains: Tensor) -> Tensor:
        """Ambisonic spectra `[C, F, T]` of spectra `[V, F, T]` and gains `[V, B, T]`."""
        weighed = spectra * (self.bands.T @ gains)
        return torch.einsum("cv,vft->cft", self.encoding.to(weighed), weighed)


def _mean(values: Tensor, count: int) -> Tensor:
    """Average over `count` frames around each; over fewer at the ends."""
    flat = values.flatten(0, -2)[:, None]
    return F.avg_pool1d(flat, count, 1, count // 2, count_include_pad=False).reshape(values.shape)


@functools.lru_cache(maxsize=8)
def _bands(size: int, rate_hz: int) -> Tensor:
    """Triangles evenly spaced on the mel scale, `[B, F]`; they add up to 1."""
    mel = torch.log1p(torch.arange(size // 2 + 1, dtype=torch.float64) * rate_hz / size / 700)
    count = min(BANDS, size // 4)
    position = mel / mel[-1] * (count - 1)
    return (1 - (position - torch.arange(count)[:, None]).abs()).clamp_min(0).float()


def _mixed(frames: Iterable[tuple[Tensor, int]], sharer: _Sharer) -> Iterator[tuple[Tensor, int]]:
    """Mix frames once those that their gains depend on have come; yields `[C, F, T]` and the samples so far."""
    held = powers = torch.empty(0)
    at = count = 0
    for spectra, count in frames:
        held, powers = _longer(held, spectra), _longer(powers, sharer.powers(spectra))
        while held.shape[-1] >= at + _AT_ONCE + sharer.reach:
            stop = at + _AT_ONCE
            gains = sharer.gains(powers[..., : stop + sharer.reach])
            yield sharer.mix(held[..., at:stop], gains[..., at:stop]), count
            done = max(0, stop - sharer.reach)
            held, powers, at = held[..., done:], powers[..., done:], stop - done
    if count:
        yield sharer.mix(held[..., at:], sharer.gains(powers)[..., at:]), count


def _longer(held: Tensor, fresh: Tensor) -> Tensor:
    return torch.cat((held, fresh), dim=-1) if held.numel() else fresh
