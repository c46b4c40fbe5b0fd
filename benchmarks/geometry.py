"""Six 256 px faces out of a panorama: py360convert and pytorch360convert (`pip install -e ".[bench]"`)."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from con360.geometry.cubemap import FACES, erp_to_cubemap
from con360.geometry.erp import erp_directions, sample_erp
from con360.geometry.perspective import view_directions

from .timing import Row, race

FACE_PX = 256
HEIGHTS = (512, 960)


def rows(rounds: int) -> list[Row]:
    return [row for height in HEIGHTS for row in _faces(height, 5 * rounds)]


def _faces(height: int, rounds: int) -> list[Row]:
    import py360convert
    import pytorch360convert

    cv2.setNumThreads(torch.get_num_threads())  # what py360convert samples with
    erp = torch.rand(1, 3, height, 2 * height, generator=torch.Generator().manual_seed(0))
    picture = np.ascontiguousarray(erp[0].permute(1, 2, 0).numpy())
    competitors = {
        "ours": lambda: erp_to_cubemap(erp, FACE_PX, antialias=False),
        "py360convert": lambda: py360convert.e2c(picture, FACE_PX, cube_format="list"),
        "pytorch360convert": lambda: pytorch360convert.e2c(erp[0], FACE_PX, cube_format="stack"),
    }
    seconds = race(competitors, rounds)
    smooth = _smooth(height)
    theirs = {
        "py360convert": torch.from_numpy(
            np.stack(py360convert.e2c(smooth[0].permute(1, 2, 0).numpy().copy(), FACE_PX, cube_format="list"))
        ).permute(0, 3, 1, 2),
        "pytorch360convert": pytorch360convert.e2c(smooth[0], FACE_PX, cube_format="stack"),
    }
    what = f"six {FACE_PX} px faces of {height} x {2 * height}"
    return [
        Row(what, name, seconds["ours"], seconds[name], target, f"differ by {_difference(smooth, theirs[name]):.0e}")
        for name, target in (("py360convert", 1.5), ("pytorch360convert", 5.0))
    ]


def _smooth(height: int) -> torch.Tensor:
    """`[1, 3, H, 2 H]` whose values are directions, so that differences are geometric."""
    return erp_directions(height).permute(2, 0, 1)[None] * 0.5 + 0.5


def _difference(erp: torch.Tensor, theirs: torch.Tensor) -> float:
    """Compare along the peers' rays: both sample faces from edge to edge, ours at pixel centres."""
    wider = 2 * np.rad2deg(np.arctan(FACE_PX / (FACE_PX - 1)))
    rays = [view_directions(face.yaw_deg, face.pitch_deg, float(wider), FACE_PX) for face in FACES]
    ours = torch.cat([sample_erp(erp, r) for r in rays])
    return float((ours - theirs).abs().max())
