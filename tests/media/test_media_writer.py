from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound
from con360.media.writer import to_uint8, write_clip, write_frames, write_png, write_wav
from con360.metrics.audio import foa_angles_deg
from con360.records import Sound
from con360.sound.ambisonics import encode
from con360.sound.peaks import true_peak


def melody(num_samples: int, rate: int, channels: int = 1) -> torch.Tensor:
    """Make a sweep, in which a shift by one sample shows anywhere."""
    t = torch.arange(num_samples) / rate
    return (0.4 * torch.sin(2 * math.pi * (200 * t + 150 * t**2)))[None].repeat(channels, 1)


def smooth_frames(count: int, height: int = 64, width: int = 128) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([torch.stack((x * 0.8, y, torch.full_like(x, i / max(1, count - 1)))) for i in range(count)])


@pytest.mark.parametrize(
    ("fps", "num_frames", "rate", "num_samples", "channels"),
    [
        (8.0, 32, 16000, 64000, 1),
        (8.0, 4, 16000, 8000, 1),
        (8.0, 5, 16000, 9999, 1),
        (30000 / 1001, 30, 44100, 44117, 2),
        (15.0, 7, 22050, 7001, 1),
        (25.0, 3, 48000, 1, 2),
    ],
)
def test_durations_are_exact(tmp_path, fps, num_frames, rate, num_samples, channels):
    path = tmp_path / "clip.mp4"
    written = melody(num_samples, rate, channels)
    write_clip(path, smooth_frames(num_frames), fps, Sound(written, rate, "stereo" if channels == 2 else "mono"))
    sound, notices = read_sound(path)
    assert sound.waveform.shape == (channels, num_samples) and sound.sample_rate_hz == rate and notices == ()
    info = probe(path)
    assert info.duration_s == pytest.approx(num_frames / fps, abs=1e-9) and info.fps == pytest.approx(fps)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    if num_samples > 2000:
        a, b = sound.waveform[0, 10:-10], written[0]
        fit = [float((a * b[10 + k : len(b) - 10 + k]).sum()) for k in range(-3, 4)]
        assert fit.index(max(fit)) == 3
        # Checked from the first sample on: AAC encoders tend to start with a crack.
        assert (sound.waveform - written)[:, :2048].abs().max() < 0.02
        assert (sound.waveform - written).square().mean().sqrt() < 0.002


def test_round_trip_as_a_panorama(tmp_path):
    frames = smooth_frames(32)
    sound = Sound(melody(64000, 16000), 16000)
    write_clip(tmp_path / "clip.mp4", frames, 8.0, sound)
    clip = read_panorama(tmp_path / "clip.mp4", height=64)
    assert clip.sound.waveform.shape == (1, 64000) and clip.frames.shape == frames.shape
    # Each frame is itself, not its neighbour: the blue channel counts the frames in steps of 1/31.
    assert (clip.frames[:, 2].mean((1, 2)) - frames[:, 2].mean((1, 2))).abs().max() < 0.01
    assert (clip.frames - frames).abs().mean() < 0.01
    assert not [n for n in clip.notices if "ends" in n or "late" in n]


def test_ambisonics_stays_ambisonics(tmp_path):
    written = melody(32000, 16000) * torch.tensor([[1.0], [0.5], [-0.3], [0.0]])
    write_clip(tmp_path / "foa.mp4", smooth_frames(16), 8.0, Sound(written, 16000, "ambix"), panorama="mono")
    clip = read_panorama(tmp_path / "foa.mp4", duration_s=2.0, height=64)
    assert clip.sound.layout == "ambix" and not [notice for notice in clip.notices if "sound" in notice]
    assert (clip.sound.waveform - written).square().mean(1).sqrt().max() < 0.01


def test_saturated_colours_survive(tmp_path):
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.1, 0.9], [0.95, 0.9, 0.1]])
    frames = colours[:, :, None, None].expand(-1, -1, 64, 128)
    write_clip(tmp_path / "c.mp4", frames, 8.0)
    read = read_panorama(tmp_path / "c.mp4", duration_s=0.5, height=64).frames
    assert (read.mean((2, 3)) - colours).abs().max() < 0.02


def test_luma_is_kept_on_the_way_out_and_in(tmp_path):
    """Both conversions round; neither may darken."""
    frames = 0.2 + 0.6 * smooth_frames(8)  # nothing is clipped
    write_clip(tmp_path / "c.mp4", frames, 8.0)
    read = read_panorama(tmp_path / "c.mp4", duration_s=1.0, height=frames.shape[-2]).frames
    luma = torch.tensor([0.2126, 0.7152, 0.0722])
    assert abs(float(luma @ (255 * (read - frames)).mean((0, 2, 3)))) < 0.3


def test_loud_sound_is_turned_down_and_not_clipped(tmp_path):
    written = 3.0 * melody(16000, 16000)  # peak 1.2
    notices = write_clip(tmp_path / "loud.mp4", smooth_frames(8), 8.0, Sound(written, 16000))
    read = read_sound(tmp_path / "loud.mp4")[0].waveform
    gain = float((read * written).sum() / written.square().sum())
    assert gain == pytest.approx(0.95 / 1.2, abs=0.005)
    assert notices == ("the sound was turned down by 2.0 dB, all channels alike: AAC would clip its peaks",)
    # Clipping at 1 would leave harmonics of about 0.06.
    assert (read - gain * written)[:, 2048:-2048].square().mean().sqrt() < 0.01


