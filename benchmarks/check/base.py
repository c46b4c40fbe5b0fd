"""Make the sound clips that faults are put into: a procedural scene, and a real recording where the data is here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from con360.geometry.erp import erp_directions
from con360.media.reader import read_panorama
from con360.records import Sound
from con360.scenes import random_scene
from con360.sound.ambisonics import encode
from con360.timing import ClipSpec

ROOT = Path(__file__).resolve().parent.parent.parent
FPS, SECONDS = 4, 2.0
# Street with a passing train, level, with real Ambisonics; its edges join.
RECORDING = "video_unlicensed/sph360_G8pABGosD38l_17.webm"
SCENE = 7


@dataclass(frozen=True)
class Base:
    """A clip without fault.

    Args:
        frames: `[T, h, 2 h, 3]` uint8 at `FPS`. sound: AmbiX of first order.
    """

    name: str
    frames: np.ndarray
    sound: Sound


def procedural(height: int) -> Base:
    """Render a scene with grain all over the sphere, between posts that stand upright as real things do."""
    spec = ClipSpec(seconds=SECONDS)
    scene = random_scene(SCENE)
    frames = scene.panorama(height, spec).frames[:: round(spec.fps / FPS)]
    pixels = (frames.movedim(1, -1) * 255).round().numpy()
    pixels = (pixels + grain(height)[..., None]).clip(0, 255).astype(np.uint8)
    posts(pixels)
    return Base("procedural scene", pixels, scene.foa(spec))


def grain(height: int) -> np.ndarray:
    """Texture of the sphere itself, `[h, 2 h]` in gray levels: waves through space have no seam and no pole."""
    rng, rays = np.random.default_rng(SCENE), erp_directions(height).numpy()
    waves = rng.normal(size=(48, 3))
    waves *= (rng.uniform(8, 60, 48) / np.linalg.norm(waves, axis=1))[:, None]
    return np.cos(rays @ waves.T.astype(np.float32) + rng.uniform(0, 2 * np.pi, 48)).sum(-1) * 5.0


def posts(pixels: np.ndarray) -> None:
    """Draw upright posts and the rails between them, in place."""
    height, width = pixels.shape[1:3]
    rng = np.random.default_rng(SCENE)
    # None at the edges: the seam should look like any other place.
    for at in width // 32 + rng.permutation(width * 15 // 16)[:24]:
        top, wide = round(height * rng.uniform(0.3, 0.45)), max(2, width // 200)
        pixels[:, top : round(0.62 * height), at : at + wide] = rng.integers(30, 220, 3)


def shared_data() -> Path:
    """Folder of the shared test data, which may be absent."""
    return Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared") / "data"


def recorded(height: int) -> Base | None:
    """Read the real clip; None where the data is not here."""
    path = shared_data() / RECORDING
    if not path.exists():
        return None
    clip = read_panorama(path, start_s=2.0, duration_s=SECONDS, fps=FPS, height=height)
    assert clip.sound is not None
    pixels = (clip.frames.movedim(1, -1) * 255).round().to(torch.uint8).numpy()
    return Base("real recording", pixels, clip.sound)


def third_order(rate_hz: int = 48000) -> torch.Tensor:
    """Encode two noises at two places in order 3, `[16, N]`."""
    g = torch.Generator().manual_seed(1)
    voices = torch.randn(2, round(SECONDS * rate_hz), generator=g) * 0.05
    voices[0, : voices.shape[1] // 2] = 0
    voices[1, voices.shape[1] // 2 :] = 0
    return encode(voices[0], 40.0, 10.0, order=3) + encode(voices[1], -120.0, -20.0, order=3)
