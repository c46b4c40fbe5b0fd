"""Draw the scenes that a direction head learns from, and words for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from con360.choices import VOICE_FOLLOWS, VoiceFollows
from con360.scenes import VOICES, Performer, Scene, random_scene
from train.examples import SPLIT_FIRST_SEED

# Pulses per second of a redrawn voice, and the least ratio between two of a scene.
SLOWEST_HZ, FASTEST_HZ, RATIO = 0.7, 3.4, 1.25
# Share of the scenes whose voices follow nothing; the others follow colour or shape.
FREE_SHARE, REDRAWN_SHARE = 0.6, 0.5


def field_scene(split: str, index: int) -> Scene:
    """Draw a training scene: half have rates of their own, some have voices that follow colour or shape."""
    rng = np.random.default_rng([SPLIT_FIRST_SEED[split] + index, 23])
    follows: VoiceFollows = VOICE_FOLLOWS[0]
    if rng.random() >= FREE_SHARE:
        follows = VOICE_FOLLOWS[1 + int(rng.integers(len(VOICE_FOLLOWS) - 1))]
    scene = random_scene(SPLIT_FIRST_SEED[split] + index, follows)
    return with_other_rates(scene, rng) if rng.random() < REDRAWN_SHARE else scene


def with_other_rates(scene: Scene, rng: np.random.Generator) -> Scene:
    """Give each voice a rate of its own, so that its band does not name its rate."""
    count = len(scene.performers)
    slack = np.log(FASTEST_HZ / SLOWEST_HZ) - (count - 1) * np.log(RATIO)
    steps = np.sort(rng.uniform(0, slack, count)) + np.arange(count) * np.log(RATIO)
    rates = rng.permutation(SLOWEST_HZ * np.exp(steps))
    return replace(
        scene, performers=tuple(replace(p, rate_hz=float(r)) for p, r in zip(scene.performers, rates, strict=True))
    )


def turned(scene: Scene, by_deg: float) -> Scene:
    """Turn a scene to the right; sky and ground look the same."""
    performers = (replace(p, yaw_deg=(p.yaw_deg + by_deg + 180.0) % 360.0 - 180.0) for p in scene.performers)
    return replace(scene, performers=tuple(performers))


def words_of(scene: Scene, rng: np.random.Generator, *, told: bool = True, shuffled: bool = False) -> str:
    """Write a scene's caption.

    Args:
        told: name directions. shuffled: phrases in any order; clockwise from the front, as captions are, otherwise.
    """
    ordered = sorted(scene.performers, key=lambda p: p.yaw_at(2.0) % 360.0)
    if shuffled:
        ordered = [ordered[i] for i in rng.permutation(len(ordered))]
    phrases = (p.phrase if told else _untold(p) for p in ordered)
    return f"{', '.join(phrases)}, under a {scene.sky} sky over {scene.ground}"


def _untold(performer: Performer) -> str:
    return f"a {performer.colour} {performer.shape} {VOICES[performer.voice].verb}"