def test_peaks_between_samples_stay_below_full_scale_after_coding(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tone = torch.sin(2 * math.pi * 4000 * torch.arange(16000) / 16000 + math.pi / 4)
    for wave in (1.3 * tone, 1.4 * torch.randn(16000, generator=generator), melody(16000, 16000)[0]):
        write_clip(tmp_path / "c.mp4", smooth_frames(8), 8.0, Sound(wave[None], 16000))
        assert true_peak(read_sound(tmp_path / "c.mp4")[0].waveform) <= 1.0


def test_loud_ambisonics_keeps_its_direction(tmp_path):
    t = torch.arange(96000) / 48000
    tone = torch.sin(2 * math.pi * 440 * t) * (0.3 + 0.7 * (torch.sin(2 * math.pi * 3 * t) > 0))
    sound = Sound(encode(3.0 * tone, -60.0, 20.0), 48000, "ambix")
    write_clip(tmp_path / "loud.mp4", smooth_frames(16), 8.0, sound)
    read = read_sound(tmp_path / "loud.mp4")[0].waveform
    # The encoder's own limiting, by block and pair of channels, turned the direction by up to 23 degrees.
    for at in range(0, 91200, 2400):
        yaw, pitch = foa_angles_deg(Sound(read[:, at : at + 2400], 48000, "ambix"))
        assert (yaw, pitch) == (pytest.approx(-60, abs=1), pytest.approx(20, abs=1))
    gains = read.square().mean(1).sqrt() / sound.waveform.square().mean(1).sqrt()
    assert gains.tolist() == pytest.approx([0.95 / 3] * 4, rel=0.01)


@pytest.mark.parametrize(("rate", "kept"), [(192000, 96000), (37800, 44100), (44099, 44100), (6000, 8000)])
def test_rates_that_aac_lacks_are_resampled(tmp_path, rate, kept):
    notices = write_clip(tmp_path / "c.mp4", smooth_frames(8), 8.0, Sound(melody(rate, rate), rate))
    assert notices == (f"the sound was resampled from {rate} to {kept} Hz, since AAC lacks its rate",)
    sound, _ = read_sound(tmp_path / "c.mp4")
    assert sound.waveform.shape == (1, kept) and sound.sample_rate_hz == kept
    assert (sound.waveform - melody(kept, kept))[:, 200:-200].square().mean().sqrt() < 0.005


@pytest.mark.parametrize(
    ("shape", "fps", "sound", "name", "words"),
    [
        ((4, 3, 63, 128), 8.0, None, "c.mp4", "even sizes; the frames are 128x63"),
        ((0, 3, 64, 64), 8.0, None, "c.mp4", "at least one"),
        ((4, 4, 64, 64), 8.0, None, "c.mp4", r"\[T, 3, H, W\]"),
        ((4, 3, 64, 64), 0.0, None, "c.mp4", "frames per second"),
        ((4, 3, 64, 64), 8.0, None, "c.avi", "does not end in .mp4"),
        ((4, 3, 64, 64), 8.0, Sound(torch.zeros(4, 8000), 16000, "other"), "c.mp4", "other with 4 channels"),
        ((4, 3, 64, 64), 8.0, Sound(torch.zeros(1, 8000), 0), "c.mp4", "sampling rate of 0 Hz"),
        ((4, 3, 64, 64), 8.0, Sound(torch.zeros(1, 0), 16000), "c.mp4", "empty"),
        ((4, 3, 64, 64), 8.0, Sound(torch.full((1, 8000), math.nan), 16000), "c.mp4", "NaN"),
    ],
)
def test_refusals_leave_nothing(tmp_path, shape, fps, sound, name, words):
    with pytest.raises(InputError, match=words):
        write_clip(tmp_path / name, torch.zeros(shape), fps, sound)
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_encoding_leaves_the_old_file(tmp_path, monkeypatch):
    from con360.media import writer

    path = tmp_path / "clip.mp4"
    write_clip(path, smooth_frames(2), 8.0)
    before, calls = path.read_bytes(), []

    def failing(image):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return to_uint8(image)

    monkeypatch.setattr(writer, "to_uint8", failing)
    with pytest.raises(MemoryError):
        write_clip(path, smooth_frames(5), 8.0)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_wav_keeps_floats(tmp_path, channels):
    sound = Sound(torch.randn(channels, 1000, generator=torch.Generator().manual_seed(1)) * 3, 48000, "other")
    assert write_wav(tmp_path / "x.wav", sound) == ()
    read, _ = read_sound(tmp_path / "x.wav")
    assert torch.equal(read.waveform, sound.waveform) and read.sample_rate_hz == 48000


def test_wav_16_bit_clips_with_a_notice(tmp_path):
    sound = Sound(torch.tensor([[0.5, 1.0, -1.0, 1.5, -2.0]]), 8000)
    notices = write_wav(tmp_path / "x.wav", sound, bits=16)
    assert len(notices) == 1 and notices[0].startswith("2 samples")
    assert wavfile.read(tmp_path / "x.wav")[1].tolist() == [16384, 32767, -32768, 32767, -32768]
    with pytest.raises(InputError, match="24 bits"):
        write_wav(tmp_path / "x.wav", sound, bits=24)


def test_png_and_frames(tmp_path):
    frames = smooth_frames(3, 5, 7)
    write_png(tmp_path / "one.png", frames[1])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), to_uint8(frames[1]))
    write_frames(tmp_path / "frames", frames)
    write_frames(tmp_path / "frames", frames[:2])  # a second run replaces the first
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == ["frame_00000.png", "frame_00001.png"]
    (tmp_path / "frames" / "mine.txt").touch()
    with pytest.raises(InputError, match="other files"):
        write_frames(tmp_path / "frames", frames)
    with pytest.raises(InputError, match=r"\[3, H, W\]"):
        write_png(tmp_path / "bad.png", frames)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "one.png"]


def test_rounding_and_range():
    image = torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0, math.nan]).reshape(1, 1, 6).expand(3, 1, 6)
    assert to_uint8(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]
