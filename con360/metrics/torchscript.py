"""Networks of published metrics from local TorchScript files: their code is not ours, their weights are the user's."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError
from ..media.files import existing_file


def load_torchscript(path: str | Path, wanted: str, device: str = "cpu") -> torch.jit.ScriptModule:
    """A network in evaluation mode.

    TorchScript is a program: use a file that you trust. Nothing is downloaded.

    Args:
        wanted: what the file should have been, for the error.

    Raises:
        InputError: no file, or one that is no TorchScript.
    """
    file = existing_file(path)
    try:
        return torch.jit.load(str(file), map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(f"{file.name} cannot be read as TorchScript ({reason}); give {wanted}.") from error
