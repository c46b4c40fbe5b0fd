"""`python -m benchmarks.projection PANORAMA ...`: measure how well a view survives its way onto a panorama.

There and back: a view of each still panorama is cut by Viewpoint Crop's own code (`erp_to_perspective`), laid onto a
black panorama that has so many pixels for each of the view's, and cropped again. Back in its place: the view, as fine
as the panorama, is laid onto the panorama that it was cut from.

Printed in levels of 255, over the looks of `LOOKS`, without the three outermost pixels: the mean difference, the share
of values within a level, and the largest. For comparison: the same for the mean colour in place of the picture.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from con360.geometry.degrees import DEG
from con360.geometry.perspective import erp_to_perspective
from con360.media.info import probe
from con360.media.painting import picture_pixels
from con360.records import View, ViewTrack
from con360.reframing.project_frames import project_frames

SIDE, EDGE = 256, 3
FINENESS = (0.5, 1.0, 1.5, 1.9, 3.0)
LOOKS = [View(0), View(180, 20, 60, 30), View(90, -80, 90), View(-60, 0, 120)]


def panorama_of(path: str) -> Tensor:
    pixels = torch.from_numpy(picture_pixels(probe(Path(path))).copy())
    return pixels.movedim(-1, 0)[None].float() / 255


def there_and_back(panorama: Tensor, fineness: float) -> Iterator[Tensor]:
    """Differences `[3, h, w]` of a view to what is cropped again, of 8 bits both."""
    for look in LOOKS:
        view = _bytes(erp_to_perspective(panorama, look, SIDE))
        rows = 2 * round(fineness * math.pi * SIDE / (2 * math.tan(look.fov_deg * DEG / 2)) / 2)
        laid, _ = project_frames(view, ViewTrack((look,)), height=rows, feather_deg=0)
        back = _bytes(erp_to_perspective(laid, look, SIDE))
        yield (back - view)[0, :, EDGE:-EDGE, EDGE:-EDGE]


def in_its_place(panorama: Tensor) -> Iterator[Tensor]:
    """Differences `[3, n]` of a panorama to one with its own view laid on it, where that lies."""
    for look in LOOKS:
        side = round(panorama.shape[-1] / (2 * math.pi) * 2 * math.tan(look.fov_deg * DEG / 2))
        view = _bytes(erp_to_perspective(panorama, look, side))
        laid, mask = project_frames(view, ViewTrack((look,)), panorama, feather_deg=2)
        yield (_bytes(laid) - panorama)[0][:, mask[0] == 0]


def by_mean(panorama: Tensor) -> Iterator[Tensor]:
    for look in LOOKS:
        view = erp_to_perspective(panorama, look, SIDE)[0]
        yield view - view.mean((1, 2), True)


def _bytes(frames: Tensor) -> Tensor:
    return frames.clamp(0, 1).mul(255).round() / 255


def row(name: str, differences: Iterator[Tensor]) -> str:
    levels = 255 * torch.cat([difference.flatten() for difference in differences]).abs()
    return f"| {name} | {levels.mean():.2f} | {100 * (levels < 1.5).float().mean():.1f} % | {levels.max():.0f} |"


def main() -> None:
    if not sys.argv[1:]:
        raise SystemExit("name one or more still panoramas of 2:1.")
    for path in sys.argv[1:]:
        panorama = panorama_of(path)
        print(f"\n{Path(path).name}\n\n| way | mean | within a level | largest |\n|---|---|---|---|")
        for fineness in FINENESS:
            print(row(f"there and back, {fineness:g} pixels to one", there_and_back(panorama, fineness)))
        print(row("back in its place", in_its_place(panorama)))
        print(row("its mean colour instead", by_mean(panorama)), flush=True)


if __name__ == "__main__":
    main()
