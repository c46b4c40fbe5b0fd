"""`con360 when`: draft a time track from a clip; and `con360 generate --when`: have the sound follow one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..devices import resolve_device
from ..errors import InputError
from .option_groups import TimeOptions
from .report import Report, stage_table, table
from .requests import WhenRequest

if TYPE_CHECKING:
    from ..records import Conditions, PanoramaClip, Sound, TimeTrack
    from ..sampling.when import TimeGuideSettings
    from ..timing import ClipSpec

# `con360 generate` ----------------------------------------------------------------------------------------------------


def time_guide(options: TimeOptions, duration_s: float) -> tuple[TimeTrack | None, TimeGuideSettings | None]:
    """Read the track that the sound shall follow, and how firmly; None where none was named."""
    if options.when is None:
        if options.when_strength is not None or options.when_at is not None:
            raise InputError("--when-strength and --when-at need a track to follow; give --when FILE.")
        return None, None
    from ..sampling.when import TimeGuideSettings

    settings = TimeGuideSettings() if options.when_strength is None else TimeGuideSettings(options.when_strength)
    return track_to_follow(options.when, duration_s), settings


def track_to_follow(path: str, duration_s: float) -> TimeTrack:
    """Read a track; one that cannot be followed is named before the work."""
    from ..media.timelines import read_time_track
    from ..sound.time_tracks import fit_time_track

    track = read_time_track(path, duration_s)
    fit_time_track(track, duration_s)
    return track


def with_track(conditions: Conditions, options: TimeOptions, track: TimeTrack | None, spec: ClipSpec) -> Conditions:
    """Conditions with the track, painted on the saliency maps where `--when-at` says so."""
    if track is None or options.when_at is None:
        return replace(conditions, when=track)
    from ..records import SourcePoint
    from ..saliency.painting import paint_track
    from ..sound.time_tracks import fit_time_track

    fitted, _ = fit_time_track(track, spec.seconds)
    painted = paint_track(conditions.saliency, SourcePoint(*options.when_at), fitted, spec.fps)
    return replace(conditions, saliency=painted, when=track)


def time_facts(options: TimeOptions, track: TimeTrack | None, sound: Sound, report: Report) -> dict[str, Any] | None:
    """Compare the onsets that were drawn with those that came; tell where some did not."""
    if track is None:
        return None
    from ..metrics.onsets import onset_score
    from ..sound.onsets import find_onsets
    from ..sound.time_tracks import fit_time_track

    drawn, _ = fit_time_track(track, sound.duration_s)
    if drawn.onsets is None:
        return {"file": options.when, "onsets": None}
    score = onset_score(find_onsets(sound), drawn.onsets)
    if score.hits < score.true:
        report.notice(f"{score.hits} of {score.true} drawn onsets are heard within 50 ms")
    return {"file": options.when, "onsets": score.true, "heard": score.found, "within_50_ms": score.hits}


# `con360 when` --------------------------------------------------------------------------------------------------------


def run_when(options: WhenRequest, started: float) -> None:
    """Check every option, find the track, write it."""
    _check_look(options)
    from ..media.files import check_not_read, check_writable, existing_file
    from ..media.timelines import kind_of_file, write_time_track

    source, out = existing_file(options.input), Path(options.output).expanduser().absolute()
    kind_of_file(out)
    check_not_read(out, [source])
    check_writable(out)
    report = Report(started)
    track = _of_sound(options, report) if options.times_from == "sound" else _of_picture(options, report)
    if track.onsets is None or not track.onsets.times_s:
        report.notice("nothing begins there: the track has a level and no onset")
    write_time_track(out, track)
    times = () if track.onsets is None else track.onsets.times_s
    if options.json:
        facts = {"path": str(out), "onsets_s": [round(time, 4) for time in times]}
        print(json.dumps({**facts, "notices": report.notices, "seconds": report.seconds}))
        return
    print(table([("onset", "s"), *((str(i), f"{time:.3f}") for i, time in enumerate(times, 1))]), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(out)


def _check_look(options: WhenRequest) -> None:
    if options.times_from == "sound" and (options.by_hand or options.network or options.region is not None):
        raise InputError("--region, --yaw, --pitch and --network look at the picture; give --from picture.")
    if options.network is not None and options.region is not None:
        raise InputError("a network looks in a direction; give --yaw and --pitch instead of --region.")
    if options.by_hand and options.region is not None:
        raise InputError("--region and --yaw or --pitch exclude each other; choose a region or a direction.")


def _of_sound(options: WhenRequest, report: Report) -> TimeTrack:
    from ..media.reader import read_sound
    from ..sound.time_tracks import time_track_of_sound

    with report.stage("listening", steps=False):
        sound, notices = read_sound(
            options.input, start_s=options.start, duration_s=options.duration, audio_track=options.audio_track,
            ambisonics=options.ambisonics, head_locked=options.head_locked,
        )  # fmt: skip
        if not sound.waveform.any():
            raise InputError(f"{options.input} is silent from {options.start:g} s on; choose another part of it.")
        track = time_track_of_sound(sound)
    report.notice(*notices)
    return track


def _of_picture(options: WhenRequest, report: Report) -> TimeTrack:
    from ..placing.picture_times import time_track_of_direction, time_track_of_region
    from ..records import View, ViewTrack

    device = resolve_device(options.device)
    if options.network is not None:
        return _by_network(options, options.network, device, report)
    with report.stage("reading") as progress:
        clip = _read(options, progress)
    report.notice(*clip.notices)
    with report.stage("looking") as progress:
        if options.by_hand:
            view = View(options.yaw or 0.0, options.pitch or 0.0)
            track, notices = time_track_of_direction(clip, ViewTrack.still(view, clip.num_frames))
        else:
            track, notices = time_track_of_region(
                clip, 1 if options.region is None else options.region, device=device, progress=progress
            )
    report.notice(*notices)
    return track


def _by_network(options: WhenRequest, file: str, device: str, report: Report) -> TimeTrack:
    """Tell onsets or level of a direction by the network in a file."""
    from ..media.info import probe
    from ..media.reader import PanoramaStream
    from ..placing.picture_networks import time_track_by_network
    from ..records import View
    from ..weights.time_networks import load_time_network

    network = load_time_network(file, device)
    stream, view = PanoramaStream(probe(options.input), options.eye), View(options.yaw or 0.0, options.pitch or 0.0)
    with report.stage("watching") as progress:
        track = time_track_by_network(
            stream, view, network, start_s=options.start, stop_s=options.start + options.duration, progress=progress
        )
    report.notice(*stream.sentences, network.knows)
    return track


def _read(options: WhenRequest, progress: Any) -> PanoramaClip:
    """Read the small picture at its own frame rate, or a whole part of it."""
    from ..media.info import probe
    from ..media.reader import read_panorama
    from ..placing.movement import PICTURE_HEIGHT
    from ..placing.picture_times import picture_times_fps

    return read_panorama(
        options.input, start_s=options.start, duration_s=options.duration, eye=options.eye, height=PICTURE_HEIGHT,
        fps=picture_times_fps(probe(options.input).fps), progress=progress,
    )  # fmt: skip
