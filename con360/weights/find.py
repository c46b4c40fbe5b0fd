"""Find models, parts and control files on this machine.

The folders are ComfyUI's model folders. `$CON360_MODELS` is laid out the same way, so it may be ComfyUI's own
`models/`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..choices import BUILT_IN_MODEL
from ..errors import InputError
from ..media.files import existing_file
from .catalog import I3D_FILE, KNOWN_PARTS, KnownPart
from .files import check_is_weights, read_header
from .parts import ModelParts, model_parts
from .places import WEIGHT_SUFFIXES, is_joint_model

# Where to look, without being told: the first that is set and exists, then these.
MODELS_VARIABLE, COMFYUI_VARIABLE = "CON360_MODELS", "COMFYUI_PATH"
DEFAULT_FOLDER = "~/.cache/con360/models"


@dataclass(frozen=True)
class FoundPart:
    """A part on this machine.

    Args:
        path: folder or file.
        num_bytes: what it takes on disk.
        problem: why it cannot be used, else None.
    """

    path: Path
    num_bytes: int
    problem: str | None = None


def model_roots(folder: str | Path | None = None) -> list[Path]:
    """Model folders to look in: the given one alone, else those of the environment and the default places.

    Raises:
        InputError: the given folder does not exist.
    """
    if folder is not None:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise InputError(f"there is no folder {root}; give one laid out like ComfyUI's models folder.")
        return [root]
    roots = [os.environ.get(MODELS_VARIABLE), DEFAULT_FOLDER, *(str(c / "models") for c in comfyui_folders())]
    return list(dict.fromkeys(Path(root).expanduser() for root in roots if root))


def comfyui_folders() -> list[Path]:
    """Installations of ComfyUI that are known of: `$COMFYUI_PATH`, and where comfy-cli installs it."""
    named = os.environ.get(COMFYUI_VARIABLE)
    folders = [Path(p).expanduser() for p in (named, "~/comfy/ComfyUI") if p]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def find(part: KnownPart, roots: Iterable[Path]) -> list[FoundPart]:
    """Find a part in the model folders, checked from headers."""
    if part.key == BUILT_IN_MODEL:
        return [_inspected(model_folder())]
    seen: dict[Path, FoundPart] = {}
    for path in _candidates(part, roots):
        if path.resolve() not in seen:
            seen[path.resolve()] = _inspected(path)
    return list(seen.values())


def _candidates(part: KnownPart, roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        for place in part.places:
            folder = root / place
            if folder.is_dir():
                yield from (path for path in sorted(folder.iterdir()) if part.fits(path))


def _inspected(path: Path) -> FoundPart:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return FoundPart(path, sum(p.stat().st_size for p in files), _problem(files))


def _problem(files: Sequence[Path]) -> str | None:
    """The first weight file that cannot be read, in its own words; TorchScript is looked at from outside only."""
    for path in files:
        if path.suffix not in WEIGHT_SUFFIXES:
            continue
        try:
            check_is_weights(path)
            if path.name != I3D_FILE:
                read_header(path)
        except InputError as error:
            return str(error)
    return None


def chosen_parts(model: str | Path, picked: Sequence[str] = ()) -> ModelParts:
    """Resolve the model and parts that a command line names.

    Picked parts replace those of the model; a picture's and a sound's model together need none. A checkpoint file
    without tokenizer gets CLIP's vocabulary from wherever it lies on this machine.

    Args:
        model: a name, folder or manifest (`catalog.model_folder`).
        picked: `NAME=PATH`, names of `parts.PICKS`.

    Raises:
        InputError: no such model or part, or parts that exclude each other.
    """
    picks: dict[str, str | Path] = {}
    for text in picked:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise InputError(f"the part {text!r} is not of the form NAME=PATH, for example audio=audioldm-m-full.")
        picks[name] = path
    alone = str(model) == BUILT_IN_MODEL and {"video", "audio"} <= picks.keys()
    if alone and "tokenizer" not in picks and Path(picks["video"]).expanduser().is_file():
        tokenizer = clip_tokenizer(model_roots())
        picks.update({} if tokenizer is None else {"tokenizer": tokenizer})
    return model_parts(None if alone else model_folder(model), picks)


def chosen_files(
    model: str | Path, picked: Sequence[str] = (), control: str | Path | None = None
) -> tuple[ModelParts, Path | None]:  # fmt: skip
    """Find a model's parts and its control file; a model with picked parts has no control of its own.

    Args:
        model, picked: as for `chosen_parts`. control: as for `control_file`.

    Raises:
        InputError: no such model, part or control, or parts that exclude each other.
    """
    parts = chosen_parts(model, picked)
    if picked and control is None:
        return parts, None
    return parts, control_file(control, model_folder(model))


def joint_models(roots: Iterable[Path]) -> dict[str, Path]:
    """Joint models in the model folders by name: folders in the published layout, and manifests."""
    found: dict[str, Path] = {}
    for root in roots:
        folder = root / "con360"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if is_joint_model(path):
                found.setdefault(path.name, path)
    return found


def face_detector_file(name: str | Path | None = None) -> Path | None:
    """File of a face detector: the first in the model folders (None), none at all for "none", any other by its path.

    Raises:
        InputError: the named file does not exist.
    """
    if str(name) == "none":
        return None
    if name is not None:
        return existing_file(name)
    part = next(part for part in KNOWN_PARTS if part.key == "faces")
    return next(_candidates(part, model_roots()), None)


def clip_tokenizer(roots: Iterable[Path]) -> Path | None:
    """CLIP's vocabulary on this machine: an SD 1.5 folder's, or the copy that ComfyUI brings."""
    part = next(part for part in KNOWN_PARTS if part.key == "video")
    folders = [path / "tokenizer" for path in _candidates(part, roots) if path.is_dir()]
    folders += [folder / "comfy" / "sd1_tokenizer" for folder in comfyui_folders()]
    return next((folder for folder in folders if (folder / "vocab.json").is_file()), None)


_BUNDLE = Path(__file__).resolve().parent.parent / "bundle"


def model_folder(name_or_folder: str | Path = BUILT_IN_MODEL) -> Path:
    """Folder or manifest of a joint model: the built-in one by its name, any other by its path or name.

    Names are those of the folders in `con360/` of the model folders (`known.model_roots`).

    Raises:
        InputError: neither a known name nor an existing folder or manifest.
    """
    if str(name_or_folder) == BUILT_IN_MODEL:
        return _BUNDLE
    from .find import joint_models, model_roots

    path = Path(name_or_folder).expanduser()
    if path.is_dir() or path.suffix == ".json" and path.is_file():
        return path
    named = joint_models(model_roots())
    if str(name_or_folder) not in named:
        raise InputError(
            f"there is no model {str(name_or_folder)!r}; give {', '.join(repr(n) for n in (BUILT_IN_MODEL, *named))}, "
            f"a folder in the published layout (model_index.json, vae_a ... unet_svg), or a con360-model.json."
        )
    return named[str(name_or_folder)]


def control_file(name_or_file: str | Path | None, model: Path) -> Path | None:
    """Control file of a model: its own by default (None), none at all for "none", any other by its path.

    A model folder's own control file is `control.safetensors` in it; a folder without one runs without control.

    Raises:
        InputError: the named file does not exist.
    """
    if name_or_file is None:
        own = (model if model.is_dir() else model.parent) / "control.safetensors"
        return own if own.is_file() else None
    if str(name_or_file) == "none":
        return None
    path = Path(name_or_file).expanduser()
    if not path.is_file():
        raise InputError(
            f"there is no control file {str(name_or_file)!r}; give a file that train/train.py wrote, or 'none'."
        )
    return path
