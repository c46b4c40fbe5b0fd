"""List devices of this machine, and resolve `auto`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def devices_here() -> list[str]:
    """List what torch can compute on here, the fastest kind first: `cuda:0`, `cuda:1`, ..., then `mps`, then `cpu`."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{i}" for i in range(count)), *apple, "cpu"]


def resolve_device(name: str = AUTO) -> str:
    """Resolve a device's name: `auto` is the first of `devices_here`, `cuda` the first GPU.

    Raises:
        InputError: a device that this machine lacks, or an unknown name.
    """
    here = devices_here()
    if name == AUTO:
        return here[0]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in here:
        raise InputError(f"there is no device {name!r} here; torch sees {', '.join(here)}. Choose one, or auto.")
    return wanted


def describe_device(device: str | torch.device) -> str:
    """Name a device for people: `cuda:0 (NVIDIA H200)`, `mps`, `cpu, 2 threads`."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}" if kind == "cpu" else str(device)


def threads_here() -> int:
    """Count the threads that torch computes with, or would: it is not loaded for this."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return torch.get_num_threads()
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    cores = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if cores is None else len(cores(0))
