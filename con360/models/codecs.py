"""Encode pictures and sound to the U-Nets' latents, and decode them.

Shape legend: B clips, T frames, H W pixels, h w latent rows and columns, N samples, S mel frames, M mel bands,
R F latent rows and frequencies (S and M over the VAE's stride).

Convention: a model's own ranges are entered and left here: pixels are [0, 1] outside, mels natural-log amplitudes,
latents have been multiplied by the VAE's scaling factor. Networks run in their own dtype, results are float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..records import Progress, Sound, SoundLayout
from ..sound.mels import MEL_HOP, log_mel
from ..timing import ClipSpec

# How a clip's ends are decoded: all rows, as the published code does it; the rows that hold sound alone, for a vocoder
# that knows what ends look like; or held beyond both ends and mended (`mend_mel_edges`), for one that does not.
SoundEnds = Literal["published", "cut", "mended"]
# Frames at each end of a mel whose windows reach past the sound and see its mirror image, and one to be sure.
EDGE_FRAMES = 4
# Of such a frame, bands so far below its loudest (in nats, 20 dB) hold the leakage of the fold alone.
EDGE_LEAKAGE = 2.3
# Latent rows and mel frames held beyond the ends, where convolutions would read zeros.
HELD_ROWS, HELD_FRAMES = 4, 8


def encode_frames(
    vae_v: nn.Module, frames: Tensor, *, chunk: int = 8, generator: torch.Generator | None = None
) -> Tensor:
    """Encode frames to latents.

    Args:
        vae_v: diffusers' AutoencoderKL.
        frames: `[T, 3, H, W]` or `[B, T, 3, H, W]` in [0, 1].
        chunk: frames at a time.
        generator: CPU generator; None takes the distribution's mode.

    Returns:
        `[4, T, h, w]` or `[B, 4, T, h, w]` float32.
    """
    flat = rearrange(frames, "... c h w -> (...) c h w")
    latents = torch.cat([_encode(vae_v, part * 2 - 1, generator) for part in flat.split(chunk)])
    return rearrange(latents.unflatten(0, frames.shape[:-3]), "... t c h w -> ... c t h w")


def decode_frames(vae_v: nn.Module, latents: Tensor, *, chunk: int = 4, progress: Progress | None = None) -> Tensor:
    """Decode latents to frames, a few at a time: memory does not grow with the clip.

    Args:
        vae_v: diffusers' AutoencoderKL.
        latents: `[4, T, h, w]` or `[B, 4, T, h, w]`.
        chunk: frames at a time.
        progress: told after each chunk; may raise to cancel.

    Returns:
        `[T, 3, H, W]` or `[B, T, 3, H, W]` in [0, 1], float32.
    """
    flat, done = rearrange(latents, "... c t h w -> (... t) c h w"), []
    for part in flat.split(chunk):
        done.append((_decode(vae_v, part) / 2 + 0.5).clamp(0, 1))
        if progress is not None:
            progress(min(len(done) * chunk, flat.shape[0]), flat.shape[0], "decoding frames")
    return torch.cat(done).unflatten(0, (*latents.shape[:-4], latents.shape[-3]))


def encode_mel(
    vae_a: nn.Module, mel_BSM: Tensor, rows: int | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    """Encode log-mels `[B, S, M]` to latents `[B, 8, R, F]`, zero rows appended up to `rows`.

    S is cut to a multiple of the VAE's stride.
    """
    stride = spatial_stride(vae_a)
    mel = mel_BSM[:, : mel_BSM.shape[1] // stride * stride]
    latents = _encode(vae_a, mel[:, None], generator)
    return latents if rows is None else F.pad(latents, (0, 0, 0, rows - latents.shape[2]))


def decode_mel(vae_a: nn.Module, latents: Tensor) -> Tensor:
    """Decode latents `[B, 8, R, F]` to log-mels `[B, S, M]`."""
    return _decode(vae_a, latents)[:, 0]


def vocode(vocoder: nn.Module, mel_BSM: Tensor, num_samples: int) -> Tensor:
    """Turn log-mels into waveforms `[B, num_samples]` float32: cut a surplus, fill less than a hop with silence."""
    wave = vocoder(mel_BSM.to(next(vocoder.parameters()).dtype)).float()
    missing = num_samples - wave.shape[-1]
    if missing >= MEL_HOP:
        raise ValueError(f"{mel_BSM.shape[1]} mel frames give {wave.shape[-1]} samples; {num_samples} were asked for")
    return F.pad(wave, (0, max(missing, 0)))[..., :num_samples]


def mel_between_ends(vae_a: nn.Module, latents: Tensor, spec: ClipSpec, held_rows: int = 0) -> Tensor:
    """Decode the rows of latents `[B, 8, R, F]` that hold sound, the last `held_rows` times more: `[B, S, M]`."""
    rows = _held(latents[:, :, : spec.num_latent_rows], 0, held_rows, dim=2)
    return decode_mel(vae_a, rows)[:, : spec.num_mel]


def mend_mel_edges(mel_BSM: Tensor) -> Tensor:
    """Give the frames at both ends of log-mels `[B, S, M]` the levels of their inner neighbours, mirrored.

    `log_mel` folds the sound at its ends. A tone's edge frames therefore hold a click in all bands, at which a vocoder
    goes quiet. The bands that sound in an edge frame keep the louder of both levels.

    Args:
        mel_BSM: S at least four times `EDGE_FRAMES`.
    """
    inner = mel_BSM[:, EDGE_FRAMES:-EDGE_FRAMES]
    mirrored = torch.cat((inner[:, :EDGE_FRAMES].flip(1), inner, inner[:, -EDGE_FRAMES:].flip(1)), dim=1)
    sounds = mel_BSM > mel_BSM.amax(dim=-1, keepdim=True) - EDGE_LEAKAGE
    return torch.where(sounds, mel_BSM.maximum(mirrored), mirrored)


def _held(x: Tensor, before: int, after: int, dim: int) -> Tensor:
    """Repeat the first and last entry beyond the ends of a dimension."""
    places = torch.arange(-before, x.shape[dim] + after, device=x.device)
    return x.index_select(dim, places.clamp(0, x.shape[dim] - 1))


def sound_ends(metadata: Mapping[str, Any]) -> SoundEnds:
    """Read from a model folder's own facts how the ends of its sounds are decoded.

    Raises:
        InputError: an unknown word.
    """
    # Version 3 said yes or no.
    ends = metadata.get("sound_ends", "mended" if metadata.get("mend_sound_edges") else "published")
    if ends not in get_args(SoundEnds):
        raise InputError(f"the model's sound_ends is {ends!r}; wanted {', '.join(get_args(SoundEnds))}.")
    return ends


def spatial_stride(vae: nn.Module) -> int:
    """Return pixels (or mel frames) per latent row."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def _encode(vae: nn.Module, x: Tensor, generator: torch.Generator | None) -> Tensor:
    posterior = vae.encode(x.to(vae.device, vae.dtype)).latent_dist
    if generator is None:
        return posterior.mode().float() * vae.config.scaling_factor
    noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
    return (posterior.mean + posterior.std * noise).float() * vae.config.scaling_factor


