"""Interfaces of a model for sampler and pipeline: denoiser, schedules, codecs. Nothing here knows a network.

A second system comes with classes of its own that have these methods; nothing that uses them branches on a name.

Shape legend: B clips, T frames, H W pixels, N samples, E time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .records import AV, Progress, Sound, SoundLayout, TimeTrack, View, ViewTrack
from .timing import ClipSpec

# Injection site to (scale, shift).
Film = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Inputs:
    """Encoded conditions: what a denoiser reads beside its latents.

    Args:
        given: per modality the features of captions, pictures or other conditions, `[B, ...]`; None reads none.
        without: the same for the unconditional pass, `[1 or B, ...]`; needed when guidance is on.
        film: site to (scale, shift), batch B or 1; None is no control.
        notices: sentences for people about what the encoders did not take in.
    """

    given: AV = AV()
    without: AV = AV()
    film: Film | None = None
    notices: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """B; 1 where nothing is read."""
        return next((len(features) for features in self.given if features is not None), 1)


class Solver(Protocol):
    """Follow one modality of one clip from timestep to timestep."""

    def estimate(self, index: int, prediction: Tensor, x: Tensor) -> Tensor:
        """The clean latents that the prediction at `timesteps[index]` implies."""

    def move(self, index: int, x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        """Latents at the next timestep, from those at `timesteps[index]` and their clean estimate."""


class Schedule(Protocol):
    """Noise levels of one modality, and how to move between them. Timestep 0 is clean."""

    def timesteps(self, steps: int, exponent: float | None = None) -> tuple[float, ...]:
        """Timesteps from noise to clip; `exponent` is the timestep adjustment."""

    def solver(self, name: str, timesteps: tuple[float, ...], eta: float) -> Solver:
        """A fresh solver along these timesteps."""

    def noised(self, x0: Tensor, noise: Tensor, timestep: float) -> Tensor:
        """Clean latents taken to a noise level."""


class Denoiser(Protocol):
    """The networks of one model.

    Attributes:
        groups: modalities that one network call predicts together, in order.
        takes_film: whether a control has a place to act in.
    """

    groups: tuple[tuple[str, ...], ...]

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def takes_film(self) -> bool: ...

    def embed_times(self, modality: str, times: Tensor, like: Tensor) -> Tensor:
        """`[S]` timesteps as the network reads them, `[S, E]`; embedded once for all steps."""

    def read(self, features: AV) -> Any:
        """Prepare a batch's features once for all steps."""

    def share(self, x: AV, t: AV, x0: AV, heard: tuple[str, ...]) -> Any:
        """Compute what all passes of a step have in common.

        Args:
            x: latents per modality, in the network's dtype.
            t: embedded timesteps, `[1, E]`.
            x0: the last clean estimates, or None.
            heard: modalities that one which is denoised in this step listens to.
        """

    def predict(self, group: tuple[str, ...], x: AV, t: AV, features: Any, shared: Any, film: Film | None) -> AV:
        """Predictions for a group; halves outside the group are None."""

    def parts(self, group: tuple[str, ...] = ()) -> list[nn.Module]:
        """Networks that `predict` needs for a group, or `share` for none."""


class PictureCodec(Protocol):
    """Frames to latents and back.

    Latents are `(channels, T, ...)`: a step's preview decodes one frame of them.

    Attributes:
        fps: frames per second.
        size_px: side of the square picture.
    """

    fps: float
    size_px: int

    def modules(self) -> list[nn.Module]: ...

    def latent_shape(self, spec: ClipSpec) -> tuple[int, ...]:
        """Shape of a clip's latents, without the batch."""

    def encode(self, frames: Tensor, *, chunk: int = 8) -> Tensor:
        """`[T, 3, H, W]` in [0, 1] to latents `[1, ...]`; `chunk` frames at a time."""

    def decode(self, latents: Tensor, *, chunk: int = 4, progress: Progress | None = None) -> Tensor:
        """Latents of one clip, without the batch, to `[T, 3, H, W]` in [0, 1]."""


