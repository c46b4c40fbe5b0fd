"""List the clips to prepare: from a folder, a manifest, Sphere360's lists or the procedural scenes.

A line or file that cannot be used becomes a `Problem` with its place and reason.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from con360.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi")
SPLITS = ("train", "validation", "test")
# A YouTube id has 11 characters and may contain "_" or start with "-". Some published names add an "l" behind the id.
_SPHERE360_LINE = re.compile(r"([A-Za-z0-9_-]{11})(l?)_(\d+)")
SCENE_PREFIX = "scene:"


@dataclass(frozen=True)
class SourceClip:
    """One file of 360° video.

    Args:
        id: unique, and the same in every run. path: empty for a procedural scene.
        video: source video; clips of one video share a split.
        split: as the source gives it, or empty.
        caption: as the source gives it, or empty.
        starts_s: segment starts for this clip; None takes the run's.
    """

    id: str
    path: str
    video: str
    split: str = ""
    caption: str = ""
    starts_s: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Problem:
    """Report a fault in the source. `kept`: the clip is prepared nevertheless."""

    where: str
    reason: str
    kept: bool = False


ClipSource = tuple[list[SourceClip], list[Problem]]


def video_of(clip_id: str) -> str:
    """Read the video's id from a clip's name: for Sphere360 without start and "l", else the whole name."""
    match = _SPHERE360_LINE.fullmatch(Path(clip_id).stem)
    return match[1] if match else clip_id


def read_source(path: str | Path) -> ClipSource:
    """List the clips of a folder (all videos below it) or of a manifest (.csv, .jsonl).

    Raises:
        InputError: the path is neither.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() in (".csv", ".jsonl") and path.is_file():
        return _read_manifest(path)
    raise InputError(f"{path} is neither a folder nor a manifest; give a folder of clips, or a .csv or .jsonl file.")


def _read_folder(folder: Path) -> ClipSource:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    clips, problems = [], []
    for file in files:
        name = file.relative_to(folder).as_posix()
        caption, problem = _sidecar(file)
        clips.append(SourceClip(name, str(file), video_of(name), caption=caption))
        problems += [Problem(name, problem, kept=True)] if problem else []
    return clips, problems


def _sidecar(file: Path) -> tuple[str, str]:
    """Read (caption, problem) from `clip.txt`, or "caption" in `clip.json`, beside the file; both empty if absent."""
    for beside in (file.with_suffix(".txt"), file.with_suffix(".json")):
        if not beside.is_file():
            continue
        try:
            text = beside.read_text(encoding="utf-8-sig")
            return str(json.loads(text)["caption"] if beside.suffix == ".json" else text).strip(), ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            return "", f"{beside.name} is no caption ({type(error).__name__}: {error}); prepared without one"
    return "", ""


def _read_manifest(path: Path) -> ClipSource:
    clips: list[SourceClip] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for where, row in _manifest_rows(path, problems):
        try:
            clip = _clip_of(row, path.parent)
        except (InputError, TypeError, ValueError) as error:
            problems.append(Problem(where, str(error)))
            continue
        if clip.id in seen:
            problems.append(Problem(where, f"the id {clip.id!r} is that of {seen[clip.id]}; the first is used"))
            continue
        seen[clip.id] = where
        clips.append(clip)
    return clips, problems


def _manifest_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise InputError(f"{path.name} has no column 'path'; its first line must name the columns.")
            for row in reader:
                yield f"{path.name} line {reader.line_num}", row
            return
        for number, line in enumerate(file, start=1):
            where = f"{path.name} line {number}"
            if line.strip():
                try:
                    yield where, json.loads(line)
                except ValueError as error:
                    problems.append(Problem(where, f"is no JSON object ({error})"))


def _clip_of(row: dict[str, Any], root: Path) -> SourceClip:
    if not isinstance(row, dict) or not row.get("path"):
        raise InputError("has no path")
    path = root / str(row["path"])
    split = str(row.get("split") or "")
    if split and split not in SPLITS:
        raise InputError(f"names the split {split!r}; wanted one of {', '.join(SPLITS)}")
    name = str(row.get("id") or row["path"])
    starts = row.get("starts")
    if isinstance(starts, str):
        starts = starts.split() or None
    caption = str(row.get("caption") or "").strip() or _sidecar(path)[0]
    times = tuple(float(s) for s in starts) if starts is not None else None
    if times is not None and not all(0 <= t < float("inf") for t in times):
        raise InputError(f"asks for starts {starts}; wanted seconds, 0 or later")
    return SourceClip(name, str(path), str(row.get("video") or video_of(name)), split, caption, times)


