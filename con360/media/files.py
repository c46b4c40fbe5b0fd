"""Check paths: a file that is read must exist, a file that is written appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
# safetensors and torch raise errors of their own; torch only notices that its position in the file is wrong.
_FULL_WORDS = re.compile(r"os error (28|27|122)\b|No space left|File too large|unexpected pos|StreamWriter failed")


def existing_file(path: str | os.PathLike) -> Path:
    """Check that a path is a readable file that is not empty; return it as an absolute path.

    Absolute, so that a name can never be taken for an option ("-x.mp4") or for an address ("http:...").

    Raises:
        InputError: there is no such file, it is a folder, is empty or may not be read.
    """
    try:
        found = Path(path).expanduser().absolute()
        if found.is_dir():
            raise InputError(f"{path} is a folder; a file is wanted. Name one file in it.")
        if not found.is_file():
            raise InputError(f"there is no file {path}. Check the path (now in {Path.cwd()}).")
        if found.stat().st_size == 0:
            raise InputError(f"{found.name} is empty (0 bytes). Copy or download it again.")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be looked up: {error}.") from error
    except ValueError as error:  # a NUL in the name; InputError is one itself
        raise error if isinstance(error, InputError) else InputError(f"{path!r} is no valid file name.") from error
    if not os.access(found, os.R_OK):
        raise InputError(f"{found.name} may not be read. Change its permissions.")
    return found


def existing_text(path: str | os.PathLike) -> str:
    """Read a text file.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    found = existing_file(path)
    try:
        return found.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{found.name} is no text file; JSON is wanted.") from None


def check_writable(path: str | os.PathLike) -> Path:
    """Check that a file can be written at `path`, before minutes are spent on its content. Creates nothing.

    Returns:
        The absolute path.

    Raises:
        InputError: it is a folder, or the place cannot be written to.
    """
    final = Path(path).expanduser().absolute()
    if final.is_dir():
        raise InputError(f"{path} is a folder; a file name is wanted for the result.")
    folder = next(parent for parent in final.parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, so {final.name} cannot be written into it; choose another folder.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder {folder} may not be written to; choose another place for {final.name}.")
    return final


def check_not_read(out: str | os.PathLike[str], read: Iterable[Path]) -> None:
    """Check that the result replaces none of the files that it is made of.

    Raises:
        InputError: it would.
    """
    written = Path(out).expanduser().resolve()
    for path in read:
        if path.resolve() == written:
            raise InputError(f"{path.name} is both read and written; choose another name for the result.")


def put_folder(staging: Path, final: Path) -> None:
    """Rename the complete folder `staging` to `final`; an existing folder of that name is moved aside first.

    Both lie in the same folder. An interruption leaves nothing half-written or half-removed under the name.
    """
    if final.exists():
        with _aside(final):
            os.replace(staging, final)
    else:
        os.replace(staging, final)


def remove_folder(folder: Path) -> None:
    """Remove a folder and its content. It is renamed first, so that no half of it keeps the name."""
    with _aside(folder):
        pass


@contextmanager
def _aside(folder: Path) -> Iterator[None]:
    old = folder.with_name(f".{secrets.token_hex(6)}.old")
    os.replace(folder, old)
    try:
        yield
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on any error or cancel.

    Makes missing folders. Keeps the suffix, by which writers choose their format. Does not create the file, so the
    writer's own file mode applies.

    Raises:
        InputError: the place cannot be written to. OSError: the disk is full.
    """
    final = Path(path).expanduser().absolute()
    if final.is_dir():
        raise InputError(f"{path} is a folder; a file name is wanted for the result.")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {final.parent} cannot be made: {error}.") from error
    if not os.access(final.parent, os.W_OK):
        raise InputError(f"the folder {final.parent} may not be written to. Choose another place for {final.name}.")
    # Short, so that a name near the file system's limit still has room.
    temporary = final.with_name(f".{secrets.token_hex(6)}.part{final.suffix}")
    try:
        with full_disk_told(final):
            yield temporary
            os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Turn every library's error for a full disk into one `OSError` with one sentence.

    Raises:
        OSError: `path` could not be written; other errors pass as they are.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) not in _FULL and not _FULL_WORDS.search(str(error)):
            raise
        raise OSError(
            f"{path.name} cannot be written to {path.parent}: the disk is full, or takes no file of that size. Free "
            f"some space or choose another place; what was there before is unchanged"
        ) from error
