"""Guidance rescale: tests/golden compare its formula; here are its edges and its way through the sampler."""

from __future__ import annotations

import pytest
import torch
from golden import runs_omniaudio

from con360.errors import InputError
from con360.protocols import Inputs
from con360.records import AV
from con360.sampling.guidance import guide
from con360.sampling.joint import Given, sample_joint
from con360.sampling.settings import SamplerSettings


def passes() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, 5, 3, generator=generator) for _ in range(3)]


def test_a_whole_share_has_the_deviation_of_the_most_informed_pass():
    outputs = passes()
    rescaled = guide(outputs, (5.0, 2.0), 1.0)
    torch.testing.assert_close(rescaled.std(dim=1), outputs[-1].std(dim=1))
    assert not torch.allclose(guide(outputs, (5.0, 2.0)).std(dim=1), outputs[-1].std(dim=1), rtol=0.1)


def test_no_share_and_no_guidance_change_nothing():
    outputs = passes()
    assert torch.equal(guide(outputs, (5.0, 2.0), 0.0), guide(outputs, (5.0, 2.0)))
    assert guide(outputs[:1], (), 0.7) is outputs[0]


def test_silent_predictions_stay_finite():
    zeros = [torch.zeros(1, 4, 6)] * 2
    assert torch.equal(guide(zeros, (3.0,), 0.7), zeros[0])


def test_the_sampler_takes_the_share():
    """One Euler step from noise: what is left is noise minus the guided velocity."""
    model, (panorama, view, noise) = runs_omniaudio.model(), runs_omniaudio.inputs_of_the_runs()
    given, without = (f[None] for f in model.features(panorama, view, noise.shape[-1]))
    net = model.transformer
    with torch.no_grad():
        time = net.embed_times("audio", torch.ones(1), noise)
        wanted = noise - guide([net.velocity(noise, time, f) for f in (without, given)], (5.0,), 0.7)
    settings = SamplerSettings(steps=1, cfg_video=None, cfg_audio=5.0, cfg_rescale=0.7)
    inputs, start = Inputs(AV(audio=given), AV(audio=without)), AV(audio=noise)
    made = sample_joint(
        model.denoiser, model.schedules, inputs, AV(audio=noise.shape[1:]), settings, given=Given(noise=start)
    )  # fmt: skip
    torch.testing.assert_close(made.audio, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_are_refused(share):
    with pytest.raises(InputError, match=r"cfg_rescale is .* wanted 0 to 1"):
        SamplerSettings(cfg_rescale=share)
