"""Measure placing, turning, converting and stereo laws against what they are by definition, and real recordings."""

from __future__ import annotations

import csv
import math

import numpy as np
import torch
from scipy.signal import butter, sosfiltfilt
from torch import Tensor

from con360.choices import STEREO_LAWS, StereoLaw
from con360.geometry.sphere import angles, directions, rotation
from con360.media.reader import read_sound
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import encode, harmonics
from con360.sound.intensity import energy_vector, heard_angles_deg, intensity_rows
from con360.sound.microphones import PATTERNS, hear
from con360.sound.rotation import turn, turn_blocks, turn_matrices
from con360.sound.sources import place, place_blocks
from con360.sound.stereo import SPEAKER_YAW_DEG, stereo_yaw_deg, to_stereo
from tests.shared_data import shared_root

from .row import Row

RATE, SPEED_DEG_S = 48000, 30.0
PITCHES = (-60.0, -30.0, 0.0, 30.0, 60.0)
YAWS = tuple(-180.0 + 15.0 * i for i in range(24))
# S3A's loudspeakers are measured by their direct sound.
DIRECT_HZ, DIRECT_S = (200.0, 4000.0), 0.0025


def rows(quick: bool) -> list[Row]:
    """Rows of the table, each beside what a trivial way gives."""
    yaws = YAWS[::4] if quick else YAWS
    return [
        *_still(yaws), *_moving(yaws), *_steps(), *_turns(100 if quick else 1000), *_microphones(), *_recordings(),
        *_loudspeakers(), *_stereo(yaws), *_distance(),
    ]  # fmt: skip


def noise(seconds: float, seed: int = 0) -> Tensor:
    """White noise `[1, N]`."""
    return torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def apart_deg(yaw: Tensor, pitch: Tensor, other_yaw: Tensor, other_pitch: Tensor) -> Tensor:
    """Great-circle angles between directions."""
    first, second = directions(yaw.double(), pitch.double()), directions(other_yaw.double(), other_pitch.double())
    return 2 * torch.rad2deg(torch.asin(((first - second).norm(dim=-1) / 2).clamp(max=1)))


# Placing --------------------------------------------------------------------------------------------------------------


def _still(yaws: tuple[float, ...]) -> list[Row]:
    found = []
    for order in (1, 2, 3):
        errors, ahead, by_energy = [], [], []
        for pitch in PITCHES:
            for yaw in yaws:
                field = place(Sound(noise(0.2), RATE), SourceTrack.still(SourcePoint(yaw, pitch)), order)
                true = torch.tensor(yaw), torch.tensor(pitch)
                errors.append(apart_deg(*(angle[0] for angle in heard_angles_deg(field)[:2]), *true))
                by_energy.append(apart_deg(*angles(energy_vector(field.waveform)), *true))
                ahead.append(apart_deg(torch.tensor(0.0), torch.tensor(0.0), *true))
        worst, energy, straight = (float(torch.stack(all_).max()) for all_ in (errors, by_energy, ahead))
        found.append(Row(
            f"one source, still, order {order}, {len(errors)} directions: intensity", "0.5 degrees at most",
            f"{worst:.4f} degrees; energy vector {energy:.4f}; straight ahead {straight:.0f}",
            max(worst, energy) <= 0.5,
        ))  # fmt: skip
    return found


def _moving(yaws: tuple[float, ...]) -> list[Row]:
    """A source that moves by 30 degrees a second, its intensity in rows of 40 ms beside its place in their middle."""
    errors, stays = [], []
    for pitch in PITCHES:
        for start in yaws:
            track = SourceTrack((0.0, 1.0), (SourcePoint(start, pitch), SourcePoint(start + SPEED_DEG_S, pitch)))
            field = place(Sound(noise(1.0), RATE), track)
            yaw, heard_pitch, _ = heard_angles_deg(field, 0.04)
            true = start + SPEED_DEG_S * (torch.arange(len(yaw), dtype=torch.float64) + 0.5) * 0.04
            errors.append(apart_deg(yaw, heard_pitch, true, torch.full_like(true, pitch)).max())
            first = torch.full_like(true, start)
            stays.append(apart_deg(first, torch.full_like(true, pitch), true, torch.full_like(true, pitch)).max())
    worst = float(torch.stack(errors).max())
    return [Row(
        f"one source, {SPEED_DEG_S:g} degrees a second, {len(errors)} directions: intensity", "0.5 degrees at most",
        f"{worst:.3f} degrees; one that stands still {float(torch.stack(stays).max()):.0f}", worst <= 0.5,
    )]  # fmt: skip


