"""Plan a run: list the segments and the split of each. The same source gives the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from con360.errors import InputError
from train.preparation.settings import Settings, SplitMethod, split_of
from train.preparation.sources import SourceClip

# By video, 15 % are held out as in the paper, a third of them to watch the training with.
FRACTIONS = {
    "video": (("train", 0.85), ("validation", 0.05), ("test", 0.10)),
    "random": (("train", 0.85), ("test", 0.15)),
}


@dataclass(frozen=True)
class Segment:
    """A piece of a clip that becomes examples."""

    clip: SourceClip
    start_s: float
    split: str

    @property
    def id(self) -> str:
        return f"{self.clip.id}@{self.start_s:g}"


def assign_splits(clips: Sequence[SourceClip], method: SplitMethod, seed: int = 0) -> list[str]:
    """The split of each clip.

    Args:
        method: `video` draws once per video; `random` once per clip (the paper's 85/15, which puts clips of one video
            on both sides); `given` takes what the source says.

    Raises:
        InputError: another method, or `given` where a clip names no split.
    """
    if method == "given":
        bare = next((clip for clip in clips if not clip.split), None)
        if bare is not None:
            raise InputError(f"the split is to be the source's own, but {bare.id} names none; use --split-by video.")
        return [clip.split for clip in clips]
    if method not in FRACTIONS:
        raise InputError(f"the split {method!r} is unknown; choose one of video, random, given.")
    keys = (clip.video if method == "video" else clip.id for clip in clips)
    return [split_of(key, seed, FRACTIONS[method]) for key in keys]


def plan_segments(clips: Sequence[SourceClip], settings: Settings) -> list[Segment]:
    """Every segment of every clip, clips in their order; no id twice."""
    splits = assign_splits(clips, settings.split, settings.split_seed)
    return [
        Segment(clip, start, split)
        for clip, split in zip(clips, splits, strict=True)
        for start in dict.fromkeys((0.0,) if is_scene(clip) else clip.starts_s or settings.starts_s)
    ]


def is_scene(clip: SourceClip) -> bool:
    return not clip.path
