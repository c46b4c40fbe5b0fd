"""Render regions of procedural scenes: how each moves, and the envelope of its own voice.

Shape legend: T frames, N values of the envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from con360.choices import VoiceFollows
from con360.geometry.erp import erp_directions
from con360.media.files import atomic_path
from con360.models.onset_network import FPS
from con360.records import View, ViewTrack
from con360.saliency.region_motion import HEIGHT, region_motion
from con360.scenes import Performer, Scene, random_scene, voice_waveform
from con360.sound.envelopes import rms_curve
from con360.timing import ClipSpec
from con360.weights.files import read_header
from train.examples import SPLIT_FIRST_SEED

# A region that a picture suggests lies off its thing by about so many degrees.
OFF_DEG = 3.0
SPEC = ClipSpec(fps=FPS)


@dataclass(frozen=True)
class Region:
    """Hold one region of a scene for 4 s; a batch has one more axis in front.

    Args:
        motion: `[T, 4]` of `saliency.region_motion`, at 15 fps. envelope: of its voice alone, `[N]`, RMS at 125 Hz.
    """

    motion: Tensor
    envelope: Tensor

    def to(self, device: torch.device) -> Region:
        return Region(self.motion.to(device), self.envelope.to(device))


def regions_of(scene: Scene, seed: int) -> list[Region]:
    """Render each performer's region, and one in which nothing is and nothing sounds."""
    rng, rays = np.random.default_rng([seed, 19]), erp_directions(HEIGHT)
    frames = torch.stack([scene.render(rays, t) for t in SPEC.frame_times_s()])
    found = [Region(region_motion(frames, _track(one, rng)), envelope_of_voice(one)) for one in scene.performers]
    bare = region_motion(frames, View(*_emptiest(scene, rng)))
    return [*found, Region(bare, torch.zeros_like(found[0].envelope))]


def envelope_of_voice(performer: Performer) -> Tensor:
    """Measure the RMS `[N]` of a performer's voice at 1 m."""
    time_s = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    wave = performer.level * voice_waveform(performer.voice, time_s, performer.phase)
    return rms_curve(torch.from_numpy(wave).float())


def _track(performer: Performer, rng: np.random.Generator) -> ViewTrack:
    yaw, pitch = rng.normal(0, OFF_DEG, 2)
    turned = ((float(performer.yaw_at(t)) + yaw + 180) % 360 - 180 for t in SPEC.frame_times_s())
    return ViewTrack(tuple(View(at, performer.pitch_deg + pitch) for at in turned))


def _emptiest(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """Choose the direction furthest from all performers, of a few."""
    yaws, pitches = rng.uniform(-180, 180, 16), rng.uniform(-60, 60, 16)
    gaps = [
        min(
            np.hypot((yaw - float(p.yaw_at(t)) + 180) % 360 - 180, pitch - p.pitch_deg)
            for p in scene.performers
            for t in (0.0, 4.0)
        )
        for yaw, pitch in zip(yaws, pitches, strict=True)
    ]
    best = int(np.argmax(gaps))
    return float(yaws[best]), float(pitches[best])


def build(path: Path, split: str, count: int, voice_follows: VoiceFollows) -> Path:
    """Render the regions of the first scenes of a split, where the file does not hold them yet; a resumed run reads."""
    asked = {"split": split, "count": str(count), "voice_follows": voice_follows}
    if not path.is_file() or read_header(path).metadata != asked:
        seeds = range(SPLIT_FIRST_SEED[split], SPLIT_FIRST_SEED[split] + count)
        scenes = (regions_of(random_scene(seed, voice_follows), seed) for seed in tqdm(seeds, desc=f"{split} scenes"))
        columns = zip(*((one.motion, one.envelope) for regions in scenes for one in regions), strict=True)
        motion, envelope = (torch.stack(column) for column in columns)
        with atomic_path(path) as temporary:
            save_file({"motion": motion, "envelope": envelope}, temporary, metadata=asked)
    return path


class SceneRegions:
    """Hold the regions of a file that `build` wrote."""

    reads_ahead = False

    def __init__(self, path: Path) -> None:
        state = load_file(path)
        self.regions = [Region(*one) for one in zip(state["motion"], state["envelope"], strict=True)]
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(len(self.regions))]

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, index: int) -> Region:
        return self.regions[index]
