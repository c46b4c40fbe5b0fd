"""Training of the built-in vocoder: its data, its losses, and going on after a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.models.spectrum_vocoder import SpectrumVocoderConfig
from con360.sound.mels import log_mel
from con360.weights.load import load_vocoder
from train.tiny.vocoder import (
    CHECKPOINT,
    PIECE,
    batches,
    make_vocoder,
    moment_loss,
    new_run,
    open_pieces,
    render_piece,
    spectral_loss,
    train,
    training_step,
)

SMALL = SpectrumVocoderConfig(width=8, layers=1)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return open_pieces(tmp_path_factory.mktemp("pieces") / "vocoder.safetensors", make_tiny_joint_model().vae_a, 4)


def test_pieces_are_the_seeds_own_and_no_louder_than_scenes(pieces):
    waves = [render_piece(seed) for seed in range(4)]
    assert np.array_equal(waves[2], render_piece(2)) and not np.array_equal(waves[0], waves[1])
    assert all(0.005 < np.abs(wave).max() < 1.0 for wave in waves)
    assert np.allclose(pieces["waves"][3] / 32767, waves[3], atol=1e-4)
    assert pieces["coded"].shape == (4, PIECE.num_mel, 64)


def test_pieces_are_read_again_without_the_autoencoder(tmp_path):
    made = open_pieces(tmp_path / "p.safetensors", make_tiny_joint_model().vae_a, 1)
    read = open_pieces(tmp_path / "p.safetensors", torch.nn.Identity(), 1)
    assert torch.equal(made["coded"], read["coded"])


@pytest.mark.parametrize("loss", [spectral_loss, moment_loss])
def test_losses_prefer_the_truth_then_a_softer_one_then_silence(loss):
    wave = torch.from_numpy(render_piece(1)).float()[None]
    values = [float(loss(made, wave)) for made in (wave, 0.7 * wave, torch.zeros_like(wave))]
    assert values[0] < 1e-3 and values[0] < values[1] < values[2]


def test_a_click_at_the_very_end_costs_more_than_one_in_the_middle():
    wave = torch.from_numpy(render_piece(1)).float()[None]
    late, inner = wave.clone(), wave.clone()
    late[:, -400:-240] *= 0.5
    inner[:, -4000:-3840] *= 0.5
    share = [float(moment_loss(made, wave)) for made in (late, inner)]
    assert share[0] > 2 * share[1]


def test_magnitudes_start_at_the_mels_level():
    wave = torch.from_numpy(render_piece(1)).float()[None]
    with torch.no_grad():
        made = make_vocoder()(log_mel(wave))
    assert abs(20 * float((made.std() / wave.std()).log10())) < 20


def test_a_killed_training_goes_on_where_it_was(pieces, tmp_path):
    torch.manual_seed(0)
    run = new_run(SMALL)
    train(run, batches(pieces, torch.Generator().manual_seed(0)), 0.002, tmp_path)
    again = new_run(SMALL)
    again.restore(torch.load(tmp_path / CHECKPOINT, weights_only=True))
    assert again.step == run.step > 0 and again.seconds == run.seconds
    batch = next(batches(pieces, torch.Generator().manual_seed(1)))
    assert training_step(run, *batch) == training_step(again, *batch)
    for name, weight in run.average.state_dict().items():
        assert torch.equal(weight, again.average.state_dict()[name])
    assert load_vocoder(tmp_path / "vocoder").config == SMALL
