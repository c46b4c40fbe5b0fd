"""Pull sound and picture towards the meaning of the caption: training-free guidance on the clean estimates.

An encoder turns caption, picture and sound into vectors of one space. At every step the estimates go down the slope of
a loss of their cosines. Nothing is trained.

Symbols: t, a, v are the unit vectors of caption, sound and picture; ta, tv, va their cosines; V the volume that they
span, V^2 = 1 + 2 ta tv va - ta^2 - tv^2 - va^2.

Source: pairs as in Seeing and Hearing (arXiv 2402.17723); the volume as in MDG (arXiv 2509.24550). The safe loss and
its place on the clean estimate are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..choices import GUIDE_LOSSES, GUIDE_STEERS, GUIDE_UPDATES, GuideLoss, GuideSteer, GuideUpdate
from ..errors import InputError
from ..memory import in_smaller_pieces
from ..metrics.gram import gram_volume_squared
from ..records import AV
from ..residency import resident
from ..sampling.settings import SAID
from ..sampling.steer import Step, Term
from .measure import CaptionVectors

# What strength 1 moves each latent value by. Seeing and Hearing moves a picture's by 0.01, which ours hardly feels.
RATE = 0.1
# The safe loss asks this cosine of every pair: V alone cannot tell a vector from its opposite.
LEAST_COSINE = 0.2
# V has no slope at 0; this much under the root gives it one.
ROOT_FLOOR = 1e-6
# Adam's own numbers.
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class MeaningGuideSettings:
    """Settings of the guidance by meaning.

    Args:
        loss: `pairwise` is the sum of 1 - cosine over the pairs; `volume` is V, which is blind to signs; `safe` is V^2
            plus what each cosine lacks to 0.2.
        steer: what moves: `sound`, `picture` or `both`. A modality that is held stays and is listened to.
        strength: of each correction, 0 (off) to 10. At 1 each value of the latents moves by 0.1; the way in all is
            that times the guided steps.
        start, end: part of the steps in which it acts, as fractions.
        inner: corrections in each step, 1 to 50.
        update: `sign` as published, a new Adam in each step, whose first correction moves every value equally far;
            `rms` follows the slope itself, scaled to a root mean square of 1.
    """

    loss: GuideLoss = "safe"
    steer: GuideSteer = "sound"
    strength: float = 1.0
    start: float = 0.2
    end: float = 1.0
    inner: int = 1
    update: GuideUpdate = "sign"

    def __post_init__(self) -> None:
        for name, known in (("loss", GUIDE_LOSSES), ("steer", GUIDE_STEERS), ("update", GUIDE_UPDATES)):
            if getattr(self, name) not in known:
                raise InputError(f"the guide's {name} is {getattr(self, name)!r}; choose {', '.join(known)}.")
        for name, low, high in (("strength", 0, 10), ("start", 0, 1), ("end", 0, 1), ("inner", 1, 50)):
            # Written so that NaN fails the check as well.
            if not low <= getattr(self, name) <= high:
                raise InputError(f"the guide's {name} is {getattr(self, name)}; wanted {low} to {high}.")
        if self.start > self.end:
            raise InputError(f"the guide acts from {self.start:g} to {self.end:g} of the steps; swap them.")

    @property
    def moves(self) -> tuple[str, ...]:
        """Modalities that it corrects."""
        return tuple(m for m in ("video", "audio") if self.steer in ("both", SAID.get(m)))

    def acts(self, step: int, total: int) -> bool:
        """True where the guide acts at a step, counted from 0."""
        return self.strength > 0 and self.start <= step / total < self.end


@dataclass(frozen=True)
class Agreement:
    """Hold cosines and volume of clips, `[B]` float64 each; None where there is none.

    Args:
        ta, tv, va: cosines of text and sound, text and picture, picture and sound. squared: V^2, up to rounding.
    """

    ta: Tensor | None
    tv: Tensor | None
    va: Tensor | None = None
    squared: Tensor | None = None

    @property
    def pairs(self) -> Tensor:
        """The cosines that there are, `[pairs, B]`."""
        return torch.stack([cosine for cosine in (self.ta, self.tv, self.va) if cosine is not None])


def agreement_of(text: CaptionVectors, sound: Tensor | None, picture: Tensor | None) -> Agreement:
    """Compare a caption with the vectors `[B, D]` of a clip's parts; gradients pass through."""
    ta, tv = _cosine(text.sound, sound), _cosine(text.picture, picture)
    if text.whole is None or sound is None or picture is None:
        return Agreement(ta, tv)
    return Agreement(ta, tv, _cosine(picture, sound), gram_volume_squared(text.whole.expand_as(sound), sound, picture))


