"""Clips of any length: groups join without a seam at one level, memory stays flat, and a killed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from shared_data import ROOT
from synthetic_clips import write_video
from tiny_ambisonics import RATE_HZ, tiny_ambisonics, write_tiny_ambisonics
from torch import Tensor

from con360.media.reader import read_sound
from con360.models.flow_transformer import FlowTransformer
from con360.records import AV
from con360.sounding.generate import FieldSettings, groups_for, latent_groups
from con360.sounding.model import AmbisonicsModel, load_ambisonics_model
from con360.sounding.picture_encoder import PictureFeatures
from con360.sounding.run import ambisonics_for_clip

SETTINGS = FieldSettings(steps=4, cfg=2.0, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AmbisonicsModel:
    return tiny_ambisonics(tmp_path_factory.mktemp("model"))


def pictures(seconds: float) -> PictureFeatures:
    g = torch.Generator().manual_seed(0)
    return PictureFeatures(*(torch.randn(round(8 * seconds), 16, generator=g) for _ in range(2)))


def test_pieces_of_any_size_decode_without_a_seam(model: AmbisonicsModel) -> None:
    codec = model.network.codec
    latents = torch.randn(8, 400, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.network.vae.decode(latents[None])[0]
        for sizes in ([400], [1, 1, 398], [100, 60, 60, 180], [150, 5, 245]):
            made = torch.cat(list(codec.decode_tiles(latents.split(sizes, dim=1))), dim=1)
            assert torch.allclose(made, whole, atol=1e-5), sizes


def test_the_reach_is_where_a_change_is_still_heard(model: AmbisonicsModel) -> None:
    codec, hop = model.network.codec, model.network.vae.config.hop
    latents = torch.randn(1, 8, 101, generator=torch.Generator().manual_seed(0))
    other = latents.clone()
    other[:, :, 50] += 1
    with torch.no_grad():
        changed = (model.network.vae.decode(latents) - model.network.vae.decode(other)).abs().amax((0, 1))
    rows = changed.unflatten(0, (-1, hop)).amax(1).nonzero()[:, 0]
    assert codec.reach_rows - 2 <= 50 - int(rows.min()) <= codec.reach_rows
    assert codec.reach_rows - 2 <= int(rows.max()) - 50 <= codec.reach_rows


@cache
def cleaner(count: int, t: float) -> Tensor:
    """The best guess of clean rows, as a matrix `[count, count]`, where rows are alike over ten of them."""
    rows = torch.arange(count, dtype=torch.float64)
    alike = 0.9 ** (rows[:, None] - rows).abs()
    noisy = (1 - t) ** 2 * alike + t**2 * torch.eye(count, dtype=torch.float64)
    return torch.linalg.solve(noisy, (1 - t) * alike).float()


def exact_velocity(x: Tensor, t: float) -> Tensor:
    """The velocity of such latents `[B, Z, R]`: windows disagree at their ends."""
    clean = x @ cleaner(x.shape[-1], t)
    return (x - (1 - t) * clean) / t - clean


def test_the_level_where_windows_overlap_is_that_of_windows(
    model: AmbisonicsModel, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def predict(self: FlowTransformer, group: tuple, x: AV, t: AV, *_: object) -> AV:
        return AV(audio=exact_velocity(x.audio, float(t.audio.flatten()[0])))

    monkeypatch.setattr(FlowTransformer, "embed_times", lambda self, modality, times, like: times)
    monkeypatch.setattr(FlowTransformer, "predict", predict)
    seconds, settings = 60.0, FieldSettings(steps=24, cfg=None)
    groups = groups_for(model.network, seconds, settings)
    sampled = (latent_groups(model.network, pictures(seconds), seconds, replace(settings, seed=i)) for i in range(4))
    power = torch.stack([torch.cat(list(one), dim=1) for one in sampled]).square().mean((0, 1))
    covered, joins = torch.zeros(len(power)), [group.start + group.shared for group in groups[1:]]
    for start in (start for group in groups for start in group.starts):
        covered[start : start + groups[0].rows] += 1
    near = torch.cat([torch.arange(join - 10, join + 10) for join in joins])
    level_db = [10 * float(part.mean().log10()) for part in (*(power[covered == n] for n in (1, 2, 3)), power[near])]
    assert len(groups) > 10
    assert all(abs(level) < 1 for level in level_db), level_db


def test_the_beginning_does_not_depend_on_the_length(model: AmbisonicsModel) -> None:
    short = torch.cat(list(latent_groups(model.network, pictures(30.0), 8.0, SETTINGS)), dim=1)
    long = torch.cat(list(latent_groups(model.network, pictures(30.0), 30.0, SETTINGS)), dim=1)
    assert torch.equal(short[:, :100], long[:, :100])


# Long, and killed -----------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys, torch
from con360.sounding.generate import FieldSettings, generated_blocks
from con360.sounding.level import Level
from con360.sounding.model import load_ambisonics_model
from con360.sounding.picture_encoder import PictureFeatures
model, seconds = load_ambisonics_model(sys.argv[1]), float(sys.argv[2])
pictures = PictureFeatures(torch.zeros(round(8 * seconds), 16), torch.zeros(round(8 * seconds), 16))
blocks = generated_blocks(model.network, pictures, seconds, FieldSettings(steps=1, cfg=1.0))
count = sum(block.shape[1] for block in Level(16000).set(blocks, first=1))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_is_flat_over_ten_minutes(tmp_path: Path) -> None:
    folder = str(write_tiny_ambisonics(tmp_path / "model", stride=1))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [[sys.executable, "-c", PEAK, folder, str(seconds)] for seconds in (60, 600)]
    made = [subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout for run in runs]
    (short, short_mb), (long, long_mb) = ((float(word) for word in line.split()) for line in made)
    assert (short, long) == (60 * RATE_HZ, 600 * RATE_HZ)
    # Ten minutes of the sound alone are 146 MB.
    assert long_mb - short_mb < 40


KILLED = """
import os, signal, sys
from con360.sounding.model import load_ambisonics_model
from con360.sounding.run import ambisonics_for_clip
def told(done, total, what):
    if what == "making the sound" and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
ambisonics_for_clip(sys.argv[1], sys.argv[2], load_ambisonics_model(sys.argv[3]), progress=told)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_sound_to_play_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "kept"))
    folder, out = write_tiny_ambisonics(tmp_path / "model"), tmp_path / "out.mp4"
    clip = write_video(tmp_path / "clip.mp4", [i / 10 for i in range(60)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", KILLED, str(clip), str(out), str(folder)]
    assert subprocess.run(run, env=environment, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    playable, _ = read_sound(tmp_path / "out.mp4.unfinished.wav", ambisonics="ambix")
    assert playable.duration_s > 1.5
    made = ambisonics_for_clip(clip, out, load_ambisonics_model(folder))
    assert (made.kept_groups, made.read_pictures) == (1, False)
    assert not (tmp_path / "out.mp4.unfinished.wav").exists()
    sound, _ = read_sound(out)
    assert (
        torch.corrcoef(torch.stack((playable.waveform[0], sound.waveform[0, : playable.waveform.shape[1]])))[0, 1] > 0.9
    )
