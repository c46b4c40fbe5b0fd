"""Write small clips whose frames carry their numbers, so that a test can tell which frame it got."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

BITS = 8


def numbered_frame(number: int, width: int = 128, height: int = 64) -> np.ndarray:
    """Draw a number as `BITS` black or white blocks in the upper half, lowest bit left; the lower half is gray."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for bit in range(BITS):
        picture[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (number >> bit & 1)
    return picture


def read_number(frame: torch.Tensor) -> int:
    """Read the number of a decoded frame `[3, H, W]`."""
    _, height, width = frame.shape
    blocks = frame[:, height // 8 : 3 * height // 8].mean((0, 1)).reshape(BITS, width // BITS).mean(1)
    return sum(1 << bit for bit in range(BITS) if blocks[bit] > 0.5)


def write_video(
    path: Path,
    times_s: Sequence[float],
    *,
    clock: int = 90000,
    sound: np.ndarray | None = None,
    rate_hz: int = 48000,
    sound_start_s: float = 0.0,
    codec: str = "libx264",
    sound_codec: str = "aac",
    layout: str | None = None,
    size: tuple[int, int] = (128, 64),
    pictures: Sequence[np.ndarray] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int = 30,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip with numbered frames (or `pictures`) at `times_s`, and `sound [C, N]` where given."""
    width, height = size
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.codec_context.time_base, video.codec_context.gop_size = Fraction(1, clock), gop
        video.codec_context.color_range = 2 if pix_fmt == "gray" else 1  # gray is converted at full range
        audio = None
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=rate_hz)
            audio.codec_context.layout = layout or {1: "mono", 2: "stereo"}[len(sound)]
        for i, time_s in enumerate(times_s):
            picture = numbered_frame(i, width, height) if pictures is None else pictures[i]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, dst_color_range=1)
            frame.pts, frame.time_base = round(time_s * clock), Fraction(1, clock)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            write_sound(container, audio, sound, rate_hz, sound_start_s)
    return path


def write_sound(container, stream, sound: np.ndarray, rate_hz: int, start_s: float = 0.0) -> None:
    kind = stream.codec_context.format.name
    for at in range(0, sound.shape[1], 1024):
        block = np.ascontiguousarray(sound[:, at : at + 1024], np.float32)
        if not kind.endswith("p"):
            block = np.ascontiguousarray(block.T.reshape(1, -1))
        if kind.startswith("s16"):
            block = np.rint(block * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(block, format=kind, layout=stream.codec_context.layout.name)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = at + round(start_s * rate_hz)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def noise(channels: int, num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, num_samples)).astype(np.float32)
