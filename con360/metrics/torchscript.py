"""Load networks of published metrics from local TorchScript files: neither code nor weights are ours."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError
from ..media.files import existing_file


def load_torchscript(path: str | Path, wanted: str, device: str = "cpu") -> torch.jit.ScriptModule:
    """Load a network in evaluation mode.

    TorchScript is a program: use a file that you trust. Nothing is downloaded.

    Args:
        wanted: the expected kind of file, for the error.

    Raises:
        InputError: no file, or one that is no TorchScript.
    """
    file = existing_file(path)
    try:
        return torch.jit.load(str(file), map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(f"{file.name} cannot be read as TorchScript ({reason}); give {wanted}.") from error
