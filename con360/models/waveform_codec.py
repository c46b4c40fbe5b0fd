"""Encode sound to an Oobleck's latents and back, in exact tiles.

Shape legend: C channels, N samples, Z latent channels, R latent rows.

A decoded sample depends on latents a few rows away (`OobleckConfig.reach_rows`), so tiles that overlap by twice as many
rows and are cut in the middle of the overlap equal the whole decode. Memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..records import Sound, SoundLayout
from ..timing import ClipSpec
from .oobleck import Oobleck

# Rows of a tile, and of one where memory runs out.
TILE_ROWS, SMALL_TILE_ROWS = 128, 16


class WaveformCodec:
    """Ambisonics through an Oobleck (`protocols.SoundCodec`).

    Args:
        vae: its network, in float32.
        sample_rate_hz: of the sound.
        layout: of its channels.
    """

    def __init__(self, vae: Oobleck, sample_rate_hz: int = 44100, layout: SoundLayout = "ambix") -> None:
        self.vae, self.sample_rate_hz, self.layout = vae, sample_rate_hz, layout
        self.channels = vae.config.channels
        self.seconds_per_row, self.reach_rows = vae.config.hop / sample_rate_hz, vae.config.reach_rows

    def modules(self) -> list[nn.Module]:
        return [self.vae]

    def rows(self, seconds: float) -> int:
        """Latent rows of a sound so long: what is left after the last whole row never exists."""
        return round(seconds * self.sample_rate_hz) // self.vae.config.hop

    def latent_shape(self, spec: ClipSpec) -> tuple[int, int]:
        """(channels, rows)."""
        return self.vae.config.latent_channels, self.rows(spec.seconds)

    def encode(self, sound: Sound, spec: ClipSpec, *, generator: torch.Generator | None = None) -> Tensor:
        """A sound of the codec's rate and layout to latents `[1, Z, R]`.

        The published code draws the latents; None takes their mean.

        Raises:
            InputError: another rate, or another number of channels.
        """
        came = (sound.sample_rate_hz, sound.waveform.shape[0])
        if came != (self.sample_rate_hz, self.channels):
            raise InputError(
                f"the sound has {came[1]} channels at {came[0]} Hz; this model reads {self.channels} at "
                f"{self.sample_rate_hz} Hz. Convert it first."
            )
        missing = spec.num_samples - sound.waveform.shape[1]
        waveform = F.pad(sound.waveform[:, : spec.num_samples], (0, max(missing, 0)))[None]
        mean, std = self.vae.moments(waveform.to(self.vae.device, self.vae.dtype))
        if generator is None:
            return mean.float()
        return mean.float() + std.float() * torch.randn(mean.shape, generator=generator).to(mean.device)

    def decode(self, latents: Tensor, spec: ClipSpec) -> Sound:
        """`[Z, R]` to sound of exactly the clip's length; less than a row at its end is silence."""
        waveform = torch.cat(list(self.decode_tiles([latents])), dim=1)
        missing = spec.num_samples - waveform.shape[1]
        return Sound(F.pad(waveform, (0, max(missing, 0)))[:, : spec.num_samples], self.sample_rate_hz, self.layout)

    def decode_tiles(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decode latents that come in pieces `[Z, r]`: blocks `[C, n]` that join without a seam, on the CPU.

        A piece gives one block, of what needs no rows behind it; a last block gives the rest.
        """
        held, before = torch.empty(0), 0
        for piece in pieces:
            held, tiles = piece if not held.numel() else torch.cat((held, piece), dim=1), []
            while (ready := held.shape[1] - before - self.reach_rows) > 0:
                rows = min(ready, TILE_ROWS)
                tiles.append(self._tile(held[:, : before + rows + self.reach_rows], before, rows))
                kept = max(0, before + rows - self.reach_rows)
                held, before = held[:, kept:], before + rows - kept
            if tiles:
                yield torch.cat(tiles, dim=1)
        if held.shape[1:] and held.shape[1] > before:
            yield self._tile(held, before, held.shape[1] - before)

    def _tile(self, latents: Tensor, before: int, rows: int) -> Tensor:
        """Decode latents and keep the samples of `rows` rows behind the first `before`."""
        return in_smaller_pieces(
            lambda size: self._parts(latents, before, rows, size), rows, min(rows, SMALL_TILE_ROWS),
            what="decoding the sound", advice="compute on the cpu",
        )  # fmt: skip

    def _parts(self, latents: Tensor, before: int, rows: int, size: int) -> Tensor:
        """The same in parts of `size` rows, with as many rows around each as it reads."""
        hop, parts = self.vae.config.hop, []
        for first in range(before, before + rows, size):
            stop = min(first + size, before + rows)
            head = max(0, first - self.reach_rows)
            own = latents[None, :, head : stop + self.reach_rows].to(self.vae.device, self.vae.dtype)
            made = self.vae.decode(own)[0].float()
            parts.append(made[:, (first - head) * hop : (stop - head) * hop].cpu())
        return torch.cat(parts, dim=1)
