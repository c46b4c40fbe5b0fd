"""A guide by meaning corrects clean estimates; the published loops, built from its parts, equal their recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from shared_data import fixture_path, shared_root
from torch import Tensor

from con360.errors import InputError
from con360.protocols import Inputs
from con360.meaning.guide import LOSSES, Agreement, MeaningGuide, MeaningGuideSettings, agreement_of
from con360.meaning.measure import CaptionVectors
from con360.records import AV
from con360.sampling.joint import Given, sample_joint
from con360.sampling.settings import SamplerSettings
from con360.sampling.solvers import DiffusionSchedule
from con360.sampling.steer import Step, gradient

# The published loops ----------------------------------------------------------------------------------------------------

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
        parts = [self.recorded.network(part, float(t.audio), row) for part, row in zip(x.audio.split(1), rows, strict=True)]
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
