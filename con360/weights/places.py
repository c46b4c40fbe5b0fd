"""Places of model parts below ComfyUI's `models/`, and the marks by which a folder is known.

Weights stay unread and no heavy package is imported, because ComfyUI asks at its start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX, MANIFEST = "model_index.json", "con360-model.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
# `model_type` of folders with CLIP's vision tower, and the model folders that hold them.
CLIP_TYPES, CLIP_FOLDERS = ("clip", "clip_vision_model"), ("con360_omniaudio", "clip_vision")


@dataclass(frozen=True)
class PartPlace:
    """Marks of one part of a joint model.

    Args:
        files: model folder of its single files; empty where it has none.
        holds: names that its own folder holds.
        lacks: names that mark the folder of another part.
        class_name: diffusers' class in the folder's `config.json`; empty for folders of several networks.
    """

    files: str = ""
    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    class_name: str = ""

    @property
    def model_folders(self) -> tuple[str, ...]:
        """Model folders that may hold the part, as a folder or a file."""
        return (*PART_FOLDERS, self.files) if self.files else PART_FOLDERS


# Model folders that hold parts as folders.
PART_FOLDERS = ("con360", "diffusers")
PART_PLACES = {
    "video": PartPlace("checkpoints", ("unet", "vae", "text_encoder", "tokenizer"), lacks=("vocoder",)),
    "motion": PartPlace("animatediff_models", class_name="MotionAdapter"),
    "audio": PartPlace(holds=("unet", "text_encoder", "vocoder")),
    "connectors": PartPlace(holds=("unet_svg",)),
    "vae": PartPlace("vae", class_name="AutoencoderKL"),
}


def is_joint_model(folder: Path) -> bool:
    """Tell whether a folder holds a manifest, or the published index beside the picture's U-Net."""
    return (folder / MANIFEST).is_file() or (folder / INDEX).is_file() and (folder / "unet_v").is_dir()


def is_part_folder(part: str, folder: Path) -> bool:
    """Tell whether a folder is a part of a joint model, a key of `PART_PLACES`."""
    place = PART_PLACES[part]
    return (
        folder.is_dir()
        and all((folder / name).exists() for name in place.holds)
        and not any((folder / name).exists() for name in place.lacks)
        and (not place.class_name or config_of(folder).get("_class_name") == place.class_name)
    )


def config_of(folder: Path) -> dict[str, Any]:
    """Read a folder's `config.json`; empty where it is missing or no JSON object."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
