"""Errors of networks that tell when a picture sounds.

Shape legend: B clips, T frames, N values, K = 64 classes.

Source: SyncFusion (arXiv 2310.15247) for onsets; Video-Foley (arXiv 2408.11915) for classes and their blur.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from con360.sound.envelopes import CLASSES

# Classes on either side that a label is blurred over, and the low-pass of published targets: order, ripple and stop in
# dB, edge as a share of half the rate (7.8 Hz at 125 Hz).
BLUR = 2
LOW_PASS = (4, 0.01, 120.0, 0.125)


def onset_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy of frames `[B, T]`; frames with onsets weigh as much as all others of the batch.

    A batch without onsets has no such weight: its frames count as they are.
    """
    hits = labels.sum()
    weight = (labels.numel() - hits) / hits if hits else None
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=weight)


def blurred_labels(index: Tensor) -> Tensor:
    """Turn classes `[...]` into labels `[..., K]`: 1 at the class, exp(-2^(d - 1) / 2) at d classes beside it.

    Convention: silence, class 0, is never blurred and gets no part of others. The labels do not sum to 1.
    """
    labels = F.one_hot(index, CLASSES).float()
    for distance in range(1, BLUR + 1):
        for beside in (index - distance, index + distance):
            meant = (index > 0) & (beside > 0) & (beside < CLASSES)
            value = np.exp(-(2.0 ** (distance - 1)) / 2)
            labels += value * meant[..., None] * F.one_hot(beside.clamp(0, CLASSES - 1), CLASSES)
    return labels


def class_loss(logits: Tensor, index: Tensor) -> Tensor:
    """Compute each clip's cross-entropy `[B]` of logits `[B, K, N]` with blurred labels of classes `[B, N]`."""
    return -(blurred_labels(index) * logits.log_softmax(1).transpose(1, 2)).sum(-1).mean(-1)


def near_classes(found: Tensor, index: Tensor, reach: int) -> Tensor:
    """Compute the share of classes that lie within `reach` of the true ones."""
    return ((found - index).abs() <= reach).float().mean()


def smoothed(curve: Tensor) -> Tensor:
    """Smooth an envelope `[N]` as published targets are: low-passed without delay; it may fall below 0."""
    from scipy.signal import ellip, filtfilt

    return torch.from_numpy(filtfilt(*ellip(*LOW_PASS), curve.double().numpy(), method="gust").copy())
