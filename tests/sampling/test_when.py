"""A time track guides the sampler: over the tiny model and without one, its bad input, its memory and its cancel."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model
from toy_flow import ToyFlow

from con360.errors import InputError
from con360.memory import TooLittleMemory
from con360.models.joint import JointModel
from con360.pipeline import generate
from con360.records import (
    AV,
    BasdMaps,
    Conditions,
    Envelope,
    OnsetTrack,
    SaliencyMaps,
    SceneCaption,
    StartClip,
    TimeTrack,
    View,
    ViewTrack,
)
from con360.sampling.settings import SamplerSettings
from con360.sampling.steer import Step
from con360.sampling.when import Target, TimeGuide, TimeGuideSettings, rises
from con360.sound.mels import log_mel, log_rms_of_mel

SECONDS, NAN = 0.5, float("nan")
SETTINGS = SamplerSettings(steps=2, cfg_video=None, cfg_audio=None, seed=5)
TRACK = TimeTrack(OnsetTrack((0.1, 0.3)), decay_s=0.05)


@pytest.fixture(scope="module")
def tiny() -> JointModel:
    return make_tiny_joint_model()


def conditions_of(model, track: TimeTrack | None = None) -> Conditions:
    count = model.clip_spec(SECONDS).num_frames
    maps = torch.rand(count, 16, 32, generator=torch.Generator().manual_seed(0))
    views = ViewTrack((View(0.0, 0.0, 90.0),) * count)
    return Conditions(SaliencyMaps(maps, ""), BasdMaps(maps, views, "minmax"), SceneCaption("a red disc"), when=track)


def made(model, track: TimeTrack | None = None, settings: SamplerSettings = SETTINGS, **options):
    return generate(model, None, conditions_of(model, track), settings, seconds=SECONDS, **options)


@pytest.fixture(scope="module")
def plain(tiny):
    return made(tiny)


@pytest.fixture(scope="module")
def guided(tiny):
    return made(tiny, TRACK)


def guide(model, track: TimeTrack = TRACK, **settings) -> TimeGuide:
    return TimeGuide(model.codecs.audio, track, model.clip_spec(SECONDS), TimeGuideSettings(**settings))


def estimate(model) -> AV:
    shapes = model.latent_shapes(model.clip_spec(SECONDS))
    return AV(audio=torch.randn(2, *shapes.audio, generator=torch.Generator().manual_seed(1)))


def step_of(model) -> Step:
    return Step(0, 2, AV(), estimate(model), active=("audio",))


# What it does ---------------------------------------------------------------------------------------------------------


def test_a_correction_brings_each_clip_nearer_to_the_track(tiny):
    term, step = guide(tiny, strength=0.02), step_of(tiny)
    after = term.on_estimate(step).audio
    before = step.x0.audio
    loss = [[float(term.loss(term.codec.log_mel(z[None, :, : term.rows]))) for z in zs] for zs in (before, after)]
    assert all(b < a for a, b in zip(*loss, strict=True)), loss
    # Rows past the clip's end stay, and each clip is corrected by itself.
    assert torch.equal(before[:, :, term.rows :], after[:, :, term.rows :])
    alone = term.on_estimate(replace(step, x0=AV(audio=before[1:]))).audio
    assert torch.allclose(alone, after[1:], atol=1e-5)


def test_a_correction_has_the_stated_length(tiny):
    term, step = guide(tiny, strength=0.05, repeats=1), step_of(tiny)
    z = step.x0.audio[:, :, : term.rows]
    moved = (term.on_estimate(step).audio[:, :, : term.rows] - z).flatten(1).norm(dim=1)
    assert torch.allclose(moved, 0.05 * z.flatten(1).norm(dim=1), rtol=1e-4)


def test_more_corrections_are_never_worse_though_they_are_far_too_long(tiny):
    step, losses = step_of(tiny), []
    for repeats in (1, 2, 3, 6):
        term = guide(tiny, strength=1.0, repeats=repeats)
        rows = term.on_estimate(step).audio[:, :, : term.rows]
        losses.append([float(term.loss(term.codec.log_mel(z[None]))) for z in rows])
    for one in zip(*losses, strict=True):
        assert all(b <= a for a, b in itertools.pairwise(one)) and one[-1] < one[0], losses


def test_a_guided_clip_follows_and_repeats_and_the_seed_still_counts(tiny, plain, guided):
    again = made(tiny, TRACK)
    assert torch.equal(guided.sound.waveform, again.sound.waveform) and torch.equal(guided.frames, again.frames)
    assert not torch.allclose(plain.sound.waveform, guided.sound.waveform)
    # Connectors hear the corrected estimate.
    assert not torch.equal(plain.frames, guided.frames)
    assert not torch.equal(made(tiny, TRACK, replace(SETTINGS, seed=6)).sound.waveform, guided.sound.waveform)


def test_the_other_solver_moves_from_the_corrected_estimate_too(tiny):
    settings = replace(SETTINGS, sampler="dpm++")
    assert not torch.allclose(made(tiny, TRACK, settings).sound.waveform, made(tiny, None, settings).sound.waveform)


def test_without_a_track_or_at_strength_0_every_bit_stays(tiny, plain):
    for clip in (made(tiny, None, when=TimeGuideSettings(0.5)), made(tiny, TRACK, when=TimeGuideSettings(0.0))):
        assert torch.equal(clip.sound.waveform, plain.sound.waveform) and torch.equal(clip.frames, plain.frames)


def test_a_held_sound_follows_no_track(tiny, plain):
    held = generate(
        tiny, None, conditions_of(tiny, TRACK), replace(SETTINGS, hold="sound"), seconds=SECONDS,
        start=StartClip(sound=plain.sound),
    )  # fmt: skip
    assert torch.equal(held.sound.waveform, plain.sound.waveform)


def test_it_acts_in_its_part_of_the_steps():
    settings = TimeGuideSettings(start=0.25, end=0.75)
    assert [settings.acts(step, 4) for step in range(4)] == [False, True, True, False]


# Its target -----------------------------------------------------------------------------------------------------------


def test_levels_of_a_mel_are_those_of_the_sound():
    times = torch.arange(16000) / 16000
    for hz, wanted in ((400, 0.1), (2000, 0.02)):
        tone = wanted * 2**0.5 * torch.sin(2 * torch.pi * hz * times)
        level = log_rms_of_mel(log_mel(tone[None]))[0, 10:-10]
        assert (level.exp() / wanted).log10().abs().mul(20).max() < 5


def test_rises_are_those_of_the_strongest_bands():
    mel = torch.full((20, 64), -8.0)
    mel[10:, 5:8] = -1.0
    found = rises(mel)
    assert found.nonzero().flatten().tolist() == [9, 10] and found[9] == pytest.approx(4.6)


def test_a_target_frees_what_was_not_drawn(tiny):
    spec = tiny.clip_spec(SECONDS)
    half = TimeTrack(envelope=Envelope(torch.full((25,), 0.1)))
    target = Target.of(half, spec)
    assert target.present.sum() == pytest.approx(20, abs=1) and target.undrawn.sum() == 0
    near = Target.of(TRACK, spec).undrawn
    assert near[[5, 15, 25, 35]].sum() == 0 and near[[0, 4, 16, 20, 24, 36, 49]].sum() == 7


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strength": 1e9}, "strength is 1000000000"),
        ({"strength": NAN}, "strength is nan"),
        ({"repeats": 0}, "repeats is 0"),
        ({"rises": -1.0}, "rises is -1"),
        ({"start": 0.8, "end": 0.2}, "swap"),
    ],
)
def test_settings_out_of_range_are_named(settings, says):
    with pytest.raises(InputError, match=says):
        TimeGuideSettings(**settings)


@pytest.mark.parametrize("track", [TimeTrack(), TimeTrack(OnsetTrack((NAN,))), TimeTrack(OnsetTrack((9.0,)))])
def test_tracks_that_say_nothing_here_are_refused(tiny, track):
    with pytest.raises(InputError):
        made(tiny, track)


def test_a_longer_track_is_cut_and_said(tiny, guided):
    clip = made(tiny, replace(TRACK, onsets=OnsetTrack((*TRACK.onsets.times_s, 3.0))))
    assert any("past the clip's end" in notice for notice in clip.notices)
    assert torch.equal(clip.sound.waveform, guided.sound.waveform)


def test_a_codec_without_a_mel_is_named():
    toy = ToyFlow()
    with pytest.raises(InputError, match="not decoded through a mel"):
        made(toy, TRACK, None)


def test_a_slope_that_is_no_number_is_named(tiny):
    step = step_of(tiny)
    step.x0.audio[0, 0, 0, 0] = NAN
    with pytest.raises(InputError, match="no numbers"):
        guide(tiny).on_estimate(step)


def test_cancel_is_heard_between_corrections(tiny):
    told = []

    def progress(done: int, total: int, what: str) -> None:
        told.append((done, total, what))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tiny, TRACK, progress=progress)
    assert told == [(0, 2, "sampling")] * 2


# Memory ---------------------------------------------------------------------------------------------------------------


def test_where_memory_runs_out_the_decoder_computes_again_and_the_result_stays(tiny, monkeypatch):
    usual, codec = guide(tiny).on_estimate(step_of(tiny)).audio, type(tiny.codecs.audio)
    whole, asked = codec.log_mel, []

    def short(self, latents, *, frugal=False):
        asked.append(frugal)
        if not frugal:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return whole(self, latents, frugal=frugal)

    monkeypatch.setattr(codec, "log_mel", short)
    assert torch.allclose(guide(tiny).on_estimate(step_of(tiny)).audio, usual, atol=1e-5)
    assert asked[:3] == [False, True, True], "the smaller way is kept"
    assert not any(getattr(part, "gradient_checkpointing", False) for part in tiny.vae_a.modules())
    monkeypatch.setattr(codec, "log_mel", lambda *_, **__: (_ for _ in ()).throw(MemoryError("none left")))
    with pytest.raises(TooLittleMemory, match="following the time track in step 1 of 2.*leave the track out"):
        guide(tiny).on_estimate(step_of(tiny))


def test_in_low_memory_the_codec_visits(tiny, guided):
    clip = made(tiny, TRACK, replace(SETTINGS, memory="low"))
    assert torch.allclose(clip.sound.waveform, guided.sound.waveform, atol=1e-3)
