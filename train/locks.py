"""One run per folder: a second one is refused, and a killed one leaves nothing that stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from con360.errors import InputError


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for one run; it is made where it is missing.

    Args:
        what: names another folder, for the sentence ("--out").

    Raises:
        InputError: another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        # The system lets go of it when the process ends, however it ends.
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"another run is writing {folder}; wait for it, or choose another {what}.") from error
    try:
        yield
    finally:
        lock.release()
