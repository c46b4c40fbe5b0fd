"""`con360 place`: put sounds around the listener."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from .option_groups import PlaceOptions
from .report import Report, stage_table, table
from .requests import PlaceRequest

if TYPE_CHECKING:
    from ..placing.folder import ViewSounds
    from ..placing.run import Placed
    from ..placing.sources import Place, PlacedSound
    from ..records import SourceTrack

# Words of a place that have a value.
KEYS = {"yaw": float, "pitch": float, "follow": int, "path": str, "distance": float, "spread": float, "gain": float,
        "begin": float}  # fmt: skip
# Words without one.
FLAGS = {"panned": "panned", "find": "find", "most-moving": "most_moving"}
WAYS = ("yaw", "pitch", "follow", "path", *FLAGS.values())


def run_place(options: PlaceRequest, started: float) -> None:
    """Check every option, then place."""
    if not options.sounds and options.views is None:
        raise InputError("there is nothing to place; name a sound, or a folder of sounds with --sounds.")
    sounds = [placed_sound(text, options) for text in options.sounds]
    from ..placing.folder import open_views
    from ..placing.run import PlaceSettings, place_alone, place_on_clip
    from ..placing.sources import Finding, Following
    from .common import check_saliency, face_detector

    settings = PlaceSettings(
        order=options.order, own_sound=not options.replace, eye=options.eye, audio_track=options.audio_track,
        ambisonics=options.ambisonics, head_locked=options.head_locked, saliency=options.saliency or MULTICUE,
        preset=options.preset,
    )  # fmt: skip
    views = None if options.views is None else open_views(options.views)
    clip = _clip(options, views)
    if clip is None:
        _check_without_clip(options)
        report = Report(started)
        with report.stage("place") as progress:
            made = place_alone(sounds, options.output, settings, views=views, progress=progress)
    else:
        check_saliency(options.saliency)
        follows = any(isinstance(sound.place, Following | Finding) for sound in sounds)
        device = resolve_device(options.device)
        detector = face_detector(options.faces) if follows else None
        report = Report(started, device if follows else None)
        with report.stage("place") as progress:
            made = place_on_clip(
                clip, sounds, options.output, settings, views=views, detector=detector, device=device,
                progress=progress,
            )  # fmt: skip
    report.notice(*made.notices)
    _tell(made, sounds, views, options, report)


def _clip(options: PlaceRequest, views: ViewSounds | None) -> str | Path | None:
    """The clip to place on: `--on`, or for an OUT.mp4 the one that the views were cut from."""
    if options.on is not None or views is None or Path(options.output).suffix.lower() == ".wav":
        return options.on
    if views.clip is None or not views.clip.is_file():
        raise InputError(f"the clip of {views.name}'s views, {views.clip or 'unnamed'}, is not there; give it by --on.")
    return views.clip


def _check_without_clip(options: PlaceRequest) -> None:
    if options.preset:
        raise InputError("--preset is about a clip's file, and OUT.wav is none; name the clip with --on.")
    if options.replace or options.eye:
        raise InputError("--replace and --eye are about a clip; name it with --on, or leave them out.")


def _tell(
    made: Placed, sounds: list[PlacedSound], views: ViewSounds | None, options: PlaceRequest, report: Report
) -> None:
    from ..sound.source_tracks import track_to_json

    places = [None if track is None else json.loads(track_to_json(track)) for track in made.tracks]
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "tracks": places}
        print(json.dumps({**facts, "notices": report.notices, "seconds": report.seconds}))
        return
    rows = [("sound", "place")]
    rows += [(Path(s.path).name, _words(t)) for s, t in zip(sounds, made.tracks, strict=True)]
    rows += [(f"{views.name}/{views.files[name].name}", f"yaw {view.yaw_deg:.0f}°, pitch {view.pitch_deg:.0f}°")
             for name, view in views.views.items()] if views else []  # fmt: skip
    print(table(rows), end="\n\n")
    rows = [("order", str(made.order)), ("rate", f"{made.sample_rate_hz} Hz"), ("length", f"{made.duration_s:.2f} s")]
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))


def _words(track: SourceTrack | None) -> str:
    """Describe a track in a few words."""
    if track is None:
        return "as found, band by band"
    first = track.points[0]
    there = f"yaw {first.yaw_deg:.0f}°, pitch {first.pitch_deg:.0f}°"
    return there if len(track.points) == 1 else f"{there}, then along {len(track.points)} points"


# Sounds and their places ----------------------------------------------------------------------------------------------


def placed_sound(text: str, plain: PlaceOptions) -> PlacedSound:
    """Read `FILE[@PLACE]`; `plain` says what its place does not.

    Raises:
        InputError: words or values that cannot be used.
    """
    from ..placing.sources import PlacedSound

    name, own = _split(text)
    words = PlaceOptions(**{**_rest_of(plain, own), **own})
    try:
        return PlacedSound(name, _place(words), words.begin or 0.0)
    except InputError as error:
        raise InputError(f"{Path(name).name}: {error}") from None


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """Split a file from its place; a file whose own name holds an @ has none."""
    name, at, words = text.rpartition("@")
    if not at or os.path.exists(text):
        return text, {}
    return name, dict(_word(word.strip(), text) for word in words.split(","))


def _word(word: str, text: str) -> tuple[str, Any]:
    if word.endswith(".json") and "=" not in word:
        return "path", word
    if word in FLAGS:
        return FLAGS[word], True
    key, _, value = word.partition("=")
    if key not in KEYS or not value:
        wanted = ", ".join(f"{key}=" for key in KEYS)
        raise InputError(
            f"{text}: the place {word!r} is not understood; write {wanted}, {', '.join(FLAGS)}, or a .json file."
        )
    try:
        return key, KEYS[key](value)
    except ValueError:
        raise InputError(f"{text}: {key} is {value!r}; a number was wanted.") from None


def _rest_of(plain: PlaceOptions, own: Mapping[str, Any]) -> dict[str, Any]:
    """Options that hold for a sound: a place of its own drops the plain ways to say where."""
    names = [field.name for field in fields(PlaceOptions)]
    return {name: getattr(plain, name) for name in names if not (name in WAYS and set(WAYS) & set(own))}


def _place(words: PlaceOptions) -> Place:
    from ..placing.sources import Finding, Following, Panned
    from ..records import SourcePoint

    if len(words.ways) > 1:
        raise InputError(f"{' and '.join(words.ways)} exclude each other; choose one way to say where it lies.")
    sized = {"distance_m": words.distance, "spread_deg": words.spread, "gain_db": words.gain}
    size = {name: value for name, value in sized.items() if value is not None}
    if words.follow is not None:
        return Following(words.follow, **size)
    if not words.ways or "direction" in words.ways:
        return SourcePoint(words.yaw or 0.0, words.pitch or 0.0, **size)
    if words.distance is None and words.spread is None:
        gain = words.gain or 0.0
        if words.path is not None:
            return _path(words.path, gain)
        return Panned(gain) if words.panned else Finding(words.most_moving, gain)
    raise InputError(f"distance and spread do not go with the {words.ways[0]}; leave them out.")


def _path(name: str, gain_db: float) -> SourceTrack:
    from .common import track_of_file

    track = track_of_file(name)
    points = tuple(replace(point, gain_db=point.gain_db + gain_db) for point in track.points)
    return replace(track, points=points)
