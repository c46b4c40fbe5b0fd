"""Where models and control files are found by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that others publish and nothing here downloads: what to say when they are missing.

    Args:
        note: what they draw, where that is less than their title promises.
    """

    title: str
    address: str
    licence: str
    size: str
    note: str = ""


CAPTION_MODELS = {
    "captioner": PublishedWeights(
        "BLIP-2", "https://huggingface.co/Salesforce/blip2-opt-2.7b", "MIT", "15 GB (3.74 billion weights, float32)"
    ),
    "language model": PublishedWeights(
        "Llama 3.2", "https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 Community License",
        "2.5 GB (1.24 billion weights, bfloat16)",
    ),
}  # fmt: skip

BUILT_IN_MODEL = "con360-tiny"
_BUNDLE = Path(__file__).resolve().parent.parent / "bundle"


def model_folder(name_or_folder: str | Path = BUILT_IN_MODEL) -> Path:
    """Folder or manifest of a joint model: the built-in one by its name, any other by its path or name.

    Names are those of the folders in `con360/` of the model folders (`known.model_roots`).

    Raises:
        InputError: neither a known name nor an existing folder or manifest.
    """
    if str(name_or_folder) == BUILT_IN_MODEL:
        return _BUNDLE
    from .known import joint_models, model_roots

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
