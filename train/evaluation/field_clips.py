"""Evaluate Ambisonics on real clips whose true Ambisonics is known: Sphere360-Bench, YT360-Test, or any folder.

`train/evaluate.py --data FOLDER` calls this. A clip is a 360° video with first-order Ambisonics, or such a sound alone:
then nothing can be found in a picture, and no model makes a sound for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.errors import InputError
from con360.media.files import existing_file
from con360.media.info import probe
from con360.media.reader import PanoramaStream, read_sound
from con360.metrics.openl3_passt import load_openl3, load_passt, passt_divergence
from con360.placing.movement import Movement, movement_of_stream
from con360.records import Sound
from con360.sounding.making import Maker as ClipMaker
from con360.sounding.model import AmbisonicsModel, load_ambisonics_model
from con360.sounding.settings import AmbisonicsSettings
from con360.sounding.store import file_key
from train.config import from_yaml
from train.evaluation.field_tables import DIRECTIONS, MAPS, PAPER, Summaries, definitions, distances, summaries, table
from train.evaluation.fields import BESIDE, beside, figures
from train.evaluation.store import Store, write_json

# Folder beside a configuration's `out` that its last stage writes the model to.
EXPORTED = "bundle"
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

    def measure(self, index: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Measure all sounds of one clip: figures by sound, and embeddings by sound where a network is given."""
        path = self.paths[index]
        true = true_sound(path)
        sounds = beside(true, true_sound(self.paths[(index + 1) % len(self.paths)]), _watched(path), index)
        made = {name: sound for name, make in self.makers.items() if (sound := make(path)) is not None}
        rows = {name: figures(sound, true) for name, sound in {**made, **sounds}.items()}
        # The true W, placed, sounds as the truth does: only other sounds have an answer, and silence has none.
        heard = {"true": true, **made, "another": sounds["another"]}
        heard = {name: sound for name, sound in heard.items() if sound.waveform[0].any()}
        for name, value in self._divergences(heard).items():
            rows[name]["kl"] = value
        embed = self.networks.openl3
        embeddings = {} if embed is None else {name: torch.from_numpy(embed(sound)) for name, sound in heard.items()}
        return {"clip": path.name, "rows": rows}, embeddings

    def _divergences(self, heard: dict[str, Sound]) -> dict[str, float]:
        if self.networks.passt is None or "true" not in heard:
            return {}
        classes = {name: self.networks.passt(sound) for name, sound in heard.items()}
        return {name: passt_divergence(found, classes["true"]) for name, found in classes.items() if name != "true"}


