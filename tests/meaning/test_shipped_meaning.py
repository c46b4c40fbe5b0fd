"""The encoder that comes with the built-in model: its size, and that it tells scenes apart."""

from __future__ import annotations

import pytest
import torch

from con360.meaning.built_in import OWN
from con360.meaning.load import load_meaning
from con360.meaning.measure import figures_text, measure
from con360.records import View, ViewTrack
from con360.scenes import random_scene
from con360.timing import ClipSpec
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from con360.weights.meaning import MEANING_FILE


def test_it_is_a_small_file_of_half_precision() -> None:
    assert (model_folder() / MEANING_FILE).stat().st_size <= 2e6


@pytest.mark.slow
def test_own_captions_are_nearer_than_others() -> None:
    encoder, spec = load_meaning("built-in", load_joint_model(model_folder())), ClipSpec(2.0)
    captions, frames, sounds = [], [], []
    for seed in range(2_000_000_500, 2_000_000_506):
        scene = random_scene(seed, "colour")
        looked = scene.performers[0]
        track = ViewTrack.still(View(looked.yaw_deg, looked.pitch_deg), spec.num_frames)
        captions.append(scene.caption().short)
        frames.append(scene.view_frames(track, 64, spec))
        sounds.append(scene.foa(spec).waveform[0])
    clips = torch.stack(frames), 8.0, torch.stack(sounds), 16000
    own, others = (measure(encoder, words, *clips) for words in (captions, captions[1:] + captions[:1]))
    assert own.ta.mean() > others.ta.mean() + 0.2 and own.tv.mean() > others.tv.mean() + 0.2
    assert own.volume is not None and others.volume is not None and own.volume.mean() < others.volume.mean()
    assert own.encoder == OWN and "volume" in figures_text(measure(encoder, captions[:1], *(_first(x) for x in clips)))


def _first(value: torch.Tensor | float) -> torch.Tensor | float:
    return value[:1] if isinstance(value, torch.Tensor) else value
