"""Write clips, sounds and pictures: under a temporary name first, renamed when complete.

An MP4's durations are exact: T frames last T / fps, and N samples of sound read back as N samples. AAC starts with
priming and ends in padding; the file's edit list names the true span, in a time scale that both rates divide.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..records import Sound
from ..sound.channels import ORDERS, PAIR
from .coders import PictureCoding
from .files import atomic_path, check_writable, put_folder
from .painting import ACCURATE
from .planes import Planes, frame_of, values_of
from .spherical_tags import Packing, tag_file
from .wav import wav_stream

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from torch import Tensor

AAC_BLOCK = 1024
# Opus knows no other rate above 24 kHz; bits per second of each channel of a field.
OPUS_BLOCK, OPUS_RATE_HZ, OPUS_BIT_RATE = 960, 48000, 96_000
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# FFmpeg's AAC coder turns down each block of one or two channels whose peak is above this, so that a field's direction
# would sway. What is louder gets one gain before. Peaks between samples count: 0.95 leaves the 0.4 dB that coding adds
# to speech, music and noise; a square wave at full scale gains more.
AAC_PEAK = 0.95
# AAC's layouts by number of channels. Ambisonics has none: its four channels travel as 4.0, named by their SA3D box.
LAYOUTS = {1: "mono", 2: "stereo", 4: "4.0"}
# Opus' layouts: Ambisonics of higher order, and of each order with a head-locked pair, for which AAC has no channels.
OPUS_LAYOUTS = {channels: f"ambisonic {order}" for channels, order in ORDERS.items() if channels not in LAYOUTS} | {
    channels + PAIR: f"ambisonic {order}+stereo" for channels, order in ORDERS.items()
}
FRAME_NAME = "frame_{:05d}.png"


def write_clip(
    path: str | os.PathLike, frames: Tensor, fps: float, sound: Sound | None = None, *, panorama: Packing | None = None,
    coding: PictureCoding | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Write an MP4: H.264 (yuv420p, BT.709, CRF 16) and, where there is sound, AAC.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], any device; H and W even, as H.264's chroma needs.
        fps: frames per second.
        sound: mono, stereo or `ambix` of four channels (tagged as such). It is resampled and turned down where AAC
            needs it (`fit_aac`).
        panorama: tag the picture as full equirectangular, with this packing of the eyes.
        coding: of the picture; H.264 of high quality by default.

    Returns:
        Notices of changes to the sound.

    Raises:
        InputError: odd sizes, other channels (`sound.for_clip` mixes them), or a place that cannot be written to.
    """
    _check_frames(frames)
    height, width = frames.shape[-2:]
    if height % 2 or width % 2:
        raise InputError(f"H.264 needs even sizes; the frames are {width}x{height}. Crop or resize them by one pixel.")
    if not 0 < fps <= 1000:
        raise InputError(f"{fps:g} frames per second were given; choose more than 0 and at most 1000.")
    notices: tuple[str, ...] = ()
    if sound is not None:
        _check_clip_sound(sound)
        sound, notices = fit_aac(sound)
    shape = None if sound is None else (sound.waveform.shape[0], sound.sample_rate_hz)
    time_base = 1 / Fraction(fps).limit_denominator(1001)
    with clip_stream(path, (width, height), time_base, fps, shape, panorama=panorama, coding=coding) as stream:
        for i, image in enumerate(frames):
            stream.add_frame(to_uint8(image), i)
        if sound is not None:
            stream.add_sound(sound.waveform.numpy())
    return notices


def fit_aac(sound: Sound) -> tuple[Sound, tuple[str, ...]]:
    """Resample to a rate that AAC has; where a peak is too high, turn all channels down alike. Notices say both."""
    from ..sound.levels import resample
    from ..sound.peaks import true_peak

    waveform, rate = sound.waveform.detach().cpu().float(), sound.sample_rate_hz
    sound = resample(replace(sound, waveform=waveform), aac_rate_hz(rate))
    gain = aac_gain(true_peak(sound.waveform))
    return replace(sound, waveform=sound.waveform * gain), aac_notices(rate, gain)


