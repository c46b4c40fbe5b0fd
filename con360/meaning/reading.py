"""Choose how an encoder reads what a model makes: its latents, or the clip that they decode to.

Shape legend: B clips, F frames, D vector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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

    if isinstance(encoder, FrameMeaning):
        return partial(_by_frames, encoder, codec)
    return lambda latents: encoder.read_picture(codec.pixels(latents), codec.fps)


def _by_frames(encoder: FrameMeaning, codec: PixelDecoder, latents: Tensor) -> Tensor:
    """Decode and read one frame at a time, and again for its gradient: memory does not grow with the clip."""

    def read(frame: Tensor) -> Tensor:
        return encoder.read_frames(codec.pixels(frame)[:, 0])

    vectors = [checkpoint(read, frame, use_reentrant=False) for frame in latents.split(1, dim=2)]
    return F.normalize(torch.stack(vectors).mean(0), dim=-1)


def _through_waveform(encoder: MeaningEncoder, model: AVSystem, spec: ClipSpec) -> Reading:
    codec = model.codecs.audio

    def read(latents: Tensor) -> Tensor:
        sounds = [codec.decode(one, spec).waveform.mean(0) for one in latents]
        return encoder.read_sound(torch.stack(sounds), codec.sample_rate_hz)

    return read
