"""Check folders of models as transformers writes them, and load their networks whole or not at all.

Nothing is downloaded, no code from a folder runs, and pickled weights are read with `weights_only=True`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..memory import is_out_of_memory
from .catalog import FOLDER_MODELS
from .files import shard_names

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_folder(folder: str | Path, role: str) -> dict[str, Any]:
    """Refuse a folder that lacks its configuration or a weight file that it names; weights are not read.

    Args:
        role: a key of `catalog.FOLDER_MODELS`.

    Returns:
        The folder's config.json.

    Raises:
        InputError: names what is missing, and where it can be had.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InputError(f"there is no {role} folder {folder}. {_advice(role)}")
    config = _read_config(path, role)
    missing = [name for name in _weight_names(path, role) if not (path / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"the {role} folder {path} lacks {', '.join(missing[:3])}{more}. {_advice(role)}")
    return config


def class_name(config: dict[str, Any]) -> str:
    """Name the network class that a config.json describes."""
    return str((config.get("architectures") or [config.get("model_type", "unnamed")])[0])


def _advice(role: str) -> str:
    known = FOLDER_MODELS[role]
    return (
        f"Get {known.title} from {known.address} ({known.licence}, {known.size}), or another {role}, and give the "
        f"folder with its config.json; nothing is downloaded by itself."
    )


def read_settings(path: Path, role: str) -> dict[str, Any]:
    """Read a JSON object of a folder.

    Args:
        role: a key of `catalog.FOLDER_MODELS`.

    Raises:
        InputError: it is missing, damaged, or no object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); get the {role} again.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, wanted a JSON object; get the {role} again.")
    return values


def _read_config(path: Path, role: str) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise InputError(f"the {role} folder {path} holds no config.json. {_advice(role)}")
    return read_settings(path / "config.json", role)


def _weight_names(path: Path, role: str) -> list[str]:
    """List the files of a folder's weights, whole or in shards, in transformers' order of search."""
    for name in _WEIGHTS:
        if (path / name).is_file():
            return [name]
        if (path / f"{name}.index.json").is_file():
            return shard_names(path / f"{name}.index.json")
    return [_WEIGHTS[0]]


def load_network(folder: Path, auto_class: Any, role: str, dtype: torch.dtype, device: torch.device | str) -> nn.Module:
    """Load a network with every weight from its folder.

    Args:
        auto_class: transformers' class that reads it.

    Raises:
        InputError: a weight is missing, misshapen or not finite, or a file is cut or damaged.
    """
    import transformers

    # Version 5 renamed it; version 4 knows the old name alone.
    precision = {"dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype": dtype}
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the caller shows its own
    try:
        network, info = auto_class.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True,
            **precision,
        )  # fmt: skip
        network = network.to(device)
    # Damaged bytes provoke any exception in transformers, safetensors and torch.
    except Exception as error:
        if is_out_of_memory(error):
            raise InputError(
                f"the {role} {folder.name} does not fit into the memory of {device}; use a smaller model or another "
                f"device."
            ) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(f"the {role} folder {folder} cannot be loaded ({reason}). {_advice(role)}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    _check_complete(folder, network, info, role)
    return network.eval().requires_grad_(False)


def _check_complete(folder: Path, network: nn.Module, info: dict[str, Any], role: str) -> None:
    # transformers fills missing weights with random numbers.
    problems = [f"{name} is missing" for name in sorted(info["missing_keys"])]
    problems += [f"{name[0]} has another shape" for name in sorted(info.get("mismatched_keys") or ())]
    problems += [f"{name} holds NaN or infinity" for name, t in network.named_parameters() if not t.isfinite().all()]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(
            f"the weights in the {role} folder {folder} do not fit its configuration: {'; '.join(problems[:3])}{more}. "
            f"Get it again."
        )
