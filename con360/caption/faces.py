"""Caption the six cube faces, at several times of a clip.

Source: paper section 2.1, figure 2 (1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.cubemap import FACE_NAMES, erp_to_cubemap
from ..memory import is_out_of_memory
from ..records import FaceCaption, PanoramaClip, Progress
from .budget import whole_sentences
from .captioner import Captioner
from .prompts import DEFAULT_BATCH, DEFAULT_TIMES, FACE_PROMPT

if TYPE_CHECKING:
    from PIL.Image import Image

DIRECTIONS = dict(zip(FACE_NAMES, ("in front", "on the right", "behind", "on the left", "above", "below"), strict=True))


@dataclass(frozen=True)
class FaceCaptions:
    """Captions of all faces by time and then by direction, and what should be known about them."""

    items: tuple[FaceCaption, ...]
    notices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(str(item) for item in self.items)


def caption_times(num_frames: int, times: int) -> tuple[int, ...]:
    """Indices of the frames that are captioned: the middles of `times` equal parts of the clip."""
    return tuple((2 * i + 1) * num_frames // (2 * times) for i in range(times))


def caption_faces(
    captioner: Captioner,
    clip: PanoramaClip,
    *,
    times: int = DEFAULT_TIMES,
    batch_size: int = DEFAULT_BATCH,
    prompt: str = FACE_PROMPT,
    progress: Progress | None = None,
) -> FaceCaptions:
    """Caption the six faces of a panorama at several times.

    Args:
        clip: the panorama.
        times: how many moments, spread evenly; a clip with fewer frames gives one per frame.
        batch_size: faces at once; more are faster and need more memory. Halved once where memory runs out.
        prompt: what each caption continues; {direction} becomes "in front", "behind", ...
        progress: told before each batch; may raise to cancel.

    Raises:
        InputError: frames that are no finite panorama, numbers out of range, memory that runs out, or not one word.
    """
    check_numbers(times, batch_size)
    _check_frames(clip.frames)
    notices: list[str] = []
    if times > clip.num_frames:
        notices.append(f"{times} times were asked for and the clip has {clip.num_frames} frames: each was captioned")
        times = clip.num_frames
    frames = caption_times(clip.num_frames, times)
    places = [(index / clip.fps, face) for index in frames for face in FACE_NAMES]
    pictures = _pictures(clip.frames[list(frames)], captioner.size_px)
    prompts = [prompt.replace("{direction}", DIRECTIONS[face]) for _, face in places]
    texts = _describe_all(captioner, pictures, prompts, batch_size, progress, notices)
    items = []
    for (time_s, face), (text, ended) in zip(places, texts, strict=True):
        if not ended:
            text = whole_sentences(text)
        items.append(FaceCaption(time_s, face, DIRECTIONS[face], text))
    stopped = sum(not ended for _, ended in texts)
    if stopped:
        notices.append(f"{stopped} of {len(items)} face captions were stopped at {captioner.max_new_tokens} tokens")
    return FaceCaptions(tuple(items), tuple(notices) + _empty_notices(items, captioner.name))


def check_numbers(times: int, batch_size: int) -> None:
    """Refuse numbers out of range.

    Raises:
        InputError: one is not.
    """
    for name, value, low, high in (("caption times", times, 1, 32), ("caption batch size", batch_size, 1, 192)):
        if not low <= value <= high:
            raise InputError(f"{name}: {value} was asked for; choose {low} to {high}.")


def _check_frames(frames: Tensor) -> None:
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames) or frames.shape[-1] != 2 * frames.shape[-2]:
        raise InputError(f"captions need [T, 3, H, 2H] panorama frames, not {list(frames.shape)}.")
    if not torch.isfinite(frames).all():
        raise InputError("the frames hold NaN or infinite values; captions need finite pixels in [0, 1].")


def _pictures(frames: Tensor, size: int) -> list[Image]:
    """All faces of all frames at the captioner's own size, in 8 bits as it was trained on."""
    from PIL import Image

    faces = erp_to_cubemap(frames.float(), size).flatten(0, 1).clamp(0, 1)
    pixels = (faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(face) for face in pixels]


def _describe_all(
    captioner: Captioner, pictures: list[Image], prompts: list[str], batch_size: int, progress: Progress | None,
    notices: list[str],
) -> list[tuple[str, bool]]:  # fmt: skip
    """One text per picture; a batch shares its prompt, so that none is padded."""
    waiting = deque([i for i, other in enumerate(prompts) if other == prompt] for prompt in dict.fromkeys(prompts))
    texts: dict[int, tuple[str, bool]] = {}
    size, halved = batch_size, False
    while waiting:
        _tell(progress, len(texts), len(pictures))
        group = waiting.popleft()
        batch, rest = group[:size], group[size:]
        written = _describe(captioner, [pictures[i] for i in batch], prompts[batch[0]])
        if written is not None:
            texts.update(zip(batch, written, strict=True))
            waiting.extendleft([rest] if rest else [])
            continue
        if halved or len(batch) == 1:
            raise InputError(
                f"memory ran out while {captioner.name} captioned {len(batch)} faces at once; set a smaller batch "
                f"size (--caption-batch, or the node's batch_size), or use a smaller captioner or another device."
            )
        size, halved = len(batch) // 2, True
        notices.append(f"memory ran out at {len(batch)} faces at once: captioned {size} at once")
        waiting.appendleft(group)
    _tell(progress, len(texts), len(pictures))
    return [texts[i] for i in range(len(pictures))]


def _describe(captioner: Captioner, pictures: list[Image], prompt: str) -> list[tuple[str, bool]] | None:
    """The texts, or None where memory ran out; returns before anything else so that what was held is let go."""
    try:
        return captioner.describe(pictures, prompt)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total, "face captions")


def _empty_notices(items: list[FaceCaption], name: str) -> tuple[str, ...]:
    silent = [item for item in items if not item.text]
    if len(silent) == len(items):
        raise InputError(
            f"the captioner {name} wrote nothing for any face; use another face prompt (an empty one is allowed) or "
            f"another captioner."
        )
    if not silent:
        return ()
    where = ", ".join(f"{item.direction} at {item.time_s:.1f} s" for item in silent)
    return (f"the captioner wrote nothing {where}: left out",)