def _decode(vae: nn.Module, latents: Tensor) -> Tensor:
    return vae.decode((latents / vae.config.scaling_factor).to(vae.device, vae.dtype)).sample.float()


@contextmanager
def _recomputed(decoder: nn.Module) -> Iterator[None]:
    """Let diffusers' decoder keep the borders of its blocks alone, and compute their inside again for the gradient."""
    # The blocks' own switches stay off: inside a block that is computed again, they would have to stand as before.
    decoder._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    decoder.gradient_checkpointing = True
    try:
        yield
    finally:
        decoder.gradient_checkpointing = False


class FrameCodec:
    """Frames one by one through diffusers' AutoencoderKL (`protocols.PixelDecoder`).

    Args:
        vae: its network.
        size_px: side of the square picture.
        fps: frames per second.
    """

    def __init__(self, vae: nn.Module, size_px: int, fps: float) -> None:
        self.vae, self.size_px, self.fps = vae, size_px, fps

    def modules(self) -> list[nn.Module]:
        return [self.vae]

    def latent_shape(self, spec: ClipSpec) -> tuple[int, int, int, int]:
        """(channels, T, h, w)."""
        side = self.size_px // spatial_stride(self.vae)
        return self.vae.config.latent_channels, spec.num_frames, side, side

    def encode(self, frames: Tensor, *, chunk: int = 8) -> Tensor:
        """`[T, 3, H, W]` in [0, 1] to `[1, 4, T, h, w]`."""
        return encode_frames(self.vae, frames[None], chunk=chunk)

    def decode(self, latents: Tensor, *, chunk: int = 4, progress: Progress | None = None) -> Tensor:
        """`[4, T, h, w]` to `[T, 3, H, W]` in [0, 1]."""
        return decode_frames(self.vae, latents, chunk=chunk, progress=progress)

    def pixels(self, latents: Tensor) -> Tensor:
        """`[B, 4, T, h, w]` to `[B, T, 3, H, W]`, not clamped, differentiable (`protocols.PixelDecoder`)."""
        flat = rearrange(latents, "b c t h w -> (b t) c h w")
        return (_decode(self.vae, flat) / 2 + 0.5).unflatten(0, (latents.shape[0], latents.shape[2]))


