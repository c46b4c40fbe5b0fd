"""The whole guided sampling trajectory against the published pipeline's."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from published_svg import read_json, relative_error, tensors, tiny_dual_unet

from con360.sampling.joint import SamplerSettings, sample_joint

TOLERANCE = 1e-4


def _run(gamma: float | None, **options):
    values, recorded = read_json("pipeline_tiny.json"), tensors("pipeline_tiny.safetensors")
    seen = []
    text_v, text_a = recorded["embeds_v"], recorded["embeds_a"]
    result = sample_joint(
        tiny_dual_unet("additive"),
        DDIMScheduler(**values["video_scheduler"]),
        DDIMScheduler(**values["audio_scheduler"]),
        text_v=text_v[2:], text_a=text_a[2:], negative_v=text_v[:2], negative_a=text_a[:2],
        shape_v=(4, 8, 16, 16), shape_a=(8, 32, 16),
        start_v=recorded["latents_v"], start_a=recorded["latents_a"],
        settings=SamplerSettings(steps=4, cfg_video=7.5, cfg_audio=2.5, gamma=gamma, **options),
        callback=lambda step, total, x, x0: seen.append((x.clone(), x0.clone())),
    )  # fmt: skip
    return recorded, seen, result


@pytest.mark.parametrize(
    ("label", "gamma"), [pytest.param("gamma_none", None, marks=pytest.mark.slow), ("gamma_1.5", 1.5)]
)
def test_trajectory_matches_published(label, gamma):
    recorded, seen, (latents_v, latents_a) = _run(gamma)
    errors = {f"step {i}": relative_error(x, recorded[f"{label}/video/latents"][i]) for i, (x, _) in enumerate(seen)}
    if f"{label}/video/x0" in recorded:
        errors |= {f"x0 {i}": relative_error(x0, recorded[f"{label}/video/x0"][i]) for i, (_, x0) in enumerate(seen)}
    errors["video"] = relative_error(latents_v, recorded[f"{label}/video/latents"][-1])
    errors["audio"] = relative_error(latents_a, recorded[f"{label}/audio/latents"][-1])
    print(label, {k: f"{v:.1e}" for k, v in errors.items()})
    assert len(seen) == 4
    assert max(errors.values()) < TOLERANCE


@pytest.mark.slow
def test_passes_one_by_one_match_published():
    recorded, _, (latents_v, latents_a) = _run(None, passes_together=False)
    assert relative_error(latents_v, recorded["gamma_none/video/latents"][-1]) < TOLERANCE
    assert relative_error(latents_a, recorded["gamma_none/audio/latents"][-1]) < TOLERANCE


@pytest.mark.slow
def test_dropping_the_x0_estimate_is_seen(monkeypatch):
    """Without self-conditioning the trajectory leaves the recorded one: the parity above can fail."""
    from con360.models.dual_unet import DualUNet

    whole = DualUNet.encode_cross
    monkeypatch.setattr(DualUNet, "encode_cross", lambda self, x_v, x_a, t_v, t_a, *_: whole(self, x_v, x_a, t_v, t_a))
    recorded, _, (latents_v, _) = _run(None)
    assert torch.isfinite(latents_v).all()
    assert relative_error(latents_v, recorded["gamma_none/video/latents"][-1]) > 5 * TOLERANCE
