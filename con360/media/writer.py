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
from .coders import PictureCoding
from .files import atomic_path, check_writable, put_folder
from .painting import pixels_of
from .planes import ACCURATE, Planes, frame_of, values_of
from .sound_coders import USUAL_SOUND, SoundCoder, SoundCoding
from .spherical_tags import Packing, tag_file
from .wav import wav_stream

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from torch import Tensor

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
            needs it (`fit_sound`).
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
        sound, notices = fit_sound(sound)
    shape = None if sound is None else (sound.waveform.shape[0], sound.sample_rate_hz)
    time_base = 1 / Fraction(fps).limit_denominator(1001)
    with clip_stream(path, (width, height), time_base, fps, shape, panorama=panorama, coding=coding) as stream:
        for i, image in enumerate(frames):
            stream.add_frame(to_uint8(image), i)
        if sound is not None:
            stream.add_sound(sound.waveform.numpy())
    return notices


def fit_sound(sound: Sound, coding: SoundCoding = USUAL_SOUND) -> tuple[Sound, tuple[str, ...]]:
    """Resample to a rate that a clip has; where a peak is too high, turn all channels down alike. Notices say both."""
    from ..sound.levels import resample
    from ..sound.peaks import true_peak

    waveform, rate = sound.waveform.detach().cpu().float(), sound.sample_rate_hz
    channels = waveform.shape[0]
    sound = resample(replace(sound, waveform=waveform), coding.rate_for(channels, rate))
    gain = coding.gain_for(true_peak(sound.waveform))
    return replace(sound, waveform=sound.waveform * gain), coding.notices(rate, gain, channels)


def check_clip_path(path: str | os.PathLike, sound_coding: SoundCoding = USUAL_SOUND) -> None:
    """Check that a clip can be written at `path`, before minutes are spent on it. Creates nothing.

    Raises:
        InputError: another suffix than .mp4, or than .mov for PCM; a folder, or a place that cannot be written to.
    """
    _check_suffix(path, sound_coding)
    check_writable(path)


def _check_suffix(path: str | os.PathLike, sound_coding: SoundCoding) -> None:
    if (suffix := Path(path).suffix.lower()) not in (".mp4", ".m4v", ".mov"):
        raise InputError(f"{Path(path).name} does not end in .mp4, the format that clips are written in. Rename it.")
    if sound_coding.codec == "PCM" and suffix != ".mov":
        raise InputError(f"{Path(path).name} does not end in .mov, the format that holds PCM sound. Rename it.")


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
    coding: PictureCoding | None = None, sound_coding: SoundCoding = USUAL_SOUND,
) -> Iterator[ClipStream]:  # fmt: skip
    """Write an MP4 as `write_clip` does, but frame by frame; it gets its name when the block ends.

    Args:
        size: width and height, both even. time_base: seconds per tick of the frames' times.
        fps: approximate frames per second, for the coder's decisions and the last frame's length.
        sound: number of channels, one of `CLIP_CHANNELS`, and their rate (`SoundCoding.rate_for`). All but 1 and 2 get
            an SA3D box.
        panorama: tag the picture as full equirectangular, with this packing of the eyes.
        tags: further metadata of the file, of any names.
        coding: of the picture; H.264 of high quality by default. sound_coding: of the sound; PCM needs a .mov.

    Raises:
        InputError: odd sizes, a codec that this PyAV lacks, sound that cannot be held, another suffix than .mp4, or a
            place that cannot be written.
    """
    if size[0] % 2 or size[1] % 2 or min(size) < 2:
        raise InputError(f"video needs even sizes; {size[0]}x{size[1]} was asked for. Choose even numbers.")
    _check_suffix(path, sound_coding)
    coding = coding or PictureCoding()
    with atomic_path(path) as temporary:
        with _open_stream(
            temporary, size, time_base, Fraction(fps).limit_denominator(1001), sound, tags or {}, coding, sound_coding
        ) as stream:
            yield stream
        is_ambisonic = sound is not None and sound[0] > 2
        light = coding.colour.mastering
        if is_ambisonic or panorama or light:
            tag_file(temporary, panorama=panorama, ambisonic=is_ambisonic, light=light.boxes if light else {})


@contextmanager
def _open_stream(
    path: Path, size: tuple[int, int], time_base: Fraction, rate: Fraction, sound: tuple[int, int] | None,
    tags: Mapping[str, str], coding: PictureCoding, sound_coding: SoundCoding,
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
        video.width, video.height = size
        context = video.codec_context
        context.time_base = time_base
        # Whole frames at once: slices code worse, and the caller would wait for each picture.
        context.thread_type = "FRAME"
        audio = None if sound is None else sound_coding.add_to(container, *sound)
        stream = ClipStream(container, video, audio, time_base, coding)
        yield stream
        stream.finish()


class ClipStream:
    """A clip that is being written. Add picture and sound in turns, so that neither waits long for the other."""

    def __init__(
        self, container: OutputContainer, video: Any, audio: SoundCoder | None, time_base: Fraction,
        coding: PictureCoding,
    ) -> None:  # fmt: skip
        self._container, self._video, self._audio, self._time_base = container, video, audio, time_base
        self._coding = coding

    def add_frame(self, pixels: np.ndarray | Planes, tick: int) -> None:
        """Add `pixels [h, w, 3]` uint8 or planes, shown from `tick` times the time base on; ticks rise."""
        frame = self._frame(pixels)
        frame.pts, frame.time_base = tick, self._time_base
        self._container.mux(self._video.encode(frame))

    def _frame(self, pixels: np.ndarray | Planes) -> VideoFrame:
        """Make a frame of the file's colour and bits; HDR in an SDR file is tone-mapped."""
        wanted, bits = self._coding.colour.hdr, self._coding.bits
        if isinstance(pixels, Planes) and pixels.colour.hdr != wanted:
            pixels = pixels_of(pixels)
        if not isinstance(pixels, Planes):
            if wanted:
                raise InputError(f"the picture cannot stay HDR ({wanted}) with all its bits here; tone-map it instead.")
            frame = _frame_of_pixels(pixels, self._video.pix_fmt)
        else:
            frame = frame_of(pixels, bits)
            if frame.format.name != self._video.pix_fmt:
                frame = frame.reformat(format=self._video.pix_fmt, interpolation=ACCURATE)
        return frame if bits == 8 else self._coding.tagged(frame)

    def add_sound(self, block: np.ndarray) -> None:
        """Add `block [C, n]` float32, which follows on the one before."""
        assert self._audio is not None
        self._audio.add(block)

    def finish(self) -> None:
        """Flush the coders."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._audio.finish()


def _frame_of_pixels(pixels: np.ndarray, kind: str = "yuv420p") -> VideoFrame:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
        format=kind, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, interpolation=ACCURATE
    )


def as_planes(picture: np.ndarray | Planes) -> Planes:
    """Bring a picture to planes of 8 bits and SDR; an odd last row or column is left out, and HDR is tone-mapped."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    if isinstance(picture, Planes):
        part = picture.part(slice(height), slice(width))
        assert part is not None  # its corner is the picture's own
        if not part.colour.hdr:
            return Planes(*part.limited())
        picture = pixels_of(part)
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
