"""Start clips, a held modality, DPM-Solver++, and low memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from test_joint import FAST, run, same, strong_film
from test_schedule import PUBLISHED, ZERO_SNR
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.sampling import passes
from con360.sampling.passes import Passes
from con360.sampling.schedule import NoiseSchedule, ddim_timesteps
from con360.sampling.settings import SamplerSettings
from con360.sampling.solvers import DpmSolver, make_solver

FOUR = replace(FAST, steps=4)


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model(4)


@pytest.fixture(scope="module")
def known():
    g = torch.Generator().manual_seed(8)
    return {"known_v": torch.randn(1, 4, 4, 8, 8, generator=g), "known_a": torch.randn(1, 8, 16, 16, generator=g)}


def counted(model, **options):
    """Sample; return the number of runs of each network, and the result."""
    calls = {"video": 0, "audio": 0}
    hooks = [
        unet.conv_in.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
        for name, unet in (("video", model.unet.unet_v), ("audio", model.unet.unet_a))
    ]
    try:
        return calls, run(model, **options)
    finally:
        for hook in hooks:
            hook.remove()


# ---- a start


def test_full_strength_ignores_the_start(model, known):
    assert all(torch.equal(a, b) for a, b in zip(run(model, **known), run(model), strict=True))


def test_strength_skips_the_first_steps(model, known):
    half = replace(FOUR, denoise_video=0.5, denoise_audio=0.5)
    calls, _ = counted(model, settings=half, **known)
    assert calls == {"video": 2, "audio": 2}
    told = []
    run(model, half, **known, callback=lambda step, total, *_: told.append((step, total)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_a_network_that_predicts_the_start_returns_it(model, known, sampler, monkeypatch):
    """Any strength gives the start back if the network predicts exactly the start."""

    def perfect(_, step, sides):
        active = [m for m in sides if sides[m].arrive(step)]
        clean = {"video": known["known_v"], "audio": known["known_a"]}
        return {m: _velocity(sides[m], step, clean[m]) for m in active}

    def _velocity(side, step, x0):
        alpha = side.solver.alphas[step][0]
        return (alpha**0.5 * side.x - x0) / (1 - alpha) ** 0.5

    monkeypatch.setattr(Passes, "predict", perfect)
    for strength in (0.25, 0.5, 1.0):
        settings = replace(FOUR, denoise_video=strength, denoise_audio=0.75, sampler=sampler)
        assert same(run(model, settings, **known), known.values(), atol=1e-4)


def test_the_start_is_noised_to_the_level_of_its_step(model, known, monkeypatch):
    seen = []
    monkeypatch.setattr(Passes, "predict", lambda self, step, sides: seen.append(sides) or {})
    run(model, replace(FOUR, denoise_video=0.5), **known)
    side, alphas = seen[0]["video"], NoiseSchedule.of(model.scheduler_v).alphas_cumprod
    side.arrive(2)
    alpha = float(alphas[499])  # the third of four trailing timesteps 999, 749, 499, 249
    noise = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(FAST.seed))
    assert torch.allclose(side.x, alpha**0.5 * known["known_v"] + (1 - alpha) ** 0.5 * noise, atol=1e-6)


def test_picture_and_sound_have_their_own_strengths(model, known):
    """The sound begins two steps later; until then the picture is conditioned on the clean sound, at timestep 0."""
    calls, late = counted(model, settings=replace(FOUR, denoise_audio=0.5), **known)
    assert calls == {"video": 4, "audio": 2}
    heard = []
    original = model.unet.encode_cross
    model.unet.encode_cross = lambda *x: heard.append(x) or original(*x)
    try:
        run(model, replace(FOUR, denoise_audio=0.5), **known)
    finally:
        del model.unet.encode_cross
    assert [x[0] is None for x in heard] == [
        True,
        True,
        False,
        False,
    ]  # the picture's encoder is skipped while sound stands still
    assert torch.equal(heard[0][1], known["known_a"]) and torch.equal(heard[0][5], known["known_a"])
    assert torch.equal(heard[0][3], heard[1][3]) and not torch.equal(heard[1][3], heard[2][3])
    assert not same(late, run(model, FOUR), atol=1e-2)


# ---- one held


@pytest.mark.parametrize(("hold", "kept", "made"), [("picture", 0, 1), ("sound", 1, 0)])
def test_a_held_modality_is_unchanged_and_conditions_the_other(model, known, hold, kept, made):
    settings = replace(FOUR, hold=hold)
    calls, result = counted(model, settings=settings, **known)
    assert torch.equal(result[kept], list(known.values())[kept])
    assert list(calls.values())[kept] == 0 and list(calls.values())[made] == 4
    assert not torch.allclose(result[made], list(known.values())[made], atol=0.1)
    other = run(model, settings, **{name: -value for name, value in known.items()})
    assert not torch.allclose(result[made], other[made], atol=1e-3)


def test_holding_works_with_control_gamma_and_dpm(model, known):
    settings = replace(FOUR, hold="sound", gamma=1.5, sampler="dpm++", denoise_video=0.75)
    latents_v, latents_a = run(model, settings, film=strong_film(model), **known)
    assert torch.isfinite(latents_v).all() and torch.equal(latents_a, known["known_a"])


@pytest.mark.parametrize(
    ("change", "given", "says"),
    [
        ({"hold": "picture"}, "known_a", "no picture to hold"),
        ({"hold": "sound"}, "known_v", "no sound to hold"),
        ({"denoise_video": 0.5}, "known_a", "no picture to start from"),
        ({"denoise_audio": 0.5}, "known_v", "no sound to start from"),
    ],
)
def test_missing_latents_are_named(model, known, change, given, says):
    with pytest.raises(InputError, match=says):
        run(model, replace(FAST, **change), **{given: known[given]})


def test_a_start_of_another_shape_is_named(model, known):
    with pytest.raises(InputError, match="latents of shape"):
        run(model, replace(FAST, hold="picture"), known_v=known["known_v"][:, :, :3])


@pytest.mark.parametrize(
    "values",
    [
        {"sampler": "euler"}, {"memory": "none"}, {"hold": "both"}, {"denoise_video": 0.0}, {"denoise_audio": 1.5},
        {"denoise_video": float("nan")}, {"sampler": "dpm++", "eta": 0.5},
    ],
)  # fmt: skip
def test_wrong_settings_are_named(values):
    with pytest.raises(InputError, match="eta" if "eta" in values else next(iter(values))):
        SamplerSettings(**values)


# ---- DPM-Solver++


@pytest.mark.parametrize("config", [PUBLISHED, ZERO_SNR], ids=["epsilon", "velocity, zero SNR"])
@pytest.mark.parametrize("begin", [0, 5])
def test_dpm_steps_are_the_librarys_own(config, begin):
    """Compare with the library's scheduler, which converts the network's output itself."""
    ddim = DDIMScheduler(**config)
    schedule = NoiseSchedule.of(ddim)
    timesteps = ddim_timesteps(schedule, 16)
    final = "zero" if config["set_alpha_to_one"] else "sigma_min"
    library = DPMSolverMultistepScheduler.from_config(
        ddim.config, algorithm_type="dpmsolver++", final_sigmas_type=final
    )
    library.set_timesteps(timesteps=list(timesteps[begin:]))
    solver, g = DpmSolver(ddim, schedule, timesteps), torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(2, 4, 3, 3, generator=g)
    for i in range(begin, 16):
        output = torch.randn(ours.shape, generator=g)
        x0 = solver.estimate(i, output, ours)
        ours = solver.move(i, ours, x0, None)
        theirs = library.step(output, timesteps[i], theirs).prev_sample
        assert torch.isfinite(ours).all() and (ours - theirs).abs().max() < 2e-3 * theirs.abs().max(), i
    if config["set_alpha_to_one"]:
        assert torch.allclose(ours, x0, atol=1e-5)


def test_few_dpm_steps_come_nearer_than_few_of_ddim():
    """Use a known flow: for data of standard deviation 0.5 the best prediction is linear in x and takes 1 to 0.5."""
    ddim = DDIMScheduler(**ZERO_SNR)
    schedule = NoiseSchedule.of(ddim)

    def end(name: str, steps: int) -> float:
        timesteps = ddim_timesteps(schedule, steps)
        solver, x = make_solver(name, ddim, schedule, timesteps, 0.0), torch.ones(1)
        for i, t in enumerate(timesteps):
            alpha = float(schedule.alphas_cumprod[t])
            x0 = alpha**0.5 * 0.25 * x / (alpha * 0.25 + 1 - alpha)
            found = solver.estimate(i, (alpha**0.5 * x - x0) / (1 - alpha) ** 0.5, x)
            x = solver.move(i, x, found, None)
        return float(x)

    assert abs(end("ddim", 1000) - 0.5) < 0.003
    assert abs(end("dpm++", 20) - 0.5) < 0.75 * abs(end("ddim", 20) - 0.5)


def test_dpm_same_seed_same_result_and_is_not_ddim(model):
    settings = replace(FOUR, sampler="dpm++", gamma=1.5)
    first, again = run(model, settings), run(model, settings)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.isfinite(x).all() for x in first)
    assert not same(first, run(model, replace(settings, sampler="ddim")), atol=1e-2)


def test_dpm_refuses_two_steps_at_one_timestep():
    ddim = DDIMScheduler(**PUBLISHED)
    schedule = NoiseSchedule.of(ddim)
    with pytest.raises(InputError, match="gamma"):
        make_solver("dpm++", ddim, schedule, ddim_timesteps(schedule, 50, 2.0), 0.0)


# ---- memory


def test_low_memory_changes_nothing(model):
    options, low = {"film": strong_film(model)}, replace(FAST, memory="low")
    apart = run(model, replace(FAST, passes_together=False), **options)
    assert all(torch.equal(a, b) for a, b in zip(apart, run(model, low, **options), strict=True))
    once = replace(FAST, steps=1)
    assert same(run(model, once), run(model, replace(once, memory="low")), atol=1e-5)


def test_low_memory_has_one_network_on_the_device_at_a_time(model, monkeypatch):
    """Each network that runs was moved to the device before; no other U-Net is there."""
    there: list = []
    seen: set[str] = set()

    @contextmanager
    def watched(device, *modules):
        assert device == torch.device("cpu") and not there
        there.extend(modules)
        yield
        there.clear()

    def check(name):
        def hook(module, _):
            inside = {id(m) for top in there for m in top.modules()}
            assert id(module) in inside
            assert [n for n, m in unets.items() if id(m) in inside] == alone[name]
            seen.add(name)

        return hook

    unets = {"video": model.unet.unet_v.conv_in, "audio": model.unet.unet_a.conv_in}
    alone = {"video": ["video"], "audio": ["audio"], "encoder": [], "site": ["video"]}
    others = {"encoder": model.unet.connectors.encoders["video"].stages[0],
              "site": model.unet.connectors.at("video.down.2").proj_in}  # fmt: skip
    hooks = [m.register_forward_pre_hook(check(name)) for name, m in unets.items()]
    hooks.append(others["encoder"].register_forward_pre_hook(check("encoder")))
    hooks.append(others["site"].register_forward_pre_hook(check("site")))
    monkeypatch.setattr(passes, "resident", watched)
    run(model, replace(FAST, steps=1, memory="low"), device="cpu")
    for hook in hooks:
        hook.remove()
    assert seen == {"video", "audio", "encoder", "site"}
