"""Every model part that this project can use: what it is for, where it belongs, and what of it lies on this machine.

The folders are ComfyUI's model folders. `$CON360_MODELS` is laid out the same way, so it may be ComfyUI's own
`models/`. Nothing is ever downloaded; addresses are for people.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..media.files import existing_file
from .catalog import BUILT_IN_MODEL, CAPTION_MODELS, PublishedWeights, model_folder
from .checkpoints import PICKLE_SUFFIXES, check_is_weights, read_header
from .kinds import CONTROL, MOTION, SALVIT360, SD15, kind_of
from .parts import INDEX, MANIFEST, WEIGHT_SUFFIXES, ModelParts, model_parts

UNKNOWN = "unknown"
# Where to look, without being told: the first that is set and exists, then these.
MODELS_VARIABLE, COMFYUI_VARIABLE = "CON360_MODELS", "COMFYUI_PATH"
DEFAULT_FOLDER = "~/.cache/con360/models"


@dataclass(frozen=True)
class KnownPart:
    """A published part.

    Args:
        key: short name.
        use: what it is for.
        weights: title, address, licence, size.
        places: model folders where it is looked for; it belongs into the first.
        name: suggested name there.
        fits: whether a path in such a folder is this part, or what is left of it.
    """

    key: str
    use: str
    weights: PublishedWeights
    places: tuple[str, ...]
    name: str
    fits: Callable[[Path], bool]


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
    """What of a part lies in the model folders, checked from headers."""
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


def advice(key: str) -> str:
    """Where a part that is not here belongs and where it can be had, in a sentence for people."""
    part = next(part for part in KNOWN_PARTS if part.key == key)
    weights, place = part.weights, f"models/{part.places[0]}/{part.name}"
    note = f" ({weights.note})" if weights.note else ""
    return (
        f"{weights.title}{note} belongs into {place}; address: {weights.address}; licence: {weights.licence}; size: "
        f"{weights.size}. Nothing is downloaded by itself."
    )


# ---- how a part is known


def _config(path: Path, name: str = "config.json") -> dict:
    try:
        values = json.loads((path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _holds(*names: str) -> Callable[[Path], bool]:
    return lambda path: all((path / name).exists() for name in names)


def _is_sd15(path: Path) -> bool:
    if path.is_dir():
        return _holds("unet", "text_encoder", "tokenizer", "vae")(path) and not (path / "vocoder").exists()
    return _is_file_of(path, SD15)


def _is_motion(path: Path) -> bool:
    if path.is_dir():
        return _config(path).get("_class_name") == "MotionAdapter"
    return _is_file_of(path, MOTION)


def _is_file_of(path: Path, kind: str) -> bool:
    if not path.is_file() or path.suffix not in WEIGHT_SUFFIXES:
        return False
    try:
        return kind_of(read_header(path)) == kind
    except InputError:
        # What cannot be read is shown where it lies, with the reason.
        return True


def _is_of_type(*model_types: str) -> Callable[[Path], bool]:
    return lambda path: path.is_dir() and _config(path).get("model_type") in model_types


def _is_causal(path: Path) -> bool:
    names = _config(path).get("architectures") or []
    return path.is_dir() and any(str(name).endswith("ForCausalLM") for name in names)


def _is_tempsal(path: Path) -> bool:
    return path.is_file() and "tempsal" in path.name.lower() and path.suffix in PICKLE_SUFFIXES


I3D_FILE = "i3d_torchscript.pt"
_HUB = "https://huggingface.co/"

# Sizes, licences and addresses as their pages state them; where none was found it says so.
KNOWN_PARTS: tuple[KnownPart, ...] = (
    KnownPart(
        BUILT_IN_MODEL, "the built-in model: shows the method on any machine",
        PublishedWeights(
            "con360-tiny", "in this package", "Apache-2.0", "20 M weights", "it draws coloured shapes of 64 px"
        ),
        (), "", lambda _: True,
    ),
    KnownPart(
        "svg", "the joint model: two U-Nets with connectors, codecs, text encoders",
        PublishedWeights(
            "SVG baseline", "https://drive.google.com/file/d/1pQdhl_j_hjdIMJq9waVTvM3baj5xqeF3 (arXiv 2409.17550)",
            "unknown; it contains AudioLDM, CC BY-NC-SA 4.0 (not for commercial use)",
            "unknown (2196 M weights in U-Nets and connectors)",
            "trained on Greatest Hits: it draws drumsticks hitting things",
        ),
        ("con360",), "svg", _holds(INDEX, "unet_v", "unet_svg"),
    ),
    KnownPart(
        "audio", "sound, where no joint model is at hand",
        PublishedWeights(
            "AudioLDM-m-full", _HUB + "cvssp/audioldm-m-full", "CC BY-NC-SA 4.0 (not for commercial use)",
            "1.9 GB U-Net and VAE; text encoder and vocoder unknown",
        ),
        ("con360", "diffusers"), "audioldm-m-full", _holds("unet", "vocoder", "text_encoder"),
    ),
    KnownPart(
        "video", "picture, where no joint model is at hand: any SD 1.5 folder or checkpoint",
        PublishedWeights(
            "Realistic Vision V5.1 (SD 1.5)", _HUB + "SG161222/Realistic_Vision_V5.1_noVAE", "CreativeML OpenRAIL-M",
            "3.8 GB U-Net and VAE; text encoder unknown",
        ),
        ("con360", "diffusers", "checkpoints"), "Realistic_Vision_V5.1_noVAE", _is_sd15,
    ),
    KnownPart(
        "motion", "makes the picture's model a video model",
        PublishedWeights(
            "AnimateDiff motion adapter v1-5-2", _HUB + "guoyww/animatediff-motion-adapter-v1-5-2", UNKNOWN, "1.8 GB"
        ),
        ("con360", "diffusers", "animatediff_models"), "animatediff-motion-adapter-v1-5-2", _is_motion,
    ),
    KnownPart(
        "control", "lets saliency and BASD steer; trained by train/train.py, none is published for the full size",
        PublishedWeights("Con360-AV control module", "none published", "yours", UNKNOWN),
        ("con360_control",), "control.safetensors", lambda path: _is_file_of(path, CONTROL),
    ),
    KnownPart(
        "salvit360", "saliency of 360° video; without it, methods that need no weights",
        PublishedWeights(
            "SalViT360",
            "https://drive.google.com/drive/folders/1cJ9ln4sH0IIdv2L-Xcyk6N17_4_7FFOW "
            "(github.com/MertCokelek/SalViT360)",
            "MIT (its code; the weights' page names none)", UNKNOWN,
        ),
        ("con360_saliency",), "salvit360.pt", lambda path: _is_file_of(path, SALVIT360),
    ),
    KnownPart(
        "faces", "finds faces, which saliency then draws the camera to",
        PublishedWeights("CenterFace", "https://github.com/Star-Clouds/CenterFace", "MIT", "7.3 MB"),
        ("con360_faces",), "centerface.onnx", lambda path: path.is_file() and path.suffix == ".onnx",
    ),
    KnownPart(
        "captioner", "describes the six faces of the panorama", CAPTION_MODELS["captioner"], ("con360_captioner",),
        "blip2-opt-2.7b", _is_of_type("blip-2", "blip_2", "blip"),
    ),
    KnownPart(
        "language model", "merges the faces' captions; any small instruct model", CAPTION_MODELS["language model"],
        ("con360_llm", "LLM"), "Llama-3.2-1B-Instruct", _is_causal,
    ),
    KnownPart(
        "clap", "metric FAD",
        PublishedWeights("LAION-CLAP", _HUB + "laion/clap-htsat-unfused", "Apache-2.0", "0.6 GB"),
        ("con360_metrics",), "clap-htsat-unfused", _is_of_type("clap"),
    ),
    KnownPart(
        "i3d", "metric FVD",
        PublishedWeights(
            "I3D (Kinetics-400)", "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt", UNKNOWN, UNKNOWN
        ),
        ("con360_metrics",), I3D_FILE, lambda path: path.name == I3D_FILE,
    ),
    KnownPart(
        "tempsal", "the saliency model of the paper's S_KL, as TorchScript (train/evaluate.py --tempsal)",
        PublishedWeights("TempSAL", "https://github.com/IVRL/Tempsal (arXiv 2301.02315)", UNKNOWN, UNKNOWN),
        ("con360_metrics",), "tempsal.pt", _is_tempsal,
    ),
)  # fmt: skip


def chosen_parts(model: str | Path, picked: Sequence[str] = ()) -> ModelParts:
    """What a command line's model and parts name.

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


def joint_models(roots: Iterable[Path]) -> dict[str, Path]:
    """Joint models in the model folders by name: folders in the published layout, and manifests."""
    found: dict[str, Path] = {}
    for root in roots:
        folder = root / "con360"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (path / MANIFEST).is_file() or (path / "unet_v").is_dir() and (path / INDEX).is_file():
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