def _cosine(a: Tensor, b: Tensor | None) -> Tensor | None:
    if b is None:
        return None
    return (F.normalize(a.double(), dim=-1) * F.normalize(b.double(), dim=-1)).sum(-1)


def pairwise(found: Agreement) -> Tensor:
    """Sum of 1 - cosine over the pairs, `[B]`."""
    return (1 - found.pairs).sum(dim=0)


def volume(found: Agreement) -> Tensor:
    """V, `[B]`."""
    assert found.squared is not None  # MeaningGuide refuses a caption without
    return (found.squared.clamp_min(0) + ROOT_FLOOR).sqrt()


def safe(found: Agreement) -> Tensor:
    """V^2, and what each cosine lacks to `LEAST_COSINE`, `[B]`."""
    assert found.squared is not None
    return found.squared + (LEAST_COSINE - found.pairs).clamp_min(0).sum(dim=0)


LOSSES: Mapping[str, Callable[[Agreement], Tensor]] = {"pairwise": pairwise, "volume": volume, "safe": safe}


class MeaningGuide(Term):
    """Correct the clean estimates towards the caption's meaning.

    Args:
        text: the caption's vectors, `[1, D]`.
        read: a `reading.Reading` per modality.
        settings: how.
        modules: networks that the readings need; they visit the device while memory is low.
        alive: called before each reading and each correction; may raise to cancel.

    Attributes:
        record: V and the cosines before the correction of each guided step, means over the batch.

    Raises:
        InputError: a loss that needs one space, for a caption that has none.
    """

    def __init__(
        self, text: CaptionVectors, read: AV, settings: MeaningGuideSettings | None = None, *,
        modules: Sequence[nn.Module] = (), alive: Callable[[Step], None] = lambda step: None,
    ) -> None:  # fmt: skip
        self.settings = settings or MeaningGuideSettings()
        if text.whole is None and self.settings.loss != "pairwise":
            raise InputError(
                f"the guide's encoder has one space for pictures and another for sounds, so {self.settings.loss} means "
                "nothing; choose pairwise, or an encoder with one space."
            )
        self.text, self.read, self.modules, self.alive = text, read, modules, alive
        self.record: list[dict[str, Any]] = []
        self._held: dict[str, Tensor] = {}

    def on_estimate(self, step: Step) -> AV:
        if not self.settings.acts(step.index, step.total):
            return step.x0
        return self.corrected(step, step.x0)

    def corrected(self, step: Step, latents: AV, clean: Callable[[str, Tensor], Tensor] | None = None) -> AV:
        """Latents after the corrections of one step.

        Args:
            clean: a modality's latents to its clean estimate; None where they are estimates themselves.
        """
        moves = [m for m in self.settings.moves if m in step.active and latents.get(m) is not None]
        if not moves:
            return latents
        clean = clean or (lambda modality, x: x)
        points = {m: latents.get(m).detach().clone() for m in moves}
        with resident(points[moves[0]].device, *self.modules):
            still = {m: self._still(step, m, clean(m, latents.get(m))) for m in latents.present() if m not in moves}
            update = UPDATES[self.settings.update](list(points.values()), self.settings.strength)
            for turn in range(self.settings.inner):
                self.alive(step)
                slopes, found = self._slopes(step, points, still, clean)
                if turn == 0:
                    self.record.append(_figures(step, found))
                update(slopes)
        return AV.of({**latents._asdict(), **points})

    def _still(self, step: Step, modality: str, x0: Tensor) -> Tensor:
        """Vector of a modality that does not move; one that is held is read once."""
        if modality in self._held and modality not in step.active:
            return self._held[modality]
        self.alive(step)
        self._held[modality] = self.read.get(modality)(x0)
        return self._held[modality]

    def _slopes(
        self, step: Step, points: dict[str, Tensor], still: dict[str, Tensor], clean: Callable[[str, Tensor], Tensor]
    ) -> tuple[list[Tensor], Agreement]:
        def work(_: int) -> tuple[list[Tensor], Agreement]:
            with torch.enable_grad():
                leaves = {m: x.detach().requires_grad_(True) for m, x in points.items()}
                moving = {m: self._read(step, m, clean(m, x)) for m, x in leaves.items()}
                found = self._agreement({**still, **moving})
                loss = LOSSES[self.settings.loss](found).sum()
                return list(torch.autograd.grad(loss, list(leaves.values()))), found

        slopes, found = in_smaller_pieces(
            work, 1, 1, what=f"following the caption's meaning in step {step.index + 1} of {step.total}",
            advice="ask for a shorter clip, or leave the guide out",
        )  # fmt: skip
        if not all(slope.isfinite().all() for slope in slopes):
            raise InputError(
                "the guide by meaning came to values that are no numbers; choose dtype float32, or leave it out."
            )
        return slopes, found

    def _read(self, step: Step, modality: str, x0: Tensor) -> Tensor:
        self.alive(step)
        return self.read.get(modality)(x0)

    def _agreement(self, vectors: Mapping[str, Tensor]) -> Agreement:
        for modality, text in (("audio", self.text.sound), ("video", self.text.picture)):
            found = vectors.get(modality)
            if found is not None and found.shape[-1] != text.shape[-1]:
                raise InputError(
                    f"the guide's encoder gives a {SAID.get(modality)} {found.shape[-1]} values and its caption "
                    f"{text.shape[-1]}; choose one whose vectors are equally wide."
                )
        return agreement_of(self.text, vectors.get("audio"), vectors.get("video"))


