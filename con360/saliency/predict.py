"""One saliency map for each frame of a clip, by whichever method was chosen."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..records import Progress, SaliencyMaps

TRAINING_FREE = "training-free"
# Where memory runs out; motion needs two frames.
SMALL_CHUNK_FRAMES = 2
ADVICE = "load the clip with a smaller height or a shorter duration, or compute saliency on another device"


def predict_saliency(
    frames: Tensor, method: str | Path = TRAINING_FREE, *, height: int = 256, device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> SaliencyMaps:
    """Where people would look, for each frame of a panorama clip.

    Convention: one map per frame, in [0, 1], maximum 1; a flat map of ones where nothing stands out; columns wrap.

    Args:
        frames: `[T, 3, H, W]` equirectangular, `W = 2 H`, in [0, 1].
        method: "training-free" (needs no weights), or the path of SalViT360's weights.
        height: rows of the maps. device: where to compute; the maps come back on the CPU.
        progress: told of each step; may raise to cancel.

    Returns:
        Maps `[T, height, 2 height]` float32.

    Raises:
        InputError: frames of another shape or not finite, or weights that cannot be used.
        TooLittleMemory: in smaller pieces as well.
    """
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames) or frames.shape[-1] != 2 * frames.shape[-2]:
        raise InputError(f"saliency needs [T, 3, H, 2H] panorama frames, not {list(frames.shape)}.")
    if not torch.isfinite(frames).all():
        raise InputError("the frames hold NaN or infinite values; saliency needs finite pixels in [0, 1].")
    frames = frames.to(torch.float32)
    if str(method) == TRAINING_FREE:
        from .training_free import CHUNK_FRAMES, training_free_saliency

        maps = in_smaller_pieces(
            lambda chunk: training_free_saliency(frames.to(device), height, progress, chunk=chunk).cpu(),
            CHUNK_FRAMES, SMALL_CHUNK_FRAMES, what="looking for what is salient", advice=ADVICE,
        )  # fmt: skip
        return SaliencyMaps(maps, TRAINING_FREE)
    if not Path(method).is_file():
        raise InputError(
            f"saliency method {str(method)!r} is neither {TRAINING_FREE!r} nor a file; "
            f"give {TRAINING_FREE!r} or the path of SalViT360's weights."
        )
    from .salvit360 import WINDOWS_AT_ONCE, load_salvit360, saliency_maps

    model = load_salvit360(method, device)
    maps = in_smaller_pieces(
        lambda count: saliency_maps(model, frames, height, progress, windows_at_once=count).cpu(),
        WINDOWS_AT_ONCE, 1, what="looking for what is salient", advice=ADVICE,
    )  # fmt: skip
    return SaliencyMaps(maps, f"SalViT360 {model.variant} ({Path(method).name})")