def clips_of(places: Sequence[Path]) -> list[Path]:
    """List the files that hold first-order Ambisonics, of folders by name.

    Raises:
        InputError: no such place, or fewer than two such files: a clip is compared with another's sound.
    """
    missing = [place for place in places if not place.exists()]
    if missing:
        raise InputError(f"there is no {missing[0]}; give clips with true Ambisonics, or folders of them.")
    every = [path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
    found = [path for path in every if path.suffix.lower() in SUFFIXES and _has_field(path)]
    if len(found) < 2:
        names = ", ".join(map(str, places))
        raise InputError(f"{names}: {len(found)} of {len(every)} files hold Ambisonics; wanted 2 or more.")
    return found


def _has_field(path: Path) -> bool:
    try:
        return (read_sound(path, duration_s=0.1)[0].ambisonic_order or 0) >= 1
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


def videos_of(path: Path) -> frozenset[str]:
    """Read the videos of a list of clips, one a line.

    Raises:
        InputError: no such file.
    """
    lines = existing_file(path).read_text(encoding="utf-8").split()
    return frozenset(map(video_of, lines))


def video_of(name: str) -> str:
    """Video of a clip `VIDEO_START`; Sphere360 marks some ids by an `l` behind their 11 characters."""
    video = name.rpartition("_")[0]
    return video[:11] if len(video) == 12 and video.endswith("l") else video


def evaluate(clips: Clips, store: Store, say: Say, seen: frozenset[str] | None = None) -> str:
    """Measure every clip, write `metrics.json` and `table.md`; return the tables. A killed run goes on.

    Args:
        seen: videos that were trained on; the clips of others get a table of their own.
    """
    for index, path in enumerate(clips.paths):
        if not store.has("clips", index):
            store.put("clips", index, *clips.measure(index))
            say(f"{path.name}: {index + 1} of {len(clips.paths)}")
    results = store.rows("clips")
    found = summaries(_rows(results, clips.makers), (*DIRECTIONS, *PAPER, *MAPS))
    for name, figure in distances([tensors for _, tensors in store.clips("clips")], list(found)).items():
        found[name]["fd"] = figure
    metrics = {"clips": [r["clip"] for r in results], "figures": found}
    write_json(store.folder / "metrics.json", metrics)
    text = f"# Directions of {len(results)} clips\n\n{_text(found)}"
    if seen is not None:
        columns = (*DIRECTIONS, *PAPER)
        unseen = [r for r in results if video_of(Path(r["clip"]).stem) not in seen]
        own = table(summaries(_rows(unseen, clips.makers), columns), columns, BESIDE)
        text += f"\n## {len(unseen)} clips of videos that were not trained on\n\n{own}"
    (store.folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _rows(results: Sequence[dict[str, Any]], makers: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    names = [name for name in (*makers, *BESIDE) if any(name in r["rows"] for r in results)]
    return {name: [r["rows"][name] for r in results if name in r["rows"]] for name in names}


def _text(found: Summaries) -> str:
    parts = [
        "Intervals: 95 %, bootstrap over clips. ACN, degrees:\n", table(found, DIRECTIONS, BESIDE),
        "The paper's row (directions in its reading, radians; FD and KL of W, with OpenL3 and PaSST of yours):\n",
        table(found, PAPER, BESIDE), "ViSAGe's maps:\n", table(found, MAPS, BESIDE), definitions(published=True),
    ]  # fmt: skip
    return "\n".join(parts)


def from_model(model: AmbisonicsModel, settings: AmbisonicsSettings) -> Maker:
    """Let a model make the sound of each clip that has a picture."""

    def make(path: Path) -> Sound | None:
        info = probe(path)
        if not info.width:
            return None
        made = ClipMaker(PanoramaStream(info), model, settings, None, None).blocks(file_key(path))
        return Sound(torch.cat(list(made), dim=1), model.network.sample_rate_hz, "ambix")

    return make


# The command ----------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("directions of real clips (OmniAudio's table); --model names its model or folder")
    add = group.add_argument
    add("--data", type=Path, help="folder of 360° clips with true Ambisonics, such as Sphere360-Bench or YT360-Test")
    add("--generated", type=Path, help="folder of sounds of the clips' names, made before; no model is asked then")
    add("--pictures", type=Path, help="OmniAudio's picture encoder, a MetaCLIP folder")
    add("--seen", type=Path, help="list of clips trained on (Sphere360's train.txt): unseen videos get a table, too")
    add("--openl3", type=Path, help="OpenL3 (env, mel256, 512) as a local TorchScript file, for FD")
    add("--passt", type=Path, help="PaSST as a local TorchScript file, for KL")


def evaluate_folder(args: argparse.Namespace, say: Say) -> str:
    """Evaluate what the options name; return the tables.

    Raises:
        InputError: no such folder, too few clips with Ambisonics, or a model or network that cannot be used.
    """
    paths = clips_of([args.data])
    settings = AmbisonicsSettings(steps=args.steps, seed=args.seed, limiter=False, keep=False)
    if args.generated is not None:
        if not args.generated.is_dir():
            raise InputError(f"there is no folder {args.generated}; give one with sounds of the clips' names.")
        makers, identity = {"generated": from_folder(args.generated)}, str(args.generated.resolve())
    else:
        model = load_ambisonics_model(_model_of(args), args.pictures)
        makers, identity = {model.name: from_model(model, settings)}, f"{model.identity} {settings.of_model(model)}"
    networks = Networks(
        load_openl3(args.openl3) if args.openl3 else None, load_passt(args.passt) if args.passt else None
    )
    heard = [path.resolve().name if path else "" for path in (args.openl3, args.passt)]
    request = {"clips": [path.name for path in paths], "made by": identity, "networks": heard}
    seen = videos_of(args.seen) if args.seen else None
    return evaluate(Clips(paths, makers, networks), Store(args.out, request), say, seen)


def _model_of(args: argparse.Namespace) -> str | None:
    """The named model, else the folder that the configuration's run exports, else None: the built-in one."""
    if args.model is not None or args.config is None:
        return args.model
    folder = from_yaml(args.config).out.parent / EXPORTED
    return str(folder) if folder.is_dir() else None
