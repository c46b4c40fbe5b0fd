"""Base of every joint model: encode conditions, sample latents, decode a clip.

A second system subclasses `AVSystem` and brings a denoiser, schedules and codecs of its own (`con360.protocols`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..memory import in_smaller_pieces
from ..protocols import Denoiser, Inputs
from ..records import AV, Conditions, Progress, Sound
from ..residency import resident
from ..sampling.joint import Given, StepCallback, sample_joint
from ..sampling.settings import SamplerSettings
from ..sampling.steer import Term
from ..timing import ClipSpec


@dataclass(frozen=True)
class Placement:
    """Place where parts of a model compute: at home, or on a device as visitors while memory is low."""

    device: torch.device
    low: bool = False

    def bring(self, *modules: nn.Module) -> AbstractContextManager[None]:
        return resident(self.device, *modules) if self.low else nullcontext()

    def chunk(self, usual: int) -> int:
        """Frames that a codec takes at a time."""
        return 1 if self.low else usual

    @property
    def advice(self) -> str:
        """The setting to change when memory runs out."""
        return "ask for a shorter clip, or a smaller model" if self.low else "set memory to 'low', or shorten the clip"


class AVSystem(ABC):
    """A model of picture, sound or both.

    Attributes:
        name: for people and for control files.
        metadata: facts of the model's folder; `defaults` are sampler settings, `draws` a kind of picture.
        notices: sentences for people about what this model does.
    """

    name: str
    metadata: dict[str, Any]
    notices: tuple[str, ...]

    @property
    @abstractmethod
    def denoiser(self) -> Denoiser: ...

    @property
    @abstractmethod
    def schedules(self) -> AV:
        """A `Schedule` per modality."""

    @property
    @abstractmethod
    def codecs(self) -> AV:
        """A `PictureCodec` and a `SoundCodec`; None for a modality that the model does not make."""

    @abstractmethod
    def clip_spec(self, seconds: float) -> ClipSpec:
        """Rates and lengths of a clip.

        Raises:
            InputError: the model makes no clip of this length.
        """

    @abstractmethod
    def encode(self, conditions: Conditions, negative: str = "") -> Inputs:
        """Encode what the denoiser reads of the conditions, without the control's FiLM."""

    def encoders(self) -> list[nn.Module]:
        """Networks that `encode` needs."""
        return []

    def backbones(self) -> list[nn.Module]:
        """Networks that a control is trained over; their weights identify the model."""
        return []

    def site_shapes(self, spec: ClipSpec) -> dict[str, tuple[int, ...]]:
        """Injection site of a control to the shape of its features; none where a control has no place."""
        return {}

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def latent_shapes(self, spec: ClipSpec) -> AV:
        """Shape of each modality's latents, without the batch."""
        return self.codecs.map(lambda codec: codec.latent_shape(spec))

    def sample(
        self, inputs: Inputs, spec: ClipSpec, settings: SamplerSettings, *, given: Given | None = None,
        terms: Sequence[Term] = (), device: torch.device | str | None = None, callback: StepCallback | None = None,
    ) -> AV:  # fmt: skip
        """Sample latents `[B, ...]`; arguments as for `sampling.joint.sample_joint`."""
        return sample_joint(
            self.denoiser, self.schedules, inputs, self.latent_shapes(spec), settings, given=given, terms=terms,
            device=device, callback=callback,
        )  # fmt: skip

    def decode(
        self, latents: AV, spec: ClipSpec, *, placement: Placement | None = None, progress: Progress | None = None
    ) -> tuple[Tensor | None, Sound | None]:
        """Decode one clip.

        Args:
            latents: without the batch; an absent half stays absent.
            placement: where codecs compute; None is where they are.

        Returns:
            Frames `[T, 3, H, W]` in [0, 1] and sound of exactly the clip's length, on the CPU.

        Raises:
            TooLittleMemory: it does not fit, in smaller pieces either.
        """
        placement = placement or Placement(self.device)
        frames = None if latents.video is None else self._frames(latents.video, placement, progress)
        sound = None if latents.audio is None else self._sound(latents.audio, spec, placement)
        return frames, sound

    def _frames(self, latents: Tensor, placement: Placement, progress: Progress | None) -> Tensor:
        codec = self.codecs.video
        with placement.bring(*codec.modules()), torch.no_grad():
            return in_smaller_pieces(
                lambda chunk: codec.decode(latents, chunk=chunk, progress=progress).cpu(),
                placement.chunk(4), 1, what="decoding frames", advice=placement.advice,
            )  # fmt: skip

    def _sound(self, latents: Tensor, spec: ClipSpec, placement: Placement) -> Sound:
        codec = self.codecs.audio
        with placement.bring(*codec.modules()), torch.no_grad():
            sound = in_smaller_pieces(
                lambda _: codec.decode(latents, spec), 1, 1, what="decoding the sound", advice=placement.advice
            )
        return replace(sound, waveform=sound.waveform.cpu())