# How the estimates move -----------------------------------------------------------------------------------------------


def sign_update(points: Sequence[Tensor], strength: float) -> Callable[[list[Tensor]], None]:
    """A new Adam over latents that change in place."""
    means = [torch.zeros_like(point) for point in points]
    squares = [torch.zeros_like(point) for point in points]
    turn = 0

    def update(slopes: list[Tensor]) -> None:
        nonlocal turn
        turn += 1
        for point, slope, mean, square in zip(points, slopes, means, squares, strict=True):
            mean.lerp_(slope, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
            root = square.sqrt() / (1 - BETAS[1] ** turn) ** 0.5 + EPSILON
            point.addcdiv_(mean, root, value=-strength * RATE / (1 - BETAS[0] ** turn))

    return update


def rms_update(points: Sequence[Tensor], strength: float) -> Callable[[list[Tensor]], None]:
    """Steps along the slope, each clip's scaled to a root mean square of 1."""

    def update(slopes: list[Tensor]) -> None:
        for point, slope in zip(points, slopes, strict=True):
            size = slope.square().flatten(1).mean(dim=1).sqrt().clamp_min(torch.finfo(slope.dtype).tiny)
            point.sub_(strength * RATE * slope / size.view(-1, *[1] * (slope.ndim - 1)))

    return update


UPDATES = {"sign": sign_update, "rms": rms_update}


def _figures(step: Step, found: Agreement) -> dict[str, Any]:
    """One row of the record; None for a figure that the encoder has not."""
    root = None if found.squared is None else found.squared.clamp_min(0).sqrt()
    values = {"volume": root, "ta": found.ta, "tv": found.tv, "va": found.va}
    return {"step": step.index, **{name: None if v is None else float(v.detach().mean()) for name, v in values.items()}}
