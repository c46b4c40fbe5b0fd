"""Test spans made anew, over a small random model: what stays, what changes, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model
from torch import Tensor

from con360.anew.redo import redo
from con360.anew.span import Span
from con360.caption import typed_caption
from con360.errors import InputError
from con360.pipeline import conditions_of, default_settings, generate
from con360.records import AV, DirectionField, ViewpointClip
from con360.sampling.joint import Given, starting_noise
from con360.sampling.kept import Kept
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint

SECONDS, STEPS, SEED = 1.0, 3, 5
SPEC = ClipSpec(SECONDS)
SPAN = Span(0.3, 0.8)
FRAMES, SAMPLES = SPAN.inside(8, 1 / 8), SPAN.inside(16000, 1 / 16000)


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model()


@pytest.fixture(scope="module")
def conditions():
    scene = demo_scene()
    panorama = scene.panorama(64, SPEC)
    viewpoint = manual_viewpoint(0.0, 0.0, 90.0, panorama.num_frames)
    return conditions_of(panorama, scene.saliency(32, SPEC), viewpoint, typed_caption("a red disc humming"))


@pytest.fixture(scope="module")
def first(model, conditions):
    return generate(model, None, conditions, settings(model), seconds=SECONDS)


def settings(model, **changes):
    return default_settings(model, **{"steps": STEPS, "seed": SEED, "cfg_video": 1.0, "cfg_audio": 1.0, **changes})


def outside(span: range, count: int) -> Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[span.start : span.stop] = False
    return kept


def changed(first: ViewpointClip, made: ViewpointClip) -> tuple[bool, bool]:
    """Tell whether picture and sound of the span are others; what lies outside must be the same bit for bit."""
    frames, samples = outside(FRAMES, 8), outside(SAMPLES, 16000)
    assert torch.equal(made.frames[frames], first.frames[frames])
    assert torch.equal(made.sound.waveform[:, samples], first.sound.waveform[:, samples])
    return (
        not torch.equal(made.frames[~frames], first.frames[~frames]),
        not torch.equal(made.sound.waveform[:, ~samples], first.sound.waveform[:, ~samples]),
    )


def test_the_rest_stays_bit_for_bit_and_a_seed_is_a_span(model, conditions, first) -> None:
    made, again = (redo(model, None, conditions, first, SPAN, settings(model, seed=7)) for _ in range(2))
    assert changed(first, made) == (True, True)
    assert torch.equal(made.frames, again.frames) and torch.equal(made.sound.waveform, again.sound.waveform)
    other = redo(model, None, conditions, first, SPAN, settings(model, seed=8))
    assert not torch.equal(other.frames, made.frames) and made.seed == SEED
    rows = SPAN.inside(25, 0.04)
    for name, inside in (("video", FRAMES), ("audio", rows)):
        kept = outside(inside, first.latents.get(name).shape[1])
        before, after = first.latents.get(name), made.latents.get(name)
        assert torch.equal(after[:, kept], before[:, kept]) and not torch.equal(after[:, ~kept], before[:, ~kept])


@pytest.mark.slow
def test_the_same_seed_gives_nearly_the_same_span(model, conditions, first) -> None:
    same, other = (redo(model, None, conditions, first, SPAN, settings(model, seed=seed)) for seed in (SEED, 7))
    frames = [(clip.frames - first.frames).abs().mean() for clip in (same, other)]
    sounds = [(clip.sound.waveform - first.sound.waveform).square().mean() for clip in (same, other)]
    assert frames[0] < 0.5 * frames[1] and sounds[0] < 0.5 * sounds[1]


@pytest.mark.parametrize(("what", "wanted"), [("picture", (True, False)), ("sound", (False, True))])
def test_what_is_not_made_anew_is_held(model, conditions, first, what, wanted) -> None:
    assert changed(first, redo(model, None, conditions, first, SPAN, settings(model, seed=7), what=what)) == wanted


@pytest.mark.slow
def test_another_caption_changes_the_span(model, conditions, first) -> None:
    same = redo(model, None, conditions, first, SPAN, settings(model))
    asked = replace(conditions, caption=typed_caption("a green ring ticking"))
    other = redo(model, None, asked, first, SPAN, settings(model))
    assert changed(first, other) == (True, True) and not torch.equal(other.frames, same.frames)


@pytest.mark.slow
def test_the_whole_clip_made_anew_is_that_seeds_clip(model, conditions, first) -> None:
    whole = redo(model, None, conditions, first, (0.0, SECONDS), settings(model, seed=7))
    fresh = generate(model, None, conditions, settings(model, seed=7), seconds=SECONDS)
    assert torch.equal(whole.frames, fresh.frames) and torch.equal(whole.sound.waveform, fresh.sound.waveform)


@pytest.mark.slow
def test_a_span_of_a_remade_clip_is_made_anew(model, conditions, first) -> None:
    once = redo(model, None, conditions, first, SPAN, settings(model, seed=7))
    twice = redo(model, None, conditions, once, (0.0, 0.25), settings(model, seed=9))
    assert torch.equal(twice.frames[2:], once.frames[2:]) and not torch.equal(twice.frames[:2], once.frames[:2])
    assert torch.equal(twice.sound.waveform[:, 4000:], once.sound.waveform[:, 4000:])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_what_is_kept_has_the_noise_of_each_step(model, conditions, first, sampler) -> None:
    given = settings(model, sampler=sampler, steps=4)
    shapes = model.latent_shapes(SPEC)
    noise, known = starting_noise(shapes, given, Given()), first.latents.map(lambda one: one[None])
    anew = AV(*(torch.zeros(shape[1], dtype=torch.bool).reshape(-1, *[1] * (len(shape) - 2)) for shape in shapes))
    levels = []

    def look(step: int, total: int, latents: AV, x0: AV) -> None:
        for name in ("video", "audio"):
            assert torch.equal(x0.get(name), known.get(name))
            clean, start, now = (part.get(name).flatten() for part in (known, noise, latents))
            basis = torch.stack((clean, start), dim=1)
            signal, rest = torch.linalg.lstsq(basis, now[:, None]).solution.flatten().tolist()
            levels.append(rest)
            assert torch.allclose(basis @ torch.tensor([signal, rest]), now, atol=1e-4)
            if step < total:
                assert signal**2 + rest**2 == pytest.approx(1, abs=1e-3)

    inputs = model.encode(conditions)
    done = model.sample(inputs, SPEC, given, given=Given(noise, known), terms=[Kept(known, anew)], callback=look)
    assert torch.equal(done.video, known.video) and torch.equal(done.audio, known.audio)
    assert levels[0] > levels[2] > levels[4] > 0.05 > abs(levels[6])


def test_directions_of_the_rows_outside_stay(model, conditions, first, monkeypatch) -> None:
    import con360.anew.redo as module

    before, after = (DirectionField(torch.full((25, 4, 3), v), torch.full((25, 4), v)) for v in (0.1, 0.2))
    made = replace(first, directions=after)
    monkeypatch.setattr(module, "generate", lambda *_, **__: made)
    found = redo(model, None, conditions, replace(first, directions=before), SPAN, settings(model, seed=7))
    rows = outside(SPAN.inside(25, 0.04), 25)
    assert (found.directions.vectors[rows] == 0.1).all() and (found.directions.vectors[~rows] == 0.2).all()


@pytest.mark.parametrize(
    ("change", "span", "what", "says"),
    [
        ({"latents": AV()}, SPAN, "both", "the clip has no latents"),
        ({"latents": AV(torch.zeros(4, 7, 8, 8), torch.zeros(8, 32, 16))}, SPAN, "both", "latents of shape"),
        ({}, (0.5, 1.5), "both", "reaches outside the clip"),
        ({}, (0.8, 0.3), "both", "ends before it begins"),
        ({}, SPAN, "smell", "'smell' cannot be made anew; choose both, picture or sound"),
    ],
    ids=["no latents", "other latents", "outside", "reversed", "unknown word"],
)
def test_what_cannot_be_made_anew_is_named(model, conditions, first, change, span, what, says) -> None:
    with pytest.raises(InputError, match=says):
        redo(model, None, conditions, replace(first, **change), span, settings(model), what=what)
