"""Prepare the shipped workflows for tests: all but the first are shortened."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from con360.media.writer import clip_stream, to_uint8
from con360.scenes import demo_scene
from con360.timing import ClipSpec

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
SHIPPED = sorted(FOLDER.glob("*.json"))
# Runs unshortened, as a new user runs it.
FIRST = "con360_1_starts_here"
# These need weights that the test machines lack.
FULL_SIZE, PUBLIC_WEIGHTS = "con360_needs_weights_full_size", "con360_needs_weights_all_public"
SHORT = {
    "Load360Video": {"duration": 0.5, "height": 128}, "Reframe360Video": {"duration": 0.5},
    "JointAVSampler": {"steps": 1}, "Con360VideoToAmbisonics": {"steps": 1},
}  # fmt: skip
RUNNABLE = [path for path in SHIPPED if path.stem not in (FULL_SIZE, PUBLIC_WEIGHTS)]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def prepared(prompt: dict[str, Any], name: str) -> dict[str, Any]:
    """Copy a prompt in API format; shorten all but the first to one step over half a second of small frames."""
    prompt = json.loads(json.dumps(prompt))
    for node in prompt.values():
        inputs = node["inputs"]
        if name != FIRST:
            inputs |= SHORT.get(node["class_type"], {})
    return prompt


def write_sample(path: Path) -> None:
    """Write half a second of the sample scene, 128 by 64, with Ambisonics."""
    clip = demo_scene().panorama(64, ClipSpec(seconds=0.5))
    heard = clip.sound.waveform
    with clip_stream(path, (128, 64), Fraction(1, 8), 8.0, (len(heard), clip.sound.sample_rate_hz)) as stream:
        for i, frame in enumerate(clip.frames):
            stream.add_frame(to_uint8(frame), i)
        stream.add_sound(heard.numpy())
