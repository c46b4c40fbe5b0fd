"""Show from where a sound comes: its energy by direction and time.

`sound_maps` are drawn over the panorama as saliency is (`overlay.draw_overlay`); the compass is a picture of its own.

Each bin of each moment points where its intensity points; what has no direction spreads over all of them. So sources
that share no frequency are apart.

Shape legend: T times, H rows of a map, F bins, M frames of the spectrogram.

Source: the intensity vector of first-order Ambisonics, as in Directional Audio Coding (Pulkki 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import erp_angles, erp_area_weights
from ..geometry.sphere import angles
from ..records import Sound
from ..sound.channels import FIRST_ORDER
from ..sound.levels import resample
from .panorama import Canvas, font, on_map

# Directions are looked for in what this rate holds, in frames of so many samples.
RATE_HZ, FRAME, HOP = 16000, 512, 128
# Frames of the spectrogram that are held at once.
AT_ONCE = 4096
# One sigma of what a point source is drawn as.
BLUR_DEG = 5.0
# This far below the loudest direction and moment is dark.
RANGE_DB = 30.0
MAP_HEIGHT = 60
PAPER, INK, PALE = (255, 255, 255), (28, 28, 34), (110, 110, 120)
WORDS = {-180: "behind", -90: "left", 0: "front", 90: "right", 180: "behind"}


@dataclass(frozen=True)
class SoundMark:
    """A source of sound by name and direction, to be drawn on a panorama."""

    yaw_deg: float
    pitch_deg: float
    text: str


# Energy ---------------------------------------------------------------------------------------------------------------


def sound_maps(sound: Sound, fps: float, num_frames: int, height: int = MAP_HEIGHT) -> Tensor:
    """Map a sound's energy by direction around each frame.

    Convention: frame i stands for the 1 / fps seconds around i / fps. 1 is the loudest direction of the whole sound, 0
    is `RANGE_DB` below it, linear in decibels.

    Args:
        sound: `ambix`, any order; the first is used. height: rows; twice as many columns.

    Returns:
        `[T, height, 2 height]` in [0, 1]; zeros for a silent sound and behind its end.

    Raises:
        InputError: the sound has no directions, or values that are not numbers.
    """
    found = np.stack([_spread(moment) for moment in _moments(_checked(sound), fps, num_frames, height)])
    return torch.from_numpy(_in_range(found)).float()


def _moments(sound: Sound, fps: float, num_frames: int, height: int) -> np.ndarray:
    """Sum the energy of a sound at `RATE_HZ` by direction, not blurred: `[T, H, 2H]`."""
    field = sound.waveform[:FIRST_ORDER]
    total = np.zeros((num_frames, 2 * height * height))
    rest = np.zeros(num_frames)
    for at, spectra in _spectrogram(field):
        w, y, z, x = spectra
        # Right, up, ahead: the dipole Y points to the left.
        intensity = torch.stack([(w.conj() * dipole).real for dipole in (-y, z, x)], dim=-1)
        energy, length = spectra.abs().square().sum(0) / 2, intensity.norm(dim=-1)
        frames = np.round((at + np.arange(w.shape[1])) * (HOP * fps / RATE_HZ)).astype(int)
        inside = frames < num_frames
        pixels = _pixels(intensity, height) + frames * total.shape[1]
        total += np.bincount(
            pixels[:, inside].ravel(), length.numpy()[:, inside].ravel(), minlength=total.size
        ).reshape(total.shape)  # fmt: skip
        diffuse = (energy - length).clamp_min(0).sum(0).numpy()
        rest += np.bincount(frames[inside], diffuse[inside], minlength=num_frames)
    even = erp_area_weights(height, dtype=torch.float64).numpy() / (2 * height)
    return total.reshape(num_frames, height, 2 * height) + rest[:, None, None] * even


def _spectrogram(field: Tensor):
    """Yield (number of the first frame, spectra `[4, F, M]`), piece by piece; frame k is centred on k * HOP."""
    window = torch.hann_window(FRAME)
    padded = torch.nn.functional.pad(field, (FRAME // 2, FRAME // 2))
    count = 1 + field.shape[1] // HOP
    for at in range(0, count, AT_ONCE):
        piece = padded[:, at * HOP : (min(at + AT_ONCE, count) - 1) * HOP + FRAME]
        yield at, torch.fft.rfft(piece.unfold(1, FRAME, HOP) * window, dim=-1).movedim(1, 2)


def _pixels(intensity: Tensor, height: int) -> np.ndarray:
    """Numbers of the map's pixels that directions fall into."""
    # What is silent points ahead; it has no weight.
    yaw, pitch = angles(intensity + intensity.new_tensor([0.0, 0.0, 1e-30]))
    column = ((yaw / 360 + 0.5) * 2 * height).long() % (2 * height)
    row = ((0.5 - pitch / 180) * height).long().clamp(0, height - 1)
    return (row * 2 * height + column).numpy()


