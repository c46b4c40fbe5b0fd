"""Find models and parts in ComfyUI's model folders."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.utils
import folder_paths

# Folder key under models/ and the file suffixes that belong there; "" stands for folders.
MODELS, CONTROLS, SALIENCY, FACES = "con360", "con360_control", "con360_saliency", "con360_faces"
CAPTIONERS, LANGUAGE_MODELS = "con360_captioner", "con360_llm"
MODEL_FOLDERS = {
    MODELS: {""}, CONTROLS: {".safetensors"}, SALIENCY: {".safetensors", ".pth", ".pt"}, FACES: {".onnx"},
    CAPTIONERS: {""}, LANGUAGE_MODELS: {""},
}  # fmt: skip
# Of kinds that are folders: the file by which one is known.
MARKERS = {MODELS: "model_index.json", CAPTIONERS: "config.json", LANGUAGE_MODELS: "config.json"}
MANIFEST = "con360-model.json"
WEIGHT_SUFFIXES = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}
# Part of a joint model: model folder of its single files ("" where it has none), and what its own folder holds.
PART_PLACES = {
    "video": ("checkpoints", ("unet", "text_encoder", "tokenizer")),
    "motion": ("animatediff_models", ("config.json", "diffusion_pytorch_model.safetensors")),
    "audio": ("", ("unet", "text_encoder", "vocoder")),
    "connectors": ("", ("unet_svg",)),
    "vae": ("vae", ("config.json", "diffusion_pytorch_model.safetensors")),
}


# ---- folders


def register_model_folders() -> None:
    """Tell ComfyUI about models/con360 and the folders beside it, one for each key of `MODEL_FOLDERS`.

    A key that exists came from the user's extra_model_paths.yaml: its folders stay, and stay first.
    """
    for name, suffixes in MODEL_FOLDERS.items():
        default = os.path.join(folder_paths.models_dir, name)
        if name not in folder_paths.folder_names_and_paths:
            folder_paths.folder_names_and_paths[name] = ([default], set(suffixes))
        elif default not in folder_paths.folder_names_and_paths[name][0]:
            folder_paths.folder_names_and_paths[name][0].append(default)


def model_entries(name: str) -> dict[str, Path]:
    """What lies in a model folder, by the name shown in a combo; the first folder wins.

    Models are folders that hold their kind's file of `MARKERS`, the other kinds single files.
    """
    found: dict[str, Path] = {}
    for root in folder_paths.folder_names_and_paths[name][0]:
        for path in sorted(Path(root).iterdir()) if Path(root).is_dir() else ():
            marker = MARKERS.get(name)
            fits = path.suffix in MODEL_FOLDERS[name] if marker is None else (path / marker).is_file()
            # One half of a model, AudioLDM or SD 1.5, has an index too; it is offered as a part.
            half = name == MODELS and (path / "unet").is_dir()
            if fits and not half or name == MODELS and (path / MANIFEST).is_file():
                found.setdefault(path.name, path)
    return found


def part_entries(part: str) -> dict[str, Path]:
    """What may be one part of a joint model, by the name shown in a combo: "motion", "video", "audio" and so on.

    Files come from the folders where ComfyUI's users keep them, unread; folders from models/con360 and
    models/diffusers.
    """
    files, holds = PART_PLACES[part]
    found: dict[str, Path] = {}
    for path in _inside("con360", "diffusers"):
        if path.is_dir() and all((path / name).exists() for name in holds) and not _is_other_half(part, path):
            found.setdefault(path.name, path)
    for path in _inside(files) if files else ():
        if path.suffix in WEIGHT_SUFFIXES and path.is_file():
            found.setdefault(path.name, path)
    return found


def clip_tokenizer() -> Path | None:
    """CLIP's vocabulary as ComfyUI brings it: what a checkpoint file lacks."""
    folder = Path(getattr(comfy.utils, "__file__", "")).parent / "sd1_tokenizer"
    return folder if (folder / "vocab.json").is_file() else None


def _inside(*names: str) -> list[Path]:
    """Entries of model folders; a key that no pack registered is the folder of that name in models/."""
    roots = [
        Path(root)
        for name in names
        for root in folder_paths.folder_names_and_paths.get(name, ([os.path.join(folder_paths.models_dir, name)],))[0]
    ]
    return [path for root in roots if root.is_dir() for path in sorted(root.iterdir())]


def _is_other_half(part: str, path: Path) -> bool:
    return part == "video" and (path / "vocoder").exists()
