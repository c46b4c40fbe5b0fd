"""Writes clips, sounds and pictures: under a temporary name first, renamed when complete.

An MP4's durations are exact: T frames last T / fps, and N samples of sound read back as N samples. AAC starts with
priming and ends in padding; the file's edit list names the true span, in a time scale that both rates divide.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from .files import atomic_path

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import OutputContainer
    from av.video.frame import VideoFrame

H264_CRF = 16
# x264's macroblock tree reads memory that nothing wrote, at widths of a few blocks: the same frames then give other
# bytes from time to time (seen at 192x96: 14 of 300 runs; none with it off).
H264_OPTIONS = {"crf": str(H264_CRF), "x264-params": "mbtree=0"}
AAC_BLOCK = 1024
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
FRAME_NAME = "frame_{:05d}.png"


def write_clip(path: str | os.PathLike, frames: Tensor, fps: float, sound: Sound | None = None) -> None:
    """Writes an MP4: H.264 (yuv420p, BT.709, CRF 16) and, where there is sound, AAC.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], any device; H and W even, as H.264's chroma needs.
        fps: frames per second.
        sound: mono or stereo. The AAC coder itself turns blocks with peaks above 0.95 down; nothing is clipped here.

    Raises:
        InputError: odd sizes, more than two channels (this writer would lose what they mean), a sampling rate that
            AAC lacks, or a place that cannot be written to.
    """
    _check_frames(frames)
    height, width = frames.shape[-2:]
    if height % 2 or width % 2:
        raise InputError(f"H.264 needs even sizes; the frames are {width}x{height}. Crop or resize them by one pixel.")
    if not 0 < fps <= 1000:
        raise InputError(f"{fps:g} frames per second were given; choose more than 0 and at most 1000.")
    if Path(path).suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise InputError(f"{Path(path).name} does not end in .mp4, the format that clips are written in. Rename it.")
    if sound is not None:
        _check_clip_sound(sound)
    rate = Fraction(fps).limit_denominator(1001)
    with atomic_path(path) as temporary:
        _encode(temporary, frames, rate, sound)


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.shape[0] < 1:
        raise InputError(f"frames of shape [T, 3, H, W] are wanted, at least one; got {list(frames.shape)}.")


def _check_clip_sound(sound: Sound) -> None:
    channels, rate = sound.waveform.shape[0], sound.sample_rate_hz
    if channels > 2:
        raise InputError(
            f"an MP4 clip holds mono or stereo; this sound is {sound.layout} with {channels} channels. "
            f"Make it mono (to_mono, view_sound) or write it with write_wav."
        )
    if channels < 1 or sound.waveform.shape[1] < 1:
        raise InputError(f"the sound is empty ({list(sound.waveform.shape)}). Leave it out instead.")
    if rate not in AAC_RATES_HZ:
        rates = ", ".join(map(str, AAC_RATES_HZ))
        raise InputError(f"AAC has no sampling rate of {rate} Hz. Resample to one of {rates}.")
    _check_finite(sound.waveform)


def _check_finite(waveform: Tensor) -> None:
    if not torch.isfinite(waveform).all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it before writing.")


def _encode(path: Path, frames: Tensor, rate: Fraction, sound: Sound | None) -> None:
    import av

    # Edit lists count in the movie's time scale; FFmpeg's own 1000 would round the sound's end to a millisecond.
    scale = math.lcm(rate.numerator, sound.sample_rate_hz if sound else 1)
    scale = scale if scale < 2**31 else sound.sample_rate_hz
    options = {"movflags": "+faststart", "movie_timescale": str(scale), "video_track_timescale": str(rate.numerator)}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=rate, options=dict(H264_OPTIONS))
        video.width, video.height, video.pix_fmt = frames.shape[-1], frames.shape[-2], "yuv420p"
        context = video.codec_context
        context.time_base = 1 / rate
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        audio = None
        if sound is not None:
            channels = sound.waveform.shape[0]
            # Noise substitution trades the waveform for a noise of the same band: no gain at this bit rate.
            audio = container.add_stream("aac", rate=sound.sample_rate_hz, options={"aac_pns": "0"})
            audio.codec_context.layout = "stereo" if channels == 2 else "mono"
            # AAC's own ceiling is 6 bits per sample and channel.
            audio.codec_context.bit_rate = channels * min(192_000, 4 * sound.sample_rate_hz)
        _feed(container, video, _video_frames(frames, rate))
        if audio is not None:
            _feed(container, audio, _audio_frames(sound))


def _feed(container: OutputContainer, stream, media: Iterator[VideoFrame | AudioFrame]) -> None:
    for frame in media:
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _video_frames(frames: Tensor, rate: Fraction) -> Iterator[VideoFrame]:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    for i, image in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(to_uint8(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = i, 1 / rate
        yield frame


def _audio_frames(sound: Sound) -> Iterator[AudioFrame]:
    """Blocks of sound, after one of silence before time 0, which the edit list cuts off.

    FFmpeg's AAC coder starves its first block of bits: without the lead-in, a clip that starts loud starts with a crack
    (measured at 16 kHz, 64 kbit/s: error 0.14 of a 0.9 sine in the first 2048 samples, 0.001 with it).
    """
    import av

    waveform = sound.waveform.detach().cpu().float().numpy()
    waveform = np.concatenate((np.zeros((len(waveform), AAC_BLOCK), np.float32), waveform), axis=1)
    for at in range(0, waveform.shape[1], AAC_BLOCK):
        part = np.ascontiguousarray(waveform[:, at : at + AAC_BLOCK])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo" if len(part) == 2 else "mono")
        frame.sample_rate, frame.time_base = sound.sample_rate_hz, Fraction(1, sound.sample_rate_hz)
        frame.pts = at - AAC_BLOCK
        yield frame


def to_uint8(image: Tensor) -> np.ndarray:
    """`[3, H, W]` in [0, 1] to `[H, W, 3]` uint8, rounded; values outside are clamped, NaN is black."""
    levels = torch.nan_to_num(image.detach().float()).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def write_wav(path: str | os.PathLike, sound: Sound, *, bits: int = 32) -> tuple[str, ...]:
    """Writes a WAV with any number of channels.

    Args:
        bits: 32 keeps the floats as they are, 16 rounds and clips at full scale.

    Returns:
        Notices: how many samples were clipped, if any.

    Raises:
        InputError: another number of bits, NaN or infinite samples, or a place that cannot be written to.
    """
    from scipy.io import wavfile

    if bits not in (16, 32):
        raise InputError(f"a WAV with {bits} bits was asked for; choose 16 (integer) or 32 (float).")
    _check_finite(sound.waveform)
    values, notices = sound.waveform.detach().cpu().float().numpy().T, ()
    if bits == 16:
        clipped = int(((values > 1.0) | (values < -1.0)).sum())
        notices = (f"{clipped} samples above full scale were clipped; 32 bits would keep them.",) if clipped else ()
        values = np.clip(np.rint(values * 32768.0), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temporary:
        wavfile.write(temporary, sound.sample_rate_hz, np.ascontiguousarray(values))
    return notices


def write_png(path: str | os.PathLike, image: Tensor) -> None:
    """Writes one picture, `[3, H, W]` in [0, 1].

    Raises:
        InputError: another shape, or a place that cannot be written to.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3:
        raise InputError(f"a picture of shape [3, H, W] is wanted; got {list(image.shape)}.")
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary, format="PNG")


def write_frames(folder: str | os.PathLike, frames: Tensor) -> None:
    """Writes `frames [T, 3, H, W]` as frame_00000.png, ... into a folder that appears when all of them are there.

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
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