def read_sphere360(lists: str | Path, media: str | Path) -> ClipSource:
    """List the clips of Sphere360's `train.txt` and `test.txt`, stored as `<line>.<suffix>` below a folder of media.

    Convention: a line is `<video>_<start>`, split at the last "_"; a 12th letter "l" of the id belongs to the clip's
    name, not to its video. Two lines of one video and start are one clip: the first is used. A clip without
    a file is a problem, and is not prepared.

    Args:
        lists: the folder of the two lists, or one list. media: the folder of the clips.

    Raises:
        InputError: no list, or no folder of media.
    """
    lists, media = Path(lists).expanduser(), Path(media).expanduser()
    if not media.is_dir():
        raise InputError(f"there is no folder of media {media}; name the one that holds the clips.")
    clips, problems = read_sphere360_lists(lists)
    files = {file.stem: file for file in sorted(media.rglob("*")) if file.suffix.lower() in VIDEO_SUFFIXES}
    found = []
    for clip in clips:
        if clip.id in files:
            file = files[clip.id]
            found.append(SourceClip(clip.id, str(file), clip.video, clip.split, _sidecar(file)[0]))
        else:
            problems.append(Problem(clip.id, f"there is no file {clip.id}.webm (or other video) below {media}"))
    return found, problems


def read_sphere360_lists(lists: str | Path) -> ClipSource:
    """Read the lines of Sphere360's lists as clips without paths; see `read_sphere360`."""
    lists = Path(lists).expanduser()
    named = [lists] if lists.is_file() else [lists / f"{name}.txt" for name in ("train", "test")]
    named = [file for file in named if file.is_file()]
    if not named:
        raise InputError(f"{lists} holds neither train.txt nor test.txt; give Sphere360's dataset/split folder.")
    clips: list[SourceClip] = []
    problems: list[Problem] = []
    first: dict[tuple[str, int], str] = {}
    for file in named:
        split = "test" if file.stem == "test" else "train"
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            where = f"{file.name} line {number}"
            match = _SPHERE360_LINE.fullmatch(line.strip())
            if match is None:
                problems.append(Problem(where, f"{line.strip()!r} is not <video>_<start>"))
                continue
            key = (match[1], int(match[3]))
            if key in first:
                problems.append(Problem(where, f"{line.strip()!r} is the clip of {first[key]}; the first is used"))
                continue
            first[key] = where
            if match[2]:
                note = f"{line.strip()!r} carries an 'l' after the video's id, which is taken to be {match[1]!r}"
                problems.append(Problem(where, note, kept=True))
            clips.append(SourceClip(line.strip(), "", match[1], split))
    return clips, problems


def procedural_scenes(count: int, split: str, first: int = 0) -> ClipSource:
    """List scenes `first` to `first + count - 1` of a split as clips; no two splits share a seed."""
    if split not in SPLITS or count < 1 or first < 0:
        raise InputError(f"{count} scenes of {split!r} were asked for; give 1 or more, of {', '.join(SPLITS)}.")
    names = [f"{SCENE_PREFIX}{split}/{index}" for index in range(first, first + count)]
    return [SourceClip(name, "", name, split) for name in names], []


def scene_number(clip: SourceClip) -> tuple[str, int]:
    """Return (split, index) of a procedural scene."""
    split, index = clip.id.removeprefix(SCENE_PREFIX).split("/")
    return split, int(index)


def overlapping(clips: Iterable[SourceClip], splits: Sequence[str]) -> dict[tuple[str, str], int]:
    """Count the videos that two splits share: {(split, split): count}; empty if no video is in two splits."""
    videos: dict[str, set[str]] = {}
    for clip, split in zip(clips, splits, strict=True):
        videos.setdefault(split, set()).add(clip.video)
    names = sorted(videos)
    pairs = {(a, b): len(videos[a] & videos[b]) for i, a in enumerate(names) for b in names[i + 1 :]}
    return {pair: count for pair, count in pairs.items() if count}
