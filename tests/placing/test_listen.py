"""A field becomes what two ears hear, with the head turned."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from synthetic_clips import noise, write_video

from con360.errors import InputError
from con360.media.reader import read_sound
from con360.media.writer import write_wav
from con360.placing.listen import ListenSettings, listen
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import encode
from con360.sound.headphones import load_ears, to_ears
from con360.sound.peaks import true_peak
from con360.sound.rotation import turn

RATE = 44100


def field(path: Path, yaw_deg: float, order: int = 1, level: float = 0.05) -> Sound:
    mono = torch.from_numpy(noise(1, RATE))[0] * level
    sound = Sound(encode(mono, yaw_deg, 0.0, order), RATE, "ambix")
    write_wav(path, sound)
    return sound


def heard(path: Path) -> torch.Tensor:
    sound, _ = read_sound(path)
    assert sound.layout == "stereo"
    return sound.waveform


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (110.0, -20.0)])
def test_the_file_holds_what_the_library_hears(tmp_path: Path, order: int, yaw: float, pitch: float) -> None:
    sound = field(tmp_path / "f.wav", 30.0, order)
    head = SourceTrack.still(SourcePoint(yaw, pitch))
    made = listen(tmp_path / "f.wav", tmp_path / "ears.wav", ListenSettings(head))
    wanted = to_ears(turn(sound, yaw, pitch)).waveform
    assert (made.order, made.sample_rate_hz, made.duration_s) == (order, RATE, 1.0)
    assert torch.allclose(heard(tmp_path / "ears.wav"), wanted, atol=1e-6)


def test_a_turning_head_brings_the_sound_to_the_other_ear(tmp_path: Path) -> None:
    field(tmp_path / "f.wav", 90.0)
    head = SourceTrack((0.25, 0.75), (SourcePoint(0.0), SourcePoint(180.0)))
    listen(tmp_path / "f.wav", tmp_path / "ears.wav", ListenSettings(head))
    left, right = heard(tmp_path / "ears.wav")
    before, after = slice(1000, RATE // 4), slice(RATE * 3 // 4, RATE - 1000)
    assert right[before].norm() > 2 * left[before].norm()
    assert left[after].norm() > 2 * right[after].norm()


def test_a_clips_pair_does_not_turn_and_loud_ears_get_one_gain(tmp_path: Path) -> None:
    pair = torch.zeros(6, RATE)
    pair[5] = torch.from_numpy(noise(1, RATE))[0] * 4
    write_wav(tmp_path / "f.wav", Sound(pair, RATE, "ambix"))
    head = SourceTrack.still(SourcePoint(90.0))
    made = listen(tmp_path / "f.wav", tmp_path / "ears.wav", ListenSettings(head, head_locked=True))
    ears = heard(tmp_path / "ears.wav")
    assert float(ears[0].abs().max()) < 1e-4 and true_peak(ears) == pytest.approx(1, abs=1e-3)
    assert "both ears" not in made.notices[-1] and "all channels alike" in made.notices[-1]


def test_a_clip_with_mono_or_loudspeakers_is_heard_and_said(tmp_path: Path) -> None:
    source = write_video(tmp_path / "c.mp4", [0.0, 0.1, 0.2], sound=noise(1, 14400), rate_hz=48000)
    made = listen(source, tmp_path / "ears.wav")
    assert made.notices == ("Mono comes from everywhere, so it does not turn.",)
    left, right = heard(tmp_path / "ears.wav")
    assert torch.allclose(left, right, atol=1e-5)
    speakers = torch.zeros(6, RATE)
    speakers[4] = torch.from_numpy(noise(1, RATE))[0] * 0.1  # back left
    write_wav(tmp_path / "s.wav", Sound(speakers, RATE, "other"))
    made = listen(tmp_path / "s.wav", tmp_path / "ears.wav")
    left, right = heard(tmp_path / "ears.wav")
    assert left.norm() > 2 * right.norm() and "nominal places" in made.notices[-1]


def test_the_shipped_ears_are_named(tmp_path: Path) -> None:
    field(tmp_path / "f.wav", 0.0)
    assert listen(tmp_path / "f.wav", tmp_path / "ears.wav").ears == load_ears(1, RATE).source


def test_bad_input_is_a_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    field(tmp_path / "f.wav", 0.0)
    silent = write_video(tmp_path / "silent.mp4", [0.0, 0.1])
    for source, out, settings, words in (
        ("f.wav", "x.mp3", ListenSettings(), "does not end in .wav"),
        ("f.wav", "f.wav", ListenSettings(), "both read and written"),
        (silent.name, "x.wav", ListenSettings(), "no sound track"),
        ("f.wav", "x.wav", ListenSettings(SourceTrack.still(SourcePoint(math.inf))), "not finite"),
        ("f.wav", "x.wav", ListenSettings(hrtf=tmp_path / "f.wav"), "SOFA|h5py"),
        ("f.wav", "x.wav", ListenSettings(ambisonics="fumo"), "unknown"),
    ):
        with pytest.raises(InputError, match=words):
            listen(tmp_path / source, tmp_path / out, settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.wav", "silent.mp4"]
