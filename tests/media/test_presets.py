"""Presets: what each file holds, what programs of others say of it, and what is copied."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from inspectors import WANTED, check_file, inspect, missing, preset_files

from con360.errors import InputError
from con360.media.info import probe
from con360.media.presets import file_kind, sound_for
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.records import Sound, View
from con360.reframing.level import LevelSettings, level
from con360.reframing.run import ReframeSettings, reframe
from con360.sound.shaping import FieldShape, shape_matrix, with_pair

RATE = 48000


def tones(channels: int, seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    """A tone of its own in each channel."""
    t = torch.arange(round(seconds * rate)) / rate
    return torch.stack([0.2 * torch.sin(2 * np.pi * (300 + 170 * i) * t) for i in range(channels)])


def clip(path: Path, channels: int, seconds: float = 1.0, rate: int = RATE) -> Path:
    rng = np.random.default_rng(0)
    with clip_stream(path, (128, 64), Fraction(1, 10), 10, (channels, rate), panorama="mono") as stream:
        for tick in range(round(10 * seconds)):
            stream.add_frame(rng.integers(0, 255, (64, 128, 3), dtype=np.uint8), tick)
        stream.add_sound(tones(channels, seconds, rate).numpy())
    return path


def packets(path: Path) -> str:
    """Digest of the picture's packets."""
    digest = hashlib.blake2b()
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            digest.update(bytes(packet))
    return digest.hexdigest()


@pytest.mark.slow
def test_inspectors_agree_on_every_preset(tmp_path: Path) -> None:
    for name, path in preset_files(tmp_path):
        asked = check_file(path, WANTED[name])
        assert set(asked) | set(missing()) == {"box reader", "exiftool", "mediainfo", "spatial-media"}
        assert not any("quad" in (facts.layout or "") for facts in inspect(path).values())


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "wanted"),
    [
        (FieldShape(), "ambix", 9, None),
        (FieldShape(1, False), "ambix", 4, None),
        (FieldShape(1, False), "ambix", 18, [0, 1, 2, 3]),
        (FieldShape(1, True), "ambix", 4, [0, 1, 2, 3, None, None]),
        (FieldShape(1, True), "ambix", 11, [0, 1, 2, 3, 9, 10]),
        (FieldShape(1, True), "stereo", 2, [None] * 4 + [0, 1]),
        (FieldShape(1, True), "mono", 1, [None] * 4 + [0, 0]),
        (FieldShape(3), "ambix", 6, [0, 1, 2, 3, *[None] * 12, 4, 5]),
        (FieldShape(1, False), "stereo", 2, None),
    ],
)
def test_channels_are_brought_to_a_shape(shape: FieldShape, layout: str, channels: int, wanted: list | None) -> None:
    matrix, notices = shape_matrix(shape, layout, channels)
    rows = None if matrix is None else [int(row.argmax()) if row.any() else None for row in matrix]
    assert rows == wanted and bool(notices) == (wanted is not None)
    assert matrix is None or set(matrix.unique().tolist()) <= {0.0, 1.0}


def test_third_order_asks_for_directions() -> None:
    with pytest.raises(InputError, match="has no directions.*con360 place"):
        sound_for(file_kind("third-order"), Sound(tones(2), RATE, "stereo"))


@pytest.mark.parametrize(("preset", "suffix", "channels"), [("headlocked", ".mp4", 6), ("master", ".mov", 4)])
def test_the_sound_of_a_preset_comes_back(tmp_path: Path, preset: str, suffix: str, channels: int) -> None:
    source = clip(tmp_path / "in.mp4", 4)
    made = level(source, tmp_path / f"out{suffix}", LevelSettings(preset=preset))
    before, after = read_sound(source)[0], read_sound(made.path)[0]
    assert (after.layout, after.waveform.shape) == ("ambix", (channels, RATE))
    error = (after.waveform[:4] - before.waveform).square().mean().sqrt()
    assert error < (2e-7 if preset == "master" else 0.01)
    with av.open(str(made.path)) as container:
        rate = container.streams.audio[0].bit_rate
    # YouTube asks for 768 kbit/s of six channels, in silence too.
    assert preset == "master" or rate >= 768_000


def test_a_picture_that_nothing_changes_is_copied(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", 4)
    for preset in (None, "quest"):
        made = level(source, tmp_path / "out.mp4", LevelSettings(preset=preset))
        heard = [read_sound(path)[0].waveform for path in (source, made.path)]
        if preset is None:
            assert made.notices[-1] == "Nothing is turned: picture and sound are copied as they are."
            assert torch.equal(*heard)
        else:
            assert made.notices[-1] == "Nothing is turned: the picture is copied as it is."
            assert (heard[0] - heard[1]).square().mean().sqrt() < 0.01
        assert packets(made.path) == packets(source) and (made.num_frames, made.duration_s) == (10, 1.0)
        assert probe(made.path).spherical.projection == "equirectangular"
    level(source, tmp_path / "anew.mp4", LevelSettings(yaw_deg=1.0))
    assert packets(tmp_path / "anew.mp4") != packets(source)


def test_a_flat_view_keeps_the_whole_field_where_the_preset_holds_it(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", 4)
    made = reframe(source, tmp_path / "v.mp4", View(90.0), ReframeSettings(size=(64, 64), preset="headlocked"))
    heard = read_sound(made.path)[0]
    assert (heard.layout, heard.waveform.shape[0], made.sound) == ("ambix", 6, "ambisonics")
    assert (
        reframe(source, tmp_path / "q.mp4", View(0.0), ReframeSettings(size=(64, 64), preset="quest")).sound == "stereo"
    )
    with pytest.raises(InputError, match="holds all of the Ambisonics"):
        reframe(source, tmp_path / "x.mp4", View(0.0), ReframeSettings(sound="stereo", preset="third-order"))


def test_a_pair_is_added_to_a_field() -> None:
    pair = with_pair(Sound(tones(9), RATE, "ambix"), Sound(tones(2, 2.0, 24000), 24000, "stereo"))
    assert (pair.layout, pair.waveform.shape) == ("ambix", (11, 2 * RATE))
    assert torch.equal(pair.waveform[:9, :RATE], tones(9)) and not pair.waveform[:9, RATE:].any()
    assert with_pair(None, Sound(tones(1), RATE)).waveform.shape == (6, RATE)
    with pytest.raises(InputError, match="goes beside Ambisonics"):
        with_pair(Sound(tones(2), RATE, "stereo"), Sound(tones(1), RATE))


def test_names_and_presets_that_do_not_fit_are_told(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", 4)
    for out, preset, words in (("a.mp4", "master", "does not end in .mov"), ("a.mov", "quest", "does not end in .mp4"),
                               ("a.mp4", "vimeo", "unknown; choose one of youtube")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            level(source, tmp_path / out, LevelSettings(preset=preset))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
