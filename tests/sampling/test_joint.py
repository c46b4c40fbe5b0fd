"""The joint sampler's behaviour: seeds, guidance plans, control fractions, cancelling, precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.models.text import encode_captions
from con360.protocols import Inputs
from con360.records import AV
from con360.sampling.guidance import Pass, guidance_plan, guide
from con360.sampling.joint import Given, sample_joint, video_noise
from con360.sampling.settings import SamplerSettings

FAST = SamplerSettings(steps=3, cfg_video=3.0, cfg_audio=2.0, seed=11)


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model(4)


def read_captions(model, *captions):
    text = encode_captions(model, captions)
    return AV(text.text_v, text.text_a)


def run(model, settings=FAST, **options):
    """Sample the tiny model; options `name_v` and `name_a` together make the pair `name`."""
    captions = encode_captions(model, ["a red disc humming", ""])
    both = AV(captions.text_v, captions.text_a)

    def pair(name, usual):
        return AV(*(options.pop(f"{name}_{end}", half) for end, half in zip("va", usual, strict=True)))

    text, negative = pair("text", both.map(lambda t: t[:1])), pair("negative", both.map(lambda t: t[1:]))
    given = Given(pair("start", AV()), pair("known", AV()), options.pop("generator", None))
    inputs, shapes = Inputs(text, negative, options.pop("film", None)), AV((4, 4, 8, 8), (8, 16, 16))
    return sample_joint(model.denoiser, model.schedules, inputs, shapes, settings, given=given, **options)


def strong_film(model):
    film = {}
    for site, shape in model.unet.site_shapes((4, 8, 8), (16, 16)).items():
        shape = (1, *shape[:-1], 1) if site.startswith("audio") else (1, *shape)
        pattern = torch.linspace(-2, 2, shape[1]).view(1, -1, *(1,) * (len(shape) - 2)).expand(shape)
        film[site] = (pattern, -pattern)
    return film


def same(a, b, **tolerance) -> bool:
    return all(torch.allclose(x, y, **tolerance) for x, y in zip(a, b, strict=True))


def test_same_seed_same_result(model):
    first, again, other = run(model), run(model), run(model, replace(FAST, seed=12))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not same(first, other)
    assert first[0].shape == (1, 4, 4, 8, 8) and first[1].shape == (1, 8, 16, 16)
    assert all(torch.isfinite(x).all() for x in first)


def test_a_passed_generator_is_used(model):
    by_hand = run(model, replace(FAST, seed=0), generator=torch.Generator().manual_seed(11))
    assert all(torch.equal(x, y) for x, y in zip(by_hand, run(model), strict=True))


def test_global_randomness_is_left_alone(model):
    before = torch.random.get_rng_state()
    run(model, replace(FAST, eta=1.0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_clips_of_a_batch_are_independent(model):
    text = encode_captions(model, ["a red disc humming", "a blue ring ticking", ""])
    g = torch.Generator().manual_seed(3)
    noise_v, noise_a = torch.randn(2, 4, 4, 8, 8, generator=g), torch.randn(2, 8, 16, 16, generator=g)
    both = run(model, text_v=text.text_v[:2], text_a=text.text_a[:2], start_v=noise_v, start_a=noise_a)
    one = run(model, text_v=text.text_v[1:2], text_a=text.text_a[1:2], start_v=noise_v[1:], start_a=noise_a[1:])
    assert same([x[1:] for x in both], one, atol=1e-3)
    assert not same([x[:1] for x in both], one, atol=1e-1)


def test_passes_together_equal_passes_one_by_one(model):
    settings = replace(FAST, cfg_control=2.0)
    together = run(model, settings, film=strong_film(model))
    apart = run(model, replace(settings, passes_together=False), film=strong_film(model))
    assert same(together, apart, atol=1e-3)


def test_guidance_off_needs_no_negative_text_and_equals_scale_one(model):
    off = run(model, replace(FAST, cfg_video=None, cfg_audio=1.0), negative_v=None, negative_a=None)
    half = run(model, replace(FAST, cfg_video=1.0, cfg_audio=1.0 + 1e-6))
    assert same(off, half, atol=1e-3)
    with pytest.raises(InputError, match="negative"):
        run(model, negative_v=None, negative_a=None)


def test_picture_and_sound_have_their_own_scales(model):
    """In one step the sound's scale changes the sound alone; over more steps the modalities affect each other."""
    once = replace(FAST, steps=1)
    a, b = run(model, once), run(model, replace(once, cfg_audio=6.0))
    assert torch.equal(a[0], b[0]) and not torch.allclose(a[1], b[1])


def test_zero_film_is_no_control(model):
    zeros = {site: (0 * a, 0 * b) for site, (a, b) in strong_film(model).items()}
    assert same(run(model), run(model, film=zeros), atol=1e-4)
    assert not same(run(model), run(model, film=strong_film(model)), atol=1e-2)


