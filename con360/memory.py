"""Out of memory: retry once in smaller pieces, else name the setting to change.

Three places use it, which together hold nearly all that a run allocates: saliency, the joint step, decoding.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger("con360")

# torch and OpenCV raise a bare RuntimeError or their own kind for the processor's memory.
_WORDS = (
    "can't allocate memory", "not enough memory", "CUDA out of memory", "MPS backend out of memory",
    "Insufficient memory", "bad_alloc",
)  # fmt: skip


class TooLittleMemory(MemoryError):
    """Memory ran out, in smaller pieces as well. The message is complete for its reader, as `InputError`'s is."""


def is_out_of_memory(error: BaseException) -> bool:
    """True where torch, numpy, OpenCV or Python ran out of memory, on a GPU or on the processor."""
    # By name: this module is imported where torch is not.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    foreign = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return named or foreign and any(words in str(error) for words in _WORDS)


def in_smaller_pieces(work: Callable[[int], T], usual: int, smaller: int, *, what: str, advice: str) -> T:
    """`work(usual)`; where memory runs out, `work(smaller)` once.

    Args:
        work: does the same whatever it is given; begins anew when called again.
        usual, smaller: how much to take at a time. Where they are equal there is no second attempt.
        what: is done, for people ("decoding frames"). advice: which setting to change, an imperative clause.

    Raises:
        TooLittleMemory: the second attempt ran out as well.
    """
    for size in (usual, smaller) if smaller != usual else (usual,):
        try:
            return work(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        # Outside of the handler: the traceback holds on to the tensors of the attempt.
        release()
        if size == usual != smaller:
            log.warning("memory ran out while %s; once more with %d at a time, not %d", what, smaller, usual)
    raise TooLittleMemory(f"memory ran out while {what} ({reason}); {advice}.")


def release() -> None:
    """Give back what nothing refers to any more, on the GPU as well."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
