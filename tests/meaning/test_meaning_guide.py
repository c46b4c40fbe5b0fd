"""A guide by meaning corrects clean estimates; the published loops, built from its parts, equal their recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file
from shared_data import fixture_path, shared_root
from tiny_meaning import make_tiny_meaning
from tiny_model import make_tiny_joint_model
from torch import Tensor

from con360.errors import InputError
from con360.meaning.guide import LOSSES, Agreement, MeaningGuide, MeaningGuideSettings, agreement_of
from con360.meaning.guiding import Guiding, check_judge
from con360.meaning.measure import CaptionVectors
from con360.models.joint import JointModel
from con360.pipeline import generate
from con360.protocols import Inputs
from con360.records import AV, BasdMaps, Conditions, SaliencyMaps, SceneCaption, Sound, StartClip, View, ViewTrack
from con360.sampling.joint import Given, sample_joint
from con360.sampling.settings import SamplerSettings
from con360.sampling.solvers import DiffusionSchedule
from con360.sampling.steer import Step, gradient

# The published loops ------------------------------------------------------------

TAGS = ("lr0", "lr0.1", "lr0.03_inner2_start0.5")
CASES = [(loss, tag) for loss in ("pairwise", "volume") for tag in TAGS if (loss, tag) != ("volume", "lr0")]


@dataclass(frozen=True)
class Recorded:
    """The stand-in networks that the loops were recorded with, made from names."""

    noise: Callable[..., Tensor]
    weight: Callable[..., Tensor]
    facts: dict
    values: dict[str, Tensor]

    @property
    def text(self) -> CaptionVectors:
        return CaptionVectors(*[self.noise("text", (1, 24))] * 3)

    @property
    def video(self) -> Tensor:
        return self.noise("video", (1, 24))

    def network(self, x: Tensor, t: float, row: int) -> Tensor:
        text = self.weight("unet.text.weight", (8, 16)) @ self.noise("class", (2, 16))[row]
        mixed = torch.nn.functional.conv2d(x, self.weight("unet.mix.weight", (8, 8, 1, 1)))
        return x + 0.1 * torch.tanh(mixed + text[None, :, None, None] + 0.0005 * t)

    def hear(self, x0: Tensor) -> Tensor:
        mel = torch.tanh(torch.nn.functional.conv2d(x0 / 0.9, self.weight("vae.weight", (1, 8, 1, 1))) / 4)
        wave = (mel[:, 0] @ self.weight("vocoder.weight", (5, 4)).T).flatten(1)
        return torch.tanh(wave @ self.weight("audio.weight", (24, 60)).T)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    import importlib.util

    facts = json.loads(fixture_path("gram_guidance.json").read_text())
    values = load_file(fixture_path("gram_guidance.safetensors"))
    spec = importlib.util.spec_from_file_location("recorded_fill", shared_root() / "fixtures" / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    return Recorded(
        lambda name, shape: torch.from_numpy(fill.noise(f"guide/{name}", shape)).float(),
        lambda name, shape: torch.from_numpy(fill.fill(f"guide.{name}", shape)), facts, values,
    )  # fmt: skip


class Denoiser:
    """The recorded network as a denoiser of sound alone; its features say which row of the class a pass reads."""

    groups, takes_film, device, dtype = (("audio",),), False, torch.device("cpu"), torch.float32

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded

    def embed_times(self, modality, times, like):
        return times[:, None]

    def read(self, features):
        return features

    def share(self, x, t, x0, heard):
        return None

    def predict(self, group, x, t, features, shared, film):
        rows = [int(row) for row in features.audio]
        parts = [
            self.recorded.network(part, float(t.audio), row) for part, row in zip(x.audio.split(1), rows, strict=True)
        ]
        return AV(audio=torch.cat(parts))

    def parts(self, group=()):
        return []


class Published(MeaningGuide):
    """Our corrections where the published code has them: after the step, on latents that are one step ahead."""

    def __init__(self, recorded: Recorded, schedule: DiffusionSchedule, held: AV, **settings) -> None:
        read = AV(video=lambda x: x, audio=recorded.hear)
        super().__init__(recorded.text, read, MeaningGuideSettings(steer="sound", **settings))
        self.alphas = schedule.solver("ddim", schedule.timesteps(10), 0.0).alphas
        self.held, self.first = held, int(self.settings.start * 10)
        self.trace: list[Tensor] = []

    def on_estimate(self, step: Step) -> AV:
        return step.x0

    def on_latents(self, step: Step) -> AV:
        alpha, _ = self.alphas[step.index]
        noise = (step.x.audio - alpha**0.5 * step.x0.audio) / (1 - alpha) ** 0.5
        moved = step.moved
        if step.index > self.first and self.settings.strength > 0:
            both = AV(self.held.video, moved.audio)
            clean = lambda m, x: x if m == "video" else (x - (1 - alpha) ** 0.5 * noise) / alpha**0.5  # noqa: E731
            moved = AV(audio=self.corrected(step, both, clean).audio)
        self.trace.append(moved.audio)
        return moved


@pytest.mark.parametrize(("loss", "tag"), CASES)
def test_the_published_loops_equal_their_recordings(recorded, loss, tag):
    from diffusers import DDIMScheduler

    schedule = DiffusionSchedule(DDIMScheduler(**recorded.facts["scheduler"]))
    asked = recorded.facts[f"{loss}/{tag}"]
    assert list(schedule.timesteps(10)) == asked["timesteps"]
    term = Published(
        recorded, schedule, AV(video=recorded.video), loss=loss, strength=asked["lr"] / 0.1,
        inner=asked.get("inner", 1), start=asked.get("start", 0.2),
    )  # fmt: skip
    inputs = Inputs(AV(audio=torch.tensor([1.0])), AV(audio=torch.tensor([0.0])))
    settings = SamplerSettings(steps=10, cfg_video=None, cfg_audio=2.5)
    given = Given(noise=AV(audio=recorded.noise("latents", (1, 8, 12, 4))))
    sample_joint(
        Denoiser(recorded), AV(audio=schedule), inputs, AV(audio=(8, 12, 4)), settings, given=given, terms=(term,)
    )
    wanted = recorded.values[f"{loss}/{tag}/latents"]
    assert len(term.trace) == len(wanted)
    for ours, theirs in zip(term.trace, wanted, strict=True):
        assert float((ours[0] - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())
    # The published code decodes the last latents as they are.
    found = agreement_of(term.text, recorded.hear(term.trace[-1]), recorded.video)
    for name in ("ta", "tv", "va"):
        assert float(getattr(found, name)) == pytest.approx(asked["final"][name], abs=1e-4)


@pytest.mark.parametrize("loss", ["pairwise", "volume"])
def test_losses_and_slopes_equal_their_recordings(recorded, loss):
    def of(x: Tensor) -> Tensor:
        found = agreement_of(recorded.text, recorded.hear(x), recorded.video)
        # The published pairs are those of the sound.
        return LOSSES[loss](Agreement(found.ta, None, found.va) if loss == "pairwise" else found).sum()

    latents = recorded.noise("latents", (1, 8, 12, 4))
    assert float(of(latents)) == pytest.approx(recorded.facts["loss"][loss], rel=1e-5)
    wanted = recorded.values[f"loss/{loss}_grad"]
    assert float((gradient(of, latents) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


# The guide in our sampler ------------------------------------------------------------

SECONDS, NAN = 0.5, float("nan")
SETTINGS = SamplerSettings(steps=2, cfg_video=None, cfg_audio=None, seed=5)
LATE = MeaningGuideSettings(start=0.5)


@pytest.fixture(scope="module")
def tiny() -> JointModel:
    return make_tiny_joint_model()


def conditions_of(model: JointModel, caption: str = "a red disc humming") -> Conditions:
    count = model.clip_spec(SECONDS).num_frames
    maps = torch.rand(count, 16, 32, generator=torch.Generator().manual_seed(0))
    views = ViewTrack((View(0.0, 0.0, 90.0),) * count)
    return Conditions(SaliencyMaps(maps, ""), BasdMaps(maps, views, "minmax"), SceneCaption(caption))


def made(model: JointModel, guide: MeaningGuideSettings | None = None, settings=SETTINGS, caption="a red disc", **how):
    guiding = None if guide is None else Guiding(make_tiny_meaning(model), guide)
    conditions = conditions_of(model, caption)
    return generate(model, None, conditions, settings, seconds=SECONDS, meaning=guiding, **how)


@pytest.fixture(scope="module")
def plain(tiny):
    return made(tiny)


def term_of(model: JointModel, **settings) -> MeaningGuide:
    encoder = make_tiny_meaning(model)
    text = encoder.read_text(["a red disc humming"])
    read = AV(encoder.read_latents_v, encoder.read_latents_a)
    return MeaningGuide(CaptionVectors(text, text, text), read, MeaningGuideSettings(**settings))


def step_of(model: JointModel, clips: int = 2) -> Step:
    shapes = model.latent_shapes(model.clip_spec(SECONDS))
    draw = torch.Generator().manual_seed(1)
    return Step(1, 2, AV(), shapes.map(lambda s: torch.randn(clips, *s, generator=draw)), active=("video", "audio"))


@pytest.mark.parametrize("loss", ["safe", "pairwise", "volume"])
@pytest.mark.parametrize("update", ["sign", "rms"])
def test_a_correction_lowers_each_clips_loss_and_moves_as_far_as_stated(tiny, loss, update):
    term, step = term_of(tiny, loss=loss, update=update, steer="both", strength=0.2), step_of(tiny)
    after = term.corrected(step, step.x0)

    def values(latents: AV) -> Tensor:
        return LOSSES[loss](agreement_of(term.text, term.read.audio(latents.audio), term.read.video(latents.video)))

    assert (values(after) < values(step.x0)).all()
    for m in ("audio", "video"):
        moved = (after.get(m) - step.x0.get(m)).flatten(1).square().mean(1).sqrt()
        assert torch.allclose(moved, torch.full((2,), 0.02), rtol=0.02), m


def test_only_what_it_steers_moves_and_each_clip_by_itself(tiny):
    term, step = term_of(tiny, inner=2), step_of(tiny)
    after = term.corrected(step, step.x0)
    assert after.video is step.x0.video and not torch.equal(after.audio, step.x0.audio)
    alone = term.corrected(step, step.x0.map(lambda x: x[1:]))
    assert torch.allclose(alone.audio, after.audio[1:], atol=1e-5)


def test_the_safe_loss_tells_a_vector_from_its_opposite():
    t, v, a = torch.nn.functional.normalize(torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(3)), dim=-1)
    a = torch.nn.functional.normalize(t + v + 0.1 * a, dim=-1)
    text = CaptionVectors(t, t, t)
    for_, against = agreement_of(text, a, v), agreement_of(text, -a, v)
    assert torch.allclose(for_.squared, against.squared)
    assert float(LOSSES["safe"](against)) > float(LOSSES["safe"](for_)) + 0.5


def test_a_guided_clip_repeats_and_keeps_a_record(tiny, plain):
    one, two = made(tiny, LATE), made(tiny, LATE)
    assert torch.equal(one.sound.waveform, two.sound.waveform) and torch.equal(one.frames, two.frames)
    assert not torch.equal(one.sound.waveform, plain.sound.waveform) and not plain.guided
    (row,) = one.guided
    assert row["step"] == 1 and all(-1 <= row[name] <= 1 for name in ("volume", "ta", "tv", "va"))


def test_at_strength_0_or_where_all_that_moves_is_held_every_bit_stays(tiny, plain):
    off = made(tiny, MeaningGuideSettings(strength=0))
    assert torch.equal(off.sound.waveform, plain.sound.waveform) and torch.equal(off.frames, plain.frames)
    held, start = replace(SETTINGS, hold="sound"), StartClip(sound=plain.sound)
    clips = [made(tiny, guide, held, start=start) for guide in (None, LATE)]
    assert torch.equal(clips[0].frames, clips[1].frames)


def test_a_held_side_is_listened_to_and_must_hold_something(tiny, plain):
    held = replace(SETTINGS, hold="sound")
    guide = MeaningGuideSettings(steer="both", start=0.5)
    loud = Sound(torch.rand(1, 8000, generator=torch.Generator().manual_seed(2)) - 0.5, 16000)
    clips = [made(tiny, g, held, start=StartClip(sound=loud)) for g in (None, guide)]
    assert not torch.equal(clips[0].frames, clips[1].frames)
    with pytest.raises(InputError, match="silent"):
        made(tiny, guide, held, start=StartClip(sound=Sound(torch.zeros(1, 8000), 16000)))
    with pytest.raises(InputError, match="black"):
        made(tiny, LATE, replace(SETTINGS, hold="picture"), start=StartClip(frames=torch.zeros_like(plain.frames)))


def test_it_is_cancelled_within_an_inner_step(tiny):
    told: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        told.append(done)
        # One correction tells of the picture, of itself and of the sound; the second has begun then.
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tiny, MeaningGuideSettings(start=0, inner=3), progress=progress)
    assert told == [0] * 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "cosine"}, "choose safe, pairwise, volume"), ({"steer": "text"}, "choose sound"),
        ({"update": "adam"}, "choose sign"), ({"strength": NAN}, "strength is nan"), ({"inner": 0}, "1 to 50"),
        ({"start": 0.9, "end": 0.2}, "swap"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(settings, said):
    with pytest.raises(InputError, match=said):
        MeaningGuideSettings(**settings)


def test_bad_input_is_a_sentence(tiny):
    with pytest.raises(InputError, match="caption is empty"):
        made(tiny, LATE, caption=" ")
    two_spaces = CaptionVectors(None, torch.ones(1, 8), torch.ones(1, 6))
    with pytest.raises(InputError, match="choose pairwise"):
        MeaningGuide(two_spaces, AV(), MeaningGuideSettings())
    term = term_of(tiny)
    term.text = CaptionVectors(*[torch.ones(1, 6)] * 3)
    with pytest.raises(InputError, match="8 values and its caption 6"):
        term.corrected(step_of(tiny), step_of(tiny).x0)
    term, step = term_of(tiny), step_of(tiny)
    with pytest.raises(InputError, match="no numbers"):
        term.corrected(step, step.x0.map(lambda x: x * NAN))
    encoder = make_tiny_meaning(tiny)
    with pytest.raises(InputError, match="given as a judge"):
        check_judge(Guiding(encoder), encoder)
    check_judge(Guiding(encoder), make_tiny_meaning(tiny, 1, "another"))