def test_control_acts_within_its_fractions(model):
    film, four = strong_film(model), replace(FAST, steps=4)
    none = run(model, four)
    assert same(run(model, replace(four, control_start=0.5, control_end=0.5), film=film), none, atol=1e-5)
    seen: dict[str, list] = {"none": [], "late": []}
    run(model, four, callback=lambda i, n, x, x0: seen["none"].append(x0.video))
    run(model, replace(four, control_start=0.5), film=film, callback=lambda i, n, x, x0: seen["late"].append(x0.video))
    agree = [torch.equal(a, b) for a, b in zip(*seen.values(), strict=True)]
    assert agree == [True, True, False, False]


def test_control_scale_one_is_no_third_pass_and_zero_is_no_control(model):
    film = strong_film(model)
    assert same(run(model, film=film), run(model, replace(FAST, cfg_control=1.0), film=film))
    assert same(run(model, replace(FAST, cfg_control=0.0), film=film), run(model), atol=1e-4)


def test_a_control_needs_connectors(model):
    plain = make_tiny_joint_model(4)
    plain.unet.connectors = None
    with pytest.raises(InputError, match="connectors"):
        run(plain, film=strong_film(model))
    assert all(torch.isfinite(x).all() for x in run(plain))


def test_callback_counts_steps_and_may_cancel(model):
    class Cancelled(Exception):
        pass

    seen = []

    def cancel_at_two(step, total, latents, x0):
        seen.append((step, total, latents.video.shape, x0.video.shape))
        if step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(model, callback=cancel_at_two)
    assert [s[:2] for s in seen] == [(1, 3), (2, 3)] and seen[0][2] == seen[0][3] == (1, 4, 4, 8, 8)


def test_last_estimate_is_the_result(model):
    """The tiny schedule ends at alpha 1: what is returned is the last x0 estimate."""
    estimates = []
    latents, _ = run(model, callback=lambda i, n, x, x0: estimates.append(x0.video))
    assert torch.allclose(latents, estimates[-1], atol=1e-5)


def test_the_first_estimate_is_fed_back(model):
    fed = []
    original = model.unet.encode_cross
    model.unet.encode_cross = lambda x_v, x_a, t_v, t_a, x0_v, x0_a: (
        fed.append(x0_v) or original(x_v, x_a, t_v, t_a, x0_v, x0_a)
    )
    estimates = []
    try:
        run(model, callback=lambda i, n, x, x0: estimates.append(x0.video))
    finally:
        del model.unet.encode_cross
    assert fed[0] is None and torch.equal(fed[1], estimates[0]) and torch.equal(fed[2], estimates[1])


def test_inside_inference_mode(model):
    """ComfyUI runs nodes in inference mode."""
    with torch.inference_mode():
        inside = run(model)
    assert all(torch.equal(x, y) for x, y in zip(inside, run(model), strict=True))


def test_half_precision_stays_near():
    model = make_tiny_joint_model(4)
    wanted = run(model)
    model.unet.to(torch.bfloat16)
    got = run(model)
    assert all(x.dtype == torch.float32 and torch.isfinite(x).all() for x in got)
    assert all((x - y).abs().mean() < 0.1 * y.abs().mean() for x, y in zip(got, wanted, strict=True))


def test_guidance_plans():
    caption, both, none = Pass(True, False), Pass(True, True), Pass(False, False)
    assert guidance_plan(7.5, 2.5, None, False).passes == (none, caption)
    assert guidance_plan(7.5, None, None, True) == guidance_plan(7.5, 1.0, 1.0, True)
    plan = guidance_plan(7.5, 2.5, 3.0, True)
    assert (plan.passes, plan.scales) == ((none, caption, both), ((7.5, 3.0), (2.5, 3.0)))
    assert guidance_plan(None, 1.0, None, True).passes == (both,)
    assert guidance_plan(1.0, 1.0, 3.0, True).passes == (caption, both)
    assert guidance_plan(7.5, 2.5, 3.0, False).passes == (none, caption)


def test_convention_guidance_by_hand():
    one, two, five = (torch.tensor([v]) for v in (1.0, 2.0, 5.0))
    assert guide([one], ()).item() == 1.0
    assert guide([one, two], (3.0,)).item() == 4.0
    assert guide([one, two, five], (3.0, 2.0)).item() == 10.0


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0}, {"steps": 1001}, {"cfg_video": -1.0}, {"cfg_audio": float("nan")}, {"cfg_control": 1000.0},
        {"gamma": 0.0}, {"eta": 1.5}, {"seed": -1}, {"seed": 2**64}, {"control_start": 0.8, "control_end": 0.2},
        {"control_end": 1.1},
    ],
)  # fmt: skip
def test_wrong_settings_are_named(values):
    with pytest.raises(InputError, match=next(iter(values)).split("_")[0]):
        SamplerSettings(**values)


def test_shared_noise_has_unit_variance_and_its_share_in_common():
    noise = video_noise((2, 4, 16, 24, 24), torch.Generator().manual_seed(0), 0.8)
    assert abs(noise.var() - 1) < 0.03
    across = (noise[:, :, 0] * noise[:, :, 9]).mean()
    assert abs(across - 0.8) < 0.03


def test_no_shared_noise_is_the_published_draw():
    a = video_noise((1, 4, 3, 2, 2), torch.Generator().manual_seed(5))
    assert torch.equal(a, torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(5)))
