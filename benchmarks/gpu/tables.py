"""Figures of the stages, and tables of them: what fits which card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CARDS_GB = (8, 12, 16, 24, 48)
# Driver, desktop, work space inside kernels, fragments.
KEPT_FREE_GB = 2.0
GENERATION, TRAINING = "generation: ", "training `"


@dataclass(frozen=True)
class Figures:
    """One stage, counted or measured.

    Args:
        what, mode: the stage and its memory mode.
        held_gb: weights and an optimiser's state on the device at once. beyond_gb: greatest memory of a call beyond it.
        tflop: of all calls that a clip needs; None where it was measured.
        seconds: of all calls that a clip needs; None where it was counted.
        problem: why there are no figures.
    """

    what: str
    mode: str
    held_gb: float = 0.0
    beyond_gb: float = 0.0
    tflop: float | None = None
    seconds: float | None = None
    problem: str = ""

    @property
    def together_gb(self) -> float:
        return self.held_gb + self.beyond_gb

    def fits(self, card_gb: float) -> bool:
        return not self.problem and round(self.together_gb, 1) + KEPT_FREE_GB <= card_gb


def counted_table(rows: Sequence[Figures]) -> str:
    """Markdown of counted stages, a line each, with the cards that they fit."""
    cards = " | ".join(f"{card} GB" for card in CARDS_GB)
    lines = [f"| stage | memory | held, GB | beyond it, GB | together, GB | TFLOP a clip | {cards} |"]
    lines.append("|---" * (6 + len(CARDS_GB)) + "|")
    for row in rows:
        fits = " | ".join("yes" if row.fits(card) else "no" for card in CARDS_GB)
        sizes = f"{row.held_gb:.1f} | {row.beyond_gb:.1f} | {row.together_gb:.1f} | {row.tflop:.0f}"
        lines.append(f"| {row.what} | {row.mode} | {sizes} | {fits} |")
    return "\n".join(lines)


def cards_table(rows: Sequence[Figures]) -> str:
    """Markdown of the cards: memory mode of generation, the other stages, the trainings."""
    lines = ["| card | generation | captions and saliency | training |", "|---|---|---|---|"]
    for card in CARDS_GB:
        other = [row for row in rows if not row.what.startswith((GENERATION, "training"))]
        before = ", ".join(row.what.split(": ")[1] for row in other if row.fits(card))
        trained = ", ".join(
            row.what.removeprefix("training ") for row in rows if row.what.startswith(TRAINING) and row.fits(card)
        )
        lines.append(f"| {card} GB | {_mode(rows, card)} | {before} | {trained or 'none'} |")
    return "\n".join(lines)


def _mode(rows: Sequence[Figures], card: float) -> str:
    modes: dict[str, list[bool]] = {}
    for row in rows:
        if row.what.startswith(GENERATION):
            modes.setdefault(row.mode, []).append(row.fits(card))
    return next((f"memory `{mode}`" for mode, fits in modes.items() if all(fits)), "no")


def measured_table(rows: Sequence[Figures]) -> str:
    """Markdown of measured stages."""
    lines = ["| stage | memory | peak, GB | seconds a clip |", "|---|---|---|---|"]
    for row in rows:
        figures = row.problem or (f"{row.together_gb:.1f}" if row.together_gb else "not measured")
        lines.append(f"| {row.what} | {row.mode} | {figures} | {'' if row.seconds is None else f'{row.seconds:.1f}'} |")
    return "\n".join(lines)


def training_hours(
    tflop: Mapping[str, float], regime: str, clips: int, epochs: float, peak_tflops: float, share: float
) -> float:
    """Hours of a training from counted FLOP.

    Args:
        tflop: stage to TFLOP of a clip. regime: `train=`.
        peak_tflops: of the card, in TFLOP/s. share: of it that is reached, from 0 to 1.
    """
    each = tflop[f"{TRAINING}{regime}`"] + tflop["training: the estimate before"]
    return clips * epochs * each / (peak_tflops * share) / 3600
