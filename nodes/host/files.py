"""Name and check the files that nodes read and write in ComfyUI's folders."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath, PureWindowsPath

import folder_paths

from ...con360.errors import InputError
from .tokens import dated

VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg"}

MAX_NAME_BYTES = 240
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def input_videos() -> list[str]:
    """List the video files of ComfyUI's input folder and its subfolders, `folder/name.mp4`; those on top come first."""
    top = Path(folder_paths.get_input_directory())
    found = []
    for root, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(root, name) for name in names)
        found += [path.relative_to(top) for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    return [path.as_posix() for path in sorted(found, key=lambda path: (len(path.parts), path))]


def input_file(name: str) -> Path:
    """Find the file that a widget names: in the input folder, or as `name [output]`, `name [temp]`.

    Raises:
        InputError: the file does not exist, the name leads out of a folder on any system, or a link leads out of the
            folder.
    """
    if not isinstance(name, str):
        raise InputError(f"a file is named by text, not by {shown_name(repr(name))}; choose one.")
    folders = {
        " [input]": folder_paths.get_input_directory,
        " [output]": folder_paths.get_output_directory,
        " [temp]": folder_paths.get_temp_directory,
    }
    suffix = next((s for s in folders if name.endswith(s)), "")
    bare = name[: len(name) - len(suffix)]
    folder = Path(os.path.realpath(folders[suffix or " [input]"]()))
    _check_name(bare)
    path = Path(os.path.realpath(folder / bare))
    if not path.is_relative_to(folder):
        raise InputError(f"'{name}' lies outside ComfyUI's {folder.name} folder; copy the file into that folder.")
    if not path.is_file():
        raise InputError(f"there is no file '{bare}' in ComfyUI's {folder.name} folder; upload it or choose another.")
    return path


def _check_name(name: str) -> None:
    """Refuse a name from a workflow that leads out of a folder, whichever system the workflow was made for.

    Raises:
        InputError: it is absolute, names a drive, climbs with `..`, or is no name at all.
    """
    windows = PureWindowsPath(name)
    climbs = ".." in windows.parts or ".." in PurePosixPath(name).parts or name.startswith("~")
    if climbs or windows.drive or windows.root or PurePosixPath(name).is_absolute():
        raise InputError(f"'{shown_name(name)}' lies outside ComfyUI's folders; give a name inside of them.")
    sizes = [len(part.encode("utf-8", "replace")) for part in windows.parts]
    # Lone surrogates cannot be part of a name.
    unspeakable = _CONTROL.search(name) or any("\ud800" <= c <= "\udfff" for c in name)
    if max(sizes, default=0) > MAX_NAME_BYTES or len(name) > 1000 or unspeakable:
        raise InputError(f"'{shown_name(name)}' is no file name; give one of up to {MAX_NAME_BYTES} bytes.")


def shown_name(name: str) -> str:
    """Shorten a name for an error, without characters that cannot be printed."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) < 100 else plain[:99] + "…"


def temp_file(prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """Make a new path in ComfyUI's temp folder, and its address for `/view`."""
    name = f"{prefix}_{uuid.uuid4().hex}{suffix}"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name, {"filename": name, "subfolder": "", "type": "temp"}


def address_of(path: Path) -> dict[str, str] | None:
    """Address for `/view` of a file in ComfyUI's input, output or temp folder; None where it lies elsewhere."""
    real = Path(os.path.realpath(path))
    for kind in ("input", "output", "temp"):
        folder = Path(os.path.realpath(getattr(folder_paths, f"get_{kind}_directory")()))
        if real.is_relative_to(folder):
            inner = real.parent.relative_to(folder).as_posix()
            return {"filename": real.name, "subfolder": "" if inner == "." else inner, "type": kind}
    return None


def check_prefix(prefix: str) -> Path:
    """Check the beginning of a name in ComfyUI's output folder, its `%date:...%` filled in; return that folder.

    Raises:
        InputError: it points outside of the folder, or is no name.
    """
    prefix = dated(prefix, datetime.now())
    _check_name(prefix)
    root = Path(os.path.realpath(folder_paths.get_output_directory()))
    if not Path(os.path.realpath(root / os.path.dirname(os.path.normpath(prefix)))).is_relative_to(root):
        raise InputError(f"the file name '{prefix}' points outside ComfyUI's output folder; choose another.")
    return root


def output_file(prefix: str, suffix: str, width: int, height: int) -> tuple[Path, dict[str, str]]:
    """Make the next numbered path in ComfyUI's output folder, and its address for `/view`.

    The prefix may hold `%date:...%` (`tokens.dated`) and what the core fills in, such as `%width%`.

    Raises:
        InputError: the prefix points outside that folder, or is no name.
    """
    prefix = dated(prefix, datetime.now())
    root = check_prefix(prefix)
    folder, name, count, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root), width, height)
    path = Path(folder) / f"{name}_{count:05}_{suffix}"
    return path, {"filename": path.name, "subfolder": subfolder, "type": "output"}


def identity(paths: Iterable[Path]) -> str:
    """Join names, sizes and modification times: the text changes when a file does, and no file is read."""
    parts = []
    for path in sorted(paths):
        status = path.stat()
        parts.append(f"{path}:{status.st_size}:{status.st_mtime_ns}")
    return "|".join(parts)
