"""Evaluate Ambisonics on real clips whose true Ambisonics is known: Sphere360-Bench, YT360-Test, or any folder.

`train/evaluate.py --data FOLDER` calls this. A clip is a 360° video with first-order Ambisonics, or such a sound alone:
then nothing can be found in a picture, and no model makes a sound for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import PanoramaStream, read_sound
from con360.metrics.openl3_passt import passt_divergence
from con360.placing.movement import Movement, movement_of_stream
from con360.records import Sound
from train.evaluation.field_tables import DIRECTIONS, MAPS, PAPER, Rows, definitions, fd_table, summaries, table
from train.evaluation.fields import BESIDE, beside, figures
from train.evaluation.store import Store, write_json

SUFFIXES = (".webm", ".mp4", ".mkv", ".mov", ".wav", ".flac")
# Makes the sound of a clip; None where there is none for it.
Maker = Callable[[Path], Sound | None]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Networks:
    """The user's published networks: sounds to embeddings of windows, and to probabilities of classes."""

    openl3: Callable[[Sound], np.ndarray] | None = None
    passt: Callable[[Sound], np.ndarray] | None = None


@dataclass
class Clips:
    """Clips and what makes sound for them.

    Args:
        paths: of the clips, in order.
        makers: by name; each has a row.
        networks: for FD and KL.
    """

    paths: Sequence[Path]
    makers: dict[str, Maker]
    networks: Networks = field(default_factory=Networks)

    def measure(self, index: int) -> dict[str, Any]:
        """Measure all sounds of one clip: `rows` by sound, and embeddings where a network is given."""
        path = self.paths[index]
        true = true_sound(path)
        sounds = beside(true, true_sound(self.paths[(index + 1) % len(self.paths)]), _watched(path), index)
        for name, make in self.makers.items():
            made = make(path)
            if made is not None:
                sounds[name] = made
        rows = {name: figures(sound, true) for name, sound in sounds.items()}
        result: dict[str, Any] = {"clip": path.name, "rows": rows}
        # The true W, placed, sounds as the truth does: only other sounds have an answer.
        heard = {name: sound for name, sound in sounds.items() if name == "another" or name in self.makers}
        if self.networks.passt is not None:
            classes = self.networks.passt(true)
            for name, sound in heard.items():
                rows[name]["kl"] = passt_divergence(self.networks.passt(sound), classes)
        if self.networks.openl3 is not None:
            result["embeddings"] = {name: self.networks.openl3(s).tolist() for name, s in {"true": true, **heard}.items()}
        return result


def clips_of(places: Sequence[Path]) -> list[Path]:
    """List the files of folders, and files, that hold first-order Ambisonics, by name.

    Raises:
        InputError: fewer than two: a clip is compared with another's sound.
    """
    every = [p for place in places for p in (sorted(place.iterdir()) if place.is_dir() else [place])]
    found = [path for path in every if path.suffix.lower() in SUFFIXES and _has_field(path)]
    if len(found) < 2:
        names = ", ".join(str(place) for place in places)
        raise InputError(f"{names}: {len(found)} of {len(every)} files hold Ambisonics; wanted 2 or more.")
    return found


def _has_field(path: Path) -> bool:
    try:
        return (true_sound(path).ambisonic_order or 0) >= 1
    except InputError:
        return False


@lru_cache(maxsize=2)
def true_sound(path: Path) -> Sound:
    return read_sound(path)[0]


def _watched(path: Path) -> list[Movement] | None:
    info = probe(path)
    return list(movement_of_stream(PanoramaStream(info))) if info.width else None


def from_folder(folder: Path) -> Maker:
    """Take sounds that were made before: files of the clips' names, with any suffix."""

    def make(path: Path) -> Sound | None:
        found = [p for p in sorted(folder.glob(f"{path.stem}.*")) if p.suffix.lower() in SUFFIXES]
        return read_sound(found[0])[0] if found else None

    return make


def evaluate(clips: Clips, store: Store, say: Say) -> str:
    """Measure every clip, write `metrics.json` and `table.md`; return the tables. A killed run goes on."""
    for index, path in enumerate(clips.paths):
        if not store.has("clips", index):
            store.put("clips", index, clips.measure(index))
            say(f"{path.name}: {index + 1} of {len(clips.paths)}")
    results = store.rows("clips")
    names = [name for name in (*clips.makers, *BESIDE) if any(name in r["rows"] for r in results)]
    rows = {name: [r["rows"][name] for r in results if name in r["rows"]] for name in names}
    metrics = {"clips": [r["clip"] for r in results], "figures": summaries(rows, (*DIRECTIONS, *PAPER, *MAPS))}
    write_json(store.folder / "metrics.json", metrics)
    text = _text(rows, results, list(clips.makers))
    (store.folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _text(rows: Rows, results: Sequence[dict[str, Any]], makers: Sequence[str]) -> str:
    published = any("embeddings" in r or "kl" in row for r in results for row in r["rows"].values())
    parts = [
        f"# Directions of {len(results)} clips\n", "Intervals: 95 %, bootstrap over clips. ACN, degrees:\n",
        table(rows, DIRECTIONS, BESIDE), "The paper's reading (radians), and KL on W where PaSST was given:\n",
        table(rows, PAPER, BESIDE), _fd(results, makers), "ViSAGe's maps:\n", table(rows, MAPS, BESIDE),
        definitions(published),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _fd(results: Sequence[dict[str, Any]], makers: Sequence[str]) -> str:
    tables = []
    for name in (*makers, "another"):
        with_it = [r["embeddings"] for r in results if name in r.get("embeddings", {})]
        if len(with_it) > 1:
            made, true = ([np.array(e[who]) for e in with_it] for who in (name, "true"))
            tables.append(fd_table({name: made}, true, BESIDE))
    return "\n".join(tables)


def model_maker(load: Callable[[], Any], folder: Path, settings: Any) -> Maker:
    """Let a model make the sound of each clip, file to file; what was made is kept in `folder`."""
    loaded: list[Any] = []

    def make(path: Path) -> Sound | None:
        from con360.sounding.run import ambisonics_for_clip

        if not probe(path).width:
            return None
        out = folder / f"{path.stem}.mp4"
        if not out.is_file():
            loaded[:] = loaded or [load()]
            folder.mkdir(parents=True, exist_ok=True)
            ambisonics_for_clip(path, out, loaded[0], settings)
        return read_sound(out)[0]

    return make