def aac_rate_hz(rate_hz: int) -> int:
    """Return the rate itself where AAC has it, else the next higher one, at most 96 kHz."""
    return next((rate for rate in AAC_RATES_HZ if rate >= rate_hz), AAC_RATES_HZ[-1])


def sound_rate_hz(channels: int, rate_hz: int) -> int:
    """Return the rate at which a clip holds so many channels of sound of this rate: AAC's, or Opus'."""
    return aac_rate_hz(rate_hz) if channels in LAYOUTS else OPUS_RATE_HZ


def aac_gain(peak: float) -> float:
    """Return the factor for all channels of a sound with this true peak (`sound.peaks`); 1 where nothing has to change.

    Every writer of AAC uses it, and says so with `aac_notices`.
    """
    return min(1.0, AAC_PEAK / max(peak, AAC_PEAK))


def aac_notices(rate_hz: int, gain: float, channels: int = 1) -> tuple[str, ...]:
    """Notices of what a clip changes in sound of this rate at this gain; so many channels choose AAC or Opus."""
    coder, new_rate_hz, said = "AAC" if channels in LAYOUTS else "Opus", sound_rate_hz(channels, rate_hz), []
    if new_rate_hz != rate_hz:
        said.append(f"the sound was resampled from {rate_hz} to {new_rate_hz} Hz, since {coder} lacks its rate")
    if gain < 1:
        said.append(f"{loud_notice(gain)}: {coder} would clip its peaks")
    return tuple(said)


def loud_notice(gain: float) -> str:
    """Say by how much a sound was turned down."""
    return f"the sound was turned down by {-20 * math.log10(gain):.1f} dB, all channels alike"


def check_clip_path(path: str | os.PathLike) -> None:
    """Check that a clip can be written at `path`, before minutes are spent on it. Creates nothing.

    Raises:
        InputError: another suffix than .mp4, a folder, or a place that cannot be written to.
    """
    _check_suffix(path)
    check_writable(path)


def _check_suffix(path: str | os.PathLike) -> None:
    if Path(path).suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise InputError(f"{Path(path).name} does not end in .mp4, the format that clips are written in. Rename it.")


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.shape[0] < 1:
        raise InputError(f"frames of shape [T, 3, H, W] are wanted, at least one; got {list(frames.shape)}.")


def _check_clip_sound(sound: Sound) -> None:
    channels, rate = sound.waveform.shape[0], sound.sample_rate_hz
    if channels > 2 and (sound.layout, channels) != ("ambix", 4):
        raise InputError(
            f"an MP4 clip holds mono, stereo or first-order AmbiX; this sound is {sound.layout} with {channels} "
            f"channels. Mix it (for_clip, to_mono, view_sound) or write it with write_wav."
        )
    if channels < 1 or sound.waveform.shape[1] < 1:
        raise InputError(f"the sound is empty ({list(sound.waveform.shape)}). Leave it out instead.")
    if rate < 1:
        raise InputError(f"the sound has a sampling rate of {rate} Hz; it must be positive.")
    _check_finite(sound.waveform)


def _check_finite(waveform: Tensor) -> None:
    if not waveform.isfinite().all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it before writing.")


