"""Make the pictures of a scene that a model reads, and an equi-angular cubemap in place of the panorama.

Shape legend: H W pixels of the panorama, s a face's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from con360.geometry.cubemap import FACE_NAMES, FACES
from con360.geometry.erp import sample_at, sampling_grid
from con360.geometry.sphere import rotation
from con360.scenes import Scene
from con360.sounding.pictures import clip_pixels, front_view, squared

HEIGHT = 112
# The faces' places: what is around the viewer above, what is behind, above and below under it.
LAYOUT = (("left", "front", "right"), ("down", "back", "up"))


def frame_of(scene: Scene, time_s: float, rays: Tensor) -> np.ndarray:
    """A panorama `[H, W, 3]` uint8."""
    return (scene.render(rays, time_s) * 255).round().byte().permute(1, 2, 0).numpy()


def pictures_of(frame: np.ndarray, whole: Callable[[np.ndarray], np.ndarray] = squared) -> tuple[Tensor, Tensor]:
    """Pixels of the panorama and of the front view, as the encoder reads them."""
    return clip_pixels(whole(frame)), clip_pixels(front_view(frame))


def equiangular(frame: np.ndarray) -> np.ndarray:
    """Turn a panorama `[H, W, 3]` uint8 into a square picture of the six faces, each pixel of a face the same angle."""
    height, width = frame.shape[:2]
    erp = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    faces = sample_at(erp, _faces_grid(height // 2, height, width))
    joined = faces.round().clamp(0, 255).byte()[0].permute(1, 2, 0)
    return squared(joined.numpy())


@lru_cache(maxsize=2)
def _faces_grid(side: int, height: int, width: int) -> Tensor:
    """Places in the panorama of the picture's pixels, `[1, 2s, 3s, 2]`."""
    across = torch.tan(((torch.arange(side) + 0.5) / side - 0.5) * (math.pi / 2))
    x, y = torch.meshgrid(across, -across, indexing="xy")
    camera = torch.nn.functional.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    rows = [torch.cat([camera @ _turn(name).T for name in row], dim=1) for row in LAYOUT]
    return sampling_grid(torch.cat(rows), height, width)[None]


def _turn(name: str) -> Tensor:
    face = FACES[FACE_NAMES.index(name)]
    return rotation(face.yaw_deg, face.pitch_deg)
