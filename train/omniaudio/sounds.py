"""Read the sounds that a codec or a first training learns from, as Ambisonics.

Shape legend: B clips, C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from con360.errors import InputError
from con360.media.reader import read_sound
from con360.records import Sound
from con360.scenes import Scene
from con360.sound.levels import resample
from con360.sound.stereo import to_stereo
from con360.timing import ClipSpec
from train.examples import scene_of

# Files that a folder of sounds is searched for.
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".mp4", ".mov", ".mkv", ".webm"}
# One file in this many is held out.
HELD_OUT_EVERY = 20


def to_field(waveform: Tensor) -> Tensor:
    """Turn mono or stereo `[C, N]` into Ambisonics `[4, N]`, as OmniAudio does; four channels or more keep the first.

    Mono becomes W. Of stereo the sum becomes W and the difference Y, which points left, each over the root of 2.

    Raises:
        InputError: three channels.
    """
    count, samples = waveform.shape
    if count >= 4:
        return waveform[:4]
    if count == 3:
        raise InputError("a sound of 3 channels is neither mono, stereo nor Ambisonics; leave it out.")
    field = waveform.new_zeros(4, samples)
    if count == 1:
        field[0] = waveform[0]
    else:
        field[0], field[1] = (waveform[0] + waveform[1]) / 2**0.5, (waveform[0] - waveform[1]) / 2**0.5
    return field


def scene_field(scene: Scene) -> Tensor:
    """Render a scene's Ambisonics, `[4, 64000]` at 16 kHz."""
    return scene.foa(ClipSpec()).waveform


def poor_field(scene: Scene, mono: bool) -> Tensor:
    """Make Ambisonics of a scene's mono or stereo, `[4, 64000]`: most public sound is no more."""
    true = scene.foa(ClipSpec())
    return to_field(true.waveform[:1] if mono else to_stereo(true).waveform)


class SceneSounds:
    """Hold the Ambisonics of the first scenes of a split, `[4, 64000]` half precision."""

    reads_ahead = False

    def __init__(self, split: str, count: int, of: Callable[[str, int], Scene] = scene_of) -> None:
        self.fields = [scene_field(of(split, index)).half() for index in range(count)]
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(count)]

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, index: int) -> Tensor:
        return self.fields[index]


class SoundFiles:
    """Read the beginnings of a folder's files as Ambisonics.

    Args:
        folder: searched with its subfolders. split: every twentieth file is for validation.
        rate_hz, seconds: of what is read; shorter files end in silence.

    Raises:
        InputError: the split holds no file, or one cannot be read.
    """

    reads_ahead = True

    def __init__(self, folder: str | Path, split: str, rate_hz: int, seconds: float) -> None:
        found = sorted(path for path in Path(folder).expanduser().rglob("*") if path.suffix.lower() in SUFFIXES)
        held = split == "validation"
        self.paths = [path for i, path in enumerate(found) if (i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held]
        if not self.paths:
            raise InputError(
                f"{folder} holds {len(found)} files with sound, none of them for {split}; name a folder with "
                f"{HELD_OUT_EVERY} or more."
            )
        self.rate_hz, self.seconds = rate_hz, seconds
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(len(self.paths))]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        sound, _ = read_sound(self.paths[index], duration_s=self.seconds)
        field = resample(Sound(to_field(sound.waveform), sound.sample_rate_hz), self.rate_hz).waveform
        samples = round(self.seconds * self.rate_hz)
        return F.pad(field[:, :samples], (0, max(0, samples - field.shape[1]))).half()


def turned(field: Tensor, yaw_deg: Tensor, mirror: Tensor) -> Tensor:
    """Turn Ambisonics `[B, 4, N]` about the vertical by an angle a clip, and swap left and right of some."""
    cos, sin = (f(torch.deg2rad(yaw_deg))[:, None] for f in (torch.cos, torch.sin))
    w, y, z, x = field.unbind(1)
    left = torch.where(mirror[:, None], -y, y)
    return torch.stack((w, left * cos + x * sin, z, x * cos - left * sin), dim=1)
