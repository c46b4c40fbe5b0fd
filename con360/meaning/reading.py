"""Choose how an encoder reads what a model makes: its latents, or the clip that they decode to.

Shape legend: B clips, F frames, D vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..models.system import AVSystem
from ..protocols import FrameMeaning, LatentMeaning, MeaningEncoder, PixelDecoder
from ..timing import ClipSpec

Reading = Callable[[Tensor], Tensor]


def reading_of(
    encoder: MeaningEncoder, model: AVSystem, modality: Literal["video", "audio"], spec: ClipSpec
) -> Reading:
    """Return a function from a modality's latents `[B, ...]` to unit vectors `[B, D]`; gradients pass through.

    Args:
        modality: a field of `records.AV`.
        spec: of the clip, whose padding the decoder leaves out.

    Raises:
        InputError: the encoder does not read latents, and the model's pictures cannot be decoded with a gradient.
    """
    if isinstance(encoder, LatentMeaning):
        return encoder.read_latents_v if modality == "video" else encoder.read_latents_a
    return _through_pixels(encoder, model) if modality == "video" else _through_waveform(encoder, model, spec)


def _through_pixels(encoder: MeaningEncoder, model: AVSystem) -> Reading:
    codec = model.codecs.video
    if not isinstance(codec, PixelDecoder):
        raise InputError(
            f"the model {model.name} does not decode pictures with a gradient, so {encoder.name} cannot read them "
            "while it samples; choose an encoder that reads its latents."
        )

    def frames(latents: Tensor) -> Tensor:
        return codec.pixels(latents)

    if isinstance(encoder, FrameMeaning):
        reader = encoder

        def frame(one: Tensor) -> Tensor:
            return reader.read_frames(codec.pixels(one)[:, 0])

        # Memory of one frame: each is decoded and read again for its gradient.
        def by_frames(latents: Tensor) -> Tensor:
            read = [checkpoint(frame, one, use_reentrant=False) for one in latents.split(1, dim=2)]
            return F.normalize(torch.stack(read).mean(0), dim=-1)

        return by_frames
    return lambda latents: encoder.read_picture(frames(latents), codec.fps)


def _through_waveform(encoder: MeaningEncoder, model: AVSystem, spec: ClipSpec) -> Reading:
    codec = model.codecs.audio

    def read(latents: Tensor) -> Tensor:
        sounds = [codec.decode(one, spec).waveform.mean(0) for one in latents]
        return encoder.read_sound(torch.stack(sounds), codec.sample_rate_hz)

    return read
