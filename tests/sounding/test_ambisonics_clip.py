"""A clip gets Ambisonics that a model makes: its picture is copied, its pictures are read once, and groups are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from inspectors import Facts, check_file
from synthetic_clips import noise, read_number, write_video
from tiny_ambisonics import HOP, KNOWS, RATE_HZ, tiny_ambisonics
from torch import Tensor

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound
from con360.sounding.model import AmbisonicsModel
from con360.sounding.run import AmbisonicsSettings, ambisonics_for_clip, ambisonics_for_frames

SECONDS, FPS = 5.0, 10.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AmbisonicsModel:
    return tiny_ambisonics(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    times = [i / FPS for i in range(round(SECONDS * FPS))]
    return write_video(path, times, sound=0.1 * noise(1, round(SECONDS * RATE_HZ)), rate_hz=RATE_HZ, gop=10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


class Counting:
    """A picture encoder that counts what it reads."""

    def __init__(self, model: AmbisonicsModel) -> None:
        self.encoder, self.width, self.identity, self.read = model.encoder, model.encoder.width, "counting", 0

    def features(self, pixels: Tensor) -> Tensor:
        self.read += len(pixels)
        return self.encoder.features(pixels)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]


def heard(path: Path) -> Tensor:
    sound, _ = read_sound(path)
    return sound.waveform


# Files ----------------------------------------------------------------------------------------------------------------


def test_the_picture_is_copied_under_ambisonics(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    made = ambisonics_for_clip(clip, out, model)
    assert packets(out) == packets(clip)
    assert check_file(out, Facts("equirectangular", "mono", 1))
    sound, _ = read_sound(out)
    assert (sound.layout, sound.waveform.shape[0], sound.sample_rate_hz) == ("ambix", 4, RATE_HZ)
    assert abs(sound.duration_s - SECONDS) < 1 / FPS
    # The made sound itself reaches as far, not silence behind it.
    assert sound.waveform[0, -round(RATE_HZ / FPS) :].std() > 0.3 * sound.waveform[0].std()
    assert (made.knows, made.groups, made.kept_groups, made.own_sound) == (KNOWS, 2, 0, False)
    assert "The clip's own sound is left out." in made.notices
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "out.mp4"]


def test_frames_that_are_held_give_the_same_sound(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    held = read_panorama(clip, duration_s=SECONDS, fps=FPS, height=64, eye="whole").frames
    frames = (held * 255).round().byte().movedim(1, -1)
    as_bytes = ambisonics_for_frames(frames, FPS, model)
    as_floats = ambisonics_for_frames(frames.float() / 255, FPS, model, AmbisonicsSettings(keep=False))
    assert (as_bytes.layout, as_bytes.waveform.shape) == ("ambix", (4, SECONDS * RATE_HZ))
    assert torch.equal(as_bytes.waveform, as_floats.waveform)
    with pytest.raises(InputError, match=r"\[T, H, W, 3\]"):
        ambisonics_for_frames(held, FPS, model)


def test_a_part_begins_and_ends_where_it_was_asked_to(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    out = tmp_path / "part.mp4"
    made = ambisonics_for_clip(clip, out, model, AmbisonicsSettings(start_s=2.5, duration_s=2.0))
    shown = read_panorama(out, duration_s=2.0, fps=FPS, height=64, eye="whole").frames
    assert [read_number(frame) for frame in shown] == list(range(25, 45))
    assert (made.duration_s, probe(out).duration_s) == (pytest.approx(2.0), pytest.approx(2.0))
    assert heard(out).shape[1] == 2.0 * RATE_HZ
    assert "This is shorter than the 2.4 s that the model was trained on." in made.notices


def test_the_clips_own_sound_is_mixed_in_where_it_is_to_be_kept(
    clip: Path, model: AmbisonicsModel, tmp_path: Path
) -> None:  # fmt: skip
    part = AmbisonicsSettings(start_s=1.0, duration_s=2.0)
    alone, mixed = tmp_path / "alone.mp4", tmp_path / "mixed.mp4"
    ambisonics_for_clip(clip, alone, model, part)
    made = ambisonics_for_clip(clip, mixed, model, replace(part, own_sound=True))
    own = heard(clip)[0, RATE_HZ : 3 * RATE_HZ]
    added = heard(mixed) - heard(alone)
    assert made.own_sound
    assert torch.corrcoef(torch.stack((added[0], own)))[0, 1] > 0.95
    assert added[1:].std() < 0.1 * added[0].std(), "mono comes from everywhere"


def test_the_view_may_look_at_what_stands_out(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    part = AmbisonicsSettings(duration_s=2.0)
    ambisonics_for_clip(clip, tmp_path / "front.mp4", model, part)
    made = ambisonics_for_clip(clip, tmp_path / "salient.mp4", model, replace(part, view="salient"))
    assert made.read_pictures
    assert not torch.equal(heard(tmp_path / "front.mp4"), heard(tmp_path / "salient.mp4"))


# Kept -----------------------------------------------------------------------------------------------------------------


def test_another_seed_reads_no_picture(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    counting = Counting(model)
    model = replace(model, encoder=counting)
    first = ambisonics_for_clip(clip, tmp_path / "1.mp4", model, AmbisonicsSettings(seed=1))
    read = counting.read
    again = ambisonics_for_clip(clip, tmp_path / "2.mp4", model, AmbisonicsSettings(seed=2))
    assert read == 2 * SECONDS * 8
    assert (first.read_pictures, again.read_pictures, counting.read) == (True, False, read)
    assert not torch.equal(heard(tmp_path / "1.mp4"), heard(tmp_path / "2.mp4"))
    ambisonics_for_clip(clip, tmp_path / "3.mp4", model, AmbisonicsSettings(seed=1, keep=False))
    assert counting.read == 2 * read
    assert torch.equal(heard(tmp_path / "1.mp4"), heard(tmp_path / "3.mp4")), "kept features change nothing"


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_goes_on_with_its_finished_groups(
    clip: Path, model: AmbisonicsModel, tmp_path: Path
) -> None:  # fmt: skip
    out, playable = tmp_path / "out.mp4", []

    def stop(done: int, total: int, what: str) -> None:
        if what == "making the sound" and done == total - 1:
            playable.append(heard(tmp_path / "out.mp4.unfinished.wav"))
            raise StoppedError

    with pytest.raises(StoppedError):
        ambisonics_for_clip(clip, out, model, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"], "nothing half-written is left"
    made = ambisonics_for_clip(clip, out, model)
    assert (made.groups, made.kept_groups, made.read_pictures) == (2, 1, False)
    assert any("1 of 2 groups were finished" in notice for notice in made.notices)
    straight = ambisonics_for_clip(clip, tmp_path / "straight.mp4", model, AmbisonicsSettings(keep=False))
    assert straight.kept_groups == 0
    assert torch.equal(heard(out), heard(tmp_path / "straight.mp4"))
    # Of the first group, all was playable but what the second one reaches into.
    (early,) = playable
    assert early.shape[1] > 2 * RATE_HZ
    whole = heard(out)[:, : early.shape[1]]
    assert torch.corrcoef(torch.stack((early[0], whole[0])))[0, 1] > 0.95, "AAC alone lies between them"


@pytest.mark.parametrize("other", [{"seed": 5}, {"steps": 3}, {"cfg": 1.0}, {"start_s": 0.5}, {"published_jpeg": True}])
def test_groups_of_other_settings_are_not_taken(
    clip: Path, model: AmbisonicsModel, tmp_path: Path, other: dict[str, float]
) -> None:  # fmt: skip
    ambisonics_for_clip(clip, tmp_path / "1.mp4", model)
    made = ambisonics_for_clip(clip, tmp_path / "2.mp4", model, AmbisonicsSettings(**other))
    assert made.kept_groups == 0
    assert not torch.equal(heard(tmp_path / "1.mp4")[:, :16000], heard(tmp_path / "2.mp4")[:, :16000])


def test_a_place_that_cannot_be_written_to_keeps_nothing_and_is_named(
    clip: Path, model: AmbisonicsModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "file"))
    made = ambisonics_for_clip(clip, tmp_path / "out.mp4", model, AmbisonicsSettings(duration_s=1.0))
    assert any("nothing could be kept" in notice.lower() for notice in made.notices)


# Length and level -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [25, 29, 40, 61])
def test_what_is_missing_at_the_end_is_shorter_than_a_frame(
    model: AmbisonicsModel, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    fps = 24.0
    sound = ambisonics_for_frames(torch.rand(frames, 8, 16, 3), fps, model, AmbisonicsSettings(keep=False))
    last = int(sound.waveform.abs().sum(0).nonzero().max()) + 1
    assert sound.waveform.shape[1] == round(frames / fps * RATE_HZ)
    assert frames / fps - last / RATE_HZ < 1 / fps
    assert HOP / RATE_HZ < 1 / fps, "a row is shorter here; the published model's is longer than a frame at 30 a second"


def loud(gain_db: float) -> AmbisonicsSettings:
    return AmbisonicsSettings(gain_db=gain_db, keep=False)


def test_one_gain_holds_and_the_limiter_can_be_left_out(model: AmbisonicsModel) -> None:
    frames = torch.rand(40, 8, 16, 3, generator=torch.Generator().manual_seed(1))
    own = ambisonics_for_frames(frames, 8.0, model, loud(0)).waveform
    louder = ambisonics_for_frames(frames, 8.0, model, loud(10)).waveform
    assert torch.allclose(louder, own * 10**0.5, atol=1e-6), "a model's own level stays, but for the gain"
    limited = ambisonics_for_frames(frames, 8.0, model, loud(60)).waveform
    free = ambisonics_for_frames(frames, 8.0, model, replace(loud(60), limiter=False)).waveform
    assert torch.allclose(free, own * 1000, rtol=1e-5)
    assert limited.abs().max() <= 10 ** (-1 / 20) + 1e-6
    # One gain for the most part; directions stay where the limiter works, too.
    ratio = (limited / free).median()
    assert ((limited / free - ratio).abs() < 1e-3 * ratio).float().mean() > 0.5
    assert torch.allclose(limited[1] * free[0], limited[0] * free[1], atol=1e-3 * float(free.abs().max()))


def test_a_quiet_sound_stays_quiet_and_is_named(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    part = AmbisonicsSettings(duration_s=1.0, gain_db=-30.0)
    made = ambisonics_for_clip(clip, tmp_path / "out.mp4", model, part)
    assert any("quiet" in notice for notice in made.notices)
    assert made.peak_db is not None and made.peak_db < -10
    assert heard(tmp_path / "out.mp4").abs().max() < 0.02


def test_silence_stays_silence(clip: Path, model: AmbisonicsModel, tmp_path: Path) -> None:
    vae = model.network.vae
    last = vae.decoder.layers[-1]
    kept = last.weight_g.clone()
    try:
        last.weight_g.zero_()
        part = AmbisonicsSettings(duration_s=1.0, keep=False)
        made = ambisonics_for_clip(clip, tmp_path / "out.mp4", model, part)
    finally:
        last.weight_g.copy_(kept)
    assert made.peak_db is None and "The sound is silent." in made.notices
    assert heard(tmp_path / "out.mp4").abs().max() < 1e-4


@pytest.fixture
def black(tmp_path: Path) -> Iterator[Path]:
    pictures = [np.zeros((64, 128, 3), np.uint8)] * 20
    yield write_video(tmp_path / "black.mp4", [i / FPS for i in range(20)], pictures=pictures)


@pytest.mark.parametrize("view", ["front", "salient"])
def test_a_black_clip_gives_finite_sound(black: Path, model: AmbisonicsModel, tmp_path: Path, view: str) -> None:
    ambisonics_for_clip(black, tmp_path / "out.mp4", model, AmbisonicsSettings(view=view))
    assert heard(tmp_path / "out.mp4").isfinite().all()
