"""Convert pickled checkpoints to safetensors: the same tensors under the same names, and a report of their content.

Of OmniAudio's checkpoint the model alone is kept."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..media.files import atomic_path
from ..records import Progress
from .files import Header, State, is_finite, read_json, read_tensors, short
from .kinds import OMNIAUDIO, kind_of
from .omniaudio import WHOLE, used_tensors
from .places import PICKLE_SUFFIXES

# transformers calls the same weights by another name in each format.
_RENAMED = {"pytorch_model": "model"}
# Files of a model folder beside weights: plain text or tables.
_COPIED_SUFFIXES = {".json", ".txt", ".md", ".model", ".safetensors", ".yaml", ".yml", ""}
_INDEX = ".index.json"


@dataclass(frozen=True)
class Converted:
    """Report of one converted file.

    Args:
        source, target: names, relative to the folders where folders were given.
        tensors: how many.
        dtypes: dtype in the new file to number of tensors.
        bytes_before, bytes_after: sizes of the two files.
        shared: groups of names that were one tensor; in safetensors each name has its own copy.
        not_finite: names of tensors that hold NaN or infinity, converted as they are.
        kept_wide: names left in float32 because half precision cannot hold their values.
        left_out: names that no model reads: of OmniAudio, what it never uses and its averaged twin.
    """

    source: str
    target: str
    tensors: int
    dtypes: dict[str, int]
    bytes_before: int
    bytes_after: int
    shared: tuple[tuple[str, ...], ...] = ()
    not_finite: tuple[str, ...] = ()
    kept_wide: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class FolderReport:
    """A converted folder.

    Args:
        files: each converted file.
        copied: files copied unchanged.
        left_out: files that are neither weights nor text, or whose safetensors lie beside them.
    """

    files: tuple[Converted, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]


def convert_file(source: Path, target: Path, *, half: bool = False, tensors_only: bool = False) -> Converted:
    """Write the tensors of a pickled checkpoint as safetensors.

    OmniAudio's are written without its trainer's prefix and without what it never uses.

    Args:
        half: store float32 and float64 as float16, except tensors whose values float16 cannot hold.
        tensors_only: as in `read_tensors`.

    Raises:
        InputError: `source` needs more than tensors to be unpickled, is damaged, or holds no weights; `target` is no
            `.safetensors` or cannot be written.
    """
    from safetensors.torch import save_file

    if source.suffix not in PICKLE_SUFFIXES:
        raise InputError(f"{source.name} is no pickled checkpoint; wanted one of {', '.join(PICKLE_SUFFIXES)}.")
    if target.suffix != ".safetensors":
        raise InputError(f"{target.name} does not end in .safetensors, the only format that is written; rename it.")
    state = read_tensors(source, tensors_only=tensors_only)
    if not state:
        raise InputError(f"{short(source)} holds no tensors; there is nothing to convert.")
    state, left_out = _used(state)
    shared = _shared(state)
    not_finite = tuple(name for name, t in state.items() if not is_finite(t))
    stored, kept_wide = _halved(state) if half else (state, ())
    with atomic_path(target) as temporary:
        save_file(_separate(stored, shared), temporary, metadata={"format": "pt"})
    dtypes = Counter(str(t.dtype).removeprefix("torch.") for t in stored.values())
    sizes = source.stat().st_size, target.stat().st_size
    return Converted(
        source.name, target.name, len(stored), dict(sorted(dtypes.items())), *sizes, shared, not_finite, kept_wide,
        left_out,
    )  # fmt: skip


def _used(state: State) -> tuple[State, tuple[str, ...]]:
    """Tensors that a model reads, and the names of the others."""
    if kind_of(Header(state)) != OMNIAUDIO:
        return state, ()
    used = used_tensors(state)
    return used, tuple(name for name in state if name.removeprefix(WHOLE) not in used)


def convert_folder(
    source: Path, target: Path, *, half: bool = False, tensors_only: bool = False, progress: Progress | None = None
) -> FolderReport:
    """Convert a folder of pickled checkpoints at any depth; the new folder appears whole or not at all.

    Text files are copied. A pickle whose safetensors lies beside it is left out, and so is any other file.

    Raises:
        InputError: as `convert_file`, by the file's name; or `target` exists, or holds `source`.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists already; name a folder that does not.")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target} lies inside {source}; name a folder beside it.")
    files = sorted(p for p in source.rglob("*") if p.is_file() and not p.relative_to(source).parts[0].startswith("."))
    pickles = [p for p in files if p.suffix in PICKLE_SUFFIXES and not _twin(p).is_file()]
    if not pickles:
        raise InputError(f"{source} holds no pickled checkpoint ({', '.join(PICKLE_SUFFIXES)}); nothing to convert.")
    copied = [p for p in files if p.suffix in _COPIED_SUFFIXES]
    staging = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        asked = {"half": half, "tensors_only": tensors_only}
        report = _convert_into(staging, source, pickles, copied, asked, progress)
        if target.is_dir():
            target.rmdir()
        os.rename(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    left_out = tuple(str(p.relative_to(source)) for p in files if p not in pickles and p not in copied)
    return FolderReport(report, tuple(str(p.relative_to(source)) for p in copied), left_out)


def _convert_into(
    staging: Path,
    source: Path,
    pickles: list[Path],
    copied: list[Path],
    asked: Mapping[str, bool],
    progress: Progress | None,
) -> tuple[Converted, ...]:
    done: list[Converted] = []
    for path in copied:
        _copy(path, staging / path.relative_to(source))
    for index, path in enumerate(pickles):
        inner = _twin(path).relative_to(source)
        one = convert_file(path, staging / inner, **asked)
        done.append(Converted(**{**asdict(one), "source": str(path.relative_to(source)), "target": str(inner)}))
        if progress is not None:
            progress(index + 1, len(pickles), "converting")
    return tuple(done)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not path.name.endswith(_INDEX) or Path(path.name.removesuffix(_INDEX)).suffix not in PICKLE_SUFFIXES:
        shutil.copyfile(path, to)
        return
    # The index of a pickle's shards names files that have new names now.
    index = read_json(path)
    places: Mapping[str, str] = index.get("weight_map", {})
    index["weight_map"] = {name: _twin(Path(file)).name for name, file in places.items()}
    renamed = _twin(Path(path.name.removesuffix(_INDEX))).name + _INDEX
    to.with_name(renamed).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _twin(path: Path) -> Path:
    """Name the safetensors file of a pickle: `pytorch_model-1-of-2.bin` is `model-1-of-2.safetensors`."""
    stem = path.stem
    for old, new in _RENAMED.items():
        if stem == old or stem.startswith((f"{old}-", f"{old}.")):
            stem = new + stem[len(old) :]
    return path.with_name(stem + ".safetensors")


def _shared(state: State) -> tuple[tuple[str, ...], ...]:
    """Group names whose tensors overlap in memory, which safetensors cannot express."""
    places: dict[int, list[str]] = defaultdict(list)
    for name, t in state.items():
        if t.numel():
            places[t.untyped_storage().data_ptr()].append(name)
    return tuple(tuple(names) for names in places.values() if len(names) > 1)


def _separate(state: State, shared: tuple[tuple[str, ...], ...]) -> State:
    several = {name for names in shared for name in names}
    return {name: t.contiguous().clone() if name in several else t.contiguous() for name, t in state.items()}


def _halved(state: State) -> tuple[State, tuple[str, ...]]:
    """Convert to float16 where that holds the values; list the names where it does not."""
    stored: State = {}
    wide = []
    for name, t in state.items():
        stored[name] = t
        if t.dtype not in (torch.float32, torch.float64):
            continue
        small = t.half()
        if is_finite(t) and not is_finite(small):
            stored[name] = t.float()
            wide.append(name)
        else:
            stored[name] = small
    return stored, tuple(wide)
