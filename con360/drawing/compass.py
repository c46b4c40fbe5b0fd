"""Show from where a sound comes: its energy by direction and time, as a picture and over the panorama.

Each band of each moment points where its intensity points; what has no direction spreads over all of them. So two
sources that share no band are two lines.

Shape legend: T frames, H rows of a panorama, F bins.

Source: the intensity vector of first-order Ambisonics, as in Directional Audio Coding (Pulkki 2007).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import erp_area_weights
from ..records import Progress, SaliencyMaps, Sound
from ..sound.ambisonics import ambisonic_azimuth_deg
from ..sound.channels import FIRST_ORDER
from ..sound.levels import resample
from .overlay import draw_overlay

# Directions are looked for in what this rate holds.
RATE_HZ, FRAME = 16000, 512
# Breadth of a point, one sigma.
BLUR_DEG = 6.0
# This far below the loudest direction and moment is dark.
RANGE_DB = 30.0
MAP_HEIGHT = 60


def sound_maps(sound: Sound, fps: float, num_frames: int, height: int = MAP_HEIGHT) -> Tensor:
    """Map a sound's energy by direction around each frame.

    Convention: frame i stands at i / fps seconds. 1 is the loudest direction of the whole sound, 0 is `RANGE_DB` below
    it, linear in decibels.

    Args:
        sound: `ambix`, any order; the first is used. height: rows; twice as many columns.

    Returns:
        `[T, height, 2 height]` in [0, 1].

    Raises:
        InputError: the sound has no directions.
    """
    raise NotImplementedError


def compass_picture(sound: Sound, width: int = 1180, height: int = 120) -> Image.Image:
    """Draw energy by yaw and time: yaw across as on the panorama, time downwards.

    Raises:
        InputError: the sound has no directions.
    """
    raise NotImplementedError


def draw_sound(frames: Tensor, fps: float, sound: Sound, *, progress: Progress | None = None) -> Tensor:
    """Lay the directions of a sound over panorama frames, as heat.

    Args:
        frames: `[T, 3, H, 2H]` in [0, 1]. fps: their rate; the sound begins with the first.

    Returns:
        `[T, 3, H, 2H]` in [0, 1].

    Raises:
        InputError: the sound has no directions.
    """
    maps = sound_maps(sound, fps, len(frames))
    return draw_overlay(frames, SaliencyMaps(maps, "sound"), progress=progress)
