"""Oobleck: a convolutional autoencoder of waveforms with a Gaussian bottleneck.

Shape legend: B clips, C channels, N samples, Z latent channels, R latent rows (N over the strides' product).

Layers are numbered as in the published weights. A stage floors its rows: 441000 samples give 215.

Source: Stable Audio Open (arXiv 2407.14358); four channels as OmniAudio (arXiv 2504.14906) has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (1, 3, 9)
# Brings a frame's numbers to unit size, where SnakeBeta bends; an orthonormal basis of usual sound gives about 0.25.
STEM_GAIN = 4.0


@dataclass(frozen=True)
class OobleckConfig:
    """Sizes of the autoencoder; the defaults are OmniAudio's.

    Args:
        channels: of the sound.
        width: channels of the first layer.
        multipliers: width of each stage over the first.
        strides: rows that become one, stage by stage.
        latent_channels: of the mean; the encoder's last layer has twice as many.
        stem_hop: samples from frame to frame of a `FrameStem` in front of the first layer; 1 has none.
        stem_width: numbers that the stem makes of a channel's frame.
    """

    channels: int = 4
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    latent_channels: int = 64
    stem_hop: int = 1
    stem_width: int = 1

    @property
    def hop(self) -> int:
        """Samples of a latent row."""
        return self.stem_hop * math.prod(self.strides)

    @property
    def reach_rows(self) -> int:
        """Latent rows before and after its own that a decoded sample depends on; 10 in the published model."""
        residual = 3 * sum(DILATIONS)
        rate, reach = 1, 3.0  # the first convolution's seven rows
        for stride in reversed(self.strides):
            reach += 1 / rate
            rate *= stride
            reach += residual / rate
        return math.ceil(reach + (3 + (self.stem_hop > 1)) / rate)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width before the first stage and after each."""
        return (self.width, *(self.width * m for m in self.multipliers))


class SnakeBeta(nn.Module):
    """x + sin²(e^alpha x) / e^beta, both per channel of `[B, C, N]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(x * self.alpha.exp()[:, None])
        return torch.addcmul(x, wave, wave / (self.beta.exp()[:, None] + 1e-9))


class NormedConv1d(nn.Module):
    """A convolution whose weight is a direction times a gain, as weight norm of the older kind stores it.

    `transposed` swaps the weight's first two axes and the gain is per input channel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1,
        bias: bool = True, transposed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight_v = nn.Parameter(torch.empty(first, second, kernel))
        nn.init.kaiming_uniform_(self.weight_v, a=math.sqrt(5))
        self.weight_g = nn.Parameter(self.weight_v.detach().flatten(1).norm(dim=1)[:, None, None])
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.stride, self.padding, self.dilation, self.transposed = stride, padding, dilation, transposed

    @property
    def weight(self) -> Tensor:
        return self.weight_v * (self.weight_g / self.weight_v.flatten(1).norm(dim=1)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.transposed:
            return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding)
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class FrameStem(nn.Module):
    """Frames of two hops under a sqrt-Hann window, weighed by one basis for all channels, and overlap-added again.

    A small autoencoder learns from such frames in minutes what it does not learn from raw samples in hours. A basis of
    orthonormal rows makes `join` the inverse of `split`, as far as the frames lie in its span.
    """

    def __init__(self, hop: int, width: int) -> None:
        super().__init__()
        self.hop = hop
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(2 * hop, width))[0].T.contiguous())

    @property
    def window(self) -> Tensor:
        return torch.hann_window(2 * self.hop, dtype=self.basis.dtype, device=self.basis.device).sqrt()

    def split(self, x: Tensor) -> Tensor:
        """`[B, C, N]` to `[B, C * width, N / hop]`; half a frame of silence stands before and behind."""
        kernel = (self.basis * self.window)[:, None]
        frames = STEM_GAIN * F.conv1d(x.flatten(0, 1)[:, None], kernel, stride=self.hop, padding=self.hop // 2)
        return frames.unflatten(0, x.shape[:2]).flatten(1, 2)

    def join(self, frames: Tensor, channels: int) -> Tensor:
        """The way back, to `[B, C, N]`."""
        own = frames.unflatten(1, (channels, -1)).flatten(0, 1) / STEM_GAIN
        x = F.conv_transpose1d(own, (self.basis * self.window)[:, None], stride=self.hop, padding=self.hop // 2)
        x = x.unflatten(0, (frames.shape[0], channels)).squeeze(2)
        # At both ends one frame alone covers half a hop.
        half, power = self.hop // 2, self.window.square()
        first, last = power[half : self.hop], power[self.hop : self.hop + half]
        return torch.cat((x[..., :half] / first, x[..., half:-half], x[..., -half:] / last), dim=-1)


class Residual(nn.Module):
    """Two convolutions, the first one dilated, added to their input `[B, C, N]`."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            SnakeBeta(width), NormedConv1d(width, width, 7, padding=3 * dilation, dilation=dilation),
            SnakeBeta(width), NormedConv1d(width, width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Stage(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _residuals(width: int) -> list[nn.Module]:
    return [Residual(width, dilation) for dilation in DILATIONS]


def _kernel(stride: int) -> int:
    return 2 * stride if stride > 1 else 3


def _down(before: int, after: int, stride: int) -> _Stage:
    shorter = NormedConv1d(before, after, _kernel(stride), stride=stride, padding=-(-stride // 2))
    return _Stage(*_residuals(before), SnakeBeta(before), shorter)


def _up(before: int, after: int, stride: int) -> _Stage:
    longer = NormedConv1d(
        before, after, _kernel(stride), stride=stride, padding=-(-stride // 2), transposed=True
    )  # fmt: skip
    return _Stage(SnakeBeta(before), longer, *_residuals(after))


class Oobleck(nn.Module):
    """The autoencoder."""

    def __init__(self, config: OobleckConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or OobleckConfig()
        stages = list(zip(c.widths[:-1], c.widths[1:], c.strides, strict=True))
        self.stem = FrameStem(c.stem_hop, c.stem_width) if c.stem_hop > 1 else None
        outer = c.channels * c.stem_width
        self.encoder = _Stage(
            NormedConv1d(outer, c.widths[0], 7, padding=3), *(_down(*stage) for stage in stages),
            SnakeBeta(c.widths[-1]), NormedConv1d(c.widths[-1], 2 * c.latent_channels, 3, padding=1),
        )  # fmt: skip
        self.decoder = _Stage(
            NormedConv1d(c.latent_channels, c.widths[-1], 7, padding=3),
            *(_up(after, before, stride) for before, after, stride in reversed(stages)),
            SnakeBeta(c.widths[0]), NormedConv1d(c.widths[0], outer, 7, padding=3, bias=False),
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        return self.encoder.layers[0].weight_v.device

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.layers[0].weight_v.dtype

    def moments(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Encode `[B, C, N]` to mean and standard deviation of the latents, `[B, Z, R]` each."""
        frames = waveform if self.stem is None else self.stem.split(waveform)
        mean, scale = self.encoder(frames).chunk(2, dim=1)
        return mean, F.softplus(scale) + 1e-4

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents `[B, Z, R]` to waveforms `[B, C, R * hop]`."""
        frames = self.decoder(latents)
        return frames if self.stem is None else self.stem.join(frames, self.config.channels)


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the latents from a standard normal: summed over channels, mean over time."""
    variance = std.square()
    return (mean.square() + variance - variance.log() - 1).sum(1).mean()
