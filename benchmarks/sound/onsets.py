"""Measure what is heard when: the detector of onsets on voices and mixtures; and where: Spatial AV-Align of scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch

from con360.geometry.degrees import wrap_yaw_deg
from con360.metrics.onsets import OnsetScore, onset_count_matches, onset_score
from con360.metrics.spatial import (
    BOX_FPS,
    Box,
    HeardColumn,
    SpatialScore,
    azimuth_error_deg,
    chance_score,
    column_of,
    heard_rows,
    mono_score,
    placed_in_view,
    spatial_av_align,
)
from con360.records import OnsetTrack, Sound
from con360.scenes import VOICES, Performer, Scene, random_scene, voice_waveform
from con360.sound.onsets import find_onsets
from con360.sound.rotation import turn
from con360.sound.stereo import to_stereo
from con360.timing import ClipSpec

from .row import Row

RATE, SECONDS = 16000, 4.0
SINGLE = ("beep", "tick", "bell")
SEED = 7_000_000
# Views whose edges are the loudspeakers of the tangent law. Sources stand anywhere in them and are small, since wide
# boxes are hit by chance; they move slowly, since stereo cannot say that one has left the picture.
FOV_DEG, ASIDE_DEG, RADIUS_DEG = 60.0, 25.0, 5.0

Detector = Callable[[Sound], OnsetTrack]


def rows(quick: bool) -> list[Row]:
    """Rows of the table, each beside what a trivial way gives."""
    return [*_voices(4 if quick else 12), *_mixtures(8 if quick else 30), *_places(8 if quick else 24)]


# Onsets ---------------------------------------------------------------------------------------------------------------


def voice(name: str, phase: float) -> tuple[torch.Tensor, tuple[float, ...]]:
    """A voice's waveform, and when its pulses begin. A hum swells and has no beginning."""
    waveform = voice_waveform(name, np.arange(round(SECONDS * RATE)) / RATE, phase)
    rate = VOICES[name].rate_hz
    times = ((k - phase) / rate for k in range(math.ceil(SECONDS * rate) + 2))
    return torch.from_numpy(waveform).float(), tuple(t for t in times if name != "hum" and 0 <= t < SECONDS)


def solo(name: str, phases: int) -> Iterator[tuple[Sound, OnsetTrack]]:
    """One voice, its phase turned step by step."""
    for k in range(phases):
        waveform, begins = voice(name, (k + 0.5) / phases)
        yield Sound(waveform[None], RATE), OnsetTrack(begins, duration_s=SECONDS)


def mixtures(count: int) -> Iterator[tuple[Sound, OnsetTrack]]:
    """Two to four voices of random phase and level."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        total, begins = torch.zeros(round(SECONDS * RATE)), []
        for name in rng.permutation(list(VOICES))[: int(rng.integers(2, 5))]:
            waveform, times = voice(str(name), float(rng.random()))
            total += float(rng.uniform(0.7, 1.0)) * waveform
            begins += times
        yield Sound(total[None], RATE), OnsetTrack(tuple(sorted(begins)), duration_s=SECONDS)


def metronome(sound: Sound) -> OnsetTrack:
    """The trivial detector: four onsets a second, whatever sounds."""
    return OnsetTrack(tuple(i / 4 for i in range(int(4 * sound.duration_s))))


def librosa_onsets(sound: Sound) -> OnsetTrack:
    """librosa's detector, its frames 10 ms apart as ours are."""
    from librosa.onset import onset_detect

    wave = sound.waveform[0].numpy()
    return OnsetTrack(tuple(onset_detect(y=wave, sr=sound.sample_rate_hz, hop_length=160, units="time")))


def _others() -> dict[str, Detector]:
    return {"metronome": metronome} | ({"librosa": librosa_onsets} if find_spec("librosa") else {})


def _scored(detect: Detector, clips: list[tuple[Sound, OnsetTrack]], tolerance_s: float = 0.05) -> OnsetScore:
    return sum((onset_score(detect(sound), true, tolerance_s) for sound, true in clips), OnsetScore(0, 0, 0))


def _beside(clips: list[tuple[Sound, OnsetTrack]]) -> str:
    return "".join(f"; {name} {_scored(detect, clips).f:.2f}" for name, detect in _others().items())


