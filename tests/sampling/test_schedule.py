"""Timesteps and DDIM steps: recorded outputs of the published scheduler, the library's scheduler, zero terminal SNR."""

from __future__ import annotations

import json

import pytest
import torch
from ddim import ddim_step
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from shared_data import fixture_path

from con360.errors import InputError
from con360.sampling.schedule import NoiseSchedule, adjustment_exponents, ddim_timesteps, estimate_x0

PUBLISHED = dict(
    num_train_timesteps=1000, beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False,
    set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon", timestep_spacing="leading",
)  # fmt: skip
ZERO_SNR = dict(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
    set_alpha_to_one=True, steps_offset=0, prediction_type="v_prediction", timestep_spacing="trailing",
    rescale_betas_zero_snr=True,
)  # fmt: skip


def recorded() -> tuple[dict, dict[str, torch.Tensor]]:
    return json.loads(fixture_path("scheduler.json").read_text()), load_file(fixture_path("scheduler.safetensors"))


def test_timesteps_match_published():
    values, _ = recorded()
    assert len(values["timesteps"]) > 80
    for key, wanted in values["timesteps"].items():
        modality, steps, label = key.split("/", 2)
        schedule = NoiseSchedule.of(DDIMScheduler(**values[f"{modality}_config"]))
        assert list(ddim_timesteps(schedule, int(steps), values["gammas"][label])) == wanted, key


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_trajectories_match_published(modality):
    values, tensors = recorded()
    schedule = NoiseSchedule.of(DDIMScheduler(**values[f"{modality}_config"]))
    assert torch.equal(schedule.alphas_cumprod, tensors[f"{modality}/alphas_cumprod"])
    assert schedule.final_alpha == pytest.approx(float(tensors[f"{modality}/final_alpha_cumprod"]), rel=1e-6)
    compared = 0
    for label, exponent in values["gammas"].items():
        if f"{modality}/gamma={label}/clipped/prev_sample" not in tensors:
            continue
        x, compared = tensors[f"{modality}/start"], compared + 1
        steps = schedule.alpha_pairs(ddim_timesteps(schedule, 10, exponent))
        for i, (alpha, alpha_next) in enumerate(steps):
            x, x0 = ddim_step(schedule, tensors[f"{modality}/eps"][i], x, alpha, alpha_next)
            for got, name in ((x, "prev_sample"), (x0, "pred_original_sample")):
                wanted = tensors[f"{modality}/gamma={label}/clipped/{name}"][i]
                assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max(), (label, i, name)
    assert compared == 5


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_ancestral_noise_matches_published(modality):
    values, tensors = recorded()
    schedule = NoiseSchedule.of(DDIMScheduler(**values[f"{modality}_config"]))
    x = tensors[f"{modality}/start"]
    for i, (alpha, alpha_next) in enumerate(schedule.alpha_pairs(ddim_timesteps(schedule, 10))):
        noise = tensors[f"{modality}/variance_noise"][i]
        x, _ = ddim_step(schedule, tensors[f"{modality}/eps"][i], x, alpha, alpha_next, eta=0.5, noise=noise)
        wanted = tensors[f"{modality}/eta0.5/prev_sample"][i]
        assert (x - wanted).abs().max() < 1e-5 * wanted.abs().max(), i


@pytest.mark.parametrize("steps", [1, 4, 12, 16, 50])
def test_zero_snr_agrees_with_diffusers(steps):
    """Compare trailing spacing and v-prediction from alpha 0 on with the library, where it steps evenly."""
    scheduler = DDIMScheduler(**ZERO_SNR)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.of(scheduler)
    timesteps = ddim_timesteps(schedule, steps)
    assert timesteps == tuple(scheduler.timesteps.tolist())
    assert timesteps[0] == 999 and schedule.alpha_pairs(timesteps)[0][0] == 0.0
    g = torch.Generator().manual_seed(0)
    x = mine = torch.randn(2, 4, 3, 3, generator=g)
    for t, (alpha, alpha_next) in zip(timesteps, schedule.alpha_pairs(timesteps), strict=True):
        v = torch.randn(x.shape, generator=g)
        mine, x0 = ddim_step(schedule, v, mine, alpha, alpha_next)
        assert torch.isfinite(mine).all()
        if 1000 % steps == 0:  # elsewhere the library's previous timestep is not the next one of its own list
            x = scheduler.step(v, t, x).prev_sample
            assert (mine - x).abs().max() < 1e-5
    assert torch.allclose(mine, x0)  # the last step arrives at alpha 1: the estimate itself


@pytest.mark.parametrize("config", [PUBLISHED, ZERO_SNR])
def test_perfect_predictions_recover_the_sample(config):
    scheduler = DDIMScheduler(**config)
    schedule = NoiseSchedule.of(scheduler)
    g = torch.Generator().manual_seed(1)
    x0, noise = torch.randn(3, 2, 4, generator=g), torch.randn(3, 2, 4, generator=g)
    alpha = float(schedule.alphas_cumprod[600])
    x_t = alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise
    velocity = alpha**0.5 * noise - (1 - alpha) ** 0.5 * x0
    prediction = noise if config["prediction_type"] == "epsilon" else velocity
    assert torch.allclose(estimate_x0(prediction, x_t, alpha, config["prediction_type"]), x0, atol=1e-5)
    stepped, _ = ddim_step(schedule, prediction, x_t, alpha, float(schedule.alphas_cumprod[300]))
    beta = float(schedule.alphas_cumprod[300])
    assert torch.allclose(stepped, beta**0.5 * x0 + (1 - beta) ** 0.5 * noise, atol=1e-5)


def test_convention_gamma_lets_the_picture_run_ahead():
    video, audio = adjustment_exponents(1.5)
    assert video == pytest.approx(1.2247449) and audio == pytest.approx(0.8164966)
    schedule = NoiseSchedule.of(DDIMScheduler(**PUBLISHED))
    assert (
        ddim_timesteps(schedule, 10, video)[5]
        < ddim_timesteps(schedule, 10)[5]
        < ddim_timesteps(schedule, 10, audio)[5]
    )
    assert adjustment_exponents(None) == (None, None)


def test_duplicate_timesteps_still_arrive():
    """gamma 4 at 50 steps rounds two timesteps to the same number; the trajectory must still end at the final alpha."""
    schedule = NoiseSchedule.of(DDIMScheduler(**PUBLISHED))
    timesteps = ddim_timesteps(schedule, 50, 2.0)
    assert len(set(timesteps)) < 50
    assert schedule.alpha_pairs(timesteps)[-1][1] == schedule.final_alpha


def test_clamped_estimates_stay_in_range():
    schedule = NoiseSchedule.of(DDIMScheduler(**{**PUBLISHED, "clip_sample": True, "clip_sample_range": 0.5}))
    _, x0 = ddim_step(schedule, torch.full((2,), 3.0), torch.zeros(2), 0.2, 0.4)
    assert x0.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prediction_type": "sample"}, "sample"),
        ({"rescale_betas_zero_snr": True}, "zero terminal SNR"),
        ({"thresholding": True}, "thresholding"),
        ({"timestep_spacing": "wide"}, "wide"),
    ],
)
def test_unusable_schedules_are_named(change, says):
    with pytest.raises(InputError, match=says):
        NoiseSchedule.of(DDIMScheduler(**{**PUBLISHED, **change}))


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(InputError, match=str(steps)):
        ddim_timesteps(NoiseSchedule.of(DDIMScheduler(**PUBLISHED)), steps)