def _spread(moment: np.ndarray) -> np.ndarray:
    """Blur energies `[H, 2H]` on the sphere, and give them per solid angle."""
    height = len(moment)
    sigma = BLUR_DEG * height / 180
    across = np.cos(np.deg2rad(erp_angles(height, dtype=torch.float64)[1].numpy()))
    rows = [ndimage.gaussian_filter1d(row / wide, sigma / wide, mode="wrap", truncate=3)
            for row, wide in zip(moment, across, strict=True)]  # fmt: skip
    return ndimage.gaussian_filter1d(np.stack(rows), sigma, axis=0, mode="nearest")


def _in_range(energy: np.ndarray) -> np.ndarray:
    """Bring energies to [0, 1]: decibels below the largest, over `RANGE_DB`."""
    loudest = energy.max()
    if loudest <= 0:
        return np.zeros_like(energy)
    return 1 + np.maximum(10 * np.log10(np.maximum(energy / loudest, 1e-12)), -RANGE_DB) / RANGE_DB


def _checked(sound: Sound) -> Sound:
    """Check that a sound has directions; return it at `RATE_HZ`."""
    if sound.layout != "ambix" or sound.waveform.shape[0] < FIRST_ORDER or not sound.waveform.shape[1]:
        raise InputError(
            f"a compass needs Ambisonics (AmbiX, 4 channels or more); this sound is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels. Place it on the sphere first."
        )
    if not torch.isfinite(sound.waveform).all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    return resample(sound, RATE_HZ)


# Pictures -------------------------------------------------------------------------------------------------------------


def compass_strip(sound: Sound, width: int, height: int) -> np.ndarray:
    """Draw energy by yaw, across as on a panorama, and time, downwards: `[height, width, 3]` uint8, without axes.

    Raises:
        InputError: as in `sound_maps`.
    """
    moments = _moments(_checked(sound), height / sound.duration_s, height, MAP_HEIGHT).sum(1)
    sigma = BLUR_DEG * moments.shape[1] / 360
    around = ndimage.gaussian_filter1d(moments, sigma, axis=1, mode="wrap")
    level = cv2.resize(_in_range(around).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * level.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colours[..., ::-1])


def compass_picture(sound: Sound, width: int = 1180, height: int = 240) -> Image.Image:
    """Draw the compass with its axes: directions in words and degrees across, seconds downwards.

    Args:
        width, height: of the compass itself; the picture has margins around it.

    Raises:
        InputError: as in `sound_maps`.
    """
    image = Image.new("RGB", (width + 2 * 72, height + 52), PAPER)
    draw_compass(image, ImageDraw.Draw(image), sound, (72, 14), (width, height))
    return image


def draw_compass(
    image: Image.Image, draw: Canvas, sound: Sound, at: tuple[int, int], size: tuple[int, int],
    marks: Sequence[SoundMark] = (),
) -> None:  # fmt: skip
    """Draw compass and axes into a picture; each mark's yaw is a thin line.

    Args:
        at: left upper corner. size: width and height in pixels, without the axes.
    """
    (left, top), (width, height) = at, size
    image.paste(Image.fromarray(compass_strip(sound, width, height)), at)
    for yaw, word in WORDS.items():
        x = left + (yaw / 360 + 0.5) * width
        draw.line((x, top + height, x, top + height + 5), PALE, 1)
        draw.text((x, top + height + 8), f"{word} {yaw}°", PALE, font(15), anchor="ma")
    for i in range(3):
        y = top + i / 2 * height
        draw.line((left - 6, y, left, y), PALE, 1)
        draw.text((left - 9, y), f"{sound.duration_s * i / 2:.3g} s", PALE, font(15), anchor="rm")
    for mark in marks:
        x = left + (mark.yaw_deg / 360 + 0.5) * width
        for y in range(top, top + height, 12):
            draw.line((x, y, x, y + 5), PAPER, 1)


def draw_sound_mark(draw: Canvas, mark: SoundMark, size: tuple[int, int]) -> None:
    """Draw a loudspeaker and a source's name above its place on a panorama of `size` pixels."""
    x, y = on_map(mark.yaw_deg, mark.pitch_deg, size)
    half = font(17).getlength(mark.text) / 2 + 22
    middle = min(max(x, half), size[0] - half)
    y -= 78
    draw.rounded_rectangle((middle - half, y - 13, middle + half, y + 13), 6, PAPER)
    left = middle - half + 8
    draw.polygon(
        [(left, y - 4), (left + 5, y - 4), (left + 11, y - 9), (left + 11, y + 9), (left + 5, y + 4), (left, y + 4)],
        INK,
    )
    for reach in (5, 9):
        draw.arc((left + 11 - reach, y - reach, left + 11 + reach, y + reach), -50, 50, INK, 2)
    draw.text((middle + 14, y), mark.text, INK, font(17), anchor="mm")
