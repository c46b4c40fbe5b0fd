"""One recorded training step of the published code: predictions, estimates, losses and every gradient's norm."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from published_svg import filler, read_json, relative_error, tensors, tiny_dual_unet

from con360.models.connectors import published_to_ours
from con360.models.dual_unet import DualUNet
from con360.sampling.schedule import NoiseSchedule, estimate_x0

TOLERANCE = 1e-4


def _trainable(kind: str) -> DualUNet:
    """A model of its own, with gradients where the published training has them."""
    unet = copy.deepcopy(tiny_dual_unet(kind))
    unet.connectors.requires_grad_(True)
    for name, parameter in unet.unet_v.named_parameters():
        parameter.requires_grad_("motion_modules" in name)
    return unet


def _estimates(noisy, noise_prediction, timesteps) -> list[torch.Tensor]:
    configs = read_json("scheduler.json")
    kept = []
    for name, x, out in zip(("video", "audio"), noisy, noise_prediction, strict=True):
        alphas = NoiseSchedule.of(DDIMScheduler(**configs[f"{name}_config"])).alphas_cumprod
        each = [
            estimate_x0(o, v, float(alphas[t]), "epsilon") for o, v, t in zip(out, x, timesteps.tolist(), strict=True)
        ]
        kept.append(torch.stack(each))
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_training_step_matches_published(kind):
    values, recorded = read_json("train_tiny.json")[kind], tensors("train_tiny.safetensors")
    unet, t = _trainable(kind), torch.tensor(values["timesteps"])
    noisy, noisy_con = ([recorded[f"{prefix}_{m}"] for m in ("video", "audio")] for prefix in ("noisy", "noisy_con"))
    text = recorded["context"], recorded["class_labels"]
    with torch.no_grad():  # the first pass embeds the shared timestep, whatever the connectors' input was noised at
        first = unet(*noisy, t, t, *text, unet.encode_cross(*noisy_con, t, t))
    # The record lists audio before video.
    keep = [torch.tensor(mask) for mask in reversed(values["keep_x0"])]
    t_con = [torch.tensor(v) for v in reversed(values["timesteps_con"])]
    x0 = [
        torch.where(k.view(-1, *(1,) * (e.ndim - 1)), e, 0)
        for k, e in zip(keep, _estimates(noisy, first, t), strict=True)
    ]
    out = list(unet(*noisy, t, t, *text, unet.encode_cross(*noisy_con, *t_con, *x0)))
    out[1] = out[1][:, :, : recorded["noise_audio"].shape[2]]
    losses = [F.mse_loss(o, recorded[f"noise_{m}"]) for o, m in zip(out, ("video", "audio"), strict=True)]
    sum(losses).backward()
    for i, m in enumerate(("video", "audio")):
        assert relative_error(first[i], recorded[f"{kind}/pass1_eps_{m}"]) < TOLERANCE
        assert relative_error(x0[i], recorded[f"{kind}/x0_kept_{m}"]) < TOLERANCE
        assert relative_error(out[i].detach(), recorded[f"{kind}/pred_{m}"]) < TOLERANCE
        assert losses[i].item() == pytest.approx(values[f"loss_{m}"], rel=1e-5)
    _check_gradients(unet, kind, values["grad_norms"], recorded)


def _check_gradients(unet: DualUNet, kind: str, norms: dict[str, float], recorded: dict[str, torch.Tensor]) -> None:
    largest, errors = max(norms.values()), {}
    for name, wanted in norms.items():
        gradient = _parameter(unet, name).grad
        got = 0.0 if gradient is None else float(gradient.norm())
        errors[name] = abs(got - wanted) / max(wanted, 1e-5 * largest)
    print(f"{kind}: {len(norms)} gradient norms, worst {max(errors.values()):.1e}")
    assert max(errors.values()) < 1e-3, max(errors, key=errors.get)
    stored = [key for key in recorded if key.startswith(f"{kind}/grad/")]
    for key in stored:
        gradient = _parameter(unet, key.removeprefix(f"{kind}/grad/")).grad
        corner = gradient.flatten(1)[:64, :64] if gradient.ndim > 1 else gradient
        assert relative_error(corner, recorded[key]) < TOLERANCE, key
    assert len(stored) == 5


def _parameter(unet: DualUNet, published: str) -> torch.nn.Parameter:
    part, _, name = published.partition(".")
    if part == "unet_svg":
        return unet.connectors.get_parameter(published_to_ours(unet.connectors.config, name))
    return getattr(unet, part).get_parameter(name)


def test_the_filler_is_bit_exact():
    """The recorded inputs come from names as the weights do: a filler that drifts would be seen here."""
    recorded = tensors("svg_tiny_additive.safetensors")["case1/x_audio"]
    assert torch.equal(torch.from_numpy(filler().noise("case1/x_audio", recorded.shape)).float(), recorded)
