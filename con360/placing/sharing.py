"""Count once what the sounds of several views share, band by band, while they become one field.

Per band and a fifth of a second, a view's share in what it hears together with others is its power over the powers of
all who hear it; what all hear alike tells no direction and counts for little. So a sound in two views keeps its level,
and lies between them, nearer to the louder one. Nothing is moved out of its view: an error costs level, not direction.

Two views share what has one waveform in both, and, where their pictures overlap, what has one rhythm: a generator that
runs once per view makes the same drum twice with two waveforms. Waveforms add by amplitude, rhythms by power.

Shape legend: V views, T frames half a frame apart, F frequencies, B bands, C Ambisonic channels.

Convention: results do not depend on how a sound was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from ..geometry.sphere import angle_between_deg, directions
from ..records import View
from ..sound.ambisonics import harmonics
from ..sound.bands import BANDS, band_weights, frame_size, joined, spectra

# Seconds over which waveforms are compared, and rhythms.
WAVEFORM_S, RHYTHM_S = 0.2, 2.0
# Frames over which a rhythm's loudness is smoothed.
LOUDNESS_FRAMES = 3
# Squared correlation that two sounds with nothing in common have by chance.
CHANCE = 0.1
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
    sharer = _Sharer.of(views, rate_hz, order)
    return _waveforms(_mixed(_frames(blocks, size), sharer), size)


# Frames ---------------------------------------------------------------------------------------------------------------


def _frames(blocks: Iterable[Tensor], size: int) -> Iterator[tuple[Tensor, int, bool]]:
    """Yield frames `[V, T, F]`, how many samples have come, and whether the frames lie in the sound.

    Half a frame of silence stands before the sound, and enough behind it. The last frames alone reach behind it; the
    first ones come together with a frame that lies in the sound, if there is one.
    """
    hop, least, count = size // 2, 2, 0
    held = torch.empty(0)
    for block in blocks:
        held = _longer(held, block if count else pad(block, (hop, 0)), 1)
        count += block.shape[1]
        whole = held.shape[1] // hop - 1
        if whole >= least:
            yield spectra(held[:, : (whole + 1) * hop], size, hop), count, True
            held, least = held[:, whole * hop :], 1
    if count:
        yield spectra(pad(held, (0, -held.shape[1] % hop + hop)), size, hop), count, False


def _waveforms(frames: Iterable[tuple[Tensor, int]], size: int) -> Iterator[Tensor]:
    """Join frames `[C, T, F]` to a waveform without the silence behind."""
    given, last = 0, torch.empty(0)
    for fresh, count in frames:
        last = _longer(last, fresh, 1)
        samples = joined(last, size)
        yield samples[:, : count - given]
        given, last = given + samples.shape[1], last[:, -1:]


def _mixed(frames: Iterable[tuple[Tensor, int, bool]], sharer: _Sharer) -> Iterator[tuple[Tensor, int]]:
    """Mix frames once those that their gains depend on have come; yields `[C, T, F]` and the samples so far."""
    held = powers = torch.empty(0)
    at = count = 0
    for fresh, count, inside in frames:
        held, powers = _longer(held, fresh, 1), _longer(powers, _steady(powers, sharer.powers(fresh), inside), -1)
        while held.shape[1] >= at + _AT_ONCE + sharer.reach:
            stop = at + _AT_ONCE
            gains = sharer.gains(powers[..., : stop + sharer.reach])
            yield sharer.mix(held[:, at:stop], gains[..., at:stop]), count
            done = max(0, stop - sharer.reach)
            held, powers, at = held[:, done:], powers[..., done:], stop - done
    if count:
        yield sharer.mix(held[:, at:], sharer.gains(powers)[..., at:]), count


def _steady(before: Tensor, fresh: Tensor, inside: bool) -> Tensor:
    """Give frames that are partly silence, at either end of the sound, the powers of the nearest whole one.

    All views would else fall silent together, as if they had one rhythm.
    """
    if before.numel() and not inside:
        return before[..., -1:].expand_as(fresh)
    if not before.numel() and inside:
        return torch.cat((fresh[..., 1:2], fresh[..., 1:]), -1)
    return fresh


# Shares ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sharer:
    """Find each view's gain per band and frame, and mix.

    Args:
        encoding: `[C, V]`, of each view's direction. bands: `[F, B]`, a frequency's parts in the bands next to it.
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
        return _Sharer(encoding, band_weights(BANDS, size, rate_hz), overlap.float(), waveform, rhythm)

    @property
    def reach(self) -> int:
        """Frames to either side that a gain depends on."""
        return max(self.waveform // 2, self.rhythm // 2 + LOUDNESS_FRAMES // 2)

    def powers(self, frames: Tensor) -> Tensor:
        """Real cross powers per band, `[V, V, B, T]`, of frames `[V, T, F]`."""
        parts = torch.view_as_real(frames).flatten(-2)
        bands = self.bands.repeat_interleave(2, dim=0)
        return torch.stack([(one * parts) @ bands for one in parts]).transpose(-1, -2)

    def gains(self, powers: Tensor) -> Tensor:
        """Gain of each view per band and frame, `[V, B, T]` in [0, 1]."""
        smooth = _mean(powers, self.waveform)
        power = smooth.diagonal().movedim(-1, 0)
        apart = 1 - torch.eye(len(power))[:, :, None, None]
        same = apart * _beyond_chance(smooth, power)
        share = torch.maximum(same, apart * self._rhythm(powers.diagonal().movedim(-1, 0)))
        # The part of a view's power that every view hears as well.
        common = torch.minimum(power, (share + 1 - apart).mul(power).amin(1))
        own = power - COMMON * common + _TINY
        others = (share * own).sum(1)
        in_phase = (same * own).sum(1) / others.clamp_min(_TINY)
        return (own / (own + others)) ** (0.5 + 0.5 * in_phase)

    def _rhythm(self, power: Tensor) -> Tensor:
        """Explained part of each view's rhythm by each other's, `[V, V, B, T]`, where their pictures overlap."""
        # Of a steady sound little is left after the mean: in float32 that would be rounding.
        loudness = _mean(power.double(), LOUDNESS_FRAMES).sqrt()
        mean = _mean(loudness, self.rhythm)
        products = _mean(loudness[:, None] * loudness, self.rhythm) - mean[:, None] * mean
        spread = products.diagonal().movedim(-1, 0)
        return _beyond_chance(products, spread).float() * self.overlap[:, :, None, None]

    def mix(self, frames: Tensor, gains: Tensor) -> Tensor:
        """Ambisonic frames `[C, T, F]` of frames `[V, T, F]` and gains `[V, B, T]`."""
        weighed = frames * (gains.transpose(-1, -2) @ self.bands.T)
        return torch.einsum("cv,vtf->ctf", self.encoding.to(weighed), weighed)


def _beyond_chance(products: Tensor, powers: Tensor) -> Tensor:
    """Squared correlation above chance, `[V, V, ...]` in [0, 1], of products `[V, V, ...]` and powers `[V, ...]`."""
    squared = products.clamp_min(0).square() / (powers[:, None] * powers).clamp_min(_TINY)
    return ((squared - CHANCE) / (1 - CHANCE)).clamp(0, 1)


def _mean(values: Tensor, count: int) -> Tensor:
    """Average over `count` frames around each; over fewer at the ends."""
    flat = values.flatten(0, -2)[:, None]
    return avg_pool1d(flat, count, 1, count // 2, count_include_pad=False).reshape(values.shape)


def _longer(held: Tensor, fresh: Tensor, axis: int) -> Tensor:
    return torch.cat((held, fresh), axis) if held.numel() else fresh