def _steps() -> list[Row]:
    """A constant of 1 moves: from one sample to the next nothing else changes."""
    level = torch.ones(1, 2 * RATE)
    track = SourceTrack((0.0, 2.0), (SourcePoint(-30.0, -20.0, 4.0), SourcePoint(30.0, 20.0, 1.0)))
    field = torch.cat(list(place_blocks(level.split(1024, 1), RATE, track, 3)), 1)
    ahead = encode(torch.ones(2 * RATE), 0.0, 0.0, 3)

    def cameras(times_s: np.ndarray) -> Tensor:
        yaw = torch.from_numpy(SPEED_DEG_S * times_s)
        return rotation(yaw, torch.zeros_like(yaw))

    turned = torch.cat(list(turn_blocks(ahead.split(1024, 1), RATE, cameras, 3)), 1)
    # The trivial way: each frame of 30 a second has its own gains.
    held = encode(torch.ones(60), SPEED_DEG_S * torch.arange(60) / 30, 0.0, 3)
    frames = _step_db(held)
    return [
        Row(f"step of {what} from sample to sample, order 3", "-60 dB at most",
            f"{_step_db(waveform):.0f} dB; gains held for a frame {frames:.0f} dB", _step_db(waveform) <= -60)
        for what, waveform in (("a moving, nearing source", field), ("a turning field", turned))
    ]  # fmt: skip


def _step_db(waveform: Tensor) -> float:
    return 20 * math.log10(float(waveform.diff(dim=1).abs().max()))


def _distance() -> list[Row]:
    sound, levels = Sound(noise(0.5), RATE), []
    for metres in (1.0, 2.0, 4.0, 8.0):
        field = place(sound, SourceTrack.still(SourcePoint(40.0, 10.0, metres)))
        levels.append(10 * math.log10(float(field.waveform[0].double().square().mean())))
    steps = [a - b for a, b in zip(levels, levels[1:], strict=False)]
    told = ", ".join(f"{step:.3f}" for step in steps)
    return [Row("level per doubling of the distance, 1 to 8 m", "6.02 +- 0.05 dB", f"{told} dB",
                all(abs(step - 6.02) <= 0.05 for step in steps))]  # fmt: skip


# Turning --------------------------------------------------------------------------------------------------------------


def _turns(count: int) -> list[Row]:
    draw = torch.Generator().manual_seed(1)
    world = torch.randn(count, 3, dtype=torch.float64, generator=draw)
    turns_deg = (torch.rand(50, 3, dtype=torch.float64, generator=draw) - 0.5) * torch.tensor([720.0, 180.0, 720.0])
    cameras = rotation(*turns_deg.unbind(1)).float()
    found = []
    for order in (1, 2, 3):
        still = harmonics(*angles(world), order)
        matrices = turn_matrices(cameras, order)
        seen = harmonics(*angles(world @ rotation(*turns_deg.unbind(1))), order)
        worst = float((still.float() @ matrices.transpose(1, 2) - seen).abs().max())
        unturned = float((still - seen).abs().max())
        back = float((matrices.transpose(1, 2) @ matrices - torch.eye(matrices.shape[1])).abs().max())
        field = Sound(encode(noise(0.05)[0], 30.0, 20.0, order), RATE, "ambix")
        same = torch.equal(turn(field, 123.0, -45.0, 67.0).waveform[0], field.waveform[0])
        found += [
            Row(f"turn of order {order} against {count} turned directions, 50 turns", "1e-5 at most",
                f"{worst:.1e}; not turned {unturned:.1f}", worst <= 1e-5),
            Row(f"turn of order {order} and its inverse", "1e-6 at most; order 0 untouched",
                f"{back:.1e}; W {'untouched' if same else 'changed'}", back <= 1e-6 and same),
        ]  # fmt: skip
    return found


def _microphones() -> list[Row]:
    """Each microphone on its axis hears all of a source."""
    errors = []
    for order in (1, 2, 3):
        field = place(Sound(noise(0.1), RATE), SourceTrack.still(SourcePoint(50.0, -35.0, 1000.0)), order)
        for pattern in PATTERNS:
            heard = hear(field, 50.0, -35.0, pattern).waveform * 1000
            errors.append(20 * math.log10(float(heard.norm() / noise(0.1).norm())))
    worst = max(map(abs, errors))
    return [Row("virtual microphones on their axis, orders 1 to 3", "0.01 dB", f"{worst:.4f} dB", worst <= 0.01)]


