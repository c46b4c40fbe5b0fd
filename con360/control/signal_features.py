"""Signal features: named signals to features over time, aligned with a site by their rates.

Shape legend: B clips, T values in time, F features.

The control has no published part for signals; the convolutions and their widths are ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..records import Signal

FEATURES = 32
# Values [B, F, T] of a signal's features, and their rate in Hz.
Timed = tuple[Tensor, float]


class SignalFeatures(nn.Module):
    """Two convolutions over time for each signal, at its own rate.

    Args:
        widths: name of each signal to the number of values that it has at a time.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        # A bare name could be that of a method of ModuleDict.
        self.convs = nn.ModuleDict({f"of_{name}": _convolutions(width) for name, width in widths.items()})
        self.names = tuple(widths)

    @property
    def num_features(self) -> int:
        return FEATURES * len(self.names)

    def forward(self, signals: Mapping[str, Signal], keep: Mapping[str, Tensor]) -> dict[str, Timed]:
        """Features of each given signal at its own rate.

        Args:
            signals: values `[B, T, ...]`; a signal that is left out is dropped.
            keep: `[B]` by name, 1 for the clips that keep the signal and 0 for the others; without its name, all do.

        Returns:
            Values `[B, F, T]` and their rate, by name.
        """
        found: dict[str, Timed] = {}
        for name in self.names:
            if name in signals:
                given = signals[name].values
                values = self.convs[f"of_{name}"](given.reshape(*given.shape[:2], -1).transpose(1, 2))
                values = values * keep[name].to(values)[:, None, None] if name in keep else values
                found[name] = values, signals[name].rate_hz
        return found

    def aligned(self, features: Mapping[str, Timed], like: Tensor, row_seconds: float) -> Tensor:
        """Features of all signals in the rows of a site, zeros for dropped ones: `[B, F * signals, rows]`.

        Args:
            features: from `forward`.
            like: features of the site, `[B, C, rows, ...]`.
            row_seconds: time that a row spans.
        """
        B, rows = like.shape[0], like.shape[2]
        dropped = like.new_zeros(B, FEATURES, rows)
        return torch.cat(
            [in_rows(*features[n], rows, row_seconds) if n in features else dropped for n in self.names], dim=1
        )


def _convolutions(width: int) -> nn.Sequential:
    first = nn.Conv1d(width, FEATURES, 3, padding=1, padding_mode="replicate")
    return nn.Sequential(first, nn.SiLU(), nn.Conv1d(FEATURES, FEATURES, 3, padding=1, padding_mode="replicate"))


def in_rows(values_BFT: Tensor, rate_hz: float, rows: int, row_seconds: float) -> Tensor:
    """Resample values over time to `[B, F, rows]`: row r is heard at `(r + 0.5) * row_seconds`.

    Interpolates linearly between values that are rarer than rows, and averages values that are denser, weighted by a
    triangle. Rows past the last value hold it.
    """
    T, device = values_BFT.shape[-1], values_BFT.device
    centre = ((torch.arange(rows, device=device) + 0.5) * row_seconds * rate_hz - 0.5).clamp(0, T - 1)
    reach = max(1.0, row_seconds * rate_hz)
    weight = (1 - (torch.arange(T, device=device)[:, None] - centre).abs() / reach).clamp_min(0)
    return values_BFT @ (weight / weight.sum(0)).to(values_BFT)
