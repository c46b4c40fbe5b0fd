"""Make the two pictures that OmniAudio reads of a panorama frame: the front view and the whole frame as a square.

Shape legend: H W pixels of the panorama.

Its quirks are kept, for the weights were trained on them: the view's grid has both ends and no half-pixel shift, and a
panorama of an odd surplus stays one pixel short of square. JPEG files between the steps are left out.

Source: OmniAudio (arXiv 2504.14906); preprocessing of CLIP.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..geometry.degrees import DEG
from ..geometry.sphere import rotation

SIDE_PX = 224
VIEW_FOV_DEG = 120.0
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def front_view(frame: np.ndarray, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> np.ndarray:
    """Cut the view of 120 degrees out of a panorama `[H, W, 3]` uint8: `[224, 224, 3]`.

    The published model looks to yaw 0, pitch 0 only.
    """
    import cv2

    height, width = frame.shape[:2]
    columns, rows = _view_map(height, width, float(yaw_deg), float(pitch_deg))
    return cv2.remap(frame, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def view_coordinates(height: int, width: int, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source columns and rows of the view's pixels, `[224, 224]` float32 each.

    Args:
        turn: `[3, 3]`, from the camera's x right, y down, z ahead to the panorama's.
    """
    across = np.linspace(-1, 1, SIDE_PX)
    u, v = np.meshgrid(across, across)
    rays = np.stack((u, v, np.full_like(u, 1 / np.tan(VIEW_FOV_DEG * DEG / 2))), axis=-1)
    x, y, z = np.moveaxis(rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ turn.T, -1, 0)
    columns = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * width
    rows = (np.arcsin(y.clip(-1, 1)) / np.pi + 0.5) * height
    return columns.astype(np.float32), rows.astype(np.float32)


@lru_cache(maxsize=4)
def _view_map(height: int, width: int, yaw_deg: float, pitch_deg: float) -> tuple[np.ndarray, np.ndarray]:
    down = np.diag([1.0, -1.0, 1.0])
    return view_coordinates(height, width, down @ rotation(yaw_deg, pitch_deg).double().numpy() @ down)


def squared(frame: np.ndarray) -> np.ndarray:
    """Put black bars of equal size on the shorter sides of a picture `[H, W, 3]`."""
    height, width = frame.shape[:2]
    bar = abs(width - height) // 2
    bars = ((bar, bar), (0, 0)) if width > height else ((0, 0), (bar, bar))
    return np.pad(frame, (*bars, (0, 0)))


def clip_pixels(picture: np.ndarray) -> Tensor:
    """Resize a picture `[H, W, 3]` uint8 as CLIP does, with Pillow's bicubic filter: `[3, 224, 224]`, normalised."""
    return clip_values(torch.from_numpy(clip_picture(picture)))


def clip_values(picture: Tensor) -> Tensor:
    """Normalise pixels `[224, 224, 3]` uint8 as CLIP does: `[3, 224, 224]`."""
    values = picture.permute(2, 0, 1) / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def clip_picture(picture: np.ndarray) -> np.ndarray:
    """The same before it is normalised: `[224, 224, 3]` uint8, the shorter side resized and the middle kept."""
    from PIL import Image

    height, width = picture.shape[:2]
    short = min(height, width)
    size = (width * SIDE_PX // short, height * SIDE_PX // short)
    resized = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - SIDE_PX) // 2, (resized.shape[1] - SIDE_PX) // 2
    return resized[top : top + SIDE_PX, left : left + SIDE_PX]
