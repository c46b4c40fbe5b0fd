"""Make a sound strike when a drawn track says so: training-free guidance on the sound's clean estimate.

At every step the estimate is pulled, through the codec's decoder, towards the drawn level, and away from rises that
nobody drew. It works over any model whose codec tells its log-mel; nothing is trained.

Source: mean guidance of TFG (arXiv 2409.15761); both terms are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..memory import in_smaller_pieces
from ..protocols import MelDecoder
from ..records import AV, MODALITIES, Progress, TimeTrack
from ..residency import resident
from ..sound.envelopes import curve_at
from ..sound.mels import MEL_FRAME_S, log_rms_of_mel
from ..sound.time_tracks import envelope_of_track
from ..timing import ClipSpec
from .settings import SAID, SamplerSettings
from .steer import Step, Term, value_and_gradient

# Quieter than this (-60 dB) is silence: the level term asks for no less, and hears no less.
QUIETEST_RMS = 1e-3
# Rises are seen so far below the loudest band and frame (40 dB), over two frames, in the strongest bands; those of less
# than 2 dB are no onsets.
RANGE, STRONGEST, LEAST_RISE = 4.6, 3, 0.23
# A rise this near to a drawn onset is its own.
NEAR_S = 0.05


@dataclass(frozen=True)
class TimeGuideSettings:
    """Settings of the guidance by a time track.

    Args:
        strength: length of the first correction over that of the estimate, 0 (off) to 1; about 0.1 holds what was
            drawn, and more costs the voices' own sound. Where a correction makes it worse, the next are half as long.
        repeats: corrections in each step, 1 to 50; each costs a decoding with its gradient, and the last one more
            without.
        start, end: part of the steps in which it acts, as fractions. What it leaves out, the model undoes.
        rises: weight of rises that were not drawn beside the level, 0 to 1000.
    """

    strength: float = 0.1
    repeats: int = 6
    start: float = 0.0
    end: float = 1.0
    rises: float = 16.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("strength", 0, 1), ("repeats", 1, 50), ("start", 0, 1), ("end", 0, 1), ("rises", 0, 1000)
        ):  # fmt: skip
            # Written so that NaN fails the check as well.
            if not low <= getattr(self, name) <= high:
                raise InputError(f"the time track's {name} is {getattr(self, name)}; wanted {low} to {high}.")
        if self.start > self.end:
            raise InputError(f"the time track acts from {self.start:g} to {self.end:g} of the steps; swap them.")

    def acts(self, step: int, total: int) -> bool:
        """True where the guidance acts at a step, counted from 0."""
        return self.strength > 0 and self.start <= step / total < self.end


class TimeGuide(Term):
    """Correct the sound's clean estimate towards a track; each clip of a batch by itself.

    Args:
        codec: of the sound; it must tell its log-mel (`protocols.MelDecoder`).
        track: within the clip.
        alive: called before each correction; may raise to cancel.

    Raises:
        InputError: a codec without a log-mel, or a track that the clip cannot follow.
    """

    def __init__(
        self, codec: object, track: TimeTrack, spec: ClipSpec, settings: TimeGuideSettings | None = None, *,
        alive: Callable[[Step], None] = lambda step: None,
    ) -> None:  # fmt: skip
        if not isinstance(codec, MelDecoder):
            raise InputError(
                "this model's sound is not decoded through a mel, on which a time track acts; leave the track out, or "
                "choose a model with one."
            )
        self.codec, self.settings, self.alive = codec, settings or TimeGuideSettings(), alive
        self.rows = math.ceil(spec.seconds / codec.seconds_per_row - 1e-6)
        self.target = Target.of(track, spec)
        # Whether the decoder keeps what its gradient needs; once memory ran out, it computes that again.
        self.kept = 1

    def on_estimate(self, step: Step) -> AV:
        if "audio" not in step.active or not self.settings.acts(step.index, step.total):
            return step.x0
        with resident(step.x0.audio.device, *self.codec.modules()):
            clips = [self._corrected(clip[None], step) for clip in step.x0.audio]
        return step.x0._replace(audio=torch.cat(clips))

    def _corrected(self, clip: Tensor, step: Step) -> Tensor:
        """One clip's estimate `[1, c, R, ...]`; rows past the clip's end stay.

        Each correction starts from the best so far, and is half as long once one was too long.
        """
        best, rest = clip[:, :, : self.rows], clip[:, :, self.rows :]
        length, least, slope = self.settings.strength, math.inf, torch.zeros_like(best)
        tried = best
        for _ in range(self.settings.repeats):
            self.alive(step)
            loss, steepest = self._at(tried, step)
            if loss < least:
                best, least, slope = tried, loss, steepest
            else:
                length /= 2
            if not slope.any():
                break
            tried = best - length * best.norm() * slope / slope.norm()
        self.alive(step)
        return torch.cat((tried if self._loss_at(tried) < least else best, rest), dim=2)

    def _at(self, clip: Tensor, step: Step) -> tuple[float, Tensor]:
        """The loss at an estimate, and its slope."""

        def work(kept: int) -> tuple[float, Tensor]:
            self.kept = kept
            return value_and_gradient(lambda z: self.loss(self.codec.log_mel(z, frugal=not kept)), clip)

        loss, slope = in_smaller_pieces(
            work, self.kept, 0,
            what=f"following the time track in step {step.index + 1} of {step.total} (decoders kept for the gradient)",
            advice="ask for a shorter clip, or leave the track out",
        )  # fmt: skip
        if not slope.norm().isfinite():
            raise InputError(
                "the time track's guidance came to values that are no numbers; choose dtype float32, or leave the "
                "track out."
            )
        return loss, slope

    def _loss_at(self, clip: Tensor) -> float:
        """The loss alone: less memory than with its slope, which fitted before."""
        return float(self.loss(self.codec.log_mel(clip, frugal=not self.kept)))

    def loss(self, mel: Tensor) -> Tensor:
        """Distance of a clip's log-mel `[1, S, M]` from the track, summed over frames."""
        target = self.target.to(mel.device)
        mel = mel[0, : len(target.levels)]
        heard = log_rms_of_mel(mel).clamp_min(math.log(QUIETEST_RMS))
        levels = (target.present * (heard - target.levels).square()).sum()
        undrawn = (target.undrawn * (rises(mel) - LEAST_RISE).clamp_min(0).square()).sum()
        return levels + self.settings.rises * undrawn


