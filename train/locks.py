"""Allow one run per folder: refuse a second one; a killed run leaves no stale lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from con360.errors import InputError


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder for one run; create it if missing.

    Args:
        what: option that chooses the folder ("--out"), for the message.

    Raises:
        InputError: another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        # The system releases the lock when the process ends, even if killed.
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"another run is writing {folder}; wait for it, or choose another {what}.") from error
    try:
        yield
    finally:
        lock.release()
