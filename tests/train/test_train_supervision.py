"""Labels of scenes in the tiny bundle's training: places of performers, loudness of voices, answers to questions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from con360.control import ControlConfig, ControlModule
from con360.metrics.audio import band_level_db
from con360.records import Sound
from con360.scenes import COLOURS, SHAPES, VOICES, Performer, Scene, voice_envelope, voice_waveform
from con360.timing import ClipSpec
from train.examples import make_example, scene_of
from train.losses import random_timesteps, squared_error
from train.tiny.cache import CacheSettings, heard_voices, seen_performers
from train.tiny.networks import make_scheduler, make_text_encoder_v, make_tokenizer
from train.tiny.readers import KnownFeatures
from train.tiny.text import EAR_YAWS_DEG, TRAITS, TokenReader, loudness, questions

ALONE = Scene((Performer("cyan", "square", "bell", 90.0),))


@pytest.mark.parametrize("index", [0, 3, 8])
def test_labelled_pixels_show_the_labelled_colour(index):
    spec = ClipSpec()
    labels = seen_performers(CacheSettings(0, 9, 1), index, spec=spec, grid=64)[0]
    example = make_example("train", index, num_frames=1, spec=spec, size=64, with_sound=False)
    for number, rgb in enumerate(COLOURS.values()):
        there = labels[0] == number
        if there.sum() < 20 or (labels[1][there] == SHAPES.index("ring")).any():
            continue  # a ring's middle shows the background
        seen = example.frames[0][:, there].median(dim=1).values
        assert torch.nn.functional.cosine_similarity(seen, torch.tensor(rgb), dim=0) > 0.95


@pytest.mark.parametrize("index", [0, 1, 2])
def test_labelled_voices_are_as_loud_as_in_the_sound(index):
    """Mean power of the sound in a voice's band is that of the label, scaled by the performer's level."""
    spec = ClipSpec()
    rows, seconds = spec.num_latent_rows_padded, spec.latent_seconds_a / spec.num_latent_rows_padded
    levels = heard_voices(CacheSettings(0, 9, 32), index, rows=rows, row_seconds=seconds, spec=spec)
    assert levels.shape == (rows, len(VOICES)) and (levels[spec.num_latent_rows :] == 0).all()
    waveform = make_example("train", index, num_frames=32, spec=spec, with_picture=False, sound="omni").waveform[None]
    sound = Sound(waveform, spec.sample_rate_hz)
    performers = {p.voice: p for p in scene_of("train", index).performers}
    for number, (voice, kind) in enumerate(VOICES.items()):
        if voice not in performers:
            assert levels[:, number].max() == 0
            continue
        full = voice_waveform(voice, np.arange(spec.num_samples) / spec.sample_rate_hz, performers[voice].phase)
        gain = levels[:, number].square().mean().sqrt() * performers[voice].level
        carrier = np.sqrt(np.square(full).mean()) / np.sqrt(
            np.square(voice_envelope(voice, np.linspace(0, 4, 1000), performers[voice].phase)).mean()
        )
        wanted = 20 * np.log10(float(gain) * carrier)
        assert band_level_db(sound, kind.band_hz) == pytest.approx(wanted, abs=1.5)


def test_features_known_already_give_the_same_sound_and_each_is_computed_once():
    torch.manual_seed(0)
    config = ControlConfig(
        {"audio.up.1": 4}, map_height=16, widths=(4, 4), strides=(2, 2), hidden=4, geometry="view",
        directions_at_sites=True, audio_sectors=8,
    )  # fmt: skip
    module, calls = ControlModule(config), []
    torch.nn.init.normal_(module.heads["audio_up_1"].linear.weight)
    module.encoder.register_forward_hook(lambda *_: calls.append(1))
    maps, known = torch.rand(3, 4, 2, 16, 32), KnownFeatures(module.encoder)
    maps[1, :, 0] = 0  # a dropped map: another entry of the same example
    rest = dict(site_shapes={"audio.up.1": (4, 13, 2)}, fps=8.0, audio_seconds=0.52)
    with torch.no_grad():
        whole = module(maps, None, **rest)["audio.up.1"]
        for _ in range(2):
            short = module(maps, None, **rest, features=known.of(maps, torch.tensor([5, 5, 7])))["audio.up.1"]
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, short, strict=True))
    assert len(known.known) == 3 and len(calls) == 2


def test_answers_name_the_performer_of_a_direction_and_none_elsewhere():
    yaws, answers = questions(ALONE, np.random.default_rng(0))
    for yaw, colour, shape in zip(yaws, answers["colour"], answers["shape"], strict=True):
        there = abs((yaw - 90 + 180) % 360 - 180) < 35
        assert colour == (TRAITS["colour"].index("cyan") if there else len(COLOURS))
        assert shape == (SHAPES.index("square") if there else len(SHAPES))


def test_loudness_is_the_wide_microphone():
    gains = loudness(ALONE)[:, list(VOICES).index("bell")]
    assert gains[list(EAR_YAWS_DEG).index(90.0)] == pytest.approx(1.0)
    assert gains[list(EAR_YAWS_DEG).index(270.0)] == pytest.approx(0.5)
    assert loudness(ALONE).sum(dim=0).count_nonzero() == 1


def test_reader_answers_for_every_question():
    tokenizer = make_tokenizer()
    tokens = make_text_encoder_v(tokenizer)(tokenizer(["a red disc hums behind"], return_tensors="pt").input_ids)
    answers, sky, ground = TokenReader()(tokens.last_hidden_state, torch.randn(1, 5, 3))
    assert answers["colour"].shape == (1, 5, len(COLOURS) + 1)
    assert sky.shape == (1, 3) and ground.shape == (1, 3)


def test_a_lean_draws_noisier_steps_more_often():
    scheduler = make_scheduler()
    even, leaning = (
        random_timesteps(4000, scheduler, torch.Generator().manual_seed(0), lean).float() for lean in (1.0, 2.0)
    )
    assert abs(even.mean() - 500) < 15 and abs(leaning.mean() - 667) < 15
    assert leaning.max() <= 999


def test_weights_scale_the_error_of_their_pixels():
    error_at_one = torch.zeros(1, 2, 1, 2, 2)
    error_at_one[..., 0, 0] = 1.0
    weight = torch.tensor([[[[3.0, 1.0], [1.0, 1.0]]]])
    assert squared_error(error_at_one, torch.zeros_like(error_at_one)) == pytest.approx(0.25)
    assert squared_error(error_at_one, torch.zeros_like(error_at_one), weight) == pytest.approx(0.5)
