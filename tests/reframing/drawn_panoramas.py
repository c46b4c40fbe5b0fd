"""Panoramas drawn by a rule, so that each direction has a colour of its own, and files of them."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from con360.media.info import probe
from con360.media.reader import PanoramaStream
from con360.media.spherical_tags import Packing
from con360.media.writer import clip_stream

RATE = 48000
SIZE = (256, 128)


def colours(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Colour each direction of the world (right, up, backward); no turn of it looks like another."""
    waves = np.stack((np.sin(5 * x + 1) + y, np.cos(4 * y + 3 * x), np.sin(6 * z) - x * y), -1)
    return (waves.clip(-2, 2) * 55 + 125).round().astype(np.uint8)


def panorama(turn: np.ndarray | None = None, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draw a panorama whose direction d shows the world's direction `turn @ d`, in OpenGL's axes."""
    width, height = size
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(height)[:, None] + 0.5) / height) * np.pi
    seen = np.stack(
        (np.sin(longitude) * np.cos(latitude), np.sin(latitude) + 0 * longitude,
         -np.cos(longitude) * np.cos(latitude)),
    )  # fmt: skip
    return colours(*(seen if turn is None else np.einsum("ij,jhw->ihw", turn, seen)))


def about(axis: int, degrees: float) -> np.ndarray:
    """Turn counter-clockwise about OpenGL's x (right), y (up) or z (backward)."""
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    turn = np.eye(3)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn[[a, a, b, b], [a, b, a, b]] = cos, -sin, sin, cos
    return turn


def write(
    path: Path, pictures: list[np.ndarray], sound: torch.Tensor | None = None, packing: Packing | None = "mono"
) -> Path:
    shape = None if sound is None else (len(sound), RATE)
    height, width = pictures[0].shape[:2]
    with clip_stream(path, (width, height), Fraction(1, 10), 10, shape, panorama=packing) as clip:
        for i, picture in enumerate(pictures):
            clip.add_frame(picture, i)
        if sound is not None:
            clip.add_sound(sound.numpy())
    return path


def frames(path: Path) -> list[np.ndarray]:
    return [pixels() for _, pixels in PanoramaStream(probe(path), eye="whole").frames()]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(1e-9, float(np.mean((one.astype(float) - other) ** 2))))