@contextmanager
def clip_stream(
    path: str | os.PathLike, size: tuple[int, int], time_base: Fraction, fps: float,
    sound: tuple[int, int] | None = None, *, panorama: Packing | None = None, tags: Mapping[str, str] | None = None,
    coding: PictureCoding | None = None,
) -> Iterator[ClipStream]:  # fmt: skip
    """Write an MP4 as `write_clip` does, but frame by frame; it gets its name when the block ends.

    Args:
        size: width and height, both even. time_base: seconds per tick of the frames' times.
        fps: approximate frames per second, for the coder's decisions and the last frame's length.
        sound: number of channels as in `add_sound_track`, and `sound_rate_hz` of them. All but 1 and 2 get an SA3D box.
        panorama: tag the picture as full equirectangular, with this packing of the eyes.
        tags: further metadata of the file, of any names.
        coding: of the picture; H.264 of high quality by default.

    Raises:
        InputError: odd sizes, a codec that this PyAV lacks, sound that cannot be held, another suffix than .mp4, or a
            place that cannot be written.
    """
    if size[0] % 2 or size[1] % 2 or min(size) < 2:
        raise InputError(f"video needs even sizes; {size[0]}x{size[1]} was asked for. Choose even numbers.")
    _check_suffix(path)
    if sound is not None and (sound[0] not in (*LAYOUTS, *OPUS_LAYOUTS) or sound_rate_hz(*sound) != sound[1]):
        raise InputError(f"{sound[0]} channels at {sound[1]} Hz do not fit AAC or Opus; resample or mix them.")
    with atomic_path(path) as temporary:
        with _open_stream(
            temporary, size, time_base, Fraction(fps).limit_denominator(1001), sound, tags or {},
            coding or PictureCoding(),
        ) as stream:  # fmt: skip
            yield stream
        is_ambisonic = sound is not None and sound[0] > 2
        if is_ambisonic or panorama:
            tag_file(temporary, panorama=panorama, ambisonic=is_ambisonic)


@contextmanager
def _open_stream(
    path: Path, size: tuple[int, int], time_base: Fraction, rate: Fraction, sound: tuple[int, int] | None,
    tags: Mapping[str, str], coding: PictureCoding,
) -> Iterator[ClipStream]:  # fmt: skip
    import av

    # Edit lists count in the movie's time scale; FFmpeg's own 1000 would round the sound's end to a millisecond.
    ticks = time_base.denominator
    scale = math.lcm(ticks, sound[1] if sound else 1)
    scale = scale if scale < 2**31 else sound[1] if sound else ticks
    # MP4 drops names that it does not know, unless told.
    flags = "+faststart+use_metadata_tags" if tags else "+faststart"
    options = {"movflags": flags, "movie_timescale": str(scale), "video_track_timescale": str(ticks)}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(tags)
        video = coding.add_to(container, rate)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        context = video.codec_context
        context.time_base = time_base
        # Whole frames at once: slices code worse, and the caller would wait for each picture.
        context.thread_type = "FRAME"
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        audio = None if sound is None else add_sound_track(container, *sound)
        stream = ClipStream(container, video, audio, time_base)
        yield stream
        stream.finish()


def add_sound_track(container: OutputContainer, channels: int, rate_hz: int) -> SoundCoder:
    """Add a sound track to a file that is being written.

    Args:
        channels: 1, 2 or 4 become AAC; those of `OPUS_LAYOUTS` Opus (mapping family 2).
        rate_hz: one of `sound_rate_hz`.
    """
    if channels not in LAYOUTS:
        audio = container.add_stream("libopus", rate=rate_hz, options={"mapping_family": "2"})
        audio.codec_context.layout = OPUS_LAYOUTS[channels]
        audio.codec_context.format, audio.codec_context.bit_rate = "flt", channels * OPUS_BIT_RATE
        return SoundCoder(container, audio, OPUS_BLOCK)
    # Noise substitution trades the waveform for a noise of the same band: no gain at this bit rate.
    audio = container.add_stream("aac", rate=rate_hz, options={"aac_pns": "0"})
    audio.codec_context.layout = LAYOUTS[channels]
    # AAC's own ceiling is 6 bits per sample and channel.
    audio.codec_context.bit_rate = channels * min(192_000, 4 * rate_hz)
    return SoundCoder(container, audio, AAC_BLOCK)


class SoundCoder:
    """Code the sound of a clip that is being written, block after block."""

    def __init__(self, container: OutputContainer, audio: Any, size: int) -> None:
        self._container, self._audio, self._size = container, audio, size
        # One block of silence before time 0, which the edit list cuts off. FFmpeg's AAC coder starves its first block
        # of bits: without the lead-in, a clip that starts loud starts with a crack (measured at 16 kHz, 64 kbit/s:
        # error 0.14 of a 0.9 sine in the first 2048 samples, 0.001 with it).
        self._at = -size
        self._waiting = np.zeros((audio.codec_context.channels, size), np.float32)

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
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=kind, layout=context.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), self._at
        self._at += block.shape[1]
        self._container.mux(self._audio.encode(frame))


