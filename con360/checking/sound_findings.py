"""Judge a sound track: is it there, what are its channels, and is it Ambisonics in the order that is said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..media.info import AudioTrack
from ..media.track import NOT_NUMBERS, silenced_notice
from ..sound.channels import FIRST_ORDER, ORDERS, PAIR
from .fields import Gains, correlations, levels_db, plane_wave_gains
from .findings import Finding, sentence
from .samples import Heard

# All channels below this level in dB of full scale are silence; OmniAudio leaves out clips below -35 for 90 % of time.
SILENT_DB, QUIET_DB, QUIET_SHARE, QUIET_S = -70.0, -35.0, 0.9, 0.1
# A channel so far below the loudest is dead. The nearly lost X of a real recording lies 33 dB below W.
DEAD_DB = 55.0
# Copies: correlation and difference of levels. Coders keep the one above 0.999 and the other below 0.1 dB.
SAME, SAME_DB = 0.995, 0.3
# Plane waves in so many of the louder cells, whose ratios agree so far, make a claim. Real AmbiX has 0.5 to 1.31 there,
# so that a ratio between the kinds tells nothing.
LEAST_SHARE, AGREE = 0.3, 1.35
EXACT = {"AmbiX": 1.0, "FuMa": 2.0, "N3D": 3.0}
RATIOS = {"AmbiX": (0.8, 1.25), "FuMa": (1.75, 2.4), "N3D": (2.7, 3.6)}
# To contradict loudspeakers, the gains must be as exact as encoders make them.
ENCODED, ENCODED_AGREE = 0.05, 1.2
# No field, of whatever kind, has a channel so far above its first one (N3D: 4.8 dB).
ABOVE_W_DB = 7.0
# With less than this beside W a field is nearly mono.
NEARLY_MONO = 0.1
# Levels of four independent loudspeakers: alike within this many dB, and correlated no more than this.
ALIKE_DB, INDEPENDENT = 1.0, 0.2
WORDS = ("W", "Y", "Z", "X")
LOST = {"Y": "left and right", "Z": "up and down", "X": "front and back"}


def sound_findings(track: AudioTrack | None, heard: Heard | None) -> Iterator[Finding]:
    """Yield what is found of a track and its samples; both None where there is no sound."""
    if track is None or heard is None:
        yield Finding(
            "sound", "look", "There is no sound track.", "Add one with `con360 place` or `con360 ambisonics`."
        )
        return
    wave = heard.waveform
    bad = int(wave.size - np.isfinite(wave).sum())
    notices = (*heard.notices, *((silenced_notice(bad),) if bad else ()))
    wave = np.nan_to_num(wave, nan=0.0, posinf=0.0, neginf=0.0)
    level = _level(wave, heard.rate_hz, notices)
    yield level
    if level.measures.get("level dB", 0.0) <= SILENT_DB:
        yield Finding("channels", "unknown", f"{track.channels} channels; of silence nobody can tell what they are.")
        return
    yield _channels(track, wave)
    if track.channels >= FIRST_ORDER:
        yield _order(track, wave, heard.rate_hz)
    yield from _pair(track, wave, heard.rate_hz)


def _level(wave: np.ndarray, rate_hz: int, notices: tuple[str, ...]) -> Finding:
    loudest = float(levels_db(wave).max(initial=-math.inf))
    figures = {"level dB": max(loudest, -200.0), "peak": float(np.abs(wave).max(initial=0.0))}
    if loudest <= SILENT_DB:
        return Finding("sound", "mend", "The sound is silent.", "Choose another track, or record it again.", figures)
    if notices:
        broken = any(NOT_NUMBERS in notice or "damaged" in notice for notice in notices)
        said, mend = f"{sentence('; '.join(notices))}.", "Repair or record it again." if broken else ""
        return Finding("sound", "mend" if broken else "look", said, mend, figures)
    size = max(1, round(QUIET_S * rate_hz))
    parts = wave[:, : wave.shape[1] // size * size].reshape(len(wave), -1, size)
    quiet = float((np.square(parts).mean(2).max(0) < 10 ** (QUIET_DB / 10)).mean()) if parts.size else 0.0
    if quiet > QUIET_SHARE:
        said = f"The sound is quiet: {100 * quiet:.0f} % of the time below {QUIET_DB:g} dB of full scale."
        return Finding("sound", "look", said, "", figures | {"quiet share": quiet})
    if figures["peak"] > 1:
        said = f"The sound peaks at {figures['peak']:.2f}, above full scale."
        return Finding("sound", "look", said, "Turn all channels down alike before another coder clips them.", figures)
    return Finding("sound", "good", f"The sound's loudest channel has {loudest:.0f} dB of full scale.", "", figures)


def _channels(track: AudioTrack, wave: np.ndarray) -> Finding:
    count, levels = len(wave), levels_db(wave)
    figures = {f"channel {i + 1} dB": max(float(level), -200.0) for i, level in enumerate(levels)}
    if count < FIRST_ORDER:
        kind = {1: "mono", 2: "stereo"}.get(count, f"{count} channels")
        same = count == 2 and _is_copy(wave, 0, 1)
        said = f"The sound is {kind}{', the same in both channels' if same else ''}: it does not turn with the view."
        return Finding("channels", "look", said, "Ambisonics (4, 9 or 16 channels) turns with it.", figures)
    if copied := _copied(wave):
        return Finding("channels", "mend", copied, "Take one of them, and place it with `con360 place`.", figures)
    if track.heard.speakers:
        said = f"The sound is {track.label} for loudspeakers ({', '.join(track.heard.speakers)}), no Ambisonics."
        return Finding(
            "channels", "look", said, "It does not turn with the view; `con360 place` makes a field.", figures
        )
    if track.layout != "ambix":
        said = f"The meaning of the sound's {count} channels is not known."
        return Finding("channels", "look", said, "Say it with --ambisonics and --head-locked.", figures)
    return _dead(track.heard.taken(wave), figures)


def _is_copy(wave: np.ndarray, one: int, other: int) -> bool:
    levels = levels_db(wave[[one, other]])
    if not np.isfinite(levels).all() or abs(levels[0] - levels[1]) > SAME_DB:
        return False
    return float(correlations(wave[[one, other]])[0, 1]) > SAME


def _copied(wave: np.ndarray) -> str:
    """Say that the first four channels are mono or stereo, copied; empty where they are not."""
    if all(_is_copy(wave, 0, i) for i in (1, 2, 3)):
        return "The first four channels are one mono sound, copied."
    if _is_copy(wave, 0, 2) and _is_copy(wave, 1, 3):
        return "Channels 3 and 4 copy channels 1 and 2: the sound is stereo, copied."
    return ""


def _dead(field: np.ndarray, figures: dict[str, float]) -> Finding:
    levels = levels_db(field[:FIRST_ORDER])
    dead = [word for word, level in zip(WORDS, levels, strict=True) if level < levels.max() - DEAD_DB]
    order = math.isqrt(len(field))
    said = f"The sound is Ambisonics of order {order - 1}"
    if dead == ["Y", "Z", "X"]:
        mend = "Place it with `con360 place`, or take W alone."
        return Finding("channels", "mend", f"{said}, but only W sounds: it is mono.", mend, figures)
    if "W" in dead:
        mend = "Check the order of the channels, or record it again."
        return Finding("channels", "mend", f"{said}, but W, the sound of all sides, is silent.", mend, figures)
    if dead == ["Z"]:
        return Finding("channels", "look", f"{said} without height: Z is silent.", "", figures)
    if dead:
        lost = " and ".join(LOST[word] for word in dead)
        mend = "Right where every sound lies between; else a channel was lost."
        return Finding("channels", "look", f"{said}; {', '.join(dead)} silent: {lost} are not told.", mend, figures)
    return Finding("channels", "good", f"{said}, and every channel sounds.", "", figures)


def _order(track: AudioTrack, wave: np.ndarray, rate_hz: int) -> Finding:
    """Judge order and gains of the channels as they are read."""
    said_ambix = track.layout == "ambix"
    field = track.heard.taken(wave) if said_ambix else wave
    levels = levels_db(field[:FIRST_ORDER])
    above = float(levels[1:].max() - levels[0])
    figures = {"above the first dB": min(above, 200.0)}
    if said_ambix and above > ABOVE_W_DB:
        louder = f"A later channel is {min(above, 200.0):.0f} dB louder than the first, which no field allows."
        return Finding("order", "mend", louder, "The first channel is not W: put the channels in order.", figures)
    said = said_kind(track)
    gains = plane_wave_gains(field, rate_hz)
    if gains is not None:
        gains = replace(gains, ratio=gains.ratio * EXACT[said])  # as stored
        figures |= {"plane waves": gains.share, "ratio": gains.ratio, "spread": gains.spread}
    kind = kind_of(gains)
    if _are_loudspeakers(field) and kind is None:
        alike = "The four channels are alike in level and independent, as of four loudspeakers (or diffuse N3D)."
        return Finding("order", "look", alike, "If they are loudspeakers, say --ambisonics none.", figures)
    if not said_ambix:
        return _unnamed(kind, gains, len(wave), figures)
    return _named(kind, said, gains, figures)


def said_kind(track: AudioTrack) -> str:
    """Name the kind of Ambisonics as which a track is read: by what its W gains over Y."""
    picks = track.heard.picks or ((0, 1.0), (1, 1.0))
    square = (picks[0][1] / picks[1][1]) ** 2
    return min(EXACT, key=lambda kind: abs(EXACT[kind] - square))


def _named(kind: str | None, said: str, gains: Gains | None, figures: dict[str, float]) -> Finding:
    if kind == said:
        return Finding("order", "good", f"The gains are those of {kind} ({figures['ratio']:.2f}).", "", figures)
    if kind is not None:
        against = f"The gains are those of {kind} ({figures['ratio']:.2f}; {said} has {EXACT[said]:g})."
        mend = f"Say --ambisonics {kind.lower()}, or correct the metadata."
        return Finding("order", "mend", against, mend, figures)
    few = gains is None or not gains.share >= LEAST_SHARE
    if gains is not None and not few and gains.ratio < NEARLY_MONO:
        return Finding("order", "unknown", "The field is nearly mono: its order cannot be told.", "", figures)
    why = "too little of it comes from one side at a time" if few else "the gains of its waves do not agree"
    return Finding("order", "unknown", f"AmbiX or FuMa cannot be told of this sound: {why}.", "", figures)


def _unnamed(kind: str | None, gains: Gains | None, count: int, figures: dict[str, float]) -> Finding:
    exact = gains is not None and kind is not None and abs(gains.ratio / EXACT[kind] - 1) < ENCODED
    if gains is None or not exact or gains.spread > ENCODED_AGREE:
        return Finding("order", "good", "Nothing in the sound contradicts loudspeakers.", "", figures)
    said = f"The first four of {count} channels behave as {kind}, not as loudspeakers."
    pair = count - PAIR in ORDERS
    mend = "Say --head-locked if the last two are a pair." if pair else "Give all channels of an order: 4, 9 or 16."
    return Finding("order", "mend", said, mend, figures)


def kind_of(gains: Gains | None) -> str | None:
    """Name the kind of Ambisonics whose gains these are; None where they cannot tell."""
    if gains is None or gains.share < LEAST_SHARE:
        return None
    for kind, (low, high) in RATIOS.items():
        if low <= gains.ratio <= high and gains.spread <= AGREE:
            return kind
    return None


def _are_loudspeakers(field: np.ndarray) -> bool:
    levels, alike = levels_db(field[:FIRST_ORDER]), correlations(field[:FIRST_ORDER])
    apart = np.abs(alike - np.eye(FIRST_ORDER)).max()
    return bool(np.isfinite(levels).all() and np.ptp(levels) < ALIKE_DB and apart < INDEPENDENT)


def _pair(track: AudioTrack, wave: np.ndarray, rate_hz: int) -> Iterator[Finding]:
    """Judge the head-locked pair of Ambisonics that has one."""
    if track.layout != "ambix" or track.heard_channels - PAIR not in ORDERS:
        return
    pair = track.heard.taken(wave)[-PAIR:]
    levels = levels_db(pair)
    figures = {"left dB": max(float(levels[0]), -200.0), "right dB": max(float(levels[1]), -200.0)}
    if levels.max() <= SILENT_DB:
        yield Finding("pair", "look", "The head-locked pair is silent.", "Leave it out.", figures)
    elif levels.min() <= SILENT_DB:
        side = "left" if levels[0] < levels[1] else "right"
        yield Finding("pair", "mend", f"The {side} channel of the head-locked pair is silent.", "Fill it.", figures)
    else:
        yield Finding("pair", "good", "A head-locked pair lies beside the field.", "", figures)
