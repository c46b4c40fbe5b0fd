"""Hold the models that judge clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from con360.metrics import saliency
from con360.metrics.audio import Clap
from con360.records import Sound
from train.evaluation.embeddings import JointSpace

BAND_CLASSIFIER = "energy in the voices' bands (con360/scenes.py), no weights"


@dataclass(frozen=True)
class Judges:
    """Hold the models that judge clips; None where the user gave none.

    Args:
        space: caption, sound and picture in one space, trained here.
        clap, i3d, classifier: the user's LAION-CLAP, I3D and audio classifier.
        saliency_method, saliency_name: estimator of S_KL.
    """

    space: JointSpace
    clap: Clap | None = None
    i3d: Callable[[Tensor], Tensor] | None = None
    i3d_name: str = ""
    classifier: Callable[[Sound], np.ndarray] | None = None
    classifier_name: str = BAND_CLASSIFIER
    saliency_method: saliency.SaliencyMethod = saliency.TRAINING_FREE
    saliency_name: str = saliency.TRAINING_FREE