class SoundCodec(Protocol):
    """Sound to latents and back.

    Attributes:
        sample_rate_hz: of the sound that it makes.
        layout, channels: of the same.
        seconds_per_row: time that one latent row spans; latents are `(channels, rows, ...)`.
    """

    sample_rate_hz: int
    layout: SoundLayout
    channels: int
    seconds_per_row: float

    def modules(self) -> list[nn.Module]: ...

    def latent_shape(self, spec: ClipSpec) -> tuple[int, ...]:
        """Shape of a clip's latents, without the batch; rows padded as the denoiser needs them."""

    def encode(self, sound: Sound, spec: ClipSpec) -> Tensor:
        """A sound of the codec's rate and layout to latents `[1, ...]`."""

    def decode(self, latents: Tensor, spec: ClipSpec) -> Sound:
        """Latents of one clip, without the batch, to a sound of exactly the clip's length."""


@runtime_checkable
class MelDecoder(SoundCodec, Protocol):
    """A codec of sound whose latents stand for a log-mel; through it a sound is guided in time (`sampling.when`)."""

    def log_mel(self, latents: Tensor, *, frugal: bool = False) -> Tensor:
        """Log-mels `[B, S, M]` of latents `[B, ...]`, one frame in 10 ms; gradients pass through.

        Args:
            frugal: compute again what the gradient needs, in less memory and about a third more time.
        """


class PictureNetwork(Protocol):
    """A network that tells when a picture sounds, from panoramas at 15 frames a second (`placing.picture_networks`).

    Attributes:
        knows: sentence for people about what it was trained on.
        panorama_rows: rows that panoramas are averaged down to before it reads them.
    """

    knows: str
    panorama_rows: int

    def read(self, panoramas: Tensor, look: View | ViewTrack) -> Tensor:
        """Read panoramas `[T, 3, H, 2 H]`, at most 2 s of them, where a view looks: `[T, ...]`, to be joined."""

    def tell(self, read: Tensor) -> TimeTrack:
        """Turn all that was read into a track."""


@runtime_checkable
class PixelDecoder(PictureCodec, Protocol):
    """A codec of pictures whose decoder lets gradients through; through it a picture is guided by its meaning."""

    def pixels(self, latents: Tensor) -> Tensor:
        """Frames `[B, T, 3, H, W]` of latents `[B, ...]`, about 0 to 1: not clamped, which would stop gradients."""


@runtime_checkable
class MeaningEncoder(Protocol):
    """Read captions, pictures and sounds as unit vectors; gradients of pictures and sounds pass through.

    Attributes:
        name: for people and for records.
        shared: captions, pictures and sounds lie in one space. Where they do not, `PairTexts` holds, two vectors of
            one clip are compared with its caption alone, and a volume means nothing.
    """

    name: str
    shared: bool

    def read_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to `[B, D]`.

        Raises:
            InputError: an empty caption, or `shared` is False.
        """

    def read_picture(self, frames: Tensor, fps: float) -> Tensor:
        """Frames `[B, F, 3, H, W]` in [0, 1] to `[B, D]`."""

    def read_sound(self, sound: Tensor, rate_hz: int) -> Tensor:
        """Mono sound `[B, S]` in [-1, 1] to `[B, D]`."""


@runtime_checkable
class PairTexts(Protocol):
    """An encoder whose captions have a vector for each of the things that they are compared with."""

    def read_pair_texts(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to `[B, D]` to be compared with sounds, and `[B, E]` to be compared with pictures."""


@runtime_checkable
class FrameMeaning(Protocol):
    """An encoder whose picture vector is the mean over frames, so that each can be read by itself."""

    def read_frames(self, frames: Tensor) -> Tensor:
        """Frames `[F, 3, H, W]` to `[F, D]`; their mean, as a unit vector, is what `read_picture` returns."""


@runtime_checkable
class LatentMeaning(Protocol):
    """An encoder that reads a model's latents; a guided step then needs no decoder."""

    def read_latents_v(self, latents: Tensor) -> Tensor:
        """Latents of a picture `[B, ...]`, as its codec makes them, to `[B, D]`."""

    def read_latents_a(self, latents: Tensor) -> Tensor:
        """Latents of a sound `[B, ...]`, as its codec makes them, to `[B, D]`."""
