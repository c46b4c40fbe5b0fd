"""A second system goes through the sampler and the pipeline by the protocols alone, and terms steer it."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_flow import CHANNELS, HOP, RATE_HZ, ToyFlow

from con360.errors import InputError
from con360.pipeline import generate
from con360.protocols import Inputs
from con360.records import AV, BasdMaps, Conditions, SaliencyMaps, SceneCaption, Sound, StartClip, View, ViewTrack
from con360.sampling.joint import Given
from con360.sampling.settings import SamplerSettings
from con360.sampling.steer import Step, Term, gradient

SECONDS = 0.5
SETTINGS = SamplerSettings(steps=3, cfg_video=3.0, cfg_audio=2.0, seed=11)


@pytest.fixture(scope="module")
def toy() -> ToyFlow:
    return ToyFlow()


@pytest.fixture(scope="module")
def conditions(toy: ToyFlow) -> Conditions:
    count = toy.clip_spec(SECONDS).num_frames
    maps = torch.rand(count, 16, 32, generator=torch.Generator().manual_seed(0))
    track = ViewTrack((View(0.0, 0.0, 90.0),) * count)
    return Conditions(SaliencyMaps(maps, "given"), BasdMaps(maps, track, "minmax"), SceneCaption("a bell"))


def sampled(toy: ToyFlow, conditions: Conditions, settings: SamplerSettings = SETTINGS, **options) -> AV:
    return toy.sample(toy.encode(conditions), toy.clip_spec(SECONDS), settings, **options)


def test_a_clip_comes_with_the_models_own_rates(toy, conditions):
    clip = generate(toy, None, conditions, seconds=SECONDS)
    assert clip.frames.shape == (3, 3, 8, 8) and clip.fps == 6.0
    assert clip.sound.waveform.shape == (CHANNELS, RATE_HZ // 2)
    assert (clip.sound.sample_rate_hz, clip.sound.layout) == (RATE_HZ, "ambix")
    assert toy.clip_spec(8.0).num_frames == 48
    with pytest.raises(InputError, match="0.5 to 9 s"):
        toy.clip_spec(10.0)


def test_same_seed_same_clip_and_features_are_read(toy, conditions):
    first, again = sampled(toy, conditions), sampled(toy, conditions)
    other = sampled(toy, replace(conditions, saliency=SaliencyMaps(1 - conditions.saliency.maps, "given")))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.allclose(first.audio, other.audio)
    assert not torch.equal(first.video, sampled(toy, conditions, replace(SETTINGS, seed=12)).video)


def test_passes_one_by_one_give_the_same(toy, conditions):
    apart = sampled(toy, conditions, replace(SETTINGS, passes_together=False))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(sampled(toy, conditions), apart, strict=True))


def test_a_held_picture_stays_and_sound_is_made_for_it(toy, conditions):
    settings = replace(SETTINGS, hold="picture")
    start = StartClip(torch.rand(3, 3, 8, 8))
    clip = generate(toy, None, conditions, settings, seconds=SECONDS, start=start)
    assert torch.equal(clip.frames, start.frames)
    dark = generate(toy, None, conditions, settings, seconds=SECONDS, start=StartClip(torch.zeros(3, 3, 8, 8)))
    assert not torch.allclose(clip.sound.waveform, dark.sound.waveform)


def test_sound_alone_without_text_is_a_generation():
    toy, settings = ToyFlow(("audio",)), SamplerSettings(steps=3, cfg_video=None, cfg_audio=None)
    spec = toy.clip_spec(SECONDS)
    latents = toy.sample(Inputs(), spec, settings)
    frames, sound = toy.decode(latents.map(lambda half: half[0]), spec)
    assert latents.video is None and frames is None
    assert latents.audio.shape == (1, CHANNELS, 10, HOP) and sound.waveform.shape == (CHANNELS, 12000)


def test_a_clip_of_one_modality_is_refused(conditions):
    with pytest.raises(InputError, match="makes audio alone"):
        generate(ToyFlow(("audio",)), None, conditions, seconds=SECONDS)


def test_a_start_has_the_channels_that_the_codec_reads(toy, conditions):
    settings, waveform = replace(SETTINGS, hold="sound"), torch.rand(CHANNELS, RATE_HZ // 2)
    clip = generate(
        toy, None, conditions, settings, seconds=SECONDS, start=StartClip(None, Sound(waveform, RATE_HZ, "ambix"))
    )
    assert torch.equal(clip.sound.waveform, waveform)
    with pytest.raises(InputError, match="mono with 1 channels; this model reads ambix with 4"):
        generate(toy, None, conditions, settings, seconds=SECONDS, start=StartClip(None, Sound(waveform[:1], RATE_HZ)))


class Louder(Term):
    """Pull the decoded sound towards a level: a gradient through the codec, on the clean estimate."""

    def __init__(self, toy: ToyFlow, level: float) -> None:
        self.codec, self.level, self.spec, self.seen = toy.codecs.audio, level, toy.clip_spec(SECONDS), []

    def on_estimate(self, step: Step) -> AV:
        def loss(latents):
            level = self.codec.decode(latents[0], self.spec).waveform.abs().mean()
            return (level - self.level).square() * latents.numel()

        self.seen.append((step.index, step.total, step.active))
        return step.x0._replace(audio=step.x0.audio - 10.0 * gradient(loss, step.x0.audio))


class Shifted(Term):
    """Add to the moved latents."""

    def on_latents(self, step: Step) -> AV:
        return step.moved._replace(video=step.moved.video + 1.0)


def test_a_term_acts_on_the_estimate_through_the_codec(toy, conditions):
    level = sampled(toy, conditions).audio.abs().mean()
    term = Louder(toy, 2 * float(level))
    with torch.inference_mode():
        louder = sampled(toy, conditions, terms=[term])
    assert term.seen == [(i, 3, ("video", "audio")) for i in range(3)]
    assert louder.audio.abs().mean() > 1.3 * level and not louder.audio.is_inference()


def test_a_term_acts_on_the_moved_latents(toy, conditions):
    settings = SamplerSettings(steps=1, cfg_video=None, cfg_audio=None)
    plain, shifted = (sampled(toy, conditions, settings, terms=terms) for terms in ([], [Shifted()]))
    assert torch.allclose(shifted.video, plain.video + 1.0) and torch.equal(shifted.audio, plain.audio)


def test_terms_that_change_nothing_leave_every_bit(toy, conditions):
    plain, termed = sampled(toy, conditions), sampled(toy, conditions, terms=[Term(), Term()])
    assert all(torch.equal(a, b) for a, b in zip(plain, termed, strict=True))


def test_a_term_that_changes_a_shape_is_named(toy, conditions):
    class Cropped(Term):
        def on_estimate(self, step: Step) -> AV:
            return step.x0._replace(video=step.x0.video[:, :1])

    with pytest.raises(ValueError, match="a term returned video of shape"):
        sampled(toy, conditions, terms=[Cropped()])


def test_known_latents_start_a_clip(toy, conditions):
    known = AV(torch.zeros(1, 3, 3, 8, 8))
    settings = replace(SETTINGS, denoise_video=0.34)
    near = sampled(toy, conditions, settings, given=Given(known=known))
    assert near.video.abs().mean() < sampled(toy, conditions).video.abs().mean()


def test_the_sampler_imports_no_network():
    import con360.sampling.joint

    for path in Path(con360.sampling.joint.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "models" not in (node.module or "").split("."), path.name
