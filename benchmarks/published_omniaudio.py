"""Race OmniAudio's own transformer, out of an unchanged clone of its repository.

    git clone https://github.com/liuhuadai/OmniAudio
    pip install git+https://github.com/patrick-kidger/torchcubicspline
    python -m benchmarks ambisonics --published OmniAudio

The clone is imported in place, its transformer alone, and takes our weights under their published names. Packages that
it imports for other models and never calls here are stood in for.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from con360.errors import InputError
from con360.models.flow_transformer import FlowTransformer

FILE = Path("omniaudio/models/dit.py")
CONTEXT = 768
# Names that the clone imports for models other than this one.
NEVER_CALLED = {"x_transformers": ("ContinuousTransformerWrapper", "Encoder"), "dac.nn.layers": ("Snake1d",)}


class PublishedTransformer:
    """The published `DiffusionTransformer` with our weights.

    Args:
        clone: folder of the repository. ours: shared, not copied.

    Raises:
        InputError: no such code in the folder, or a package that it needs is missing.
    """

    def __init__(self, clone: Path, ours: FlowTransformer) -> None:
        c = ours.config
        with torch.device("meta"):
            self.network: nn.Module = _import(clone).DiffusionTransformer(
                io_channels=c.latent_channels, embed_dim=c.width, depth=c.depth, num_heads=c.heads,
                cond_token_dim=CONTEXT, project_cond_tokens=False, global_cond_dim=c.width,
                transformer_type="continuous_transformer",
            )  # fmt: skip
        unused, unknown = self.network.load_state_dict(ours.state_dict(), strict=False, assign=True)
        read = [name for name in unused if "cross_att" not in name and "to_cond_embed" not in name]
        if unknown or read:
            raise InputError(f"{clone} names other weights than commit 4a3c99d: {[*unknown, *read][:3]}.")
        self.network.eval().requires_grad_(False)

    def guided(self, x: Tensor, t: float, panorama: Tensor, view: Tensor, scale: float) -> Tensor:
        """Guided velocity at latents `[1, Z, R]`, from embedded pictures `[1, K, W]`."""
        time = torch.full((1,), t)
        return self.network(x, time, global_embed=panorama, add_cond=view, cfg_scale=scale)


def _import(clone: Path) -> Any:
    if not (clone / FILE).is_file():
        raise InputError(f"{clone} holds no {FILE}; wanted a clone of github.com/liuhuadai/OmniAudio.")
    with _stand_ins(clone):
        try:
            return importlib.import_module("omniaudio.models.dit")
        except ModuleNotFoundError as error:
            raise InputError(f"the published code needs {error.name}; install it.") from error


@contextmanager
def _stand_ins(clone: Path) -> Iterator[None]:
    """Make the clone's packages importable without their own first lines, which import everything."""
    modules = {}
    for name, words in NEVER_CALLED.items():
        module = types.ModuleType(name)
        module.__dict__.update({word: _Refusing for word in words})
        parts = name.split(".")
        modules |= {".".join(parts[:i]): types.ModuleType(parts[i - 1]) for i in range(1, len(parts))}
        modules[name] = module
    for name in ("omniaudio", "omniaudio.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(clone / name.replace(".", "/"))]
        modules[name] = package
    with mock.patch.dict(sys.modules, modules):
        yield


class _Refusing:
    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("the published code was not expected to make this")
