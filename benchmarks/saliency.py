"""SalViT360 over 32 frames: each frame encoded once, beside a sliding window that encodes each of its eight again.

Real parts, random weights. 2 patches instead of 18 divide the work of both ways by 9 and keep their ratio; operations
are counted for all 18.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from con360.saliency.salvit360 import OUTPUT_SIZE, WINDOW, SalViT360, _decoder
from con360.saliency.tangents import INPUT_SIZE, TangentScale

from .timing import Row, largest_difference, race

FRAMES = 32
FEW_PATCHES = TangentScale(80.0, ((0.0, 2),))


def rows(rounds: int) -> list[Row]:
    torch.manual_seed(0)
    frames, model = torch.rand(FRAMES, 3, 120, 240), _with_few_patches()
    results: dict[str, Tensor] = {}
    competitors = {
        "ours": lambda: results.update(ours=_enlarged(model.raw_maps(frames))),
        "sliding": lambda: results.update(sliding=_sliding_window(model, frames)),
    }
    seconds = race(competitors, min(rounds, 2), warm_up=False)
    seen = results["sliding"].isfinite()  # two patches leave some of the sphere without a map
    error = largest_difference(results["ours"][seen], results["sliding"][seen])
    what = f"saliency of {FRAMES} frames, 2 of 18 patches"
    once, again = _encoder_operations()
    print(f"saliency: encoder operations for {FRAMES} maps, 18 patches: {once / 1e12:.2f} against "
          f"{again / 1e12:.2f} TFLOP, ratio {again / once:.2f} (wanted 4)")  # fmt: skip
    return [Row(what, "sliding window", seconds["ours"], seconds["sliding"], 3.0, f"differ by {error:.0e}")]


def _with_few_patches() -> SalViT360:
    model = SalViT360(1).eval().requires_grad_(False)
    model.scales = (FEW_PATCHES,)
    model.decoders[0] = _decoder((512, 128, 32, 8, 2), FEW_PATCHES.num_patches).eval().requires_grad_(False)
    return model


def _full(frames: Tensor) -> Tensor:
    return F.interpolate(frames, size=INPUT_SIZE, mode="bilinear", antialias=True)


def _enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], size=OUTPUT_SIZE, mode="bilinear", align_corners=False)[:, 0]


def _sliding_window(model: SalViT360, frames: Tensor) -> Tensor:
    """The published forward for each window of eight; the start is padded as ours is."""
    full = [_full(frame[None])[0] for frame in frames]
    padded = full[:1] * (WINDOW - 1) + full
    return torch.stack([model(torch.stack(padded[t : t + WINDOW])) for t in range(len(full))])


def _encoder_operations() -> tuple[int, int]:
    """Counted over one real frame of all 18 patches: (encoding each frame once, each window's eight)."""
    with torch.device("meta"):
        model = SalViT360(1).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.encoder(torch.empty(18, 3, 224, 224, device="meta"))
    per_frame = counter.get_total_flops()
    return FRAMES * per_frame, FRAMES * WINDOW * per_frame
