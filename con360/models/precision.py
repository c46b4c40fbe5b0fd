"""Choose the number format of a model, and keep some parts in float32.

Always in float32: the sampler's steps and guidance, the codecs (a picture has 256 levels and bfloat16 has 8 bits; in
float16 the picture decoder overflows) and the vocoder, lengths of vectors, position angles. Softmax and norms add up in
float32 inside PyTorch's kernels.
"""

from __future__ import annotations

import torch

from ..choices import DTYPES
from ..errors import InputError

# Parts of a joint model that are loaded in float32 in any case.
FLOAT32_PARTS = ("vae_v", "vae_a", "vocoder")
# Where `auto` is float32.
FLOAT32_DEVICES = ("cpu", "mps")


def working_dtype(name: str, device: str | torch.device) -> torch.dtype:
    """Resolve a name in `DTYPES` on a device: `auto` is bfloat16 on a CUDA GPU that has it, else float16.

    On a CPU and on Apple's GPUs `auto` is float32; on those no half precision was ever tried.

    Raises:
        InputError: an unknown name, or float16 on a CPU.
    """
    if name not in DTYPES:
        raise InputError(f"precision {name!r} is not known; choose {', '.join(DTYPES)}.")
    kind = torch.device(device).type
    if name == "auto":
        if kind in FLOAT32_DEVICES:
            return torch.float32
        has_bfloat16 = kind == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if name == "float16" and kind == "cpu":
        raise InputError("float16 is for GPUs; choose float32 or bfloat16 on a CPU.")
    return getattr(torch, name)


def part_dtype(part: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of a model's part where the U-Nets have `dtype`."""
    return torch.float32 if part in FLOAT32_PARTS else dtype
