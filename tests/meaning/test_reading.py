"""Encoders that read clips and no latents: through the codecs, with a gradient, frame by frame where they can."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.meaning.reading import reading_of
from con360.models.joint import JointModel


class Colours:
    """A picture is its mean colour, a sound its first two moments."""

    name, shared = "colours", True

    def read_text(self, captions: list[str]) -> torch.Tensor:
        return torch.ones(len(captions), 3) / 3**0.5

    def read_picture(self, frames: torch.Tensor, fps: float) -> torch.Tensor:
        return torch.nn.functional.normalize(frames.square().mean((1, 3, 4)), dim=-1)

    def read_sound(self, sound: torch.Tensor, rate_hz: int) -> torch.Tensor:
        moments = torch.stack((sound.mean(1), sound.square().mean(1), torch.ones(len(sound))), dim=1)
        return torch.nn.functional.normalize(moments, dim=-1)


class ByFrames(Colours):
    def read_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.square().mean((2, 3))


@cache
def model() -> JointModel:
    return make_tiny_joint_model()


def latents(modality: str) -> torch.Tensor:
    spec = model().clip_spec(0.5)
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, *model().latent_shapes(spec).get(modality), generator=generator).requires_grad_()


@pytest.mark.parametrize("encoder", [Colours(), ByFrames()])
def test_pictures_are_read_with_their_gradient(encoder: Colours) -> None:
    given, codec = latents("video"), model().codecs.video
    read = reading_of(encoder, model(), "video", model().clip_spec(0.5))(given)
    wanted = encoder.read_picture(codec.pixels(given), codec.fps)
    torch.testing.assert_close(read, wanted)
    slopes = [torch.autograd.grad(x[:, 0].sum(), given)[0] for x in (read, wanted)]
    torch.testing.assert_close(*slopes)
    assert slopes[0].abs().amax() > 0


def test_pixels_are_those_of_the_decoder_before_they_are_clamped() -> None:
    given, codec = latents("video").detach(), model().codecs.video
    torch.testing.assert_close(codec.pixels(given).clamp(0, 1)[0], codec.decode(given[0]), atol=1e-5, rtol=0)


def test_sounds_are_read_with_their_gradient() -> None:
    given, spec = latents("audio"), model().clip_spec(0.5)
    read = reading_of(Colours(), model(), "audio", spec)(given)
    (slope,) = torch.autograd.grad(read[:, 1].sum(), given)
    assert read.shape == (2, 3) and slope.abs().amax() > 0


def test_a_model_without_such_a_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("con360.meaning.reading.PixelDecoder", int)
    with pytest.raises(InputError, match="decode pictures with a gradient"):
        reading_of(Colours(), model(), "video", model().clip_spec(0.5))