def _voices(phases: int) -> list[Row]:
    found = []
    for name in SINGLE:
        clips = list(solo(name, phases))
        wide, narrow = _scored(find_onsets, clips), _scored(find_onsets, clips, 0.03)
        offset_ms = 1000 * float(np.median(wide.offsets_s))
        found.append(Row(
            f"onsets of a {name}, {phases} phases: F at 50 ms", "0.98; offset under 15 ms",
            f"{wide.f:.3f} (30 ms: {narrow.f:.3f}), median offset {offset_ms:+.0f} ms{_beside(clips)}",
            wide.f >= 0.98 and abs(offset_ms) < 15,
        ))  # fmt: skip
    return found


def _mixtures(count: int) -> list[Row]:
    clips = list(mixtures(count))
    score = _scored(find_onsets, clips)
    counts = np.mean([onset_count_matches(find_onsets(sound), true) for sound, true in clips])
    said = f"{score.f:.2f} (precision {score.precision:.2f}, recall {score.recall:.2f}), right count in {counts:.0%}"
    return [Row(f"onsets of {count} mixtures: F at 50 ms", "0.75", said + _beside(clips), score.f >= 0.75)]


# Spatial AV-Align -----------------------------------------------------------------------------------------------------


def _places(count: int) -> list[Row]:
    alone = [_view(index, count, alone=True) for index in range(count)]
    mixed = [_view(index, count, alone=False) for index in range(count)]
    return [
        *(_place_row(f"one performer, {name}", alone, name) for name in ("FOA intensity", "stereo, tangent law")),
        _place_row("2 to 4 performers, FOA intensity", mixed, "FOA intensity", bar=False),
    ]


def _view(index: int, count: int, alone: bool) -> tuple[Scene, float]:
    """A scene, and the yaw of a view that holds its first performer: over all scenes, everywhere."""
    drawn = random_scene(SEED + index).performers
    performers = tuple(replace(p, radius_deg=RADIUS_DEG, yaw_rate_deg_s=p.yaw_rate_deg_s / 6) for p in drawn)
    first = performers[0]
    aside = ASIDE_DEG * (2 * ((5 * index) % count + 0.5) / count - 1)
    return Scene((first,) if alone else performers), float(wrap_yaw_deg(first.yaw_at(2.0) - aside))


def _place_row(what: str, views: list[tuple[Scene, float]], name: str, bar: bool = True) -> Row:
    totals = {key: SpatialScore(0, 0) for key in ("true", "mirrored", "mono", "shuffled", "chance")}
    errors = []
    boxes = [_boxes(scene, yaw) for scene, yaw in views]
    others = np.random.default_rng(SEED).permutation(len(views))
    for i, (scene, yaw) in enumerate(views):
        field = turn(scene.foa(ClipSpec(SECONDS)), yaw)
        heard = heard_rows(field if name.startswith("FOA") else to_stereo(field, "tangent"))
        placed = placed_in_view(heard, FOV_DEG)
        totals["true"] += spatial_av_align(placed, boxes[i])
        totals["mirrored"] += spatial_av_align([HeardColumn(frame, 256 - x) for frame, x in placed], boxes[i])
        totals["shuffled"] += spatial_av_align(placed, boxes[others[i]])
        totals["mono"] += mono_score(placed, boxes[i])
        totals["chance"] += chance_score(placed, boxes[i])
        errors.append(azimuth_error_deg(heard, lambda t, s=scene, y=yaw: [_from(p, y, t) for p in s.performers]))
    said = ", ".join(f"{key} {total.score:.2f}" for key, total in totals.items())
    holds = totals["true"].score == 1.0 and totals["mirrored"].score <= totals["chance"].score if bar else None
    return Row(
        f"Spatial AV-Align (boxes: scene truth), {len(views)} scenes, {what}",
        "true 1.0, mirrored at most chance" if bar else "",
        f"{said}; azimuth {np.nanmean(errors):.1f} degrees off", holds,
    )  # fmt: skip


def _from(performer: Performer, yaw_deg: float, time_s: float) -> float:
    return float(wrap_yaw_deg(performer.yaw_at(time_s) - yaw_deg))


def _boxes(scene: Scene, yaw_deg: float) -> list[Box]:
    """Boxes of the performers that a view shows, at 4 fps."""
    edge, boxes = math.tan(math.radians(FOV_DEG / 2)), []
    for frame in range(round(SECONDS * BOX_FPS)):
        for performer in scene.performers:
            middle, radius = _from(performer, yaw_deg, frame / BOX_FPS), performer.radius_at(frame / BOX_FPS)
            if abs(middle) <= FOV_DEG / 2:
                left, right = (min(max(column_of(middle + side, edge), 0), 255) for side in (-radius, radius))
                boxes.append(Box(frame, left, right))
    return boxes