def time_terms(
    codec: object, track: TimeTrack | None, spec: ClipSpec, settings: SamplerSettings,
    when: TimeGuideSettings | None = None, progress: Progress | None = None,
) -> tuple[TimeGuide, ...]:  # fmt: skip
    """Return the term that follows a track; none without a track, at strength 0, or for a held sound.

    Args:
        when: None takes the defaults. progress: told of the step again before each correction; may raise to cancel.

    Raises:
        InputError: as `TimeGuide`.
    """
    when = when or TimeGuideSettings()
    if track is None or when.strength == 0 or settings.hold == SAID.audio:
        return ()
    first = min(settings.begins(m) for m in MODALITIES)

    def alive(step: Step) -> None:
        if progress is not None:
            progress(step.index - first, step.total - first, "sampling")

    return (TimeGuide(codec, track, spec, when, alive=alive),)


@dataclass(frozen=True)
class Target:
    """A track on the mel's frames.

    Args:
        levels: `[S]`, natural logarithm of the RMS. present: `[S]`, 1 where it is meant, 0 where it is free.
        undrawn: `[S]`, 1 where no onset is drawn nearby.
    """

    levels: Tensor
    present: Tensor
    undrawn: Tensor

    @staticmethod
    def of(track: TimeTrack, spec: ClipSpec) -> Target:
        """A track's target.

        Without onsets, where nothing says which rises are meant, none is kept down.
        """
        envelope = envelope_of_track(track, spec.seconds)
        times = torch.arange(spec.num_mel) * MEL_FRAME_S
        levels = curve_at(envelope.values, envelope.rate_hz, times).clamp_min(QUIETEST_RMS).log()
        present, undrawn = torch.ones_like(times), torch.zeros_like(times)
        if envelope.present is not None:
            present = (curve_at(envelope.present, envelope.rate_hz, times) > 0.5).float()
        if track.onsets is not None:
            onsets = torch.tensor(track.onsets.times_s, dtype=times.dtype)
            near = (times[:, None] - onsets).abs() <= NEAR_S + 1e-6
            undrawn = (~near.any(dim=1)).float()
        return Target(levels, present, undrawn)

    def to(self, device: torch.device) -> Target:
        return Target(self.levels.to(device), self.present.to(device), self.undrawn.to(device))


def rises(mel: Tensor) -> Tensor:
    """Rise of a log-mel `[S, M]` around each frame, `[S]`: over two frames, mean of the strongest bands."""
    mel = mel.maximum(mel.max().detach() - RANGE)
    rise = (mel[2:] - mel[:-2]).clamp_min(0).topk(STRONGEST, dim=1).values.mean(dim=1)
    return torch.nn.functional.pad(rise, (1, 1))
