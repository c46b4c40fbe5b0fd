"""Predict one saliency map for each frame of a clip by the chosen method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..choices import MULTICUE, NAMED_METHODS, TRAINING_FREE
from ..errors import InputError
from ..memory import in_smaller_pieces
from ..records import PanoramaClip, Progress, SaliencyMaps
from ..timing import MAX_FPS

if TYPE_CHECKING:
    from .human_faces import FaceDetector, HumanFace

# Used when memory runs out; motion needs two frames.
SMALL_CHUNK_FRAMES = 2
ADVICE = "load the clip with a smaller height or a shorter duration, or compute saliency on another device"


def predict_saliency(
    frames: Tensor, method: str | Path = MULTICUE, *, fps: float = 8.0, heard: Tensor | None = None,
    faces: Sequence[Sequence[HumanFace]] | None = None, height: int = 256, device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> SaliencyMaps:  # fmt: skip
    """Predict where people look in each frame of a panorama clip.

    Convention: one map per frame, in [0, 1], maximum 1; a flat map of ones where nothing stands out; columns wrap.

    Args:
        frames: `[T, 3, H, W]` equirectangular, `W = 2 H`, in [0, 1].
        method: "multi-cue" or "training-free" (neither needs weights), or the path of SalViT360's weights.
        fps: frames per second; "multi-cue" measures speed by it.
        heard: `[T, 4]`, from `heard.sound_intensity`; only "multi-cue" reads it.
        faces: of each frame, from `human_faces.find_faces`; only "multi-cue" reads them.
        height: rows of the maps. device: where to compute; the maps come back on the CPU.
        progress: told of each step; may raise to cancel.

    Returns:
        Maps `[T, height, 2 height]` float32.

    Raises:
        InputError: frames of another shape or not finite, cues of another length, or weights that cannot be used.
        TooLittleMemory: in smaller pieces as well.
    """
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames) or frames.shape[-1] != 2 * frames.shape[-2]:
        raise InputError(f"saliency needs [T, 3, H, 2H] panorama frames, not {list(frames.shape)}.")
    if not torch.isfinite(frames).all():
        raise InputError("the frames hold NaN or infinite values; saliency needs finite pixels in [0, 1].")
    frames = frames.to(torch.float32)
    if str(method) == MULTICUE:
        from .multicue import CHUNK_FRAMES, multicue_saliency

        _check_rate(fps)
        _check_cues(len(frames), heard, faces)
        maps = _in_chunks(CHUNK_FRAMES, lambda chunk: multicue_saliency(
            frames.to(device), fps, height, progress, heard=heard, faces=faces, chunk=chunk))  # fmt: skip
        return SaliencyMaps(maps, MULTICUE)
    if str(method) == TRAINING_FREE:
        from .training_free import CHUNK_FRAMES, training_free_saliency

        maps = _in_chunks(
            CHUNK_FRAMES, lambda chunk: training_free_saliency(frames.to(device), height, progress, chunk=chunk)
        )
        return SaliencyMaps(maps, TRAINING_FREE)
    from .salvit360 import WINDOWS_AT_ONCE, load_salvit360, salvit360_saliency

    check_method(method)
    model = load_salvit360(method, device)
    maps = in_smaller_pieces(
        lambda count: salvit360_saliency(model, frames, height, progress, windows_at_once=count).cpu(),
        WINDOWS_AT_ONCE, 1, what="looking for what is salient", advice=ADVICE,
    )  # fmt: skip
    return SaliencyMaps(maps, f"SalViT360 {model.variant} ({Path(method).name})")


def clip_saliency(
    clip: PanoramaClip, method: str | Path = MULTICUE, *, detector: FaceDetector | None = None, height: int = 256,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> SaliencyMaps:  # fmt: skip
    """Predict the saliency of a clip from every cue at hand; see `predict_saliency`.

    Args:
        clip: its sound is a cue if it is Ambisonic. detector: finds faces; None leaves them out.
        method, height, device, progress: as in `predict_saliency`.

    Raises:
        InputError, TooLittleMemory: as in `predict_saliency`.
    """
    heard = faces = None
    if str(method) == MULTICUE:
        from .heard import sound_intensity
        from .human_faces import find_faces

        # Sound and faces are looked for frame by frame.
        _check_rate(clip.fps)
        heard = sound_intensity(clip.sound, clip.fps, clip.num_frames)
        faces = None if detector is None else find_faces(detector, clip.frames, clip.fps)
    return predict_saliency(
        clip.frames, method, fps=clip.fps, heard=heard, faces=faces, height=height, device=device, progress=progress
    )


def check_method(method: str | Path) -> None:
    """Check that a saliency method exists; weights are opened at use.

    Raises:
        InputError: neither a known name nor a file.
    """
    if str(method) not in NAMED_METHODS and not Path(method).is_file():
        raise InputError(
            f"saliency method {str(method)!r} is neither {' nor '.join(map(repr, NAMED_METHODS))} nor a file; "
            f"give one of the names, or the path of SalViT360's weights."
        )


def _in_chunks(usual: int, maps: Callable[[int], Tensor]) -> Tensor:
    return in_smaller_pieces(
        lambda chunk: maps(chunk).cpu(), usual, SMALL_CHUNK_FRAMES, what="looking for what is salient", advice=ADVICE
    )


def _check_rate(fps: float) -> None:
    # Written so that NaN fails it.
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"the frames come at {fps:g} per second; give a rate above 0, up to {MAX_FPS:g}.")


def _check_cues(count: int, heard: Tensor | None, faces: Sequence[Sequence[HumanFace]] | None) -> None:
    if heard is not None and heard.shape != (count, 4):
        raise InputError(f"the sound's intensity is {list(heard.shape)} for {count} frames; wanted [{count}, 4].")
    if faces is not None and len(faces) != count:
        raise InputError(f"faces of {len(faces)} frames were given for {count} frames; give one list per frame.")
