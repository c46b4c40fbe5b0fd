"""Turn log-mels into sound by one spectrum per mel frame and an inverse Fourier transform.

Shape legend: B clips, S mel frames, M mel bands, C width, Q frequencies of a spectrum, N samples.

All layers work at the rate of mel frames, so a clip costs less than one that is upsampled step by step. A tone whose
frequency is a multiple of the frame rate has the same phase in every frame; here that is one constant per frequency.

Source: the idea of an inverse transform as last layer, and the block, are those of Vocos (arXiv 2306.00814). Skip,
sizes and edges are our own; no published weights fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..sound.mels import MEL_BANDS, MEL_HOP, SAMPLE_RATE_HZ

# Log-mels are about -7 +- 4: brought to unit size before the first layer.
MEL_MEAN, MEL_SPREAD = -7.0, 4.0
# Log-magnitudes above this are cut: e^7 is a sinus of seven times full scale.
LOUDEST = 7.0


@dataclass(frozen=True)
class SpectrumVocoderConfig:
    """Sizes of the vocoder, as `config.json` holds them.

    Args:
        model_in_dim: mel bands.
        sampling_rate: of the sound, in Hz.
        width: channels of all blocks.
        layers: number of blocks.
        kernel: mel frames that a block reads, odd.
        growth: width inside a block over `width`.
        n_fft: samples of a frame's window, at least two hops.
        hop: samples from frame to frame.
    """

    model_in_dim: int = MEL_BANDS
    sampling_rate: int = SAMPLE_RATE_HZ
    width: int = 160
    layers: int = 6
    kernel: int = 7
    growth: int = 3
    n_fft: int = 640
    hop: int = MEL_HOP

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.growth, self.hop) < 1 or self.kernel % 2 == 0:
            raise InputError("a vocoder's width, layers, growth and hop are at least 1 and its kernel is odd.")
        if self.n_fft % 2 or self.n_fft < 2 * self.hop:
            raise InputError(f"a vocoder's n_fft is even and at least two hops of {self.hop}; got {self.n_fft}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpectrumVocoderConfig:
        """Read config.json; keys that are no sizes are left out."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Block(nn.Module):
    """Mix frames per channel, then channels per frame, and add the result: `[B, S, C]` to the same."""

    def __init__(self, width: int, kernel: int, growth: int, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, growth * width), nn.Linear(growth * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.mix(x.mT).mT)
        return x + self.scale * self.down(F.gelu(self.up(mixed)))


class SpectrumVocoder(nn.Module):
    """Make sound of log-mels (`protocols` of `MelCodec`: called with `[B, S, M]`, gives `[B, S * hop]` in float32).

    Zeros beyond the ends of a clip, after the first layer, tell the blocks where it ends.
    """

    config_class = SpectrumVocoderConfig

    def __init__(self, config: SpectrumVocoderConfig) -> None:
        super().__init__()
        self.config, bins = config, config.n_fft // 2 + 1
        self.enter = nn.Conv1d(config.model_in_dim, config.width, config.kernel, padding=config.kernel // 2)
        self.blocks = nn.ModuleList(
            Block(config.width, config.kernel, config.growth, 1 / config.layers) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 2 * bins)
        # Magnitudes follow the mel's own level; the blocks learn what is to be added.
        self.skip = nn.Linear(config.model_in_dim, bins, bias=False)

    def forward(self, mel_BSM: Tensor) -> Tensor:
        return self.sound(mel_BSM, self.features(mel_BSM))

    def features(self, mel_BSM: Tensor) -> Tensor:
        """Read log-mels into features `[B, S, C]`."""
        h = self.enter(_to_unit(mel_BSM).mT).mT
        for block in self.blocks:
            h = block(h)
        return h

    def sound(self, mel_BSM: Tensor, features_BSC: Tensor) -> Tensor:
        """Make sound of log-mels and their features."""
        # Transforms of half precision do not exist on every device.
        level, phase = self.head(self.norm(features_BSC)).float().chunk(2, dim=-1)
        level = (level + self.skip(_to_unit(mel_BSM)).float()).clamp_max(LOUDEST)
        n_fft, hop = self.config.n_fft, self.config.hop
        window = torch.hann_window(n_fft, device=level.device)
        return torch.istft(torch.polar(level.exp(), phase).mT, n_fft, hop, window=window, length=level.shape[1] * hop)


def _to_unit(mel: Tensor) -> Tensor:
    return (mel - MEL_MEAN) / MEL_SPREAD
