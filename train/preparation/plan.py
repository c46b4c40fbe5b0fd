"""Plan a run: list the segments and the split of each. The same source gives the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from con360.errors import InputError
from train.preparation.settings import Settings, SplitMethod, split_of
from train.preparation.sources import SourceClip

# Split by video. As in the paper 15 % are held out; a third of these serve as validation during training.
FRACTIONS = {
    "video": (("train", 0.85), ("validation", 0.05), ("test", 0.10)),
    "random": (("train", 0.85), ("test", 0.15)),
}


@dataclass(frozen=True)
class Segment:
    """Cut of a clip, from which examples are made."""

    clip: SourceClip
    start_s: float
    split: str

    @property
    def id(self) -> str:
        return f"{self.clip.id}@{self.start_s:g}"


def assign_splits(clips: Sequence[SourceClip], method: SplitMethod, seed: int = 0) -> list[str]:
    """Choose the split of each clip.

    Args:
        method: `video` draws once per video; `random` once per clip (the paper's 85/15, where clips of one video can
            fall on both sides); `given` takes the source's split.

    Raises:
        InputError: unknown method, or `given` and a clip names no split.
    """
    if method == "given":
        bare = next((clip for clip in clips if not clip.split), None)
        if bare is not None:
            raise InputError(f"--split-by given needs a split per clip; {bare.id} names none. Use --split-by video.")
        return [clip.split for clip in clips]
    if method not in FRACTIONS:
        raise InputError(f"the split {method!r} is unknown; choose one of video, random, given.")
    keys = (clip.video if method == "video" else clip.id for clip in clips)
    return [split_of(key, seed, FRACTIONS[method]) for key in keys]


def plan_segments(clips: Sequence[SourceClip], settings: Settings) -> list[Segment]:
    """List every segment of every clip, in the clips' order; ids are unique."""
    splits = assign_splits(clips, settings.split, settings.split_seed)
    return [
        Segment(clip, start, split)
        for clip, split in zip(clips, splits, strict=True)
        for start in dict.fromkeys((0.0,) if is_scene(clip) else clip.starts_s or settings.starts_s)
    ]


def is_scene(clip: SourceClip) -> bool:
    return not clip.path
