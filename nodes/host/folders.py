"""Find models and parts in ComfyUI's model folders."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.utils
import folder_paths

from ...con360.weights.places import (
    CLIP_FOLDERS,
    CLIP_TYPES,
    PART_FOLDERS,
    PART_PLACES,
    WEIGHT_SUFFIXES,
    config_of,
    is_joint_model,
    is_part_folder,
)

# Folder key under models/ and the file suffixes that belong there; "" stands for folders.
MODELS, CONTROLS, SALIENCY, FACES = "con360", "con360_control", "con360_saliency", "con360_faces"
CAPTIONERS, LANGUAGE_MODELS, EARS = "con360_captioner", "con360_llm", "con360_ears"
OMNIAUDIO, MEANINGS, METRICS = "con360_omniaudio", "con360_meaning", "con360_metrics"
MODEL_FOLDERS = {
    MODELS: {""}, CONTROLS: {".safetensors"}, SALIENCY: {".safetensors", ".pth", ".pt"}, FACES: {".onnx"},
    CAPTIONERS: {""}, LANGUAGE_MODELS: {""}, EARS: {".sofa"}, OMNIAUDIO: {".safetensors", ".ckpt"},
    MEANINGS: {".safetensors", ".pth", ".pt"},
}  # fmt: skip


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
    """List what a model folder offers, by the name shown in a combo; the first folder wins.

    Models, captioners and language models are folders, the other kinds single files.
    """
    found: dict[str, Path] = {}
    for path in _inside(name):
        if _is_offered(name, path):
            found.setdefault(path.name, path)
    return found


def part_entries(part: str) -> dict[str, Path]:
    """List what may be one part of a joint model ("motion", "video", ...), by the name shown in a combo.

    Files come unread from the folders where ComfyUI's users keep them, folders from models/con360 and
    models/diffusers.
    """
    files = PART_PLACES[part].files
    found: dict[str, Path] = {}
    for path in _inside(*PART_FOLDERS):
        if is_part_folder(part, path):
            found.setdefault(path.name, path)
    for path in _inside(files) if files else ():
        if path.suffix in WEIGHT_SUFFIXES and path.is_file():
            found.setdefault(path.name, path)
    return found


def picture_encoders() -> dict[str, Path]:
    """List the folders of CLIP's vision tower, by the name shown in a combo."""
    found: dict[str, Path] = {}
    for path in _inside(*CLIP_FOLDERS):
        if path.is_dir() and config_of(path).get("model_type") in CLIP_TYPES:
            found.setdefault(path.name, path)
    return found


def meaning_encoders() -> dict[str, str]:
    """Name encoders of captions, pictures and sounds for `load_meaning`, by the name shown in a combo."""
    found = {path.name: str(path) for path in reversed(_inside(MEANINGS)) if _is_offered(MEANINGS, path)}
    for clap in _of_type("clap", METRICS, MEANINGS):
        for clip in _of_type("clip", MEANINGS):
            found[f"{clap.name} + {clip.name}"] = f"{clap}+{clip}"
    return found


def _of_type(kind: str, *names: str) -> list[Path]:
    return [path for path in _inside(*names) if path.is_dir() and config_of(path).get("model_type") == kind]


def comfyui_tokenizer() -> Path | None:
    """Folder of CLIP's vocabulary that comes with ComfyUI; a checkpoint file lacks one."""
    folder = Path(getattr(comfy.utils, "__file__", "")).parent / "sd1_tokenizer"
    return folder if (folder / "vocab.json").is_file() else None


def _is_offered(name: str, path: Path) -> bool:
    if name == MODELS:
        return is_joint_model(path)
    if name == OMNIAUDIO and path.is_dir():
        # A small model; other folders are picture encoders.
        return (path / "pictures.safetensors").is_file()
    if name == MEANINGS and path.is_dir():
        # CLAP and CLIP are offered together.
        return config_of(path).get("model_type") == "pe_audio_video"
    return (path / "config.json").is_file() if MODEL_FOLDERS[name] == {""} else path.suffix in MODEL_FOLDERS[name]


def _inside(*names: str) -> list[Path]:
    """Entries of model folders; a key that no pack registered is the folder of that name in models/."""
    roots = [
        Path(root)
        for name in names
        for root in folder_paths.folder_names_and_paths.get(name, ([os.path.join(folder_paths.models_dir, name)],))[0]
    ]
    return [path for root in roots if root.is_dir() for path in sorted(root.iterdir())]