class ClipStream:
    """A clip that is being written. Add picture and sound in turns, so that neither waits long for the other."""

    def __init__(
        self, container: OutputContainer, video: Any, audio: SoundCoder | None, time_base: Fraction
    ) -> None:  # fmt: skip
        self._container, self._video, self._audio, self._time_base = container, video, audio, time_base

    def add_frame(self, pixels: np.ndarray | Planes, tick: int) -> None:
        """Add `pixels [h, w, 3]` uint8 or planes, shown from `tick` times the time base on; ticks rise."""
        frame = frame_of(pixels) if isinstance(pixels, Planes) else _frame_of_pixels(pixels)
        frame.pts, frame.time_base = tick, self._time_base
        self._container.mux(self._video.encode(frame))

    def add_sound(self, block: np.ndarray) -> None:
        """Add `block [C, n]` float32, which follows on the one before."""
        assert self._audio is not None
        self._audio.add(block)

    def finish(self) -> None:
        """Flush the coders."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._audio.finish()


def _frame_of_pixels(pixels: np.ndarray) -> VideoFrame:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, interpolation=ACCURATE
    )


def as_planes(picture: np.ndarray | Planes) -> Planes:
    """Bring a picture to planes as clips hold them, of 8 bits; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    if isinstance(picture, Planes):
        part = picture.part(slice(height), slice(width))
        assert part is not None  # its corner is the picture's own
        return Planes(*part.limited())
    luma, blue, red = map(values_of, _frame_of_pixels(picture[:height, :width]).planes)
    return Planes(luma, blue, red)


def to_uint8(image: Tensor) -> np.ndarray:
    """Convert `[3, H, W]` in [0, 1] to `[H, W, 3]` uint8, rounded; values outside are clamped, NaN is black.

    Bytes stay as they are.
    """
    import torch

    levels = image
    if image.dtype != torch.uint8:
        levels = torch.nan_to_num(image.detach().float()).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def write_wav(path: str | os.PathLike, sound: Sound, *, bits: int = 32) -> tuple[str, ...]:
    """Write a WAV with any number of channels.

    Args:
        bits: 32 keeps the floats as they are, 16 rounds and clips at full scale.

    Returns:
        Notices: how many samples were clipped, if any.

    Raises:
        InputError: another number of bits, NaN or infinite samples, or a place that cannot be written to.
    """
    _check_finite(sound.waveform)
    waveform = sound.waveform.detach().cpu().float().numpy()
    with wav_stream(path, len(waveform), sound.sample_rate_hz, bits) as wav:
        wav.add(waveform)
    return (f"{wav.clipped} samples above full scale were clipped; 32 bits would keep them.",) if wav.clipped else ()


def write_png(path: str | os.PathLike, image: Tensor) -> None:
    """Write one picture, `[3, H, W]` in [0, 1].

    Raises:
        InputError: another shape, or a place that cannot be written to.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3:
        raise InputError(f"a picture of shape [3, H, W] is wanted; got {list(image.shape)}.")
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary, format="PNG")


def write_frames(folder: str | os.PathLike, frames: Tensor) -> None:
    """Write `frames [T, 3, H, W]` as frame_00000.png, ... into a folder that appears when all of them are there.

    Raises:
        InputError: the folder holds anything but frames of an earlier run, or cannot be written to.
    """
    _check_frames(frames)
    final = Path(folder).expanduser().absolute()
    if final.exists() and not final.is_dir():
        raise InputError(f"{folder} is a file; a folder is wanted for the frames.")
    others = [p.name for p in final.iterdir() if not p.match("frame_*.png")] if final.exists() else []
    if others:
        raise InputError(f"the folder {folder} holds other files ({others[0]}). Choose an empty or a new one.")
    temporary = final.with_name(f".{secrets.token_hex(6)}.part")
    try:
        for i, image in enumerate(frames):
            write_png(temporary / FRAME_NAME.format(i), image)
        put_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
