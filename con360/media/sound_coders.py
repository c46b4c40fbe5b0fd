"""Codecs of the sound in clips that are written: the rates, channels and levels that AAC, Opus and PCM hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..choices import SoundCodec
from ..errors import InputError
from ..sound.channels import ORDERS, PAIR

if TYPE_CHECKING:
    from av.container import OutputContainer

AAC_BLOCK, OPUS_BLOCK, PCM_BLOCK = 1024, 960, 4096
# Opus knows no other rate above 24 kHz; bits per second of each channel of a field.
OPUS_RATE_HZ, OPUS_BIT_RATE = 48000, 96_000
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# FFmpeg's AAC coder turns down each block of one or two channels whose peak is above this, so that a field's direction
# would sway. What is louder gets one gain before. Peaks between samples count: 0.95 leaves the 0.4 dB that coding adds
# to speech, music and noise; a square wave at full scale gains more.
AAC_PEAK = 0.95
# AAC's layouts by number of channels. Ambisonics has none: its four channels travel as 4.0, named by their SA3D box.
LAYOUTS = {1: "mono", 2: "stereo", 4: "4.0"}
# Fields, and fields with a head-locked pair, as Opus and PCM hold them.
_FIELDS = {channels: f"ambisonic {order}" for channels, order in ORDERS.items()}
FIELD_LAYOUTS = _FIELDS | {channels + PAIR: f"{name}+stereo" for channels, name in _FIELDS.items()}
# FFmpeg's names of what the codecs write.
_NAMES = {"AAC": "aac", "Opus": "opus", "PCM": "pcm_s24le"}
# Channels of every sound that a clip can hold.
CLIP_CHANNELS = (1, 2, *FIELD_LAYOUTS)


@dataclass(frozen=True)
class SoundCoding:
    """Coding of a clip's sound.

    Args:
        codec: None takes AAC where it has the channels, else Opus.
        rate_hz: of the result; None keeps the sound's own where the codec has it.
        bit_rate: of each channel of Opus, in bits a second. steady: at every moment, in silence too.
    """

    codec: SoundCodec | None = None
    rate_hz: int | None = None
    bit_rate: int = OPUS_BIT_RATE
    steady: bool = False

    def codec_for(self, channels: int) -> SoundCodec:
        return self.codec or ("AAC" if channels in LAYOUTS else "Opus")

    def rate_for(self, channels: int, rate_hz: int) -> int:
        """Return the rate at which a clip holds so many channels of sound of this rate."""
        codec, rate_hz = self.codec_for(channels), self.rate_hz or rate_hz
        return aac_rate_hz(rate_hz) if codec == "AAC" else OPUS_RATE_HZ if codec == "Opus" else rate_hz

    def holds(self, channels: int) -> bool:
        """Tell whether a clip can hold so many channels."""
        return channels in (LAYOUTS if self.codec_for(channels) == "AAC" else CLIP_CHANNELS)

    def copies(self, codec: str, label: str, channels: int, rate_hz: int) -> bool:
        """Tell whether a track can go into a file as it is coded.

        Args:
            codec, label: FFmpeg's names of its codec and of its layout.
        """
        own = self.codec_for(channels)
        layout = LAYOUTS.get(channels, "") if own == "AAC" else FIELD_LAYOUTS.get(channels) or LAYOUTS.get(channels, "")
        return (
            not self.steady and codec == _NAMES[own] and label == layout
            and self.rate_for(channels, rate_hz) == rate_hz
        )  # fmt: skip

    def gain_for(self, peak: float) -> float:
        """Return the factor for all channels of a sound with this true peak (`sound.peaks`); 1 where none is needed.

        Every writer of clips uses it, and says so with `notices`.
        """
        most = 1.0 if self.codec == "PCM" else AAC_PEAK
        return min(1.0, most / max(peak, most))

    def notices(self, rate_hz: int, gain: float, channels: int = 1) -> tuple[str, ...]:
        """Notices of what a clip changes in so many channels of sound of this rate at this gain."""
        codec, new_rate_hz, said = self.codec_for(channels), self.rate_for(channels, rate_hz), []
        if new_rate_hz != rate_hz:
            why = "the preset wants it" if self.rate_hz else f"since {codec} lacks its rate"
            said.append(f"the sound was resampled from {rate_hz} to {new_rate_hz} Hz, {why}")
        if gain < 1:
            said.append(f"{loud_notice(gain)}: {codec} would clip its peaks")
        return tuple(said)

    def add_to(self, container: OutputContainer, channels: int, rate_hz: int) -> SoundCoder:
        """Add a sound track to a file that is being written.

        Args:
            channels: of `CLIP_CHANNELS`. rate_hz: as `rate_for` says.

        Raises:
            InputError: the codec does not hold them.
        """
        if not self.holds(channels) or self.rate_for(channels, rate_hz) != rate_hz:
            raise InputError(
                f"{channels} channels at {rate_hz} Hz do not fit {self.codec or 'AAC or Opus'}; resample or mix them."
            )
        codec = self.codec_for(channels)
        if codec == "AAC":
            # Noise substitution trades the waveform for a noise of the same band: no gain at this bit rate.
            audio = _stream(container, "aac", rate_hz, LAYOUTS[channels], {"aac_pns": "0"})
            # AAC's own ceiling is 6 bits per sample and channel.
            audio.codec_context.bit_rate = channels * min(192_000, 4 * rate_hz)
            return SoundCoder(container, audio, AAC_BLOCK)
        layout = FIELD_LAYOUTS.get(channels) or LAYOUTS[channels]
        if codec == "PCM":
            audio = _stream(container, "pcm_s24le", rate_hz, layout, {})
            audio.codec_context.format = "s32"
            return SoundCoder(container, audio, PCM_BLOCK, lead=0)
        options = {"mapping_family": "2"} if channels > 2 else {}
        audio = _stream(container, "libopus", rate_hz, layout, options | ({"vbr": "off"} if self.steady else {}))
        audio.codec_context.format, audio.codec_context.bit_rate = "flt", channels * self.bit_rate
        return SoundCoder(container, audio, OPUS_BLOCK)


USUAL_SOUND = SoundCoding()


def _stream(container: OutputContainer, name: str, rate_hz: int, layout: str, options: Mapping[str, str]) -> Any:
    audio: Any = container.add_stream(name, rate=rate_hz, options=dict(options))
    audio.codec_context.layout = layout
    return audio


def aac_rate_hz(rate_hz: int) -> int:
    """Return the rate itself where AAC has it, else the next higher one, at most 96 kHz."""
    return next((rate for rate in AAC_RATES_HZ if rate >= rate_hz), AAC_RATES_HZ[-1])


def loud_notice(gain: float) -> str:
    """Say by how much a sound was turned down."""
    return f"the sound was turned down by {-20 * math.log10(gain):.1f} dB, all channels alike"


class SoundCoder:
    """Code the sound of a clip that is being written, block after block.

    Args:
        size: of a block. lead: samples of silence before time 0, which the edit list cuts off; None takes a block.
    """

    def __init__(self, container: OutputContainer, audio: Any, size: int, lead: int | None = None) -> None:
        self._container, self._audio, self._size = container, audio, size
        # FFmpeg's AAC coder starves its first block of bits: without the lead-in, a clip that starts loud starts with a
        # crack (measured at 16 kHz, 64 kbit/s: error 0.14 of a 0.9 sine in the first 2048 samples, 0.001 with it).
        lead = size if lead is None else lead
        self._at = -lead
        self._waiting = np.zeros((audio.codec_context.channels, lead), np.float32)

    def add(self, block: np.ndarray) -> None:
        """Add `block [C, n]` float32, which follows on the one before."""
        self._waiting = np.concatenate((self._waiting, block), axis=1)
        whole = self._waiting.shape[1] // self._size * self._size
        for at in range(0, whole, self._size):
            self._encode(self._waiting[:, at : at + self._size])
        self._waiting = self._waiting[:, whole:]

    def finish(self) -> None:
        """Flush the coder."""
        if self._waiting.shape[1]:
            self._encode(self._waiting)
        self._container.mux(self._audio.encode(None))

    def _encode(self, block: np.ndarray) -> None:
        import av

        context = self._audio.codec_context
        rate, kind = context.sample_rate, context.format.name
        values = block if kind == "fltp" else block.T.reshape(1, -1)
        values = _in_24_bits(values) if kind == "s32" else values
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=kind, layout=context.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), self._at
        self._at += block.shape[1]
        self._container.mux(self._audio.encode(frame))


def _in_24_bits(values: np.ndarray) -> np.ndarray:
    """Floats as the upper 24 bits of int32."""
    return np.clip(np.rint(values.astype(np.float64) * 2**23), -(2**23), 2**23 - 1).astype(np.int32) << 8
