"""Train an autoencoder of Ambisonics in the loop.

The published recipe compares spectra of the four channels, a quarter of the weight each, beside the latents'
divergence and a discriminator; the decoder then learns alone. The small codec adds beams, waveforms and intensities
(`distances.py`) and has no discriminator: scenes are sums of tones, which nothing has to make sharper.

Shape legend: B clips, N samples, n samples of a piece, Z latent channels, R latent rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from con360.metrics.directions import direction_errors
from con360.models.oobleck import Oobleck
from con360.records import Sound
from train.job import TRAINING, generator_of
from train.monitor import Monitor
from train.omniaudio.codec_start import start_from_stereo, start_small
from train.omniaudio.critic import SpectrumCritic, critic_error, likeness, verdict
from train.omniaudio.distances import beams, intensity_distance, spectral_distance, wave_distance
from train.omniaudio.settings import CODECS, RATES_HZ, CodecConfig
from train.omniaudio.sounds import turned
from train.order import Source

CONFIG, RATE_HZ = CODECS["small"], RATES_HZ["small"]
BETAS = (0.8, 0.99)
# The discriminator's rate over the codec's.
CRITIC_SCALE = 2.0
# Sounds of which the small codec's first weights are the components.
START_SOUNDS = 400


class CodecErrors(NamedTuple):
    """Weighed errors of each clip, `[B]` each."""

    spectra: Tensor
    wave: Tensor
    intensity: Tensor
    kl: Tensor
    verdict: Tensor
    likeness: Tensor


class CriticErrors(NamedTuple):
    """Error of the discriminator at each clip, `[B]`."""

    critic: Tensor


@dataclass(frozen=True)
class Sounds:
    """Hold whole clips of Ambisonics, `[B, 4, N]`."""

    fields: Tensor

    def to(self, device: torch.device) -> Sounds:
        return Sounds(self.fields.to(device, non_blocking=True))


@dataclass(frozen=True)
class CodecDraws:
    """Hold the random draws of a batch.

    Args:
        starts: first sample of each piece. samples: of a piece.
        yaw_deg, mirror, level: how each piece is turned, mirrored and scaled, `[B]`.
        noise: of the latents, `[B, Z, R]`.
        critic: the discriminator learns in this step.
    """

    starts: Tensor
    samples: int
    yaw_deg: Tensor
    mirror: Tensor
    level: Tensor
    noise: Tensor
    critic: bool

    def to(self, device: torch.device) -> CodecDraws:
        values = (getattr(self, f.name) for f in fields(self))
        return CodecDraws(*(v.to(device) if isinstance(v, Tensor) else v for v in values))

    def pieces(self, sounds: Sounds) -> Tensor:
        """Cut, turn, mirror and scale: `[B, 4, n]`."""
        pairs = zip(sounds.fields, self.starts.tolist(), strict=True)
        cut = torch.stack([field[:, start : start + self.samples] for field, start in pairs]).float()
        return self.level[:, None, None] * turned(cut, self.yaw_deg, self.mirror)


class CodecNet(nn.Module):
    """The autoencoder with its discriminator, and its errors."""

    def __init__(self, config: CodecConfig, vae: Oobleck) -> None:
        super().__init__()
        self.config, self.vae = config, vae
        self.critic = SpectrumCritic(vae.config.channels) if config.critic_weight else None

    def forward(self, sounds: Sounds, draws: CodecDraws) -> CodecErrors | CriticErrors:
        true = draws.pieces(sounds)
        if draws.critic:
            assert self.critic is not None, "turns are drawn where there is a discriminator"
            with torch.no_grad():
                made = self._made(true, draws)[0]
            return CriticErrors(critic_error(self.critic(made), self.critic(true)))
        made, mean, std = self._made(true, draws)
        return CodecErrors(*self._distances(made, true), self._divergence(mean, std), *self._judged(made, true))

    def _made(self, true: Tensor, draws: CodecDraws) -> tuple[Tensor, Tensor, Tensor]:
        mean, std = self.vae.moments(true)
        return self.vae.decode(mean + std * draws.noise), mean, std

    def _distances(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        # Strides floor: a last part of a row never exists.
        true = true[..., : made.shape[-1]]
        signals = beams if config.beams else _as_they_are
        nothing = made.new_zeros(len(made))
        intensity = intensity_distance(made, true, RATES_HZ[config.size]) if config.intensity_weight else nothing
        wave = wave_distance(made, true) if config.wave_weight else nothing
        spectra = spectral_distance(signals(made), signals(true))
        return spectra, config.wave_weight * wave, config.intensity_weight * intensity

    def _divergence(self, mean: Tensor, std: Tensor) -> Tensor:
        variance = std.square()
        return self.config.kl_weight * (mean.square() + variance - variance.log() - 1).sum(1).mean(1)

    def _judged(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        if self.critic is None:
            return made.new_zeros(len(made)), made.new_zeros(len(made))
        seen, wanted = self.critic(made), self.critic(true[..., : made.shape[-1]])
        weight = self.config.critic_weight
        return weight * verdict(seen), weight * self.config.likeness_weight * likeness(seen, wanted)


def _as_they_are(field: Tensor) -> Tensor:
    return field


class CodecJob:
    """Train an autoencoder (`train.job.Job`)."""

    def __init__(self, config: CodecConfig, vae: Oobleck) -> None:
        self.config, self.vae = config, vae
        self.net = CodecNet(config, vae)
        if config.train == "decoder":
            vae.requires_grad_(False)
            vae.decoder.requires_grad_(True)

    @property
    def rate_hz(self) -> int:
        return RATES_HZ[self.config.size]

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.net.named_parameters() if p.requires_grad}

    def groups(self) -> list[dict[str, Any]]:
        own, critic = self._own(), self._critic()
        groups = [{"params": own, "betas": BETAS}]
        return groups + ([{"params": critic, "betas": BETAS, "scale": CRITIC_SCALE}] if critic else [])

    def learning(self, step: int) -> Iterable[nn.Parameter]:
        return self._critic() if self._critics_turn(step) else self._own()

    def _own(self) -> list[nn.Parameter]:
        return [p for p in self.vae.parameters() if p.requires_grad]

    def _critic(self) -> list[nn.Parameter]:
        return [] if self.net.critic is None else list(self.net.critic.parameters())

    def _critics_turn(self, step: int) -> bool:
        return self.net.critic is not None and step % 2 == 1

    def collate(self, samples: Sequence[Tensor]) -> Sounds:
        return Sounds(torch.stack(list(samples)))

    def draw(self, batch: Sounds, numbers: Sequence[int], stream: int, step: int) -> CodecDraws:
        hop = self.vae.config.hop
        samples = min(max(1, round(self.config.crop_s * self.rate_hz / hop)) * hop, batch.fields.shape[-1])
        rows = [self._draw(generator_of(self.config.seed, stream, n), samples, batch) for n in numbers]
        starts, yaw, mirror, level, noise = (torch.stack(column) for column in zip(*rows, strict=True))
        critic = stream == TRAINING and self._critics_turn(step)
        return CodecDraws(starts, samples, yaw, mirror, level, noise, critic)

    def _draw(self, g: torch.Generator, samples: int, batch: Sounds) -> tuple[Tensor, ...]:
        config = self.vae.config
        # At whole frames, as in use: there the voices' partials have the same phase in every frame.
        start = config.hop * torch.randint((batch.fields.shape[-1] - samples) // config.hop + 1, (), generator=g)
        yaw, mirror = 360 * torch.rand((), generator=g), torch.rand((), generator=g) < 0.5
        level = 10 ** (-0.5 * torch.rand((), generator=g))
        noise = torch.randn(config.latent_channels, samples // config.hop, generator=g)
        return start, yaw, mirror, level, noise

    def places(self, draws: CodecDraws) -> None:
        """There is no noise schedule."""

    def bare(self, batch: Sounds, draws: CodecDraws) -> CodecErrors | CriticErrors:
        """The same: a codec has no condition."""
        return self.net(batch, draws)

    def look(self, samples: Sequence[Tensor], monitor: Monitor, step: int) -> dict[str, float]:
        return judge(self.vae, torch.stack(list(samples)), self.rate_hz)


@torch.no_grad()
def judge(vae: Oobleck, sounds: Tensor, rate_hz: int = RATE_HZ) -> dict[str, float]:
    """Angular error in degrees (median, 90th percentile) and W's log-mel distance, over sounds `[K, 4, N]`."""
    from con360.metrics.audio import log_mel_distance

    angles, mels = [], []
    for true in sounds.float():
        made = vae.decode(vae.moments(true[None].to(vae.device))[0])[0].cpu()
        a, b = Sound(made, rate_hz, "ambix"), Sound(true[:, : made.shape[1]], rate_hz, "ambix")
        angles.append(np.degrees(direction_errors(a, b).angular))
        mels.append(log_mel_distance(Sound(a.waveform[:1], rate_hz), Sound(b.waveform[:1], rate_hz)))
    return {
        "median": float(np.median(angles)),
        "p90": float(np.quantile(angles, 0.9)),
        "log_mel_db": float(np.mean(mels)),
    }


def new_codec(config: CodecConfig, source: Source) -> Oobleck:
    """Make the codec to train: from a file, from stereo's, or (small) near its goal already.

    Raises:
        InputError: a file does not fit.
    """
    vae = Oobleck(CODECS[config.size])
    if config.init is not None:
        vae.load_state_dict(load_file(config.init))
    elif config.stereo is not None:
        start_from_stereo(vae, config.stereo)
    elif config.size == "small":
        start_small(vae, _start_sounds(source, config.seed))
    return vae


def _start_sounds(source: Source, seed: int) -> Tensor:
    """A second of each sound, turned every way."""
    count = min(START_SOUNDS, len(source))
    g = torch.Generator().manual_seed(seed)
    samples = RATE_HZ
    starts = CONFIG.hop * torch.randint((source[0].shape[-1] - samples) // CONFIG.hop + 1, (count,), generator=g)
    yaw, mirror = 360 * torch.rand(count, generator=g), torch.rand(count, generator=g) < 0.5
    level, nothing = 10 ** (-0.5 * torch.rand(count, generator=g)), torch.empty(0)
    draws = CodecDraws(starts, samples, yaw, mirror, level, nothing, False)
    return draws.pieces(Sounds(torch.stack([source[i] for i in range(count)])))
