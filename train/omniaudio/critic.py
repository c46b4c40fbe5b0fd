"""Judge sounds by their spectra, as the published autoencoder's discriminator does.

Shape legend: B clips, N samples.

Source: the multi-scale spectrum discriminator of EnCodec (arXiv 2210.13438), with Ambisonics' four channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES = (256, 512, 1024)
_LEAK = 0.2


class SpectrumCritic(nn.Module):
    """Convolutions over real and imaginary parts of all channels' spectra, one tower per window size.

    Args:
        channels: of the sound. width: channels of each layer.
    """

    def __init__(self, channels: int = 4, width: int = 16) -> None:
        super().__init__()
        self.towers = nn.ModuleList([_tower(2 * channels, width) for _ in SIZES])

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        """`[B, C, N]` to the outputs of each tower's layers; a tower's last one is its verdict."""
        return [
            _through(tower, _spectrum(sound, size)) for tower, size in zip(self.towers, SIZES, strict=True)
        ]  # fmt: skip


def _tower(inputs: int, width: int) -> nn.ModuleList:
    kernel: tuple[int, int] = (3, 9)
    layers = [nn.Conv2d(inputs, width, kernel, padding=(1, 4))]
    layers += [
        nn.Conv2d(width, width, kernel, stride=(1, 2), dilation=(d, 1), padding=(d, 4)) for d in (1, 2, 4)
    ]  # fmt: skip
    return nn.ModuleList([*layers, nn.Conv2d(width, 1, 3, padding=1)])


def _spectrum(sound: Tensor, size: int) -> Tensor:
    """Real and imaginary parts, `[B, 2C, frames, bins]`."""
    window = torch.hann_window(size, device=sound.device)
    spectra = torch.stft(sound.flatten(0, 1), size, size // 4, window=window, normalized=True, return_complex=True)
    parts = torch.view_as_real(spectra).unflatten(0, sound.shape[:2])
    return parts.permute(0, 1, 4, 3, 2).flatten(1, 2)


def _through(tower: nn.ModuleList, x: Tensor) -> list[Tensor]:
    outputs = []
    for number, layer in enumerate(tower):
        x = layer(x)
        if number + 1 < len(tower):
            x = F.leaky_relu(x, _LEAK)
        outputs.append(x)
    return outputs


def critic_error(made: list[list[Tensor]], true: list[list[Tensor]]) -> Tensor:
    """Hinge error of telling true sounds (above 1) from made ones (below -1), `[B]`."""
    pairs = [(m[-1].flatten(1), t[-1].flatten(1)) for m, t in _pairs(made, true)]
    return torch.stack([F.relu(1 - t).mean(1) + F.relu(1 + m).mean(1) for m, t in pairs]).mean(0)


def verdict(made: list[list[Tensor]]) -> Tensor:
    """Error of what was made: how far from taken as true, `[B]`."""
    return torch.stack([-outputs[-1].flatten(1).mean(1) for outputs in made]).mean(0)


def likeness(made: list[list[Tensor]], true: list[list[Tensor]]) -> Tensor:
    """Relative distance of what the layers saw in both, `[B]`."""
    distances = [
        (a - b.detach()).abs().flatten(1).mean(1) / b.detach().abs().flatten(1).mean(1).clamp_min(1e-5)
        for m, t in _pairs(made, true)
        for a, b in zip(m[:-1], t[:-1], strict=True)
    ]
    return torch.stack(distances).mean(0)


def _pairs(made: list[list[Tensor]], true: list[list[Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    return list(zip(made, true, strict=True))