class MelCodec:
    """Mono sound through log-mels, diffusers' AutoencoderKL and a vocoder (`protocols.SoundCodec`).

    Args:
        vae: its network.
        vocoder: SpeechT5HifiGan.
        ends: treatment of the clip's first and last 50 ms (`SoundEnds`).
    """

    layout: SoundLayout = "mono"
    channels = 1

    def __init__(self, vae: nn.Module, vocoder: nn.Module, *, ends: SoundEnds = "published") -> None:
        self.vae, self.vocoder, self.ends = vae, vocoder, ends
        self.sample_rate_hz = int(vocoder.config.sampling_rate)
        self.seconds_per_row = spatial_stride(vae) * MEL_HOP / self.sample_rate_hz

    def modules(self) -> list[nn.Module]:
        return [self.vae, self.vocoder]

    def latent_shape(self, spec: ClipSpec) -> tuple[int, int, int]:
        """(channels, padded rows, frequencies)."""
        bands = self.vocoder.config.model_in_dim // spatial_stride(self.vae)
        return self.vae.config.latent_channels, spec.num_latent_rows_padded, bands

    def encode(self, sound: Sound, spec: ClipSpec) -> Tensor:
        """Mono sound to `[1, 8, R, F]`, zero rows appended up to the clip's padded rows."""
        return encode_mel(self.vae, log_mel(sound.waveform, sound.sample_rate_hz), spec.num_latent_rows_padded)

    def decode(self, latents: Tensor, spec: ClipSpec) -> Sound:
        """`[8, R, F]` to mono sound of exactly the clip's length."""
        return Sound(_WAVEFORMS[self.ends](self, latents[None], spec), self.sample_rate_hz)

    def log_mel(self, latents: Tensor, *, frugal: bool = False) -> Tensor:
        """`[B, 8, R, F]` to natural-log mels `[B, S, M]`, differentiable (`protocols.MelDecoder`).

        Of the rows that hold sound alone, it is the mel that `cut` ends are vocoded from.
        """
        with _recomputed(self.vae.decoder) if frugal else nullcontext():
            return decode_mel(self.vae, latents)

    def _published(self, latents: Tensor, spec: ClipSpec) -> Tensor:
        return vocode(self.vocoder, decode_mel(self.vae, latents), spec.num_samples)

    def _cut(self, latents: Tensor, spec: ClipSpec) -> Tensor:
        return vocode(self.vocoder, mel_between_ends(self.vae, latents, spec), spec.num_samples)

    def _mended(self, latents: Tensor, spec: ClipSpec) -> Tensor:
        mel = mend_mel_edges(mel_between_ends(self.vae, latents, spec, HELD_ROWS))
        lead = HELD_FRAMES * MEL_HOP
        waveform = vocode(self.vocoder, _held(mel, HELD_FRAMES, HELD_FRAMES, dim=1), lead + spec.num_samples)
        return waveform[:, lead:]


_WAVEFORMS = {"published": MelCodec._published, "cut": MelCodec._cut, "mended": MelCodec._mended}
