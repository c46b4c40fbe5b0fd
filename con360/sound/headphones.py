"""Turn Ambisonics into what two ears hear on headphones, by one filter for each channel and ear.

Convention: filters are late by `EarFilters.delay` samples; results are not, so that they stay beside their picture.

Source: Schörkhuber, Zaunschirm and Höldrich, "Binaural rendering of Ambisonic signals via magnitude least squares",
2018; the shipped filters come from Gardner and Martin, "HRTF measurements of a KEMAR dummy-head microphone", MIT Media
Lab, 1994 (NOTICE).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, order_of
from .ambisonics import channels_of
from .channels import PAIR
from .levels import resample

EARS_FILE = Path(__file__).with_name("ears.safetensors")
ORDERS = (1, 2, 3)
# Rates that the file has filters for; other rates get resampled ones.
RATES_HZ = (44100, 48000)
# Samples that one transform holds.
_TRANSFORM = 8192


@dataclass(frozen=True)
class EarFilters:
    """Filters from Ambisonics (ACN, SN3D) to the left and the right ear.

    Args:
        taps: `[2, C, T]`, left and right, for the (order + 1)² channels of AmbiX; two more for a head-locked pair.
        rate_hz: of sound and taps.
        delay: samples by which the filters are late.
        source: whose ears they are.
    """

    taps: Tensor
    rate_hz: int
    delay: int
    source: str

    @property
    def order(self) -> int:
        channels = self.taps.shape[1]
        return next(n for n in map(order_of, (channels, channels - PAIR)) if n is not None)

    def at_rate(self, rate_hz: int) -> EarFilters:
        """Resample the filters for sound of another rate."""
        if rate_hz == self.rate_hz:
            return self
        moved = resample(Sound(self.taps.flatten(0, 1), self.rate_hz, "other"), rate_hz).waveform
        taps = moved.unflatten(0, self.taps.shape[:2]) * (self.rate_hz / rate_hz)
        return replace(self, taps=taps, rate_hz=rate_hz, delay=round(self.delay * rate_hz / self.rate_hz))

    def with_pair(self) -> EarFilters:
        """Add filters for a head-locked pair behind the field: it is heard as it is."""
        straight = self.taps.new_zeros(2, PAIR, self.taps.shape[2])
        straight[:, :, self.delay] = torch.eye(PAIR)
        return replace(self, taps=torch.cat((self.taps, straight), 1))


def mirrored(left: Tensor) -> Tensor:
    """Make `[2, C, T]` of the left ear's `[C, T]` for a head whose sides are alike: what points left is negated."""
    order = order_of(left.shape[0]) or 0
    signs = left.new_tensor([1.0 if m >= 0 else -1.0 for n in range(order + 1) for m in range(-n, n + 1)])
    return torch.stack((left, signs[:, None] * left))


def load_ears(order: int, rate_hz: int) -> EarFilters:
    """Load the shipped filters, made from MIT KEMAR by `tools/ear_filters.py`.

    Args:
        order: 1, 2 or 3. rate_hz: of the sound; other rates than 44.1 and 48 kHz get resampled filters.

    Raises:
        InputError: another order, or no rate.
    """
    if order not in ORDERS:
        raise InputError(f"headphones take Ambisonics of order 1, 2 or 3; got order {order}.")
    if rate_hz <= 0:
        raise InputError(f"a sampling rate of {rate_hz} Hz was asked for; it must be positive.")
    stored = rate_hz if rate_hz in RATES_HZ else RATES_HZ[-1]
    return _stored(order, stored).at_rate(rate_hz)


@functools.lru_cache(maxsize=6)
def _stored(order: int, rate_hz: int) -> EarFilters:
    from safetensors import safe_open

    with safe_open(EARS_FILE, framework="pt") as file:
        facts = file.metadata()
        left = file.get_tensor(f"order{order}.{rate_hz}")
    return EarFilters(mirrored(left), rate_hz, int(facts[f"delay.{rate_hz}"]), facts["source"])


def ears_blocks(blocks: Iterable[Tensor], ears: EarFilters) -> Iterator[Tensor]:
    """Filter Ambisonics that comes in blocks `[C, n]` of any lengths, at the filters' rate.

    Yields:
        `[2, n]`: left and right, in blocks of other lengths, together as many samples as came, in time with them.
        Peaks are not limited.

    Raises:
        InputError: another number of channels than the filters', or values that are not finite.
    """
    channels, length = ears.taps.shape[1:]
    size = max(_TRANSFORM, 4 * length)
    spectra = torch.fft.rfft(ears.taps, size)
    # Overlap-save: each transform begins with the samples before it, as far as the filters reach.
    held, late = ears.taps.new_zeros(channels, length - 1), ears.delay
    for block in itertools.chain(blocks, (ears.taps.new_zeros(channels, ears.delay), None)):
        if block is not None:
            held = torch.cat((held, _checked(block, channels)), 1)
        while held.shape[1] >= size or (block is None and held.shape[1] >= length):
            piece = torch.fft.rfft(held[:, :size], size)
            mixed = torch.fft.irfft((spectra * piece).sum(1), size)[:, length - 1 : held.shape[1]]
            held = held[:, size - length + 1 :]
            if mixed.shape[1] > late:
                yield mixed[:, late:]
            late = max(0, late - mixed.shape[1])


def _checked(block: Tensor, channels: int) -> Tensor:
    if block.shape[0] != channels:
        raise InputError(f"these headphone filters take {channels} channels of Ambisonics; got {block.shape[0]}.")
    if not torch.isfinite(block).all():
        raise InputError("the sound has values that are not finite (NaN or infinite); mend the file first.")
    return block.float()


def to_ears(sound: Sound, ears: EarFilters | None = None) -> Sound:
    """Make headphone sound of Ambisonics; a head-locked pair is added as it is.

    Args:
        sound: `ambix` of order 1, 2 or 3. ears: None takes `load_ears` of the sound's order. Filters of another rate
            are resampled, filters of a lower order hear the lower channels.

    Returns:
        Stereo, as long as the sound and in time with it. Peaks above 1 are kept, as in every `Sound`.

    Raises:
        InputError: the sound is not Ambisonics, or of a lower order than the filters.
    """
    order = sound.ambisonic_order
    if not order:
        raise InputError(
            f"headphones need Ambisonics (AmbiX, 4, 9 or 16 channels); this is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels. Place it on the sphere first."
        )
    ears = (ears or load_ears(order, sound.sample_rate_hz)).at_rate(sound.sample_rate_hz)
    if ears.order > order:
        raise InputError(f"the headphone filters are of order {ears.order} and the sound of {order}; make them alike.")
    field, pair = sound.waveform[: channels_of(ears.order)], sound.waveform[channels_of(order) :]
    if pair.shape[0]:
        field, ears = torch.cat((field, pair)), ears.with_pair()
    heard = torch.cat([field.new_zeros(2, 0), *ears_blocks([field], ears)], 1)
    return Sound(heard, sound.sample_rate_hz, "stereo")
