"""Draw the scenes that the small model of Ambisonics learns from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from con360.choices import VoiceFollows
from con360.scenes import Scene, random_scene

# Everything moves at most so fast, in degrees a second.
FASTEST_DEG_S = 35.0


def moving_scene(seed: int, voice_follows: VoiceFollows, count: int | None = None, rate: float | None = None) -> Scene:
    """Draw a scene of one to four performers: half stand still, half turn at up to `FASTEST_DEG_S`.

    Args:
        count: performers that stay; None draws. rate: degrees a second; None draws.
    """
    rng = np.random.default_rng([seed, 11])
    scene = random_scene(seed, voice_follows)
    kept = count or int(rng.integers(1, len(scene.performers) + 1))
    drawn = 0.0 if rng.random() < 0.5 else float(rng.uniform(-FASTEST_DEG_S, FASTEST_DEG_S))
    performers = tuple(
        replace(p, yaw_rate_deg_s=drawn if rate is None else rate) for p in scene.performers[:kept]
    )  # fmt: skip
    return replace(scene, performers=performers)
