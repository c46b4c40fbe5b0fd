"""Race the published joint forward itself, out of an unchanged clone of the SVG baseline's repository.

    git clone https://github.com/SonyResearch/SVG_baseline
    python -m benchmarks full-size --published SVG_baseline

The clone is imported in place. Its connectors take our weights under their published names, so that both sides share
one set of tensors and their results can be compared. Needs einops, as the clone does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from con360.errors import InputError
from con360.models.dual_unet import DualUNet
from con360.weights.connector_names import to_published_state

PACKAGE = Path("src/va_core/model/svg/unet_svg.py")
# The published forward's order.
XTYPE = ("audio", "video")


class PublishedForward:
    """The published `UNetModelSVG` over our two U-Nets, with our connectors' weights.

    Args:
        clone: folder of the repository. unet: U-Nets and connectors; shared, not copied.
        text_v: `[B, L, D]`. text_a: `[B, D]`.

    Raises:
        InputError: no such code in the folder, or a package that it needs is missing.
    """

    def __init__(self, clone: Path, unet: DualUNet, text_v: Tensor, text_a: Tensor) -> None:
        self.unets, self.text = [unet.unet_a, unet.unet_v], (text_v, text_a)
        values = {k: v for k, v in unet.connectors.config.to_published().items() if not k.startswith("_")}
        for modality, own in zip(XTYPE, self.unets, strict=True):
            side = values[f"unet_{modality}_config"]
            side["time_embedding_dim"] = side["time_embedding_dim"] or 4 * own.config.block_out_channels[0]
        self.network: nn.Module = _import(clone).UNetModelSVG(**values)
        self.network.load_state_dict(to_published_state(unet.connectors), assign=True)
        self.network.eval().requires_grad_(False)

    def __call__(self, x: list[Tensor], t: list[int], x0: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Predictions (video, audio) as its own pipeline asks for them.

        Args:
            x, t, x0: noisy latents, timesteps and previous estimates of (video, audio), of the guided batch.
        """
        text_v, text_a = self.text
        noisy = x[::-1]
        times = [torch.tensor(step) for step in t[::-1]]
        known = [torch.zeros_like(n) if v is None else v for n, v in zip(noisy, x0[::-1], strict=True)]
        connector_input = [torch.cat(pair, dim=1) for pair in zip(noisy, known, strict=True)]
        with _no_gpu():
            out_a, out_v = self.network(
                self.unets, list(noisy), times, [None, text_v], [text_a, None], xtype=list(XTYPE),
                x_con=connector_input, t_con=times,
            )  # fmt: skip
        return out_v, out_a


@contextmanager
def _no_gpu() -> Iterator[None]:
    """Keep the published forward's inputs on the processor where there is no GPU: its code calls `.cuda()`."""
    if torch.cuda.is_available():
        yield
        return
    with mock.patch.object(Tensor, "cuda", lambda tensor: tensor):
        yield


def _import(clone: Path) -> Any:
    if not (clone / PACKAGE).is_file():
        raise InputError(f"{clone} holds no {PACKAGE}; wanted a clone of github.com/SonyResearch/SVG_baseline.")
    sys.path.insert(0, str(clone / "src"))
    try:
        from va_core.model.svg import unet_svg
    except ModuleNotFoundError as error:
        raise InputError(f"the published code needs {error.name}: pip install {error.name}.") from error
    finally:
        sys.path.remove(str(clone / "src"))
    return unet_svg
