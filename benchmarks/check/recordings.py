"""Change real recordings in known ways, and count what the check says: Ambisonics re-coded, and pictures turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from con360.checking.horizon import Tilt, find_tilt
from con360.checking.picture_findings import TILT_PICTURES, TOO_FAR_DEG, TRUST
from con360.checking.samples import PICTURES, sampled_pictures, sampled_sound
from con360.checking.sound_findings import sound_findings
from con360.geometry.sphere import angle_between_deg, rotation
from con360.media.info import probe
from con360.records import View
from con360.reframing.turning import Turner

from .base import RECORDING, shared_data
from .faults import fuma, n3d

TURNS = (View(0.0, 0.0, roll_deg=12.0), View(0.0, 5.0, roll_deg=-20.0), View(0.0, 15.0, roll_deg=8.0))


def recordings() -> list[Path]:
    """List the recordings of the shared data whose Ambisonics is real."""
    return sorted((shared_data() / RECORDING).parent.glob("sph360_*.webm"))


def recoded() -> str:
    """Re-code the recordings as FuMa and N3D; count the verdicts on their order, as a Markdown table."""
    clips = recordings()
    lines = ["| real recordings | AmbiX | to mend | cannot tell |", "|---|---|---|---|"]
    kinds: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "as they are, AmbiX": lambda field: field, "re-coded as FuMa": fuma, "re-coded as N3D": n3d,
    }  # fmt: skip
    for name, change in kinds.items():
        states = [_order_of(clip, change) for clip in clips]
        counts = [states.count(state) for state in ("good", "mend", "unknown")]
        lines.append(f"| {len(clips)} {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def _order_of(clip: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    info = probe(clip)
    track = info.audio_tracks[0]
    heard = sampled_sound(info, track)
    field = np.ascontiguousarray(change(torch.from_numpy(heard.waveform)).numpy())
    return next(f.state for f in sound_findings(track, replace(heard, waveform=field)) if f.name == "order")


def turned() -> str:
    """Turn the recordings' pictures and compare the found tilt with the true one, as a Markdown table.

    The tilt before the turn counts where it was claimed; else the recording counts as level.
    """
    lines = ["| recording | before, degrees | errors after three turns, degrees | cannot tell |", "|---|---|---|---|"]
    for clip in recordings():
        images = sampled_pictures(probe(clip)).images[:: PICTURES // TILT_PICTURES]
        pictures = [cv2.resize(image, (1024, 512), interpolation=cv2.INTER_AREA) for image in images]
        before, turner = find_tilt(tuple(pictures)), Turner("mono")
        found = [(turn, find_tilt(tuple(turner.picture(one, turn) for one in pictures))) for turn in TURNS]
        errors = [_error(tilt, turn, before) for turn, tilt in found if tilt is not None and _is_claimed(tilt)]
        known = f"{before.tilt_deg:.1f}" if before is not None and _is_claimed(before) else "?"
        said = ", ".join(f"{error:.1f}" for error in errors) or "-"
        lines.append(f"| {clip.stem.removeprefix('sph360_')[:11]} | {known} | {said} | {len(TURNS) - len(errors)} |")
    return "\n".join(lines)


def _is_claimed(tilt: Tilt) -> bool:
    return tilt.trust >= TRUST and tilt.tilt_deg <= TOO_FAR_DEG


def _error(tilt: Tilt, turn: View, before: Tilt | None) -> float:
    start = _zenith(before.pitch_deg, before.roll_deg) if before is not None and _is_claimed(before) else _zenith(0, 0)
    true = rotation(turn.yaw_deg, turn.pitch_deg, turn.roll_deg, dtype=torch.float64).T @ start
    return float(angle_between_deg(true, _zenith(tilt.pitch_deg, tilt.roll_deg)))


def _zenith(pitch: float, roll: float) -> torch.Tensor:
    return rotation(0.0, pitch, roll, dtype=torch.float64) @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
