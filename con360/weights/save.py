"""Write a joint model to a folder that diffusers' own classes can read."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..media.files import put_folder
from ..models.joint import JointModel
from .build import TEXT_MODEL
from .connector_names import to_published_state
from .files import WEIGHT_NAMES, read_json
from .parts import METADATA_KEY, PARTS
from .places import INDEX


def save_joint_model(model: JointModel, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a joint model in the published layout, safetensors under the published names.

    The folder appears whole. An older one is replaced; files in it that are no part of the model stay.

    Args:
        dtype: precision of the stored weights; None keeps the model's.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        _write_parts(model, staging, dtype)
        for other in folder.iterdir() if folder.is_dir() else ():
            if not (staging / other.name).exists():
                (shutil.copytree if other.is_dir() else shutil.copy2)(other, staging / other.name)
        put_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_parts(model: JointModel, folder: Path, dtype: torch.dtype | None) -> None:
    modules = {"unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a, "vae_v": model.vae_v, "vae_a": model.vae_a}
    for name, module in modules.items():
        module.save_config(folder / name)
        _write_weights(folder / name / WEIGHT_NAMES[0], module.state_dict(), dtype)
    if model.unet.connectors is not None:
        _write_json(folder / "unet_svg" / "config.json", model.unet.connectors.config.to_published())
        _write_weights(folder / "unet_svg" / WEIGHT_NAMES[0], to_published_state(model.unet.connectors), dtype)
    for name in ("vocoder", "text_encoder_v", "text_encoder_a"):
        _write_part(getattr(model, name), folder / name, dtype)
    for name in ("tokenizer_v", "tokenizer_a", "scheduler_v", "scheduler_a"):
        getattr(model, name).save_pretrained(folder / name)
    for name in ("tokenizer_v", "tokenizer_a"):
        path = folder / name / "tokenizer_config.json"
        _write_json(path, {**read_json(path), "tokenizer_class": _class_name(getattr(model, name))})
    _write_json(folder / INDEX, _index_of(model))


def save_vocoder(vocoder: nn.Module, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a vocoder alone, in the layout of a model's `vocoder/`; the folder appears whole.

    Args:
        dtype: precision of the stored weights; None keeps the vocoder's.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        _write_part(vocoder, staging, dtype)
        put_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_part(module: nn.Module, folder: Path, dtype: torch.dtype | None) -> None:
    """Write a network as transformers does."""
    _write_json(folder / "config.json", {**module.config.to_dict(), "architectures": [type(module).__name__]})
    _write_weights(folder / WEIGHT_NAMES[1], _stored_names(folder.name, module.state_dict()), dtype)


def _index_of(model: JointModel) -> dict[str, Any]:
    """Make model_index.json as diffusers writes it: each part's library and class."""
    index: dict[str, Any] = {"_class_name": "VideoAudioGenWithSVGPipeline"}
    parts = {**vars(model), "unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a}
    for name in sorted(PARTS[:-1]):
        index[name] = [type(parts[name]).__module__.split(".")[0], _class_name(parts[name])]
    connected = model.unet.connectors is not None
    index["unet_svg"] = ["va_core.model.svg.unet_svg", "UNetModelSVG"] if connected else [None, None]
    if model.metadata:
        index[METADATA_KEY] = model.metadata
    return index


def _class_name(part: Any) -> str:
    # transformers 5 renamed the class; version 4 knows this name alone, version 5 knows both.
    name = type(part).__name__
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name


def _stored(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    # Cloned, because safetensors refuses tensors that share memory.
    return {
        name: t.detach().to("cpu", dtype if dtype and t.is_floating_point() else t.dtype).contiguous().clone()
        for name, t in state.items()
    }


def _write_weights(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_stored(state, dtype), path, metadata={"format": "pt"})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _stored_names(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if name != "text_encoder_v" or any(key.startswith(TEXT_MODEL) for key in state):
        return dict(state)
    return {TEXT_MODEL + key: t for key, t in state.items()}