# Recordings -----------------------------------------------------------------------------------------------------------


def _recordings() -> list[Row]:
    folder = shared_root() / "data" / "foa"
    names = {"ambix": "violin_SN3D_ACN_az135_el0", "n3d": "violin_N3D_ACN_az135_el0", "fuma": "violin_FuMa_az135_el0"}
    if not (folder / f"{names['ambix']}.wav").exists():
        return [Row("one violin in three conventions", "3 degrees, 0.1 dB", "not measured: the recordings are absent")]
    found, levels = [], []
    for kind, name in names.items():
        sound, _ = read_sound(folder / f"{name}.wav", ambisonics=kind)
        yaw, pitch, _ = heard_angles_deg(sound)
        found.append(float(apart_deg(yaw, pitch, torch.tensor([-135.0]), torch.tensor([0.0]))))
        levels.append(10 * torch.log10(sound.waveform[:4].double().square().mean(1) + 1e-12))
    # As if all were SN3D in ACN order.
    sound, _ = read_sound(folder / f"{names['fuma']}.wav", ambisonics="ambix")
    yaw, pitch, _ = heard_angles_deg(sound)
    taken = float(apart_deg(yaw, pitch, torch.tensor([-135.0]), torch.tensor([0.0])))
    apart = float((torch.stack(levels)[:, [0, 1, 3]] - levels[0][[0, 1, 3]]).abs().max())
    return [
        Row("one violin in three conventions: direction", "3 degrees",
            f"{max(found):.3f} degrees; FuMa taken for AmbiX {taken:.0f}", max(found) <= 3),
        Row("one violin in three conventions: level of each channel", "0.1 dB", f"{apart:.4f} dB", apart <= 0.1),
    ]  # fmt: skip


def _loudspeakers() -> list[Row]:
    """Twelve loudspeakers around a microphone that stood turned: after one common yaw, each is where the list says."""
    folder = shared_root() / "data" / "foa" / "s3a_audiobooth"
    if not folder.exists():
        return [Row("S3A's loudspeakers", "10 degrees", "not measured: the recordings are absent")]
    with open(folder / "directions.csv", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    heard = torch.tensor([_direct_yaw_deg(folder / row["file"]) for row in listed])
    true = torch.tensor([-float(row["az_from_LsPos_deg"]) for row in listed])
    raw = torch.deg2rad((heard - true + 180) % 360 - 180)
    common = torch.atan2(raw.sin().mean(), raw.cos().mean())
    errors = torch.rad2deg(torch.atan2((raw - common).sin(), (raw - common).cos())).abs()
    return [Row(
        f"S3A's {len(listed)} loudspeakers: yaw after one common turn", "10 degrees",
        f"{float(errors.max()):.1f} degrees; before the turn {float(torch.rad2deg(raw).abs().max()):.0f}",
        bool(errors.max() <= 10),
    )]  # fmt: skip


def _direct_yaw_deg(path: object) -> float:
    sound, _ = read_sound(str(path), ambisonics="fuma")
    rate = sound.sample_rate_hz
    band = butter(2, DIRECT_HZ, "bandpass", fs=rate, output="sos")
    waveform = torch.from_numpy(sosfiltfilt(band, sound.waveform.double().numpy()).copy())
    peak = int(waveform[0].abs().argmax())
    reach = round(DIRECT_S * rate / 2)
    direct = waveform[:, max(0, peak - reach) : peak + reach]
    (row,) = intensity_rows([direct], rate, 1.0)
    return float(angles(row[:3])[0])


# Stereo ---------------------------------------------------------------------------------------------------------------


def _stereo(yaws: tuple[float, ...]) -> list[Row]:
    found = []
    for law in STEREO_LAWS:
        edge = SPEAKER_YAW_DEG.get(law, 90.0)
        places = [edge * yaw / 180.0 for yaw in yaws]
        errors = [abs(stereo_yaw_deg(_as_stereo(yaw, law), law) - yaw) for yaw in places]
        worst, wanted = max(errors), "1 degree" if law == "tangent" else ""
        centre = max(map(abs, places))
        found.append(Row(
            f"stereo by {law}, {len(places)} directions up to {edge:g} degrees: read back", wanted,
            f"{worst:.3f} degrees; mono {centre:.0f}", worst <= 1 if wanted else None,
        ))  # fmt: skip
    return found


def _as_stereo(yaw: float, law: StereoLaw) -> Sound:
    return to_stereo(place(Sound(noise(0.5), RATE), SourceTrack.still(SourcePoint(yaw))), law)
