"""Load the encoder that a user names: the model's own, one of the model folders, a file or a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch

from ..errors import InputError
from ..models.system import AVSystem
from ..protocols import MeaningEncoder
from ..weights.catalog import KNOWN_PARTS, advice
from ..weights.files import read_header, short
from ..weights.find import find, model_roots
from ..weights.kinds import IMAGEBIND, MEANING, kind_of
from ..weights.places import config_of
from .built_in import BUILT_IN_MEANING, load_built_in
from .imagebind import load_imagebind_meaning
from .pe_av import MODEL_TYPE, load_pe_av
from .two_spaces import load_two_spaces

# Folders of CLAP and CLIP are joined by this, the names of both as well.
BOTH = "+"
# Names for the model folders' encoders, beside the model's own.
NAMES = ("pe-av", "imagebind", f"clap{BOTH}clip")

Device: TypeAlias = torch.device | str
_OF_FOLDERS: dict[str, Callable[[Path, Device], MeaningEncoder]] = {MODEL_TYPE: load_pe_av}
_OF_FILES: dict[str, Callable[[Path, Device], MeaningEncoder]] = {IMAGEBIND: load_imagebind_meaning}


def load_meaning(named: str | Path | None, model: AVSystem | None = None, device: Device = "cpu") -> MeaningEncoder:
    """Load an encoder of captions, pictures and sounds.

    Args:
        named: `built-in` or None, the one that comes with `model`; `pe-av`, `imagebind` or `clap+clip` of the model
            folders; a file of ImageBind or of `train.meaning.run`; a folder of PE-AV; folders of CLAP and CLIP, joined
            by `+`.
        model: whose latents the built-in one reads. device: of the others.

    Raises:
        InputError: there is no such encoder, it cannot be used, or the built-in one is asked for without a model.
    """
    places = places_of(named)
    if not places:
        return load_built_in(_wanted(model))
    if len(places) == 2:
        return load_two_spaces(places[0], places[1], device)
    return _of_folder(places[0], device) if places[0].is_dir() else _of_file(places[0], model, device)


def places_of(named: str | Path | None) -> list[Path]:
    """Find the files or folders of an encoder, without reading them; the built-in one has none of its own.

    Args:
        named: as for `load_meaning`.

    Raises:
        InputError: there is no such encoder.
    """
    name = str(named or BUILT_IN_MEANING)
    if name == BUILT_IN_MEANING:
        return []
    return [_place(part) for part in (name.split(BOTH, 1) if _is_pair(name) else [name])]


def reads_latents(named: str | Path | None) -> bool:
    """True where an encoder reads a model's latents, so that the model must be at hand."""
    places = places_of(named)
    return not places or (places[0].is_file() and kind_of(read_header(places[0])) == MEANING)


def _is_pair(name: str) -> bool:
    return BOTH in name and not Path(name).expanduser().exists()


def _wanted(model: AVSystem | None) -> AVSystem:
    if model is None:
        raise InputError("the built-in encoder reads a model's latents; name a model as well, or another encoder.")
    return model


def _place(name: str) -> Path:
    """A path, or the place of a part of the model folders."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    part = next((part for part in KNOWN_PARTS if part.key == name), None)
    if part is None or part.key not in _keys():
        raise InputError(
            f"there is no encoder {name!r}; give {', '.join((BUILT_IN_MEANING, *NAMES))}, a file or a folder."
        )
    usable = [found.path for found in find(part, model_roots()) if found.problem is None]
    if not usable:
        raise InputError(f"none of the model folders holds {part.key}. {advice(part.key)}")
    return usable[0]


def _keys() -> Sequence[str]:
    return [key for name in NAMES for key in name.split(BOTH)]


def _of_folder(folder: Path, device: Device) -> MeaningEncoder:
    kind = str(config_of(folder).get("model_type"))
    if kind not in _OF_FOLDERS:
        raise InputError(
            f"the folder {folder} holds a {kind}, by which captions, pictures and sounds cannot be compared; give "
            f"{' or '.join(_OF_FOLDERS)}, or CLAP and CLIP as FOLDER{BOTH}FOLDER."
        )
    return _OF_FOLDERS[kind](folder, device)


def _of_file(path: Path, model: AVSystem | None, device: Device) -> MeaningEncoder:
    kind = kind_of(read_header(path))
    if kind == MEANING:
        return load_built_in(_wanted(model), path)
    if kind not in _OF_FILES:
        raise InputError(f"{short(path)} is {kind}; wanted {MEANING} or {' or '.join(_OF_FILES)}, choose another file.")
    return _OF_FILES[kind](path, device)
