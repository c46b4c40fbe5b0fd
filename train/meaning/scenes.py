"""Render procedural scenes once as latents with captions; training then reads only these.

Shape legend: N scenes, T frames, R rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from con360.geometry.perspective import view_directions
from con360.meaning.built_in import codecs_fingerprint
from con360.media.files import atomic_path
from con360.models.system import AVSystem
from con360.records import Sound
from train.examples import Shares, staging

# Scenes of a file: what a killed run loses.
PIECE = 100
# One in so many sounds is that of the view; the others are the whole scene's, as the built-in model makes them.
VIEW_SOUND_EVERY = 4
# Voices mostly follow colours or shapes, and some scenes are struck, so that picture and sound share something.
SHARES = Shares(follows=0.4, struck=0.2)


@dataclass(frozen=True)
class ScenesAsked:
    """Name the scenes of a cache.

    Args:
        split: of `train.examples`. first, count: their numbers.
    """

    split: str
    first: int
    count: int


@dataclass(frozen=True)
class Clip:
    """Hold one scene: latents `[4, T, h, w]` and `[8, R, 16]` in half precision, and its caption."""

    picture: Tensor
    sound: Tensor
    caption: str


class Scenes:
    """Scenes of a cache by number (`train.order.Source`)."""

    reads_ahead = False

    def __init__(self, paths: Sequence[Path]) -> None:
        self.captions: list[str] = []
        pictures, sounds = [], []
        for path in paths:
            with safe_open(path, framework="pt") as file:
                self.captions += json.loads(file.metadata()["captions"])
                pictures.append(file.get_tensor("picture"))
                sounds.append(file.get_tensor("sound"))
        self.pictures, self.sounds = torch.cat(pictures), torch.cat(sounds)

    @property
    def groups(self) -> Sequence[range]:
        return [range(i, i + 1) for i in range(len(self))]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Clip:
        return Clip(self.pictures[index], self.sounds[index], self.captions[index])


def scenes(folder: Path, asked: ScenesAsked, model: AVSystem) -> Scenes:
    """Render and encode scenes, where the folder does not hold them yet; a resumed run reads."""
    request = json.dumps([asked.split, asdict(SHARES), VIEW_SOUND_EVERY, codecs_fingerprint(model)])
    folder.mkdir(parents=True, exist_ok=True)
    # CPUs encode a third faster so.
    for network in model.codecs.video.modules():
        network.to(memory_format=torch.channels_last)
    paths = []
    numbers = range(asked.first, asked.first + asked.count)
    for start in range(0, asked.count, PIECE):
        piece = numbers[start : start + PIECE]
        path = folder / f"{asked.split}-{piece[0]:07d}-{len(piece)}.safetensors"
        if not _answers(path, request):
            _write(path, request, [rendered(asked.split, number, model) for number in piece])
            print(f"scenes {asked.split}: {start + len(piece)} of {asked.count}", flush=True)
        paths.append(path)
    return Scenes(paths)


def _answers(path: Path, request: str) -> bool:
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return file.metadata().get("request") == request


def _write(path: Path, request: str, clips: Sequence[Clip]) -> None:
    tensors = {
        "picture": torch.stack([clip.picture for clip in clips]), "sound": torch.stack([clip.sound for clip in clips])
    }  # fmt: skip
    captions = json.dumps([clip.caption for clip in clips])
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"request": request, "captions": captions})


@torch.no_grad()
def rendered(split: str, number: int, model: AVSystem) -> Clip:
    """Render one scene of 4 s and encode it."""
    spec, codecs = model.clip_spec(4.0), model.codecs
    staged = staging(split, number, spec.num_frames, spec, SHARES)
    frames = torch.stack(
        [
            staged.seen.render(view_directions(v.yaw_deg, v.pitch_deg, v.fov_deg, codecs.video.size_px), time_s)
            for v, time_s in zip(staged.track.views, spec.frame_times_s(), strict=True)
        ]
    )
    if number % VIEW_SOUND_EVERY:
        sound = Sound(staged.heard.foa(spec).waveform[:1], spec.sample_rate_hz)
    else:
        sound = staged.heard.view_sound(staged.track, spec)
    picture, heard = codecs.video.encode(frames)[0].half(), codecs.audio.encode(sound, spec)[0].half()
    return Clip(picture.contiguous(), heard.contiguous(), staged.seen.caption().short)
