"""Out of memory: retry once in smaller pieces, else name the setting to change.

Saliency, the joint step and decoding use it; together they allocate nearly all memory of a run.
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
    """Memory ran out, in smaller pieces as well. The message names the setting to change."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch, numpy, OpenCV or Python ran out of memory, on a GPU or on the processor."""
    # By name: this module is imported where torch is not.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    foreign = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return named or foreign and any(words in str(error) for words in _WORDS)


def in_smaller_pieces(work: Callable[[int], T], usual: int, smaller: int, *, what: str, advice: str) -> T:
    """Return `work(usual)`; where memory runs out, `work(smaller)`, tried once.

    Args:
        work: gives the same result for every size; starts over at each call.
        usual, smaller: sizes to take at a time. Equal sizes mean no second attempt.
        what: names the work to people ("decoding frames"). advice: names the setting to change, an imperative clause.

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
        # Outside the handler, whose traceback keeps the attempt's tensors.
        release()
        if size == usual != smaller:
            log.warning("memory ran out while %s; once more with %d at a time, not %d", what, smaller, usual)
    raise TooLittleMemory(f"memory ran out while {what} ({reason}); {advice}.")


def release() -> None:
    """Free all memory that nothing refers to, on the GPU as well."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
