"""Human faces in a panorama, by a detector that the user has.

Source: CenterFace (arXiv 1911.03599) as ONNX: a heat map of face centres, log sizes and offsets, on every fourth pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import erp_directions
from ..geometry.sphere import angle_between_deg, directions
from ..media.files import existing_file

# The searched strip is 120 degrees high and overlaps at the seam, so that a face cut by the seam is whole once.
STRIP_PX, STRIP_DEG, OVERLAP_PX = (1536, 512), 60.0, 64
PX_PER_DEG = STRIP_PX[0] / 360.0
STRIDE = 4
MIN_SCORE = 0.5
# Two boxes whose centres are closer than this share of their size are one face.
SAME_FACE = 0.6


@dataclass(frozen=True)
class HumanFace:
    """A face on the sphere.

    Args:
        yaw_deg, pitch_deg: its centre. half_size_deg: half of its box's longer side. score: in (0, 1].
    """

    yaw_deg: float
    pitch_deg: float
    half_size_deg: float
    score: float


class FaceDetector:
    """CenterFace, read from an ONNX file.

    Raises:
        InputError: no such file, no ONNX that OpenCV reads, or a network of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        import cv2

        file = existing_file(path)
        try:
            self._network = cv2.dnn.readNetFromONNX(str(file))
            self._outputs = self._network.getUnconnectedOutLayersNames()
            kinds = [output.shape[1:2] for output in self._run(np.zeros((64, 64, 3), np.uint8))]
        except (cv2.error, IndexError, AttributeError) as error:
            reason = str(error).strip().splitlines()[-1][:120] if str(error).strip() else type(error).__name__
            raise InputError(
                f"{file.name} is no face detector that can be used ({reason}); give CenterFace as ONNX."
            ) from error
        if kinds != [(1,), (2,), (2,), (10,)]:
            raise InputError(f"{file.name} is an ONNX network, but not CenterFace; give centerface.onnx.")

    def _run(self, picture: np.ndarray) -> list[np.ndarray]:
        import cv2

        self._network.setInput(cv2.dnn.blobFromImage(picture))
        return list(self._network.forward(self._outputs))

    def find(self, frame: np.ndarray) -> tuple[HumanFace, ...]:
        """Find faces within 60 degrees of the horizon, highest score first.

        Args:
            frame: a panorama `[H, 2 H, 3]` uint8 RGB, any size; it is searched at 4.3 pixels per degree.
        """
        import cv2

        rows = round(len(frame) * (0.5 - STRIP_DEG / 180.0)), round(len(frame) * (0.5 + STRIP_DEG / 180.0))
        strip = cv2.resize(np.ascontiguousarray(frame[rows[0] : rows[1]]), STRIP_PX, interpolation=cv2.INTER_AREA)
        heat, size, offset, _ = self._run(np.concatenate((strip, strip[:, :OVERLAP_PX]), axis=1))
        found: list[HumanFace] = []
        y, x = np.nonzero(heat[0, 0] >= MIN_SCORE)
        for row, column in sorted(zip(y, x, strict=True), key=lambda at: -heat[0, 0, at[0], at[1]]):
            face = _face(row, column, heat[0, 0], size[0], offset[0])
            if not any(_is_same(face, other) for other in found):
                found.append(face)
        return tuple(found)


def _face(row: int, column: int, heat: np.ndarray, size: np.ndarray, offset: np.ndarray) -> HumanFace:
    """Read the face at one place of the network's grid."""
    tall, wide = (math.exp(min(6.0, float(size[axis, row, column]))) * STRIDE / PX_PER_DEG for axis in (0, 1))
    down = (row + float(offset[0, row, column]) + 0.5) * STRIDE / PX_PER_DEG
    across = (column + float(offset[1, row, column]) + 0.5) * STRIDE / PX_PER_DEG
    pitch = float(np.clip(STRIP_DEG - down, -90.0, 90.0))
    half = max(tall, wide * math.cos(math.radians(pitch))) / 2
    return HumanFace(across % 360.0 - 180.0, pitch, half, float(heat[row, column]))


def _is_same(face: HumanFace, other: HumanFace) -> bool:
    apart = angle_between_deg(directions(face.yaw_deg, face.pitch_deg), directions(other.yaw_deg, other.pitch_deg))
    return float(apart) < 2 * SAME_FACE * max(face.half_size_deg, other.half_size_deg)


def find_faces(
    detector: FaceDetector, frames: Tensor, fps: float, every_s: float = 1.0
) -> tuple[tuple[HumanFace, ...], ...]:
    """Find faces of each frame of a clip; search every `every_s` and keep the result until the next search.

    Args:
        frames: `[T, 3, H, W]` in [0, 1]. fps: their rate. every_s: seconds between searches.
    """
    found: list[tuple[HumanFace, ...]] = []
    step = max(1, round(every_s * fps))
    for index in range(len(frames)):
        if index % step:
            found.append(found[-1])
            continue
        pixels = (rearrange(frames[index], "c h w -> h w c").clamp(0, 1) * 255).round().to(torch.uint8)
        found.append(detector.find(pixels.cpu().numpy()))
    return tuple(found)


def draw_faces(faces: tuple[HumanFace, ...], height: int, strength: float) -> Tensor:
    """Draw each face as a Gaussian, moved down towards its body: `[height, 2 height]`.

    Args:
        strength: peak of a sure face whose half size is 4 degrees or more; smaller and less sure ones get less.
    """
    total = torch.zeros(height, 2 * height)
    for face in faces:
        down = min(12.0, 2.5 * face.half_size_deg)
        centre = directions(face.yaw_deg, max(-90.0, face.pitch_deg - down))
        angle = angle_between_deg(erp_directions(height), centre)
        peak = strength * face.score * min(1.0, face.half_size_deg / 4.0)
        total += peak * torch.exp(-0.5 * (angle / max(8.0, 2.0 * face.half_size_deg)) ** 2)
    return total
