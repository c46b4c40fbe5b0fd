"""Print how far a picture's envelope network is off on unseen scenes, beside what needs no network.

    python -m train.when.judge runs/when/envelope.safetensors --scenes 48

E-L1 is the mean distance of RMS values at 125 Hz from those of the region's own voice. It depends on level, so that of
silence, the mean of the truth, stands beside it. *One level* is the constant that is best for the voice. *Motion* is
the region's curve between its least and its most, at the level that is best for all other scenes; it needs no weights.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from con360.choices import VoiceFollows
from con360.errors import InputError
from con360.models.envelope_networks import PictureEnvelope
from con360.scenes import random_scene
from con360.sound.envelopes import RATE_HZ
from con360.weights.time_networks import load_picture_envelope
from train.examples import SPLIT_FIRST_SEED
from train.when.regions import Region, regions_of

EMPTY = "(nothing)"
COLUMNS = ("region", "clips", "network", "motion", "one level", "silence")


def unseen(scenes: int, voice_follows: VoiceFollows, split: str = "test") -> dict[str, list[Region]]:
    """Render regions of unseen scenes by voice; regions without anything stand apart."""
    found: dict[str, list[Region]] = defaultdict(list)
    for seed in range(SPLIT_FIRST_SEED[split], SPLIT_FIRST_SEED[split] + scenes):
        scene = random_scene(seed, voice_follows)
        for voice, region in zip((*(p.voice for p in scene.performers), EMPTY), regions_of(scene, seed), strict=True):
            found[voice].append(region)
    return found


def figures(network: PictureEnvelope, regions: dict[str, list[Region]], level: float) -> list[tuple[str, ...]]:
    """Compute a row of E-L1 for each voice, and one of all.

    Args:
        level: RMS that stands for the most of a region's curve.
    """
    errors: dict[str, list[Tensor]] = {}
    for voice, ones in sorted(regions.items()):
        truth = torch.stack([one.envelope for one in ones])
        guesses = (
            torch.stack([network.envelope(one.motion).values for one in ones]),
            level * torch.stack([shares(one, network.fps) for one in ones]),
            truth.median(),
            torch.zeros(()),
        )
        errors[voice] = [(guess - truth).abs().mean(1) for guess in guesses]
    sounding = [torch.cat(column) for column in zip(*(e for v, e in errors.items() if v != EMPTY), strict=True)]
    rows = [*errors.items(), ("all voices", sounding)]
    return [(voice, str(len(e[0])), *(f"{one.mean():.4f}" for one in e)) for voice, e in rows]


def best_level(regions: dict[str, list[Region]], fps: float) -> float:
    """Find the level of the most of a region's curve that has the least E-L1."""
    ones = [one for voice, found in regions.items() if voice != EMPTY for one in found]
    curves, truth = torch.stack([shares(one, fps) for one in ones]), torch.stack([one.envelope for one in ones])
    levels = torch.linspace(0.0, 0.5, 101)
    return float(levels[int(torch.stack([(level * curves - truth).abs().mean() for level in levels]).argmin())])


def shares(region: Region, fps: float) -> Tensor:
    """A region's curve between its least and its most, `[N]`; 0 where it does not move."""
    curve = region.motion[:, 0]
    low, high = curve.min(), curve.max()
    even = (curve - low) / (high - low) if high - low > 0.05 * curve.mean() else torch.zeros_like(curve)
    times = (np.arange(len(region.envelope)) + 0.5) / RATE_HZ
    return torch.from_numpy(np.interp(times, np.arange(len(even)) / fps, even.numpy())).float()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="file that train.when.run wrote")
    parser.add_argument("--scenes", type=int, default=48, help="unseen scenes")
    parser.add_argument("--voice-follows", choices=get_args(VoiceFollows), default="none")
    args = parser.parse_args(argv)
    try:
        network = load_picture_envelope(args.weights)
        level = best_level(unseen(args.scenes, args.voice_follows, "validation"), network.fps)
        rows = figures(network, unseen(args.scenes, args.voice_follows), level)
    except InputError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    print(f"E-L1 of {args.scenes} unseen scenes of 4 s, {RATE_HZ:g} values a second")
    print("\n".join("  ".join(f"{cell:>10}" for cell in row) for row in (COLUMNS, *rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
