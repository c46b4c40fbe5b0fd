"""Test the built-in encoder with random weights: shapes, unit vectors, gradients, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from con360.errors import InputError
from con360.meaning.built_in import BuiltInMeaning, load_built_in
from con360.meaning.measure import measure
from con360.meaning.reading import reading_of
from con360.models.meaning_network import MeaningConfig, MeaningNetwork
from con360.protocols import LatentMeaning, MeaningEncoder, PairTexts
from con360.scenes import caption_vocabulary
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from con360.weights.meaning import CONFIG, MEANING_FILE, load_meaning_network, save_meaning_network

CAPTION = "a red disc hums in front, under a clear sky over sand"


@cache
def random_meaning() -> BuiltInMeaning:
    """An encoder that was not trained, over the built-in model."""
    torch.manual_seed(0)
    network = MeaningNetwork(MeaningConfig(caption_vocabulary(), width=16, size=8)).requires_grad_(False)
    return BuiltInMeaning(network, load_joint_model(model_folder()), "random")


def test_it_reads_clips_and_latents_as_unit_vectors() -> None:
    encoder = random_meaning()
    assert isinstance(encoder, MeaningEncoder) and isinstance(encoder, LatentMeaning)
    assert not isinstance(encoder, PairTexts)
    torch.manual_seed(0)
    read = (
        encoder.read_text([CAPTION, "a blue square"]),
        encoder.read_picture(torch.rand(2, 6, 3, 40, 80), 12.0),
        encoder.read_sound(torch.rand(2, 30000) - 0.5, 24000),
    )
    for vectors in read:
        assert vectors.shape == (2, 8)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_gradients_reach_latents(modality: str) -> None:
    encoder = random_meaning()
    spec = encoder.model.clip_spec(0.5)
    latents = torch.randn(1, *encoder.model.latent_shapes(spec).get(modality), requires_grad=True)
    read = reading_of(encoder, encoder.model, modality, spec)
    (slope,) = torch.autograd.grad(read(latents)[0, 0], latents)
    assert slope.abs().amax() > 0


def test_a_long_clip_is_the_mean_of_its_pieces() -> None:
    encoder = random_meaning()
    sound = torch.rand(1, 8 * 16000, generator=torch.Generator().manual_seed(1)) - 0.5
    halves = [encoder.read_sound(part, 16000) for part in sound.chunk(2, dim=1)]
    wanted = torch.nn.functional.normalize(torch.stack(halves).mean(0), dim=-1)
    torch.testing.assert_close(encoder.read_sound(sound, 16000), wanted)


@pytest.mark.parametrize(
    ("captions", "light", "level", "said"),
    [([""], 0.5, 0.5, "caption is empty"), ([CAPTION], 0.0, 0.5, "black"), ([CAPTION], 0.5, 0.0, "silent")],
)
def test_nothing_to_compare_is_said(captions: list[str], light: float, level: float, said: str) -> None:
    frames, sounds = torch.full((1, 4, 3, 8, 8), light), torch.full((1, 16000), level)
    with pytest.raises(InputError, match=said):
        measure(random_meaning(), captions, frames, 8.0, sounds, 16000)


def test_a_model_without_the_network_says_so(tmp_path: Path) -> None:
    model = random_meaning().model
    with pytest.raises(InputError, match="no file"):
        load_built_in(model, "missing.safetensors")
    with pytest.raises(InputError, match="has no meaning.safetensors"):
        load_built_in(replace(model, folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"width": 32}, "does not fit"), ({"width": 0}, "no meaning network"), ({"colour": 1}, "how its networks")],
)
def test_a_network_of_another_width_is_named(changed: dict[str, int], said: str, tmp_path: Path) -> None:
    network, path = random_meaning().network, tmp_path / MEANING_FILE
    save_meaning_network(network, path, {}, "")
    facts = json.dumps(network.config.to_dict() | changed)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() | {CONFIG: facts}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(InputError, match=said):
        load_meaning_network(path)
