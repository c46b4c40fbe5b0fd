"""Read weight files: headers alone, or tensors, checked.

Reads safetensors and, with `weights_only=True`, PyTorch's pickles: it unpickles tensors and plain containers alone.
Headers are read without tensors, so that a wrong file is named before anything long starts.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors", "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors",
    "diffusion_pytorch_model.bin", "pytorch_model.bin",
)  # fmt: skip
# Keys under which trainers nest the state dict.
_INNER_DICTS = ("state_dict", "model", "model_state_dict")
# A safetensors header is JSON. The safetensors library refuses longer ones too.
_MAX_HEADER_BYTES = 100_000_000
_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

State = dict[str, Tensor]


@dataclass(frozen=True)
class Header:
    """Header of a weight file.

    Args:
        tensors: name to an empty tensor of its shape and dtype (on the meta device).
        metadata: safetensors metadata; empty for pickles.
    """

    tensors: State
    metadata: dict[str, str] = field(default_factory=dict)


def weight_files(folder: Path) -> list[Path]:
    """Find the file or shards that hold the weights of a network's folder.

    Raises:
        InputError: there are none, or a shard is missing.
    """
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = [folder / file for file in shard_names(index)]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise InputError(f"{short(index)} names {', '.join(missing)}, missing; get them as well.")
            return files
    raise InputError(f"{folder.name}/ of the model folder holds no weights; wanted one of {', '.join(WEIGHT_NAMES)}.")


def shard_names(index: Path) -> list[str]:
    """List the weight files that an index names, sorted.

    Raises:
        InputError: it names none, or one that does not lie beside it.
    """
    names = read_json(index).get("weight_map")
    found = set(names.values()) if isinstance(names, dict) and all(isinstance(n, str) for n in names.values()) else ()
    outside = [name for name in found if PureWindowsPath(name).name != name or name in (".", "..")]
    if outside or not found:
        raise InputError(
            f"{short(index)} names {outside[0] if outside else 'no weight file'!r}; wanted names of files beside it."
        )
    return sorted(found)


def read_header(path: Path) -> Header:
    """Read names, shapes and dtypes of a weight file, without its tensors.

    Raises:
        InputError: no weight file, a pointer to one, a cut or damaged one, or one that would run code.
    """
    check_is_weights(path)
    if path.suffix == ".safetensors":
        return _safetensors_header(path)
    return Header(_unpickled(path, "meta"))


def read_tensors(
    path: Path, keep: Callable[[str], bool] | None = None, *, tensors_only: bool = False
) -> State:  # fmt: skip
    """Read the tensors of a weight file.

    Args:
        keep: tells which names to read; None reads all. Nothing else of a safetensors file is read.
        tensors_only: of a pickle that also names objects, read the state dict and drop them. None of their code is
            imported or run: an empty dict stands for each. Programs of the system are refused all the same.

    Raises:
        InputError: as `read_header`.
    """
    header = read_header(path) if path.suffix == ".safetensors" else None
    try:
        if header is not None:
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in header.tensors if keep is None or keep(name)}
    # A damaged file fails in safetensors with whatever its bytes happen to provoke.
    except Exception as error:
        raise _damaged(path, error) from error
    check_is_weights(path)
    return {name: t for name, t in _unpickled(path, "cpu", tensors_only).items() if keep is None or keep(name)}


def check_is_weights(path: Path) -> None:
    """Refuse a file that is missing, or a stand-in for one that was never fetched.

    Raises:
        InputError: missing, empty, a Git LFS pointer, or a web page saved under the file's name.
    """
    if not path.is_file():
        raise InputError(f"there is no weight file {path}; check the path.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise InputError(f"{short(path)} is empty (0 bytes); get it again.")
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", head)
        wanted = f" of {int(size[1]) / 1e6:,.1f} MB" if size else ""
        raise InputError(f"{short(path)} is a Git LFS pointer, not the file{wanted} itself; fetch it (git lfs pull).")
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise InputError(f"{short(path)} is a saved web page, not weights; download the file itself.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        InputError: it cannot be read, or is no object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{short(path)} cannot be read ({error}); the model folder is incomplete or damaged."
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{short(path)} holds a {type(values).__name__}, wanted a JSON object; get the folder again.")
    return values


def short(path: Path) -> str:
    """Name a file with its folder, for messages."""
    return f"{path.parent.name}/{path.name}"


def is_finite(t: Tensor) -> bool:
    """Tell whether no value is NaN or infinite; unknown values (meta tensors) count as finite."""
    if t.is_meta:
        return True
    # Float8 has no `isfinite`.
    return bool(torch.isfinite(t.half() if t.is_floating_point() and t.element_size() == 1 else t).all())


def problems_of(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[str]:
    """List the reasons why `state` does not fill a network whose own state is `wanted`, one clause per weight."""
    yield from (f"{name} is missing" for name in wanted if name not in state)
    yield from (f"{name} is unknown" for name in state if name not in wanted)
    for name, t in state.items():
        if name in wanted and t.shape != wanted[name].shape:
            yield f"{name} has shape {tuple(t.shape)}, wanted {tuple(wanted[name].shape)}"
        elif not is_finite(t):
            yield f"{name} holds NaN or infinity"


# ---- safetensors


def _safetensors_header(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, max(size - 8, 2)):
            raise InputError(f"{short(path)} cannot be read (no safetensors header): cut or damaged; get it again.")
        text = file.read(length)
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata is no text")
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        tensors = {
            name: torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]], device="meta")
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from error
    if size != end:
        raise InputError(f"{short(path)} has {size:,} bytes of {end:,}: it is {_cut(size, end)}; get it again.")
    return Header(tensors, metadata)


def _cut(size: int, end: int) -> str:
    return "cut off" if size < end else "damaged"


# ---- pickles


def _unpickled(path: Path, device: str, tensors_only: bool = False) -> State:
    try:
        with torch.serialization.safe_globals(_stood_in(path) if tensors_only else []):
            loaded = _torch_load(path, device)
    # A damaged file fails in torch with whatever its bytes happen to provoke.
    except Exception as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise InputError(
                f"{short(path)} wants to run {wanted[1]} while it is read, which is refused: only tensors are "
                f"unpickled. Get the weights as safetensors, or convert the file once: con360 convert {path.name} "
                f"{path.stem}.safetensors --tensors-only"
            ) from error
        raise _damaged(path, error) from error
    return _state_dict(path, loaded)


class _Dropped:
    """Stand for any object that a pickle names: whatever it is given, it is an empty dict."""

    def __new__(cls, *args: Any, **named: Any) -> Any:
        return OrderedDict()


def _stood_in(path: Path) -> list[Any]:
    """Name everything besides tensors and plain containers that a pickle names, with its stand-in."""
    return [(_Dropped, name) for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)]


def _torch_load(path: Path, device: str) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    # Only the present format can be mapped into memory; PyTorch before 1.6 wrote another.
    return torch.load(path, map_location=device, weights_only=True, mmap=zipped)


def _state_dict(path: Path, loaded: Any) -> State:
    for key in _INNER_DICTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise InputError(f"{short(path)} is not a plain set of weights; wanted a state dict.")
    return {str(name): t for name, t in loaded.items()}


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0][:160] or type(error).__name__
    return InputError(f"{short(path)} cannot be read ({reason}); it is cut or damaged, get it again.")
