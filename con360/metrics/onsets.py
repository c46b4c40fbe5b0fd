"""Compare onsets: honest figures, and SyncFusion's published ones beside them.

Convention: the published figures are kept as they are computed, oddities included, so that tables can be compared.
Never print them alone: `published_clip` gives 0.5 to a clip whose onsets are all wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..records import OnsetTrack
from .figure import Definition

TOLERANCE_S = 0.05

ONSET_COUNT = Definition(
    "onset accuracy",
    "1 where both sounds have the same number of onsets, else 0; onsets by rise of the log-mel (ours, not librosa's)",
    "CondFoleyGen",
    better="higher",
)
ONSET_F = Definition(
    "onset F-measure, 50 ms",
    "2 x hits over the onsets of both sounds, matched one to one within 50 ms; onsets by rise of the log-mel",
    "ours",
    better="higher",
)


@dataclass(frozen=True)
class OnsetScore:
    """Onsets found beside true ones; sums over clips give the score of all of them.

    Args:
        hits: pairs, one to one. found, true: numbers of onsets. offsets_s: found minus true, of each pair.
    """

    hits: int
    found: int
    true: int
    offsets_s: tuple[float, ...] = ()

    @property
    def precision(self) -> float:
        return self.hits / self.found if self.found else float(not self.true)

    @property
    def recall(self) -> float:
        return self.hits / self.true if self.true else float(not self.found)

    @property
    def f(self) -> float:
        """The F-measure; 1 where nothing is and nothing was found."""
        return 2 * self.hits / (self.found + self.true) if self.found + self.true else 1.0

    def __add__(self, other: OnsetScore) -> OnsetScore:
        return OnsetScore(
            self.hits + other.hits, self.found + other.found, self.true + other.true, self.offsets_s + other.offsets_s
        )


def onset_score(found: OnsetTrack, true: OnsetTrack, tolerance_s: float = TOLERANCE_S) -> OnsetScore:
    """Match onsets one to one within a tolerance, as many as can be.

    Source: the onset F-measure of MIREX. On sorted times, pairing from the left gives the most pairs.
    """
    offsets, i, j = [], 0, 0
    while i < len(found.times_s) and j < len(true.times_s):
        gap = found.times_s[i] - true.times_s[j]
        if abs(gap) <= tolerance_s + 1e-9:
            offsets.append(gap)
        i, j = i + (gap <= tolerance_s + 1e-9), j + (gap >= -tolerance_s - 1e-9)
    return OnsetScore(len(offsets), len(found.times_s), len(true.times_s), tuple(offsets))


def chance_f(found: OnsetTrack, true: OnsetTrack, duration_s: float, turns: int = 64) -> float:
    """Average the F-measure of the found onsets turned round the clip: the same rhythm at other moments.

    Args:
        duration_s: of the clip, in which `turns` turns lie evenly; none of them is the found onsets themselves.
    """
    scores = []
    for turn in range(1, turns):
        times = sorted((time + turn / turns * duration_s) % duration_s for time in found.times_s)
        scores.append(onset_score(OnsetTrack(tuple(times)), true).f)
    return sum(scores) / len(scores)


def onset_count_matches(generated: OnsetTrack, target: OnsetTrack) -> float:
    """Return 1.0 where the numbers of onsets agree, else 0.0; the mean over clips is the onset accuracy.

    Source: CondFoleyGen (arXiv 2304.10490), section 4.
    """
    return float(len(generated.times_s) == len(target.times_s))


def onset_average_precision(generated: OnsetTrack, target: OnsetTrack, tolerance_s: float = TOLERANCE_S) -> float:
    """Compute the average precision of detected onsets, ranked by strength; each target onset is matched once.

    Convention: 1 where neither clip has an onset, 0 where only one has. 50 ms is the paper's tolerance, the published
    script uses 100 ms (`published_clip`).

    Args:
        generated: with strengths.
        tolerance_s: an onset is right when an unmatched target onset lies at most this far away.

    Source: CondFoleyGen (arXiv 2304.10490), section 4.
    """
    if not target.times_s:
        return float(not generated.times_s)
    free, hits, total = set(range(len(target.times_s))), 0, 0.0
    ranked = sorted(zip(generated.strengths, generated.times_s, strict=True), reverse=True)
    for rank, (_, time_s) in enumerate(ranked, start=1):
        near = [(abs(target.times_s[i] - time_s), i) for i in free]
        gap, index = min(near, default=(math.inf, -1))
        if gap <= tolerance_s + 1e-9:
            free.remove(index)
            hits += 1
            total += hits / rank
    return total / len(target.times_s)


# SyncFusion, as published ---------------------------------------------------------------------------------------------

PUBLISHED_RATE_HZ = 22050
_WINDOW_S = 0.05
_CERTAIN = 0.75
# Of onsets as frames: how far off is right, and the sureness that a target without an onset counts with.
_FRAMES_OFF, _SILENT = 2, 0.05


@dataclass(frozen=True)
class PublishedScore:
    """Figures of one clip, or of a batch's frames, by SyncFusion's code.

    Args:
        accuracy: of a clip: hits over targets; of frames: share of balanced frames told apart at p > 0.75.
        ap: average precision. count_matches: share of clips or rows with the right number of onsets.
    """

    accuracy: float
    ap: float
    count_matches: float


def published_clip(
    target: Sequence[int], generated: Sequence[int], waveform: np.ndarray, tolerance_s: float = 0.1
) -> PublishedScore:
    """Score a generated clip as SyncFusion's evaluation script does (its tables 2 and 3).

    Convention: onsets are thinned to 50 ms apart by the peak of |waveform| around them, but for one that follows on a
    removed one. A target takes the free onset of the loudest sample within the tolerance. Targets after the last free
    onset are not counted as missed.

    Args:
        target, generated: onsets as samples at 22050 Hz, sorted, none of `generated` before 50 ms.
        waveform: `[N]` of the generated clip at that rate.

    Raises:
        InputError: an onset before 50 ms, or a waveform that is silent or no number.

    Source: SyncFusion (arXiv 2310.15247), script/evaluate_onset.py.
    """
    if not len(target) or not len(generated):
        return PublishedScore(0.0, 0.0, 0.0)
    peaks, loudness = published_peaks(generated, waveform), _loudness(waveform)
    free = published_thinning(generated, [peaks[at] for at in generated])
    scored, hits = [], 0
    for wanted in target:
        near = [at for at in free if abs(at - wanted) < tolerance_s * PUBLISHED_RATE_HZ]
        if not near:
            scored.append((1, 0.0))
            continue
        chosen = near[int(np.argsort([loudness[at] for at in near])[-1])]
        free.remove(chosen)
        hits += 1
        scored.append((1, peaks[chosen]))
        if not free:
            break
    scored += [(0, peaks[at]) for at in free]
    return PublishedScore(hits / len(target), ranked_precision(scored), float(len(target) == len(generated)))


def _loudness(waveform: np.ndarray) -> np.ndarray:
    loudness = np.abs(waveform)
    span = loudness.max() - loudness.min()
    if not span > 0 or not np.isfinite(span):
        raise InputError("the waveform is silent, or holds values that are not numbers; onsets in it cannot be ranked.")
    return (loudness - loudness.min()) / span


def published_peaks(onsets: Sequence[int], waveform: np.ndarray) -> dict[int, float]:
    """Rank onsets by the peak of |waveform| within 50 ms around each, from 0 to 1; arguments as in `published_clip`."""
    reach = int(_WINDOW_S * PUBLISHED_RATE_HZ)
    if min(onsets) < reach:
        raise InputError(f"an onset stands at sample {min(onsets)}; SyncFusion's script needs {reach} before it.")
    loudness = _loudness(waveform)
    return {at: float(loudness[at - reach : at + reach].max()) for at in onsets}


def published_thinning(onsets: Sequence[int], peaks: Sequence[float]) -> list[int]:
    """Thin onsets to 50 ms apart, the loudest first, as published: one right behind a removed one stays."""
    left, kept = list(onsets), []
    for index in np.argsort(peaks)[::-1]:
        current = onsets[index]
        if current not in left:
            continue
        kept.append(current)
        left.remove(current)
        # Removing from the list that is walked skips the one behind: the published numbers have it so.
        for other in left:
            if abs(current - other) < _WINDOW_S * PUBLISHED_RATE_HZ:
                left.remove(other)
    return sorted(kept)


def published_vectors(target: Sequence[int], generated: Sequence[int], sureness: Sequence[float]) -> PublishedScore:
    """Score onsets as frames of a 30 fps picture, as Video-Foley and CondFoleyGen do: right within two frames.

    Convention: a target takes the surest free onset in reach; one that gets none counts with the little sureness of
    silence, 0.05. Left onsets are wrong ones.

    Args:
        target, generated: frames, sorted. sureness: of each generated onset, in [0, 1].

    Source: Video-Foley (arXiv 2408.11915), its evaluation script.
    """
    free, scored = dict(zip(generated, sureness, strict=True)), []
    for wanted in target:
        near = [at for at in free if abs(at - wanted) <= _FRAMES_OFF]
        scored.append((1.0, free.pop(max(near, key=lambda at: free[at])) if near else _SILENT))
    scored += [(0.0, sure) for sure in free.values()]
    accuracy = sum((sure > 0.5) == (truth == 1) for truth, sure in scored) / len(scored)
    return PublishedScore(accuracy, ranked_precision(scored), float(len(target) == len(generated)))


def published_frames(probabilities: np.ndarray, labels: np.ndarray) -> PublishedScore:
    """Score frame-wise predictions as SyncFusion's training does (its table 1): no tolerance in time.

    Convention: accuracy and AP count the first frames of each kind in the batch, as many as the rarer kind has. For the
    number of onsets, a detection right after a kept one is dropped.

    Args:
        probabilities, labels: `[B, T]`; labels 0 or 1.

    Source: SyncFusion, main/module_onset.py.
    """
    certain = probabilities > _CERTAIN
    kept = certain.copy()
    for frame in range(1, kept.shape[1]):
        kept[:, frame] &= ~kept[:, frame - 1]
    counts = float((kept.sum(1) == labels.sum(1)).mean())
    hits, others = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    count = min(len(hits), len(others))
    chosen = np.concatenate((hits[:count], others[:count]))
    truth = labels.ravel()[chosen]
    accuracy = float((certain.ravel()[chosen] == truth).mean())
    return PublishedScore(accuracy, ranked_precision(zip(truth, probabilities.ravel()[chosen], strict=True)), counts)


def ranked_precision(scored: Iterable[tuple[float, float]]) -> float:
    """Compute the average precision of (truth, score) pairs; equal scores count together, as scikit-learn does it."""
    truth, scores = (np.asarray(column, dtype=float) for column in zip(*scored, strict=True))
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(truth)[last]
    return float((np.diff(hits, prepend=0) / truth.sum() * hits / (last + 1)).sum())
